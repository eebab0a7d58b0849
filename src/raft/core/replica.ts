/**
 * The state of one replica and the few ways to change it. Rules about when to change it are in election.ts, follower.ts, leader.ts, leader-requests.ts and read-index.ts;
 * these functions keep what must always hold:
 *
 * - term and vote change only together with a write of both; within a term a vote is given once and never taken back (bug R3)
 * - commitIndex only grows and nothing at or below it is truncated (bug R9)
 * - a response that rests on term or vote leaves after the flush of both, or never (bugs R2, R4)
 */

import { assert } from '../../std/assert.ts';
import { type LogIndex, logIndex, type ReplicaId, type Term } from '../../std/brands.ts';
import { ENTRY_KIND, type Entry, type EntryKind } from '../../wal/replica-storage.ts';
import { Durability } from './durability.ts';
import { ConfigurationHistory, isVoter } from './membership.ts';
import { REPLICATION_LIMITS, WAITING_RESPONSES_MAX } from './options.ts';
import { Outbox } from './outbox.ts';
import { RaftLog } from './raft-log.ts';
import type { RoleState } from './roles.ts';
import type { AppendEntriesResponse, Membership, RaftCoreOptions, ReplicationLimits, VoteResponse } from './types.ts';

type Response = AppendEntriesResponse | VoteResponse;

export class Replica {
  readonly id: ReplicaId;
  readonly options: RaftCoreOptions;
  readonly limits: ReplicationLimits;
  readonly log: RaftLog;
  readonly durability: Durability;
  readonly configurations: ConfigurationHistory;
  readonly outbox = new Outbox();
  #currentTerm: Term;
  #votedFor: ReplicaId | 0;
  #commitIndex: LogIndex;
  appliedIndex: LogIndex;
  barred: boolean;
  nowMs: number;
  role: RoleState;
  /** Elections lost in a row; spreads the next ones. */
  campaignsFailed = 0;
  /** The candidate that this replica helps, and until when it helps nobody else (election.ts). Forgotten in a restart: it protects no promise. */
  pledge: { readonly to: ReplicaId; readonly untilMs: number } | undefined;
  /** Responses that wait for the flush of the write beside them. */
  #waiting: { readonly write: number; readonly response: Response }[] = [];

