/**
 * Raft groups of several brokers in one process, without Raft: one log per group, commits after a moment of virtual time, and faults on demand (leader changes, lost answers, dead and slow
 * brokers). For tests of what stands on {@link RaftGroups}; it keeps the promises of that interface and nothing more.
 */
import type { Member, Membership } from '../../src/raft/core/types.ts';
import type {
  CreateGroup,
  LeaderAnnouncement,
  ProposalOutcome,
  RaftGroup,
  RaftGroups,
} from '../../src/raft/raft-group.ts';
import type { StateMachine } from '../../src/raft/state-machine.ts';
import { assert } from '../../src/std/assert.ts';
import {
  type BrokerId,
  type GroupId,
  type LogIndex,
  logIndex,
  type ReplicaId,
  type Term,
  term,
} from '../../src/std/brands.ts';
import type { Timers } from '../../src/std/environment.ts';

interface LogEntry {
  readonly term: Term;
  /** Undefined: a no-op. */
  readonly payload: Uint8Array | undefined;
}

interface SharedGroup {
  readonly groupId: GroupId;
  membership: Membership;
  readonly entries: LogEntry[];
  term: Term;
  leader: BrokerId | undefined;
  readonly replicas: Map<BrokerId, FakeGroup>;
  /** Replicas that take nothing. */
  readonly outOfSync: Set<ReplicaId>;
}

export interface FakeNetworkOptions {
  readonly timers: Timers;
  /** Between a proposal and its being applied, and for each message. */
  readonly delayMs?: number;
  /** The state machine of a replica, as the driver's factory gives it. */
  makeStateMachine(broker: BrokerId, group: CreateGroup): StateMachine;
}

/** What happens to the next proposals of a group. */
export type ProposalFault = 'unknownButCommitted' | 'unknownAndLost' | 'refused';

export class FakeRaftNetwork {
  readonly timers: Timers;
  readonly delayMs: number;
  readonly brokers = new Map<BrokerId, FakeRaftGroups>();
  readonly shared = new Map<GroupId, SharedGroup>();
  readonly faults: ProposalFault[] = [];
  /** Messages that get lost although both ends live: (from, to, service) → lost? */
  loses: (from: BrokerId, to: BrokerId, service: string) => boolean = () => false;
  readonly makeStateMachine: FakeNetworkOptions['makeStateMachine'];

  constructor(options: FakeNetworkOptions) {
    this.timers = options.timers;
    this.delayMs = options.delayMs ?? 1;
    this.makeStateMachine = options.makeStateMachine;
  }

  addBroker(broker: BrokerId): FakeRaftGroups {
    const groups = new FakeRaftGroups(this, broker);
    this.brokers.set(broker, groups);
    return groups;
  }

  /** Makes `broker` the leader of a group in a new term; its no-op is committed after a moment. Undefined: an election that nobody wins. */
  elect(groupId: GroupId, broker: BrokerId | undefined): void {
    const group = this.sharedGroup(groupId);
    group.term = term(group.term + 1);
    group.leader = broker;
    for (const replica of group.replicas.values()) replica.leadershipChanged();
    this.announce([groupId]);
    if (broker === undefined) return;
    const atTerm = group.term;
    this.timers.after(this.delayMs, () => {
      if (group.term !== atTerm) return;
      group.entries.push({ term: atTerm, payload: undefined });
      this.applyEverywhere(group);
      group.replicas.get(broker)?.leadershipChanged();
      this.announce([groupId]);
    });
  }

  setLive(broker: BrokerId, live: boolean): void {
    const groups = this.brokers.get(broker);
    assert(groups !== undefined, 'The broker exists');
    groups.isLive = live;
    for (const group of this.shared.values())
      if (!live && group.leader === broker) this.elect(group.groupId, undefined);
    for (const other of this.brokers.values()) other.livenessChanged(broker, live);
    if (live) for (const group of this.shared.values()) this.applyEverywhere(group);
  }

  /** The broker's store is lost with all replicas on it. */
  forget(broker: BrokerId): void {
    this.brokers.delete(broker);
    for (const group of this.shared.values()) group.replicas.delete(broker);
  }

  sharedGroup(groupId: GroupId): SharedGroup {
    const group = this.shared.get(groupId);
    assert(group !== undefined, `Group ${groupId} exists`);
    return group;
  }

  announce(groupIds: readonly GroupId[]): void {
    this.timers.after(this.delayMs, () => {
      for (const broker of this.brokers.values()) broker.leadersChanged(groupIds);
    });
  }

  applyEverywhere(group: SharedGroup): void {
    for (const [broker, replica] of group.replicas) {
      const isSlow = broker !== group.leader;
      this.timers.after(isSlow ? this.delayMs : 0, () => replica.applyCommitted());
    }
  }
}

