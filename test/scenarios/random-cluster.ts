/**
 * A cluster of cores under dice: delays, duplicates, reordering, drops, partitions, crashes that lose what was not flushed, late flushes, membership changes, transfers, checkpoints.
 * Each seed draws its own probabilities (swarm testing), so that some runs are calm in one respect and wild in another. Afterwards everything is healed and the cluster has to get well.
 */

import { allVoters, isJoint, isVoter } from '../../src/raft/core/membership.ts';
import type { Membership } from '../../src/raft/core/types.ts';
import { assert } from '../../src/std/assert.ts';
import { logIndex, type ReplicaId } from '../../src/std/brands.ts';
import { SeededRandom } from '../../src/std/seeded-random.ts';
import { ENTRY_KIND } from '../../src/wal/replica-storage.ts';
import { CoreCluster, type CoreReplica, type NetworkMessage } from './core-cluster.ts';
import { members } from './core-disk.ts';

const NETWORK_MAX = 120;
const HEAL_ROUNDS = 400;

/** What the driver's liveness would carry: who leads, and who follows it. */
interface Control {
  readonly kind: 'announce' | 'follows';
  readonly from: ReplicaId;
  readonly to: ReplicaId;
  readonly term: number;
  readonly round: number;
}

export interface RunReport {
  readonly events: number;
  readonly committed: number;
  readonly terms: number;
  readonly configurations: number;
  readonly reads: number;
  readonly snapshots: number;
}

/** One run. Throws at the first broken invariant, or if the healed cluster does not recover. */
export class RandomCluster {
  readonly #random: SeededRandom;
  readonly #cluster: CoreCluster;
  readonly #ids: number[];
  #control: Control[] = [];
  readonly #cut = new Set<string>();
  /** How fast time passes compared to messages. */
  readonly #paceMs: number;
  #proposals = 0;
  #rounds = 0;
  #events = 0;
  #configurations = 0;
  #reads = 0;
  #snapshots = 0;
  /** Which actions this seed likes. */
  readonly #weights: number[];
  readonly #actions: (() => void)[];

