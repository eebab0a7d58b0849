/**
 * One replica of one group on this broker: the pure core, the state machine and what lies between them. Implements what the broker sees ({@link RaftGroup}); the driver
 * steps the core. Every method that steps a core asks the driver to do it in its next pass.
 */
import { assert } from '../std/assert.ts';
import { type BrokerId, type GroupId, type LogIndex, logIndex, type ReplicaId, type Term } from '../std/brands.ts';
import { ENTRY_KIND, type ReplicaDamage } from '../wal/replica-storage.ts';
import { AppendStream } from './append-stream.ts';
import { allMembers, allVoters } from './core/membership.ts';
import type { RaftCore } from './core/raft-core.ts';
import type { ConfirmedRead, Member, Membership, ReplicaProgress, Role } from './core/types.ts';
import { type Deadline, DeadlineTimer } from './deadline-heap.ts';
import type { DriverContext } from './driver-context.ts';
import { activeReplicas, inSyncBrokers } from './in-sync.ts';
import { LeadershipTransfer } from './leadership-transfer.ts';
import { MembershipChange } from './membership-change.ts';
import { MembershipHistory } from './membership-history.ts';
import { PendingProposals } from './pending-proposals.ts';
import type { ProposalOutcome, RaftGroup } from './raft-group.ts';
import type { StateMachine } from './state-machine.ts';

/** How often the first leader of a new group asks for votes until somebody answers. */
const CAMPAIGN_AGAIN_MS = 15;

interface ReadWaitingForApply {
  readonly index: LogIndex;
  readonly done: (confirmed: boolean) => void;
}

export class GroupReplica implements RaftGroup, Deadline {
  readonly groupId: GroupId;
  readonly replicaId: ReplicaId;
  readonly #context: DriverContext;
  #stateMachine: StateMachine | undefined;
  /** Undefined until its state was restored, and for good if damage may have hidden its vote or term (DECISIONS W6). */
  #core: RaftCore | undefined;
  damage: ReplicaDamage | undefined;
  /** Why its state could not be restored. Log, checkpoint and files are left as they are, and it is frozen, until a leader is there that can give everything back. */
  stateLost: string | undefined;

  // Deadline of the core in the driver's heap.
  deadlineMs = Number.POSITIVE_INFINITY;
  heapIndex = -1;

  appliedIndex: LogIndex = logIndex(0);
  appliedTerm: Term = 0 as Term;
  /** Apply up to here. */
  applyTarget: LogIndex = logIndex(0);
  applyQueued = false;
  /** Entries are being read for apply. */
  applyReading = false;
  /** A catch-up is being installed: no apply, no checkpoint, and no entries are taken. */
  frozen = false;
  checkpointing = false;
  checkpointRequested = false;
  checkpointIndex: LogIndex = logIndex(0);
  checkpointedMs = 0;
  removed = false;
  /** Step to the core was asked for before it existed. */
  campaignOnStart = false;
  #campaigns = 0;
  #campaignTimer: DeadlineTimer | undefined;

  /** Bytes received and not yet flushed. */
  receivedBytes = 0;
  readonly proposals: PendingProposals;
  proposeQueued = false;
  readonly streams = new Map<ReplicaId, AppendStream>();
  /** Broker of each replica that was heard of; the membership's first. */
  readonly #routes = new Map<ReplicaId, BrokerId>();
  readonly membershipHistory: MembershipHistory;
  #nextReadId = 1;
  commitIndexAtStart = logIndex(0);
  readonly #reads = new Map<number, (confirmed: boolean) => void>();
  #readsWaitingForApply: ReadWaitingForApply[] = [];
  transfer: LeadershipTransfer | undefined;
  change: MembershipChange | undefined;
  /** What the state machine was told last. */
  leadershipQueued = false;
  /** Role and term before the changes of this pass, for metrics and for what ends with a leadership. */
  ledTerm: Term | undefined;
  /** Undefined: not damaged, or repaired. Otherwise the commit index of the leader in whose term this replica is being repaired, see repair-watch.ts. */
  repairTarget: { readonly term: Term; readonly index: LogIndex } | undefined;