export class FakeRaftGroups implements RaftGroups {
  readonly brokerId: BrokerId;
  isLive = true;
  /** Applies nothing while true, as a broker whose event loop hangs. */
  isStuck = false;
  /** Replicas deleted with their data, in order. */
  readonly removed: ReplicaId[] = [];
  readonly #network: FakeRaftNetwork;
  readonly #groups = new Map<GroupId, FakeGroup>();
  readonly #services = new Map<string, (from: BrokerId, payload: Uint8Array) => Promise<Uint8Array>>();
  readonly #leaderListeners: ((groups: readonly GroupId[]) => void)[] = [];
  readonly #livenessListeners: ((broker: BrokerId, live: boolean) => void)[] = [];

  constructor(network: FakeRaftNetwork, brokerId: BrokerId) {
    this.#network = network;
    this.brokerId = brokerId;
  }

  get(groupId: GroupId): FakeGroup | undefined {
    return this.#groups.get(groupId);
  }

  all(): Iterable<FakeGroup> {
    return this.#groups.values();
  }

  create(group: CreateGroup): FakeGroup {
    const existing = this.#groups.get(group.groupId);
    if (existing?.replicaId === group.replicaId) return existing;
    assert(existing === undefined, 'A group has one replica on a broker');
    let shared = this.#network.shared.get(group.groupId);
    if (shared === undefined) {
      const { groupId, membership } = group;
      shared = {
        groupId,
        membership,
        entries: [],
        term: term(0),
        leader: undefined,
        replicas: new Map(),
        outOfSync: new Set(),
      };
      this.#network.shared.set(group.groupId, shared);
    }
    const replica = new FakeGroup(this.#network, this, shared, group);
    this.#groups.set(group.groupId, replica);
    shared.replicas.set(this.brokerId, replica);
    replica.applyCommitted();
    return replica;
  }

  async remove(groupId: GroupId, replicaId: ReplicaId): Promise<void> {
    const group = this.#groups.get(groupId);
    assert(group?.replicaId === replicaId, 'The replica to remove exists');
    this.#groups.delete(groupId);
    this.#network.sharedGroup(groupId).replicas.delete(this.brokerId);
    await group.stateMachine.destroy();
    this.removed.push(replicaId);
  }

  leaderOf(groupId: GroupId): LeaderAnnouncement | undefined {
    const shared = this.#network.shared.get(groupId);
    if (shared?.leader === undefined || !this.isLive || !this.isBrokerLive(shared.leader)) return undefined;
    const leader = shared.replicas.get(shared.leader);
    if (leader === undefined) return undefined;
    const { term: atTerm } = shared;
    return { groupId, leader: shared.leader, term: atTerm, ready: leader.isReady, inSync: leader.inSyncBrokers };
  }

  onLeadersChanged(listener: (groups: readonly GroupId[]) => void): void {
    this.#leaderListeners.push(listener);
  }

  isBrokerLive(broker: BrokerId): boolean {
    return this.#network.brokers.get(broker)?.isLive ?? false;
  }

  onBrokerLivenessChanged(listener: (broker: BrokerId, live: boolean) => void): void {
    this.#livenessListeners.push(listener);
  }

  request(to: BrokerId, service: string, payload: Uint8Array, timeoutMs: number): Promise<Uint8Array> {
    const { timers, delayMs } = this.#network;
    return new Promise((resolve, reject) => {
      const timeout = timers.after(timeoutMs, () => reject(new Error('The request timed out')));
      const refuse = (error: unknown): void => {
        timeout.cancel();
        reject(error instanceof Error ? error : new Error(String(error)));
      };
      timers.after(delayMs, () => {
        const target = this.#network.brokers.get(to);
        if (target === undefined || !target.isLive || !this.isLive) return refuse('The link is down');
        if (this.#network.loses(this.brokerId, to, service)) return;
        const handler = target.#services.get(service);
        if (handler === undefined) return refuse(`Service ${service} is not known`);
        handler(this.brokerId, payload).then((answer) => {
          timers.after(delayMs, () => {
            if (!target.isLive || !this.isLive) return refuse('The link is down');
            if (this.#network.loses(to, this.brokerId, service)) return;
            timeout.cancel();
            resolve(answer);
          });
        }, refuse);
      });
    });
  }

  serve(service: string, handler: (from: BrokerId, payload: Uint8Array) => Promise<Uint8Array>): void {
    assert(!this.#services.has(service), `Service ${service} is served once`);
    this.#services.set(service, handler);
  }

  transferAll(): Promise<void> {
    return Promise.resolve();
  }

  leadersChanged(groups: readonly GroupId[]): void {
    if (this.isLive) for (const listener of this.#leaderListeners) listener(groups);
  }

  livenessChanged(broker: BrokerId, live: boolean): void {
    if (this.isLive) for (const listener of this.#livenessListeners) listener(broker, live);
  }
}

export class FakeGroup implements RaftGroup {
  readonly groupId: GroupId;
  readonly replicaId: ReplicaId;
  readonly stateMachine: StateMachine;
  readonly uncommittedBytes = 0;
  readonly descriptor: Uint8Array;
  /** Membership that the replica was created with. */
  readonly createdWith: Membership;
  /** Targets of changeVoters, in order. */
  readonly membershipChanges: { voters: readonly Member[]; learners: readonly Member[] }[] = [];
  readonly transfers: (BrokerId | undefined)[] = [];
  readonly #network: FakeRaftNetwork;
  readonly #broker: FakeRaftGroups;
  readonly #shared: SharedGroup;
  #applied = 0;
  readonly #pending = new Map<number, (outcome: ProposalOutcome) => void>();
  campaigns = 0;
  commitIndexAtStart = logIndex(0);

  constructor(network: FakeRaftNetwork, broker: FakeRaftGroups, shared: SharedGroup, group: CreateGroup) {
    this.#network = network;
    this.#broker = broker;
    this.#shared = shared;
    this.groupId = group.groupId;
    this.replicaId = group.replicaId;
    this.descriptor = group.descriptor;
    this.createdWith = group.membership;
    this.stateMachine = network.makeStateMachine(broker.brokerId, group);
  }

  get role(): 'leader' | 'follower' {
    return this.#shared.leader === this.#broker.brokerId ? 'leader' : 'follower';
  }

  get currentTerm(): Term {
    return this.#shared.term;
  }

  get leader(): BrokerId | undefined {
    return this.#shared.leader;
  }

  get isReady(): boolean {
    return this.role === 'leader' && this.#shared.entries[this.#applied - 1]?.term === this.#shared.term;
  }

  get membership(): Membership {
    return this.#shared.membership;
  }

  get commitIndex(): LogIndex {
    return logIndex(this.#shared.entries.length);
  }

  get appliedIndex(): LogIndex {
    return logIndex(this.#applied);
  }

  get lastIndex(): LogIndex {
    return this.commitIndex;
  }

  get inSyncBrokers(): readonly BrokerId[] {
    const { outOfSync } = this.#shared;
    return this.membership.voters
      .filter(({ brokerId, replicaId }) => this.#broker.isBrokerLive(brokerId) && !outOfSync.has(replicaId))
      .map(({ brokerId }) => brokerId);
  }

  propose(payload: readonly Uint8Array[], done: (outcome: ProposalOutcome) => void): void {
    const { timers, delayMs, faults } = this.#network;
    const fault = faults.shift();
    const bytes = Buffer.concat(payload);
    const atTerm = this.#shared.term;
    timers.after(delayMs, () => {
      if (!this.isReady || fault === 'refused') return done({ kind: 'refused', reason: 'notReady' });
      if (fault === 'unknownAndLost' || this.#shared.term !== atTerm) return done({ kind: 'unknown' });
      this.#shared.entries.push({ term: atTerm, payload: bytes });
      if (fault === 'unknownButCommitted') done({ kind: 'unknown' });
      else this.#pending.set(this.#shared.entries.length, done);
      this.#network.applyEverywhere(this.#shared);
    });
  }

  hasRoomFor(): boolean {
    return true;
  }

  whenRoom(callback: () => void): void {
    this.#network.timers.soon(callback);
  }

  readBarrier(done: (confirmed: boolean) => void): void {
    const atTerm = this.#shared.term;
    this.#network.timers.after(this.#network.delayMs, () => done(this.isReady && this.#shared.term === atTerm));
  }

  transferLeadership(target?: BrokerId): Promise<boolean> {
    this.transfers.push(target);
    if (this.role !== 'leader' || target === undefined) return Promise.resolve(false);
    this.#network.elect(this.groupId, target);
    return Promise.resolve(true);
  }

  /** Wins if a majority of the voters' replicas exist on live brokers. */
  campaign(): void {
    this.campaigns++;
    const { voters } = this.membership;
    const votes = voters.filter(({ brokerId, replicaId }) => {
      return this.#broker.isBrokerLive(brokerId) && this.#shared.replicas.get(brokerId)?.replicaId === replicaId;
    });
    if (2 * votes.length > voters.length) this.#network.elect(this.groupId, this.#broker.brokerId);
  }

  changeVoters(target: Membership['voters'], learners: Membership['learners'] = []): Promise<boolean> {
    this.membershipChanges.push({ voters: target, learners });
    if (this.role !== 'leader') return Promise.resolve(false);
    return new Promise((resolve) => {
      this.#network.timers.after(this.#network.delayMs, () => {
        this.#shared.membership = { voters: target, votersOutgoing: [], learners };
        resolve(true);
      });
    });
  }

  leadershipChanged(): void {
    if (this.role !== 'leader') {
      for (const done of this.#pending.values()) done({ kind: 'unknown' });
      this.#pending.clear();
    }
    this.stateMachine.leadershipChanged?.();
  }

  applyCommitted(): void {
    if (!this.#broker.isLive || this.#broker.isStuck) return;
    while (this.#applied < this.#shared.entries.length) {
      const entry = this.#shared.entries[this.#applied] as LogEntry;
      this.#applied++;
      const index = logIndex(this.#applied);
      if (entry.payload === undefined) {
        this.stateMachine.advance(index, entry.term);
        continue;
      }
      const result = this.stateMachine.apply({ index, term: entry.term, payload: entry.payload });
      this.#pending.get(index)?.({ kind: 'applied', index, term: entry.term, result });
      this.#pending.delete(index);
    }
  }
}