  constructor(seed: number) {
    this.#random = new SeededRandom(seed);
    const random = this.#random;
    const size = random.pick([1, 2, 3, 3, 3, 5]);
    this.#paceMs = random.pick([20, 60, 150]);
    this.#ids = Array.from({ length: size + random.below(3) }, (_, i) => i + 1);
    this.#cluster = new CoreCluster({
      random: () => random.next(),
      limits: {
        appendsInFlightMax: random.between(1, 4),
        appendEntriesMax: random.between(1, 8),
        probeEntriesMax: random.between(1, 4),
        appendRetryMs: 200,
      },
      onStep: (_, event, effects) => {
        this.#events++;
        if (event.kind === 'snapshotInstalled') this.#snapshots++;
        for (const read of effects.reads) if (read.index !== undefined) this.#reads++;
        if (effects.membershipChanged) this.#configurations++;
      },
    });
    const membership: Membership = { voters: members(this.#ids.slice(0, size)), votersOutgoing: [], learners: [] };
    for (const id of this.#ids) this.#cluster.add(id, membership);
    const weighted: [number, () => void][] = [
      [30, () => this.#deliver()],
      [14, () => this.#flush()],
      [8, () => this.#tick()],
      [10, () => this.#propose()],
      [5, () => this.#apply()],
      [4, () => this.#announce()],
      [8, () => this.#deliverControl()],
      [2 * random.next(), () => this.#lose()],
      [3 * random.next(), () => this.#duplicate()],
      [4 * random.next(), () => this.#drop()],
      [2 * random.next(), () => this.#crash()],
      [2, () => this.#restart()],
      [2 * random.next(), () => this.#partition()],
      [1.5 * random.next(), () => this.#heal()],
      [4 * random.next(), () => this.#changeMembership()],
      [2 * random.next(), () => this.#transfer()],
      [3 * random.next(), () => this.#read()],
      [4 * random.next(), () => this.#compact()],
      [0.5 * random.next(), () => this.#resign()],
      [0.5 * random.next(), () => this.#checkQuorum()],
      [random.next(), () => this.#reset()],
      [random.next(), () => this.#refuseAppend()],
      [0.5 * random.next(), () => this.#campaign()],
    ];
    let sum = 0;
    this.#weights = weighted.map(([weight]) => (sum += weight));
    this.#actions = weighted.map(([, action]) => action);
  }

  run(steps: number): RunReport {
    for (let i = 0; i < steps; i++) {
      const dice = this.#random.next() * this.#weights[this.#weights.length - 1]!;
      this.#actions[this.#weights.findIndex((weight) => dice < weight)]!();
    }
    this.#recover();
    const terms = Math.max(...[...this.#cluster.replicas.values()].map((replica) => replica.core.term));
    return {
      events: this.#events,
      committed: this.#cluster.invariants.committedIndex,
      terms,
      configurations: this.#configurations,
      reads: this.#reads,
      snapshots: this.#snapshots,
    };
  }

  // -------------------------------------------------------------- actions

  #someone(): CoreReplica | undefined {
    const alive = this.#cluster.alive();
    return alive.length === 0 ? undefined : this.#random.pick(alive);
  }

  #someLeader(): CoreReplica | undefined {
    const leaders = this.#cluster.alive().filter((replica) => replica.core.role === 'leader');
    return leaders.length === 0 ? undefined : this.#random.pick(leaders);
  }

  #isCut(message: { from: ReplicaId; to: ReplicaId }): boolean {
    return this.#cut.has(`${message.from}-${message.to}`);
  }

  /** Mostly the oldest message, sometimes any. */
  #take<T>(queue: T[]): T | undefined {
    if (queue.length === 0) return undefined;
    const position = this.#random.chance(0.7) ? 0 : this.#random.below(queue.length);
    return queue.splice(position, 1)[0];
  }

  #discard(message: NetworkMessage | undefined): void {
    if (message?.kind === 'snapshot') this.#cluster.failSnapshot(message);
  }

  #deliver(): void {
    while (this.#cluster.network.length > NETWORK_MAX) this.#drop();
    for (let count = this.#random.below(4); count >= 0; count--) this.#deliverOne();
  }

  #deliverOne(): void {
    const message = this.#take(this.#cluster.network);
    if (message === undefined) return;
    if (this.#isCut(message) || !this.#cluster.replicas.get(message.to)?.alive) this.#discard(message);
    else this.#cluster.deliver(message);
  }

  #duplicate(): void {
    const { network } = this.#cluster;
    if (network.length === 0) return;
    const message = this.#random.pick(network);
    if (message.kind !== 'snapshot') network.push(message);
  }

  #drop(): void {
    this.#discard(this.#take(this.#cluster.network));
  }

  #flush(): void {
    const replica = this.#someone();
    if (replica) this.#cluster.flush(replica, this.#random.chance(0.5) ? 1 : undefined);
  }

  #tick(): void {
    this.#cluster.nowMs += this.#random.below(this.#paceMs);
    for (const replica of this.#cluster.alive())
      if (replica.core.deadlineMs <= this.#cluster.nowMs && this.#random.chance(0.7))
        this.#cluster.step(replica, { kind: 'time', nowMs: this.#cluster.nowMs });
  }

  #propose(): void {
    const leader = this.#someLeader();
    if (!leader) return;
    const entries = Array.from({ length: this.#random.between(1, 3) }, () => ({
      kind: ENTRY_KIND.command,
      payload: [Buffer.from(String(++this.#proposals))],
    }));
    this.#cluster.step(leader, { kind: 'propose', nowMs: this.#cluster.nowMs, entries });
  }

  #apply(): void {
    const replica = this.#someone();
    if (replica) this.#cluster.apply(replica);
  }

  #announce(): void {
    const leader = this.#someLeader();
    if (!leader) return;
    const { core } = leader;
    const round = this.#rounds++;
    for (const to of this.#cluster.replicas.keys())
      if (to !== core.replicaId)
        this.#control.push({ kind: 'announce', from: core.replicaId, to, term: core.term, round });
    if (this.#control.length > NETWORK_MAX) this.#control.splice(0, this.#control.length - NETWORK_MAX);
  }

  #deliverControl(): void {
    const message = this.#take(this.#control);
    if (message && !this.#isCut(message)) this.#handleControl(message);
  }

  #handleControl(message: Control): void {
    const replica = this.#cluster.replicas.get(message.to);
    if (!replica?.alive) return;
    const { core } = replica;
    const nowMs = this.#cluster.nowMs;
    const term = message.term as typeof core.term;
    if (message.kind === 'follows') {
      this.#cluster.step(replica, { kind: 'readConfirmed', nowMs, replica: message.from, term, round: message.round });
      return;
    }
    this.#cluster.step(replica, { kind: 'leaderAnnounced', nowMs, leader: message.from, term });
    if (core.leaderId === message.from && core.term === term)
      this.#control.push({ kind: 'follows', from: core.replicaId, to: message.from, term, round: message.round });
  }

  #lose(): void {
    const replica = this.#someone();
    if (replica)
      this.#cluster.step(replica, { kind: 'leaderLost', nowMs: this.#cluster.nowMs, delayMs: this.#random.below(60) });
  }

  /** Whoever it is and whatever it does then: to be told to campaign is harmless. */
  #campaign(): void {
    const replica = this.#someone();
    if (replica) this.#cluster.step(replica, { kind: 'campaign', nowMs: this.#cluster.nowMs });
  }

  #crash(): void {
    const replica = this.#someone();
    if (replica) this.#cluster.crash(replica, this.#random.pick([0, 0, 1, this.#random.next()]));
  }

  #restart(): void {
    for (const replica of this.#cluster.replicas.values()) if (!replica.alive) return this.#cluster.restart(replica);
  }

  #partition(): void {
    const side = new Set(this.#ids.filter(() => this.#random.chance(0.5)));
    const oneWay = this.#random.chance(0.2);
    for (const from of this.#ids)
      for (const to of this.#ids)
        if (side.has(from) !== side.has(to) && !(oneWay && side.has(from))) this.#cut.add(`${from}-${to}`);
  }

  #heal(): void {
    this.#cut.clear();
  }

  #changeMembership(): void {
    const leader = this.#someLeader();
    if (!leader) return;
    const current = leader.core.membership;
    const random = this.#random;
    const candidates = this.#ids.slice();
    const voterIds: number[] = current.voters.map((member) => member.replicaId);
    let next: number[];
    let joint = false;
    if (random.chance(0.5)) {
      // One voter more or less.
      const id = random.pick(candidates);
      next = voterIds.includes(id) ? voterIds.filter((other) => other !== id) : [...voterIds, id];
    } else {
      next = candidates.filter(() => random.chance(0.5));
      // Without joint configuration most of these are too much at once and have to be refused.
      joint = random.chance(0.8);
    }
    const learners = candidates.filter((id) => !next.includes(id) && random.chance(0.5));
    const membership: Membership = {
      voters: members(next),
      votersOutgoing: joint ? current.voters : [],
      learners: members(learners),
    };
    this.#cluster.step(leader, { kind: 'changeMembership', nowMs: this.#cluster.nowMs, membership });
  }

  #transfer(): void {
    const leader = this.#someLeader();
    const target = this.#cluster.get(this.#random.pick(this.#ids)).core.replicaId;
    if (leader) this.#cluster.step(leader, { kind: 'transferLeadership', nowMs: this.#cluster.nowMs, target });
  }

  #read(): void {
    const leader = this.#someLeader();
    if (leader)
      this.#cluster.step(leader, {
        kind: 'read',
        nowMs: this.#cluster.nowMs,
        requestId: ++this.#proposals,
        round: this.#rounds,
      });
  }

  #compact(): void {
    const replica = this.#someone();
    if (!replica) return;
    const { baseIndex } = replica.disk.memory;
    const applied = replica.core.appliedIndex;
    if (applied > baseIndex) this.#cluster.compact(replica, logIndex(this.#random.between(baseIndex + 1, applied)));
  }

  #resign(): void {
    const leader = this.#someLeader();
    if (leader) this.#cluster.step(leader, { kind: 'resign', nowMs: this.#cluster.nowMs });
  }

  #checkQuorum(): void {
    const leader = this.#someLeader();
    if (!leader) return;
    const active = new Set(
      this.#cluster
        .alive()
        .filter(() => this.#random.chance(0.7))
        .map((replica) => replica.core.replicaId),
    );
    this.#cluster.step(leader, { kind: 'quorumCheck', nowMs: this.#cluster.nowMs, active });
  }

  #reset(): void {
    const leader = this.#someLeader();
    const replica = this.#cluster.get(this.#random.pick(this.#ids)).core.replicaId;
    if (leader) this.#cluster.step(leader, { kind: 'peerReset', nowMs: this.#cluster.nowMs, replica });
  }

  /** A follower's driver has no memory for the next append. */
  #refuseAppend(): void {
    const { network } = this.#cluster;
    const position = network.findIndex((message) => message.kind === 'appendEntries');
    if (position < 0) return;
    const [message] = network.splice(position, 1);
    const replica = this.#cluster.replicas.get(message!.to);
    if (replica?.alive)
      this.#cluster.step(replica, {
        kind: 'appendRefused',
        nowMs: this.#cluster.nowMs,
        from: message!.from,
        term: message!.term,
      });
  }

  // -------------------------------------------------------------- liveness

  /** Faults end; a correct driver does its part. Soon there must be one leader whom all members follow, and everything everywhere. */
  #recover(): void {
    const cluster = this.#cluster;
    this.#heal();
    for (const message of cluster.network.splice(0)) this.#discard(message);
    this.#control = [];
    for (const replica of cluster.replicas.values()) if (!replica.alive) cluster.restart(replica);
    for (const leader of cluster.alive().filter(({ core }) => core.role === 'leader'))
      for (const replica of cluster.replicas.keys())
        cluster.step(leader, { kind: 'peerReset', nowMs: cluster.nowMs, replica });
    let proposed: number | undefined;
    // A narrow window carries one entry in a few rounds.
    const rounds = HEAL_ROUNDS + 6 * Math.max(...cluster.alive().map(({ core }) => core.lastIndex));
    for (let round = 0; round < rounds; round++) {
      this.#calmRound();
      const leader = this.#settledLeader();
      if (leader === undefined) continue;
      if (proposed === undefined || leader.core.termAt(logIndex(proposed)) === undefined) {
        const { core } = leader;
        if (core.isReady && core.transferee === 0 && core.commitIndex === core.lastIndex) {
          const entries = [{ kind: ENTRY_KIND.command, payload: [Buffer.from('healed')] }];
          proposed = cluster.step(leader, { kind: 'propose', nowMs: cluster.nowMs, entries }).proposed?.firstIndex;
        }
      } else if (this.#everywhere(leader, proposed)) return;
    }
    assert(false, 'Liveness: the healed cluster did not get well');
  }

  /** Flushes, deliveries in order, deadlines, and what the drivers tell each other. */
  #calmRound(): void {
    const cluster = this.#cluster;
    cluster.nowMs += 10;
    for (const replica of cluster.alive()) cluster.flush(replica);
    for (const message of cluster.network.splice(0)) cluster.deliver(message);
    for (const replica of cluster.alive()) cluster.apply(replica);
    for (const replica of cluster.alive())
      if (replica.core.deadlineMs <= cluster.nowMs) cluster.step(replica, { kind: 'time', nowMs: cluster.nowMs });
    for (const { core } of cluster.alive())
      if (core.role === 'leader')
        for (const to of cluster.replicas.keys())
          this.#control.push({ kind: 'announce', from: core.replicaId, to, term: core.term, round: this.#rounds++ });
    for (const message of this.#control.splice(0)) if (message.from !== message.to) this.#handleControl(message);
    for (const follower of cluster.alive()) {
      const { core } = follower;
      if (core.role !== 'follower' || core.leaderId === 0) continue;
      const leader = cluster.get(core.leaderId).core;
      if (leader.role !== 'leader' || leader.term !== core.term)
        cluster.step(follower, { kind: 'leaderLost', nowMs: cluster.nowMs, delayMs: this.#random.below(100) });
    }
    for (const leader of cluster.alive()) {
      if (leader.core.role !== 'leader') continue;
      const active = cluster
        .alive()
        .filter(({ core }) => core.leaderId === leader.core.replicaId && core.term === leader.core.term);
      const ids = new Set(active.map(({ core }) => core.replicaId));
      // Grace of one round: followers learn of a new leader first.
      if (this.#random.chance(0.1)) cluster.step(leader, { kind: 'quorumCheck', nowMs: cluster.nowMs, active: ids });
    }
  }

  #settledLeader(): CoreReplica | undefined {
    const leaders = this.#cluster.alive().filter(({ core }) => core.role === 'leader');
    if (leaders.length !== 1) return undefined;
    const { core } = leaders[0]!;
    const all = allVoters(core.membership).every(
      ({ replicaId }) => this.#cluster.replicas.get(replicaId)?.core.leaderId === core.replicaId,
    );
    return all && !isJoint(core.membership) && isVoter(core.membership, core.replicaId) ? leaders[0] : undefined;
  }

  #everywhere(leader: CoreReplica, index: number): boolean {
    const { membership, commitIndex } = leader.core;
    return (
      commitIndex >= index &&
      [...membership.voters, ...membership.learners].every(
        ({ replicaId }) => this.#cluster.replicas.get(replicaId)!.core.appliedIndex >= index,
      )
    );
  }
}
