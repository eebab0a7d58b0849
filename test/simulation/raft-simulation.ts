/**
 * A whole cluster of brokers (cores, driver, WAL) in one process and on one seed: random commands, reads and membership changes under random faults, then everything heals and the
 * cluster must become quiet and complete. The seed also chooses which faults there are and how often (swarm testing), so that seeds differ in kind, not only in order.
 */

import type { Member, Membership } from '../../src/raft/core/types.ts';
import type { Channel } from '../../src/raft/transport.ts';
import {
  type BrokerId,
  type GroupId,
  brokerId as toBrokerId,
  groupId as toGroupId,
  replicaId as toReplicaId,
} from '../../src/std/brands.ts';
import { crc32c } from '../../src/std/crc32c.ts';
import { SeededRandom } from '../../src/std/seeded-random.ts';
import { encodeCommand } from './list-state-machine.ts';
import { RaftOracle, Violation } from './raft-oracle.ts';
import { type MachineKind, SimulatedBroker } from './simulated-broker.ts';
import { SimulatedTime } from './simulated-clock.ts';
import { SimulatedNetwork } from './simulated-network.ts';

export interface SimulationResult {
  readonly hash: number;
  readonly events: number;
  readonly simulatedMs: number;
  readonly acked: number;
  readonly refused: number;
  readonly unknown: number;
  readonly reads: number;
  readonly faults: Readonly<Record<string, number>>;
  readonly segmentsReused: number;
  readonly catchUps: number;
  readonly checkpoints: number;
  readonly elections: number;
}

const FAULTS = [
  'kill',
  'powerLoss',
  'crashOnPromise',
  'gracefulStop',
  'pause',
  'breakLink',
  'isolate',
  'blockOneWay',
  'slowDisk',
  'stalledDisk',
  'allDown',
  'transfer',
  'changeMembers',
  'createGroup',
  'removeGroup',
  'damage',
  'lostAnswers',
] as const;
type Fault = (typeof FAULTS)[number];

interface Group {
  readonly groupId: GroupId;
  readonly initial: Membership;
  /** Voters wanted; reached when `changing` is false. */
  target: readonly Member[];
  changing: boolean;
  asking: boolean;
  /** Replicas that must exist. */
  placed: Map<BrokerId, Member>;
  /** Replicas that must go, and did not say yet that they are gone. */
  readonly tombstones: Map<BrokerId, Member[]>;
  deleted: boolean;
  /** Nobody sends it commands until this time. */
  quietUntilMs: number;
}

const CHAOS_MS = 12_000;
const CONVERGE_MS = 60_000;
const QUIET_MS = 4_000;

export class RaftSimulation {
  readonly #random: SeededRandom;
  readonly #time = new SimulatedTime();
  readonly #network: SimulatedNetwork;
  readonly #oracle = new RaftOracle();
  readonly #brokers: SimulatedBroker[];
  readonly #groups = new Map<GroupId, Group>();
  readonly #faults: readonly Fault[];
  readonly #faultCounts: Record<string, number> = {};
  readonly #faultEveryMs: number;
  readonly #commandEveryMs: number;
  readonly #commandBytesMax: number;
  /** One millisecond of the fastest network. */
  readonly #latencyScale: number;
  /** The one broker whose disk may be damaged: a minority of every group. */
  readonly #victim: SimulatedBroker | undefined;
  /** Promises that brokers may still make before they crash. */
  readonly #armed = new Map<BrokerId, number>();
  #failure: { readonly error: unknown } | undefined;
  #chaos = true;
  #nextId = 1;
  #nextGroup = 1;
  #nextReplica = 1;
  #refused = 0;
  #unknown = 0;
  #reads = 0;
  readonly #trace: ((line: string) => void) | undefined;
  readonly #counters = { segmentsReused: 0, catchUps: 0, checkpoints: 0, elections: 0 };