  constructor(
    context: DriverContext,
    groupId: GroupId,
    replicaId: ReplicaId,
    membership: Membership,
    damage: ReplicaDamage | undefined,
  ) {
    this.#context = context;
    this.groupId = groupId;
    this.replicaId = replicaId;
    this.damage = damage;
    this.membershipHistory = new MembershipHistory(membership);
    this.proposals = new PendingProposals((bytes) => {
      context.proposedBytes -= bytes;
    });
  }

  attach(stateMachine: StateMachine): void {
    assert(this.#stateMachine === undefined, 'A replica has one state machine');
    this.#stateMachine = stateMachine;
  }

  start(core: RaftCore): void {
    assert(this.#core === undefined, 'A replica has one core');
    this.#core = core;
    this.membershipChanged();
  }

  // -------------------------------------------------------------- what the broker sees

  get core(): RaftCore | undefined {
    return this.#core;
  }

  get stateMachine(): StateMachine {
    assert(this.#stateMachine !== undefined, 'A replica is used before its state machine exists');
    return this.#stateMachine;
  }

  get role(): Role {
    return this.#core?.role ?? 'follower';
  }

  get currentTerm(): Term {
    return this.#core?.term ?? (0 as Term);
  }

  get leader(): BrokerId | undefined {
    const leaderId = this.#core?.leaderId ?? 0;
    return leaderId === 0 ? undefined : this.brokerOf(leaderId);
  }

  get isReady(): boolean {
    return this.#core?.isReady ?? false;
  }

  get membership(): Membership {
    return this.#core?.membership ?? this.membershipHistory.latest;
  }

  get commitIndex(): LogIndex {
    return this.#core?.commitIndex ?? this.appliedIndex;
  }

  get lastIndex(): LogIndex {
    return this.#core?.lastIndex ?? this.appliedIndex;
  }

  get inSyncBrokers(): readonly BrokerId[] {
    return inSyncBrokers(this.#context, this);
  }

  get uncommittedBytes(): number {
    return this.proposals.bytes;
  }

  propose(
    payload: readonly Uint8Array[],
    done: (outcome: ProposalOutcome) => void,
    options?: { requiredFlushes?: number; isRefusedOnFullDisk?: boolean },
  ): void {
    let bytes = 0;
    for (const piece of payload) bytes += piece.length;
    const reason = this.#refusal(bytes, options?.isRefusedOnFullDisk ?? false);
    if (reason !== undefined) {
      this.#context.metrics.proposalsRefused++;
      this.#context.enqueue(() => done({ kind: 'refused', reason }));
      return;
    }
    this.#context.metrics.proposals++;
    this.#context.metrics.proposedBytes += bytes;
    this.#context.proposedBytes += bytes;
    const proposedMs = this.#context.clock.monotonicMs();
    this.proposals.queue({ payload, bytes, done, requiredFlushes: options?.requiredFlushes ?? 0, proposedMs });
    if (this.proposeQueued) return;
    this.proposeQueued = true;
    this.#context.enqueue(() => this.#proposeQueued());
  }

  #refusal(
    bytes: number,
    isRefusedOnFullDisk: boolean,
  ): Extract<ProposalOutcome, { kind: 'refused' }>['reason'] | undefined {
    if (this.role !== 'leader' || this.removed) return 'notLeader';
    if (!this.isReady) return 'notReady';
    if (bytes > this.#context.storage.entryBytesMax) return 'tooLarge';
    if (!this.hasRoomFor(bytes)) return 'overloaded';
    return isRefusedOnFullDisk && this.#isAnyDiskFull() ? 'diskFull' : undefined;
  }

  hasRoomFor(bytes: number): boolean {
    // One proposal is always allowed, or one above the limit could never be made.
    const isWithinGroupLimit =
      this.proposals.bytes === 0 || this.proposals.bytes + bytes <= this.#context.config.groupProposedBytesMax;
    return isWithinGroupLimit && this.#context.hasRoomFor(bytes);
  }

  whenRoom(callback: () => void): void {
    this.#context.whenRoom(callback);
  }

  #isAnyDiskFull(): boolean {
    if (this.#context.diskFull) return true;
    for (const peer of this.#context.peers.values()) {
      if (peer.diskFull && peer.live && isMember(this.membership, peer.brokerId)) return true;
    }
    return false;
  }

  /** All proposals since the last pass become one step. */
  #proposeQueued(): void {
    this.proposeQueued = false;
    const proposals = this.proposals.takeQueued();
    if (proposals.length === 0) return;
    if (this.role !== 'leader' || this.removed) {
      this.proposals.refuse(proposals, 'notLeader');
      return;
    }
    const entries = proposals.map(({ payload }) => ({ kind: ENTRY_KIND.command, payload }));
    const effects = this.#context.step(this, { kind: 'propose', nowMs: this.#context.nowMs, entries });
    if (effects.proposed === undefined) {
      this.proposals.refuse(proposals, 'notLeader');
      return;
    }
    assert(effects.proposed.count === proposals.length, 'Each proposal becomes one entry');
    this.proposals.logged(proposals, effects.proposed.firstIndex, effects.proposed.term);
  }

  readBarrier(done: (confirmed: boolean) => void): void {
    this.#context.enqueue(() => {
      if (this.role !== 'leader' || this.removed) {
        done(false);
        return;
      }
      const requestId = this.#nextReadId++;
      this.#reads.set(requestId, done);
      this.#context.requestRead(this, requestId);
    });
  }

  campaign(): void {
    this.#context.enqueue(() => {
      if (this.#core === undefined) this.campaignOnStart = true;
      else this.campaignNow();
    });
  }