  constructor(options: RaftCoreOptions) {
    assert(options.commitIndex >= options.checkpointIndex, 'A checkpoint holds committed entries only');
    assert(options.commitIndex <= options.lastIndex, 'Only entries in the log can be known as committed');
    assert(
      options.appliedIndex >= options.checkpointIndex && options.appliedIndex <= options.commitIndex,
      'Only committed entries are applied, and a checkpoint is applied at once',
    );
    this.id = options.replicaId;
    this.options = options;
    this.limits = { ...REPLICATION_LIMITS, ...options.limits };
    this.log = new RaftLog(options.checkpointIndex, options.checkpointTerm, options.lastIndex, options.termRuns);
    this.durability = new Durability(options.lastIndex);
    this.configurations = new ConfigurationHistory(options.configurations);
    assert(this.configurations.current.index <= options.lastIndex, 'A configuration lies in the log');
    this.#currentTerm = options.hardState.currentTerm;
    this.#votedFor = options.hardState.votedFor;
    assert(this.#currentTerm >= this.log.lastTerm, 'The term is flushed before entries of it');
    this.#commitIndex = options.commitIndex;
    this.appliedIndex = options.appliedIndex;
    this.barred = options.barred ?? false;
    this.nowMs = options.nowMs;
    this.role = this.#followerState(0);
  }

  get currentTerm(): Term {
    return this.#currentTerm;
  }

  get votedFor(): ReplicaId | 0 {
    return this.#votedFor;
  }

  get commitIndex(): LogIndex {
    return this.#commitIndex;
  }

  /** Committed and flushed here. */
  get applyIndex(): LogIndex {
    const persistedIndex = this.durability.persistedIndex;
    return this.#commitIndex < persistedIndex ? this.#commitIndex : persistedIndex;
  }

  get membership(): Membership {
    return this.configurations.current.membership;
  }

  /** No change of the membership is pending. */
  get membershipCommitted(): boolean {
    return this.configurations.current.index <= this.#commitIndex;
  }

  get leaderId(): ReplicaId | 0 {
    if (this.role.kind === 'leader') return this.id;
    return this.role.kind === 'follower' ? this.role.leaderId : 0;
  }

  /** May start an election: not if barred (it may have forgotten entries that it acknowledged), as learner, or once its removal is committed. */
  get isPromotable(): boolean {
    if (this.barred) return false;
    for (const { membership } of this.configurations.possible) if (isVoter(membership, this.id)) return true;
    return false;
  }

  /** Leader whose own-term entry is committed: everything committed before its time is known as such to it. */
  get ownTermCommitted(): boolean {
    return this.role.kind === 'leader' && this.#commitIndex >= this.role.ownTermIndex;
  }

  get isReady(): boolean {
    return this.role.kind === 'leader' && this.ownTermCommitted && this.appliedIndex >= this.role.ownTermIndex;
  }

  // -------------------------------------------------------------- term and vote

  /** Enters a higher term without vote. */
  enterTerm(term: Term): void {
    assert(term > this.#currentTerm, 'A term never goes back');
    this.#currentTerm = term;
    this.#votedFor = 0;
    // They speak of a term that is over.
    this.#waiting = [];
    this.#writeHardState();
  }

  /** Gives this term's only vote. */
  vote(candidate: ReplicaId): void {
    assert(this.#votedFor === 0, 'A replica votes once in a term');
    assert(!this.barred, 'A barred replica never votes');
    this.#votedFor = candidate;
    this.#writeHardState();
  }

  #writeHardState(): void {
    this.outbox.hardState = { currentTerm: this.#currentTerm, votedFor: this.#votedFor };
  }

  /** Number of the write that makes term and vote as they are now durable. */
  get hardStateWrite(): number {
    return this.outbox.hardState === undefined ? this.durability.hardStateWrite : this.durability.nextWrite;
  }

  get hardStateFlushed(): boolean {
    return this.outbox.hardState === undefined && this.durability.isFlushed(this.durability.hardStateWrite);
  }

  /** Sends once term and vote are flushed. Of several answers of a kind to one peer that wait, the last one counts. */
  respond(response: Response): void {
    if (this.hardStateFlushed) {
      this.outbox.send(response);
      return;
    }
    const same = this.#waiting.findIndex(
      (other) => other.response.to === response.to && other.response.kind === response.kind,
    );
    if (same >= 0) this.#waiting.splice(same, 1);
    if (this.#waiting.length < WAITING_RESPONSES_MAX) this.#waiting.push({ write: this.hardStateWrite, response });
  }

  /** After a flush: what waited for it leaves. */
  releaseResponses(): void {
    if (this.#waiting.length === 0) return;
    for (const { write, response } of this.#waiting) if (this.durability.isFlushed(write)) this.outbox.send(response);
    this.#waiting = this.#waiting.filter(({ write }) => !this.durability.isFlushed(write));
  }

  // -------------------------------------------------------------- log

  /** Seals and appends one entry of this term. Leader only. */
  appendOwn(kind: EntryKind, payload: readonly Uint8Array[]): LogIndex {
    assert(this.role.kind === 'leader', 'Only a leader makes entries');
    const index = logIndex(this.log.lastIndex + 1);
    const entry = this.options.sealEntry(index, this.#currentTerm, kind, payload);
    this.log.append(index, this.#currentTerm);
    this.outbox.addEntry(entry);
    return index;
  }

  /** Appends entries of the leader, which follow the last one. */
  appendFromLeader(entries: readonly Entry[], from: number): void {
    for (let i = from; i < entries.length; i++) {
      const entry = entries[i]!;
      this.log.append(entry.index, entry.term);
      this.outbox.addEntry(entry);
      if (entry.kind === ENTRY_KIND.configuration)
        this.adoptConfiguration(entry.index, this.options.membershipCodec.decode(entry.payload));
    }
  }

  /** A configuration acts as soon as it is in the log. */
  adoptConfiguration(index: LogIndex, membership: Membership): void {
    this.configurations.append({ index, membership });
    this.outbox.membershipChanged = true;
  }

  /** Drops entries ≥ index, which contradict the leader's; a configuration among them stops to act. */
  truncateFrom(index: LogIndex): void {
    assert(index > this.#commitIndex, 'A committed entry must never be truncated');
    this.log.truncateFrom(index);
    this.durability.truncateFrom(index);
    this.outbox.truncateFrom = index;
    if (this.configurations.truncateFrom(index)) this.outbox.membershipChanged = true;
  }

  /** True if the commit index moved. */
  commitTo(index: LogIndex): boolean {
    if (index <= this.#commitIndex) return false;
    assert(index <= this.log.lastIndex, 'Only entries in the log can be committed');
    this.#commitIndex = index;
    this.configurations.committed(index);
    return true;
  }

  /** An installed checkpoint replaces the log. */
  resetTo(index: LogIndex, term: Term, membership: Membership): void {
    assert(index >= this.#commitIndex, 'A checkpoint must not take committed entries away');
    assert(
      index >= this.log.lastIndex || this.log.termAt(index) !== term,
      'A checkpoint must not take entries away that may have been acknowledged',
    );
    this.log.reset(index, term);
    this.durability.reset(index);
    this.configurations.reset({ index, membership });
    this.outbox.membershipChanged = true;
    this.#commitIndex = index;
    if (this.appliedIndex < index) this.appliedIndex = index;
  }

  // -------------------------------------------------------------- roles

  /** Follows `leaderId` (0: nobody known) in `term`, the current one or higher. Keeps the vote of the current term. */
  becomeFollower(term: Term, leaderId: ReplicaId | 0): void {
    if (term > this.#currentTerm) this.enterTerm(term);
    assert(term === this.#currentTerm, 'A term never goes back');
    if (this.role.kind === 'leader')
      for (const read of this.role.reads) this.outbox.addRead({ requestId: read.requestId, index: undefined });
    this.role = this.#followerState(leaderId);
  }

  #followerState(leaderId: ReplicaId | 0): RoleState {
    const timeoutMs = this.options.electionTimeoutMs * (1 + this.options.random());
    return {
      kind: 'follower',
      leaderId,
      held: false,
      deadlineMs: this.nowMs + timeoutMs,
      timeoutMs,
      verifiedIndex: logIndex(0),
      ackOwed: false,
      ackedIndex: logIndex(0),
    };
  }
}