  constructor(seed: number, options: { trace?: ((line: string) => void) | undefined; machines?: MachineKind } = {}) {
    this.#trace = options.trace;
    const random = new SeededRandom(seed);
    this.#random = random;
    const scale = random.pick([1, 1, 4, 20]);
    this.#latencyScale = scale;
    this.#network = new SimulatedNetwork(this.#time, random.fork(), {
      latencyMs: (source) => scale * (0.2 + source.next() * 0.6),
      budgetBytes: random.pick([32 * 1024, 2 * 2 ** 20]),
    });
    this.#network.onSend = (from, _to, channel, bytes) => this.#guard(() => this.#sent(from, channel, bytes));
    const faults = FAULTS.filter(() => random.chance(0.45));
    this.#faultEveryMs = random.pick([150, 400, 1_000]);
    this.#commandEveryMs = random.pick([1, 3, 10]);
    this.#commandBytesMax = random.pick([64, 512, 2_048]);
    const size = random.pick([1, 3, 3, 3, 4, 5]);
    const ids = Array.from({ length: size }, (_, at) => toBrokerId(at + 1));
    const wal = {
      segmentBytes: 128 * 1024,
      bytesLimit: 128 * 1024 * random.pick([8, 16]),
      cacheBytes: random.pick([8, 64, 512]) * 1024,
    };
    const config = {
      checkpointBytes: random.pick([16, 64, 1_000_000]) * 1024,
      groupInFlightBytesMax: random.pick([8 * 1024, 4 * 2 ** 20]),
      appendMessageBytes: random.pick([4 * 1024, 512 * 1024]),
      groupProposedBytesMax: random.pick([16 * 1024, 16 * 2 ** 20]),
      brokerReceivedBytesMax: random.pick([32 * 1024, 64 * 2 ** 20]),
      applyEntriesPerPass: random.pick([3, 4_096]),
      catchUpWindowBytes: random.pick([512, 4 * 2 ** 20]),
      catchUpsReceivingMax: random.pick([1, 4]),
      catchUpStallMs: 5_000,
    };
    this.#brokers = ids.map(
      (brokerId) =>
        new SimulatedBroker({
          time: this.#time,
          network: this.#network,
          oracle: this.#oracle,
          random: random.fork(),
          brokerId,
          peers: ids.filter((other) => other !== brokerId),
          wal,
          config,
          machines: options.machines,
          failed: (error, broker) => this.#brokerFailed(error, broker),
          started: (broker) => this.#started(broker),
        }),
    );
    this.#victim = size >= 3 && faults.includes('damage') ? this.#brokers[0] : undefined;
    this.#faults = this.#victim === undefined ? faults.filter((fault) => fault !== 'damage') : faults;
  }

  /** Runs the seed to its end. Rejects with what went wrong. */
  async run(): Promise<SimulationResult> {
    for (const broker of this.#brokers) broker.start();
    const groups = this.#random.between(1, 6);
    for (let at = 0; at < groups; at++) this.#createGroup();
    this.#scheduleCommand();
    this.#scheduleFault();
    this.#scheduleReconcile();
    await this.#runUntil(CHAOS_MS);
    this.#heal();
    await this.#converge();
    const terms = this.#terms();
    await this.#runUntil(this.#time.now + QUIET_MS);
    this.#checkQuiet(terms);
    this.#checkComplete();
    this.#collect();
    let hash = this.#network.hash;
    for (const { disk } of this.#brokers) hash = crc32c(Buffer.from(`${disk.hash}`), hash);
    hash = crc32c(Buffer.from(`${this.#time.eventsRun} ${this.#oracle.ackedTotal}`), hash);
    return {
      hash,
      events: this.#time.eventsRun,
      simulatedMs: this.#time.now,
      acked: this.#oracle.ackedTotal,
      refused: this.#refused,
      unknown: this.#unknown,
      reads: this.#reads,
      faults: this.#faultCounts,
      ...this.#counters,
    };
  }

  async #runUntil(untilMs: number, done: () => boolean = () => false): Promise<boolean> {
    while (this.#time.now < untilMs) {
      await this.#time.runUntil(Math.min(untilMs, this.#time.now + 50));
      if (this.#failure !== undefined) throw this.#failure.error;
      this.#checkMonotone();
      if (done()) return true;
    }
    return done();
  }

  #fail(error: unknown): void {
    this.#failure ??= { error };
  }

  #guard(check: () => void): void {
    try {
      check();
    } catch (error) {
      this.#fail(error);
    }
  }

  #log(line: string): void {
    this.#trace?.(`${this.#time.now.toFixed(2)} ${line}`);
  }

  // -------------------------------------------------------------- the cluster's plan

  #createGroup(): void {
    const groupId = toGroupId(this.#nextGroup++);
    const brokers = this.#pickBrokers();
    const voters = brokers.map((broker) => this.#newMember(broker));
    const group: Group = {
      groupId,
      initial: { voters, votersOutgoing: [], learners: [] },
      target: voters,
      changing: false,
      asking: false,
      placed: new Map(voters.map((member) => [member.brokerId, member])),
      tombstones: new Map(),
      deleted: false,
      quietUntilMs: 0,
    };
    this.#groups.set(groupId, group);
    this.#log(`create group ${groupId} on ${voters.map((member) => member.brokerId)}`);
    for (const broker of this.#brokers) this.#reconcile(broker);
  }

  #pickBrokers(): SimulatedBroker[] {
    const sizes = [1, 2, 3, 3, 3, 5].filter(
      (size) => size <= this.#brokers.length && (this.#victim === undefined || size >= 3),
    );
    return this.#random.shuffle(this.#brokers).slice(0, this.#random.pick(sizes));
  }

  #newMember(broker: SimulatedBroker): Member {
    return { replicaId: toReplicaId(this.#nextReplica++), brokerId: broker.brokerId, storeId: broker.storeIdText };
  }

  /** Makes a running broker's replicas what they should be, as metadata would. */
  #reconcile(broker: SimulatedBroker): void {
    const { driver, brokerId } = broker;
    if (driver === undefined) return;
    for (const group of this.#groups.values()) {
      for (const member of group.tombstones.get(brokerId) ?? []) {
        driver.remove(group.groupId, member.replicaId).then(
          () => {
            const left = (group.tombstones.get(brokerId) ?? []).filter((other) => other !== member);
            group.tombstones.set(brokerId, left);
          },
          (error) => this.#fail(error),
        );
      }
      const member = group.placed.get(brokerId);
      const existing = driver.get(group.groupId);
      if (member === undefined || existing !== undefined) continue;
      driver.create({
        groupId: group.groupId,
        replicaId: member.replicaId,
        membership: group.initial,
        descriptor: Buffer.from('list'),
      });
    }
  }

  #tombstone(group: Group, member: Member): void {
    if (group.placed.get(member.brokerId) === member) group.placed.delete(member.brokerId);
    const list = group.tombstones.get(member.brokerId) ?? [];
    group.tombstones.set(member.brokerId, [...list, member]);
  }

  #changeMembers(group: Group): void {
    if (group.changing || group.deleted) return;
    group.changing = true;
    group.target = this.#pickBrokers().map((broker) => group.placed.get(broker.brokerId) ?? this.#newMember(broker));
    // A broker has one replica of a group: the old one must be gone before a new one comes.
    group.target = group.target.filter((member) => (group.tombstones.get(member.brokerId) ?? []).length === 0);
    if (group.target.length === 0) group.target = [...group.placed.values()];
    for (const member of group.target) group.placed.set(member.brokerId, member);
    this.#log(`group ${group.groupId} moves to ${group.target.map((member) => member.brokerId)}`);
    for (const broker of this.#brokers) this.#reconcile(broker);
  }

  /** Asks the leader again and again, as metadata would. */
  #scheduleReconcile(): void {
    this.#time.after(200, () => {
      for (const broker of this.#brokers) this.#reconcile(broker);
      for (const group of this.#groups.values()) {
        if (!group.changing || group.asking || group.deleted) continue;
        const leader = this.#leaderOf(group.groupId);
        if (leader === undefined) continue;
        group.asking = true;
        const { target } = group;
        const answered = (changed: boolean): void => {
          group.asking = false;
          if (!changed || group.deleted || group.target !== target) return;
          group.changing = false;
          this.#log(`group ${group.groupId} moved`);
          for (const member of [...group.placed.values()]) {
            if (!group.target.includes(member)) this.#tombstone(group, member);
          }
        };
        leader
          .driver!.get(group.groupId)!
          .changeVoters(group.target)
          .then(answered, (error) => this.#fail(error));
        // The process that was asked may die without an answer.
        this.#time.after(20_000, () => {
          group.asking = false;
        });
      }
      this.#scheduleReconcile();
    });
  }

  #leaderOf(groupId: GroupId): SimulatedBroker | undefined {
    const leaders = this.#brokers.filter((broker) => broker.driver?.get(groupId)?.role === 'leader');
    return leaders.length === 0 ? undefined : this.#random.pick(leaders);
  }

  /** A broker armed by the fault `crashOnPromise` loses power in the moment in which it tells somebody of a vote or a flush. */
  #sent(from: BrokerId, channel: Channel, bytes: Uint8Array): void {
    if (!this.#oracle.sent(channel, bytes)) return;
    const left = this.#armed.get(from);
    if (left === undefined) return;
    this.#armed.set(from, left - 1);
    if (left > 0) return;
    this.#armed.delete(from);
    const broker = this.#brokers.find((other) => other.brokerId === from)!;
    const random = this.#random;
    // The message is under way; nothing that was not flushed before survives.
    this.#time.soon(() => {
      if (!this.#chaos || broker.state === 'down') return;
      this.#log(`crash on promise ${from}`);
      broker.crash(random, true, 'lose');
      this.#time.after(random.next() * 200, () => this.#start(broker));
    });
  }

  // -------------------------------------------------------------- damage

  #started(broker: SimulatedBroker): void {
    this.#guard(() => {
      for (const { core, replicaId, damage } of broker.driver?.replicas.values() ?? []) {
        if (core !== undefined && damage === undefined) this.#oracle.restarted(replicaId, core.term, core.votedFor);
      }
    });
    if (broker.isCrippled) {
      if (broker !== this.#victim)
        this.#fail(new Violation(`Broker ${broker.brokerId} calls a store damaged that nobody damaged`));
      this.#replaceStore(broker);
    } else this.#reconcile(broker);
  }

  #brokerFailed(error: unknown, broker: SimulatedBroker): void {
    if (broker !== this.#victim || !(error instanceof Error) || !/damage/i.test(`${error.name} ${error.message}`)) {
      this.#fail(error);
      return;
    }
    this.#log(`broker ${broker.brokerId} stops: ${error.message}`);
    if (/needs an empty data directory/.test(error.message)) this.#replaceStore(broker);
    else {
      // Found while running: the next start deals with it.
      broker.crash(this.#random, false);
      this.#time.after(100, () => this.#start(broker));
    }
  }

  /** What an operator does with a store that may have lost votes: an empty one under a new id, whose replicas are new ones. */
  #replaceStore(broker: SimulatedBroker): void {
    this.#log(`broker ${broker.brokerId} gets a new store`);
    this.#faultCounts.newStore = (this.#faultCounts.newStore ?? 0) + 1;
    broker.crash(this.#random, false);
    broker.reformat();
    for (const group of this.#groups.values()) {
      group.tombstones.delete(broker.brokerId);
      const member = group.placed.get(broker.brokerId);
      if (group.deleted || member === undefined) continue;
      group.placed.delete(broker.brokerId);
      group.target = group.target.filter((other) => other !== member);
      group.changing = true;
      group.asking = false;
    }
    this.#time.after(100, () => this.#start(broker));
  }

  // -------------------------------------------------------------- clients

  #scheduleCommand(): void {
    if (!this.#chaos) return;
    this.#time.after(this.#random.next() * 2 * this.#commandEveryMs, () => {
      const alive = [...this.#groups.values()].filter(
        ({ deleted, quietUntilMs }) => !deleted && this.#time.now >= quietUntilMs,
      );
      if (alive.length > 0) {
        const { groupId } = this.#random.pick(alive);
        const broker = this.#random.chance(0.05) ? this.#random.pick(this.#brokers) : this.#leaderOf(groupId);
        if (broker !== undefined) {
          const burst = this.#random.chance(0.1) ? this.#random.between(2, 30) : 1;
          for (let at = 0; at < burst; at++) this.#propose(broker, groupId);
          if (this.#random.chance(0.1)) this.#read(broker, groupId);
        }
      }
      this.#scheduleCommand();
    });
  }

  #propose(broker: SimulatedBroker, groupId: GroupId, acked: () => void = () => undefined): void {
    const group = broker.driver?.get(groupId);
    if (group === undefined) return;
    const id = this.#nextId++;
    const bytes = encodeCommand(id, this.#random.between(8, this.#commandBytesMax));
    const cut = this.#random.chance(0.5) ? this.#random.below(bytes.length) : bytes.length;
    const pieces = cut === bytes.length ? [bytes] : [bytes.subarray(0, cut), bytes.subarray(cut)];
    const options = this.#random.chance(0.1) ? { requiredFlushes: group.membership.voters.length } : undefined;
    let outcomes = 0;
    const done: Parameters<typeof group.propose>[1] = (outcome) => {
      this.#guard(() => {
        if (++outcomes > 1) throw new Violation(`Command ${id} ends twice`);
        if (outcome.kind === 'applied') {
          this.#oracle.acked(groupId, outcome.index, outcome.term, id, outcome.result);
          acked();
        } else if (outcome.kind === 'refused') {
          this.#oracle.refused(groupId, id);
          this.#refused++;
        } else this.#unknown++;
      });
    };
    group.propose(pieces, done, options);
  }

  #read(broker: SimulatedBroker, groupId: GroupId): void {
    const group = broker.driver?.get(groupId);
    if (group === undefined) return;
    const mustSee = this.#oracle.ackedIndex(groupId);
    group.readBarrier((confirmed) => {
      if (!confirmed) return;
      this.#reads++;
      if (group.appliedIndex >= mustSee) return;
      this.#fail(
        new Violation(`A read of group ${groupId} sees ${group.appliedIndex}, ${mustSee} was acknowledged before`),
      );
    });
  }

  // -------------------------------------------------------------- faults

  #scheduleFault(): void {
    if (!this.#chaos || this.#faults.length === 0) return;
    this.#time.after(this.#random.next() * 2 * this.#faultEveryMs, () => {
      if (this.#chaos) this.#inject(this.#random.pick(this.#faults));
      this.#scheduleFault();
    });
  }

  #inject(fault: Fault): void {
    const random = this.#random;
    const broker = random.pick(this.#brokers);
    const other = random.pick(this.#brokers);
    const later = (callback: () => void, maxMs: number): void => {
      this.#time.after(random.next() * maxMs, () => {
        if (this.#chaos) callback();
      });
    };
    this.#faultCounts[fault] = (this.#faultCounts[fault] ?? 0) + 1;
    this.#log(`fault ${fault} ${broker.brokerId} ${other.brokerId}`);
    switch (fault) {
      case 'kill':
      case 'powerLoss':
        if (broker.state === 'down') return;
        broker.crash(random, fault === 'powerLoss');
        later(() => this.#start(broker), 3_000);
        return;
      case 'crashOnPromise':
        this.#armed.set(broker.brokerId, random.pick([0, 0, 3, 20]));
        return;
      case 'gracefulStop':
        if (broker.state !== 'running') return;
        broker.stop().then(
          () => later(() => this.#start(broker), 2_000),
          (error) => this.#fail(error),
        );
        return;
      case 'allDown': {
        const power = random.chance(0.5);
        for (const each of this.#brokers) {
          each.crash(random, power);
          later(() => this.#start(each), 2_000);
        }
        return;
      }
      case 'pause':
        if (broker.state !== 'running') return;
        broker.pause();
        later(() => broker.resume(), 4_000);
        return;
      case 'breakLink':
        if (broker !== other) this.#network.breakLink(broker.brokerId, other.brokerId);
        return;
      case 'isolate':
        for (const each of this.#brokers) {
          if (each === broker) continue;
          this.#network.block(broker.brokerId, each.brokerId);
          this.#network.block(each.brokerId, broker.brokerId);
        }
        later(() => this.#network.heal(), 4_000);
        return;
      case 'blockOneWay':
        if (broker === other) return;
        this.#network.block(broker.brokerId, other.brokerId);
        later(() => this.#network.unblock(broker.brokerId, other.brokerId), 4_000);
        return;
      case 'slowDisk':
        broker.slowDiskMs = random.pick([5, 50, 300]);
        later(() => {
          broker.slowDiskMs = 0;
        }, 3_000);
        return;
      case 'stalledDisk':
        broker.stalledUntilMs = this.#time.now + random.next() * 6_000;
        return;
      case 'transfer': {
        const group = random.pick([...this.#groups.keys()]);
        this.#leaderOf(group)
          ?.driver?.get(group)
          ?.transferLeadership()
          .catch((error) => this.#fail(error));
        return;
      }
      case 'changeMembers':
        this.#changeMembers(random.pick([...this.#groups.values()]));
        return;
      case 'createGroup':
        if (this.#groups.size < 12) this.#createGroup();
        return;
      case 'damage': {
        const victim = this.#victim;
        if (victim === undefined || victim.state === 'starting') return;
        if (victim.state !== 'down') victim.crash(random, random.chance(0.5));
        victim.damage(random);
        later(() => this.#start(victim), 1_000);
        return;
      }
      case 'lostAnswers':
        this.#loseAnswers(random.pick([...this.#groups.values()]));
        return;
      case 'removeGroup': {
        const group = random.pick([...this.#groups.values()]);
        if (group.deleted || this.#groups.size < 2) return;
        group.deleted = true;
        for (const member of [...group.placed.values()]) this.#tombstone(group, member);
        for (const each of this.#brokers) this.#reconcile(each);
        return;
      }
    }
  }

  /**
   * A follower flushes a group's last entries, but its answers are lost, and so is what the leader says of their commit. Then the leader has them in a checkpoint only and believes that the follower
   * needs a catch-up: one whose checkpoint is in the follower's log.
   */
  #loseAnswers(group: Group): void {
    const leader = this.#leaderOf(group.groupId);
    const followers = [...group.placed.keys()].filter((brokerId) => brokerId !== leader?.brokerId);
    if (leader === undefined || followers.length < 2) return;
    const { brokerId } = leader;
    const follower = this.#random.pick(followers);
    const giveUpMs = this.#time.now + 5_000;
    group.quietUntilMs = giveUpMs + 1_000;
    this.#network.block(follower, brokerId);
    for (let left = this.#random.between(1, 3); left > 0; left--) this.#propose(leader, group.groupId);
    // Entries arrive within this time, a commit does not.
    this.#time.after(0.95 * this.#latencyScale, () => this.#network.block(brokerId, follower));
    const meetAgain = (): void => {
      const replica = leader.driver?.get(group.groupId);
      leader.driver?.checkpoint(group.groupId);
      // Until other groups need the room, the log reaches back behind its checkpoint.
      const hasLog =
        replica !== undefined && leader.driver!.storage.firstIndex(replica.replicaId) <= replica.appliedIndex;
      if (this.#chaos && hasLog && this.#time.now < giveUpMs) {
        this.#time.after(50, meetAgain);
        return;
      }
      group.quietUntilMs = Math.min(group.quietUntilMs, this.#time.now + 500);
      this.#network.breakLink(brokerId, follower);
      this.#network.unblock(brokerId, follower);
      this.#network.unblock(follower, brokerId);
    };
    this.#time.after(6 * this.#latencyScale, meetAgain);
  }

  #start(broker: SimulatedBroker): void {
    if (broker.state !== 'down') return;
    this.#log(`start ${broker.brokerId}`);
    broker.start();
  }

  // -------------------------------------------------------------- the end

  #heal(): void {
    this.#chaos = false;
    this.#log('heal');
    this.#network.heal();
    for (const broker of this.#brokers) {
      broker.slowDiskMs = 0;
      broker.stalledUntilMs = 0;
      broker.resume();
      this.#start(broker);
    }
  }

  /** Every group gets a leader, finishes what was begun and takes commands; all replicas end at the same place. */
  async #converge(): Promise<void> {
    // A stop that was under way ends first.
    const started = await this.#runUntil(this.#time.now + CONVERGE_MS, () => {
      for (const broker of this.#brokers) this.#start(broker);
      return this.#brokers.every((broker) => broker.state === 'running') && this.#problem() === undefined;
    });
    if (!started) throw new Violation(`Not settled ${CONVERGE_MS} ms after everything healed: ${this.#problem()}`);
    for (const group of this.#groups.values()) {
      if (group.deleted) continue;
      let acked = false;
      let waiting = false;
      const took = await this.#runUntil(this.#time.now + CONVERGE_MS, () => {
        if (acked || waiting) return acked;
        const leader = this.#leaderOf(group.groupId);
        if (leader?.driver?.get(group.groupId)?.isReady !== true) return false;
        waiting = true;
        this.#propose(leader, group.groupId, () => {
          acked = true;
        });
        this.#time.after(2_000, () => {
          waiting = false;
        });
        return false;
      });
      if (!took) throw new Violation(`Group ${group.groupId} takes no command after everything healed`);
    }
    const even = await this.#runUntil(this.#time.now + CONVERGE_MS, () => this.#problem() === undefined);
    if (!even) throw new Violation(`Replicas do not converge: ${this.#problem()}`);
  }

  /** Why the cluster is not settled, undefined if it is. */
  #problem(): string | undefined {
    for (const broker of this.#brokers)
      if (broker.state !== 'running') return `broker ${broker.brokerId} is ${broker.state}`;
    for (const group of this.#groups.values()) {
      for (const [brokerId, members] of group.tombstones) {
        if (members.length > 0) return `group ${group.groupId} still has removed replicas on ${brokerId}`;
      }
      if (group.deleted) continue;
      if (group.changing) return `group ${group.groupId} still changes its members`;
      const leader = this.#leaderOf(group.groupId)?.driver?.get(group.groupId);
      if (leader === undefined) return `group ${group.groupId} has no leader`;
      if (!leader.isReady) return `the leader of group ${group.groupId} is not ready`;
      for (const member of group.target) {
        const driver = this.#brokers.find((broker) => broker.brokerId === member.brokerId)?.driver;
        const replica = driver?.get(group.groupId);
        if (replica?.replicaId !== member.replicaId)
          return `replica ${member.replicaId} of group ${group.groupId} is missing`;
        if (replica.appliedIndex !== leader.lastIndex) {
          return `replica ${member.replicaId} of group ${group.groupId} is at ${replica.appliedIndex} of ${leader.lastIndex}`;
        }
        const announced = driver?.leaderOf(group.groupId);
        if (announced?.term !== leader.currentTerm || !announced.ready) {
          return `broker ${member.brokerId} does not know who leads group ${group.groupId}`;
        }
        if (announced.inSync.length !== group.target.length) {
          return `group ${group.groupId} has ${announced.inSync.length} of ${group.target.length} replicas in sync`;
        }
      }
    }
    return undefined;
  }

  /** For debugging. */
  brokersForDebug(): readonly SimulatedBroker[] {
    return this.#brokers;
  }

  /** What the brokers look like, for a failure's story. */
  debug(): string {
    const lines: string[] = [];
    for (const { brokerId, state, driver } of this.#brokers) {
      lines.push(`broker ${brokerId} ${state} ${driver === undefined ? '' : JSON.stringify(driver.storage.stats)}`);
      for (const group of driver?.all() ?? []) {
        const { groupId, replicaId, role, currentTerm, leader, commitIndex, appliedIndex, lastIndex, isReady } = group;
        const pinned = driver?.storage.pinnedBytes(replicaId);
        lines.push(
          `  group ${groupId} replica ${replicaId} ${role} term ${currentTerm} leader ${leader} ready ${isReady} commit ${commitIndex} applied ${appliedIndex} last ${lastIndex} pinned ${pinned}`,
        );
      }
    }
    return lines.join('\n');
  }

  #terms(): Map<string, number> {
    const terms = new Map<string, number>();
    for (const broker of this.#brokers) {
      for (const group of broker.driver?.all() ?? [])
        terms.set(`${broker.brokerId} ${group.groupId}`, group.currentTerm);
    }
    return terms;
  }

  #checkQuiet(before: ReadonlyMap<string, number>): void {
    for (const [key, term] of this.#terms()) {
      if (before.get(key) !== term) throw new Violation(`Terms still grow after everything healed: ${key}`);
    }
  }

  #checkComplete(): void {
    for (const group of this.#groups.values()) {
      if (group.deleted) continue;
      for (const member of group.target) {
        const list = this.#brokers.find((broker) => broker.brokerId === member.brokerId)?.listOf(group.groupId);
        if (list === undefined) throw new Violation(`Replica ${member.replicaId} has no state`);
        this.#oracle.checkComplete(group.groupId, list.items, list.index);
      }
    }
  }

  readonly #seenCommits = new WeakMap<object, { commit: number; applied: number; term: number }>();

  #checkMonotone(): void {
    for (const broker of this.#brokers) {
      for (const group of broker.driver?.all() ?? []) {
        const seen = this.#seenCommits.get(group) ?? { commit: 0, applied: 0, term: 0 };
        if (group.commitIndex < seen.commit || group.appliedIndex < seen.applied || group.currentTerm < seen.term) {
          throw new Violation(`Replica ${group.replicaId} of group ${group.groupId} goes back`);
        }
        if (group.appliedIndex > group.commitIndex) {
          throw new Violation(`Replica ${group.replicaId} applied what is not committed`);
        }
        this.#seenCommits.set(group, {
          commit: group.commitIndex,
          applied: group.appliedIndex,
          term: group.currentTerm,
        });
      }
    }
  }

  #collect(): void {
    for (const { driver } of this.#brokers) {
      if (driver === undefined) continue;
      this.#counters.segmentsReused += driver.storage.stats.segmentsReused;
      this.#counters.catchUps += driver.metrics.catchUpsInstalled;
      this.#counters.checkpoints += driver.metrics.checkpoints;
      this.#counters.elections += driver.metrics.electionsStarted;
    }
  }
}