  /** Within a pass. The other replicas of a new group appear within moments, one after the other: it asks again until a quorum was there to answer. */
  campaignNow(): void {
    const core = this.#core;
    if (this.removed || core === undefined) return;
    this.#context.step(this, { kind: 'campaign', nowMs: this.#context.nowMs });
    if (core.term > 0 || core.leaderId !== 0) return;
    this.#campaigns++;
    if (this.#campaigns * CAMPAIGN_AGAIN_MS >= 2 * this.#context.config.electionTimeoutMs) return;
    this.#campaignTimer ??= new DeadlineTimer(() => this.campaignNow());
    this.#context.deadlines.schedule(this.#campaignTimer, this.#context.nowMs + CAMPAIGN_AGAIN_MS);
  }

  transferLeadership(target?: BrokerId): Promise<boolean> {
    return new Promise((resolve) => {
      this.#context.enqueue(() => LeadershipTransfer.start(this.#context, this, target, resolve));
    });
  }

  changeVoters(target: readonly Member[], learners: readonly Member[] = []): Promise<boolean> {
    return new Promise((resolve) => {
      this.#context.enqueue(() => MembershipChange.start(this.#context, this, target, learners, resolve));
    });
  }

  // -------------------------------------------------------------- what the driver does with it

  due(nowMs: number): void {
    this.#context.step(this, { kind: 'time', nowMs });
  }

  /** Where a replica of this group lives. */
  brokerOf(replicaId: ReplicaId): BrokerId | undefined {
    return this.#routes.get(replicaId);
  }

  /** A replica outside the membership was heard from there (it may know a newer one). */
  heardFrom(replicaId: ReplicaId, brokerId: BrokerId): void {
    if (!this.#routes.has(replicaId) && this.#routes.size < 64) this.#routes.set(replicaId, brokerId);
  }

  /** The member with this id, as this replica knows the membership. */
  memberOf(replicaId: ReplicaId): Member | undefined {
    const { voters, votersOutgoing, learners } = this.membership;
    const isIt = (member: Member): boolean => member.replicaId === replicaId;
    return voters.find(isIt) ?? votersOutgoing.find(isIt) ?? learners.find(isIt);
  }

  /** The other replicas by broker, as this replica knows them. */
  get members(): Map<BrokerId, ReplicaId> {
    const members = new Map<BrokerId, ReplicaId>();
    for (const member of allMembers(this.membership)) {
      if (member.replicaId !== this.replicaId) members.set(member.brokerId, member.replicaId);
    }
    return members;
  }

  membershipChanged(): void {
    this.#routes.clear();
    for (const member of allMembers(this.membership)) this.#routes.set(member.replicaId, member.brokerId);
    for (const [replicaId, stream] of this.streams) {
      if (this.#routes.has(replicaId)) continue;
      stream.reset();
      this.streams.delete(replicaId);
    }
  }

  /** The way of entries to a follower; undefined if its broker is unknown. */
  streamTo(follower: ReplicaId): AppendStream | undefined {
    const brokerId = this.#routes.get(follower);
    const peer = brokerId === undefined ? undefined : this.#context.peers.get(brokerId);
    if (peer === undefined) return undefined;
    const stream = this.streams.get(follower);
    if (stream !== undefined && stream.peer === peer) return stream;
    stream?.reset();
    const created = new AppendStream(this, follower, peer);
    this.streams.set(follower, created);
    return created;
  }

  /** A follower's acknowledgement was handled by the core. */
  acknowledged(follower: ReplicaId, accepted: boolean, matchIndex: LogIndex): void {
    const stream = this.streams.get(follower);
    if (stream !== undefined) {
      if (accepted) stream.acknowledged(matchIndex);
      else stream.forgetInFlight();
      if (stream.range !== undefined && stream.peer.link !== undefined) stream.peer.appendStreams.add(stream);
    }
    this.flushesAdvanced();
  }

  /** Did `required` voters flush everything up to `index`? Never, in a group that has fewer. */
  isFlushedBy(required: number, index: LogIndex): boolean {
    return this.#core !== undefined && this.#core.flushedBy(required) >= index;
  }

  flushesAdvanced(): void {
    if (!this.proposals.isAwaitingFlushes) return;
    this.proposals.flushesAdvanced(allVoters(this.membership).length, (required, index) =>
      this.isFlushedBy(required, index),
    );
  }

  progressOf(replicaId: ReplicaId): ReplicaProgress | undefined {
    return this.#core?.progress().find((progress) => progress.replicaId === replicaId);
  }

  /** Replicas whose brokers live and follow this leader, for CheckQuorum. */
  activeReplicas(): ReadonlySet<ReplicaId> {
    return activeReplicas(this.#context, this);
  }

  /** The core confirmed reads, or gave them up. */
  confirmReads(reads: readonly ConfirmedRead[]): void {
    for (const { requestId, index } of reads) {
      const done = this.#reads.get(requestId);
      if (done === undefined) continue;
      this.#reads.delete(requestId);
      if (index === undefined) done(false);
      else if (index <= this.appliedIndex) this.#confirmed(done);
      else this.#readsWaitingForApply.push({ index, done });
    }
  }

  get hasReads(): boolean {
    return this.#reads.size > 0;
  }

  answerReadsApplied(): void {
    if (this.#readsWaitingForApply.length === 0) return;
    const waiting = this.#readsWaitingForApply;
    this.#readsWaitingForApply = waiting.filter(({ index }) => index > this.appliedIndex);
    for (const { index, done } of waiting) if (index <= this.appliedIndex) this.#confirmed(done);
  }

  #confirmed(done: (confirmed: boolean) => void): void {
    this.#context.metrics.readsConfirmed++;
    done(true);
  }

  /** The replica is being removed, or the broker stops: everything that waits ends. */
  abandon(): void {
    this.removed = true;
    this.#context.deadlines.cancel(this);
    if (this.#campaignTimer !== undefined) this.#context.deadlines.cancel(this.#campaignTimer);
    this.proposals.abandon();
    for (const stream of this.streams.values()) stream.reset();
    const reads = [...this.#reads.values(), ...this.#readsWaitingForApply.map(({ done }) => done)];
    this.#reads.clear();
    this.#readsWaitingForApply = [];
    for (const done of reads) done(false);
    this.transfer?.end(false);
    this.change?.end(false);
  }
}

export function isMember(membership: Membership, brokerId: BrokerId): boolean {
  return allMembers(membership).some((member) => member.brokerId === brokerId);
}
