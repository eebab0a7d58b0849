/**
 * One replica's Raft state machine: `step(event) → effects`, pure and synchronous.
 *
 * Transitions:
 * - follower → preCandidate: its deadline passed, or its leader is lost; never while a leader is held, never a learner, removed or barred replica
 * - follower → candidate: TimeoutNow of its leader
 * - preCandidate → candidate: a quorum would vote for it
 * - candidate → leader: a quorum voted for it, its own flushed vote included
 * - preCandidate, candidate → follower: refused by a quorum, leader of its term found, higher term seen, or barred
 * - preCandidate, candidate → preCandidate: nobody won in time
 * - leader → follower: higher term seen, no quorum active (CheckQuorum), not a voter of the committed configuration, resigned, or barred
 *
 * Durability: each step that has something to write gets a number (`write`), the driver reports `persisted` with it once a flush covers it. Until then the core keeps
 * to itself what must not be said: votes and their refusals, acknowledgements (one for everything a flush covers), the own vote and the request for others', the
 * leader's own share in a commit. So every message in `send` may leave at once.
 */

import { assert, unreachable } from '../../std/assert.ts';
import { type LogIndex, logIndex, type ReplicaId, type Term } from '../../std/brands.ts';
import * as election from './election.ts';
import * as follower from './follower.ts';
import * as leader from './leader.ts';
import * as requests from './leader-requests.ts';
import { isMember, isVoter } from './membership.ts';
import { isQuorum } from './quorum.ts';
import { handleRead, handleReadConfirmed } from './read-index.ts';
import { Replica } from './replica.ts';
import type {
  Configuration,
  Effects,
  Membership,
  RaftCoreOptions,
  RaftEvent,
  RaftMessage,
  ReplicaProgress,
  Role,
} from './types.ts';

export class RaftCore {
  readonly #replica: Replica;
  // As of the last step's end, to tell what changed and that nothing went back.
  #role: Role = 'follower';
  #term: Term;
  #leaderId: ReplicaId | 0 = 0;
  #ready = false;
  #commitIndex: LogIndex;
  #applyIndex: LogIndex;

  constructor(options: RaftCoreOptions) {
    this.#replica = new Replica(options);
    this.#term = this.#replica.currentTerm;
    this.#commitIndex = this.#replica.commitIndex;
    this.#applyIndex = this.#replica.applyIndex;
  }

  // -------------------------------------------------------------- what the driver may look at

  get replicaId(): ReplicaId {
    return this.#replica.id;
  }

  get role(): Role {
    return this.#replica.role.kind;
  }

  get term(): Term {
    return this.#replica.currentTerm;
  }

  /** 0: did not vote in this term. */
  get votedFor(): ReplicaId | 0 {
    return this.#replica.votedFor;
  }

  /** Leader of this term, itself included; 0 if unknown. */
  get leaderId(): ReplicaId | 0 {
    return this.#replica.leaderId;
  }

  get commitIndex(): LogIndex {
    return this.#replica.commitIndex;
  }

  get appliedIndex(): LogIndex {
    return this.#replica.appliedIndex;
  }

  /** Committed and flushed here: may be applied. */
  get applyIndex(): LogIndex {
    return this.#replica.applyIndex;
  }

  get lastIndex(): LogIndex {
    return this.#replica.log.lastIndex;
  }

  /** Flushed here. */
  get persistedIndex(): LogIndex {
    return this.#replica.durability.persistedIndex;
  }

  /** Term of an entry that is known; undefined for compacted and future ones. */
  termAt(index: LogIndex): Term | undefined {
    return this.#replica.log.termAt(index);
  }

  /** In force: the last one in the log. */
  get membership(): Membership {
    return this.#replica.membership;
  }

  get configuration(): Configuration {
    return this.#replica.configurations.current;
  }

  /** The membership in force is committed: no change is pending. */
  get membershipCommitted(): boolean {
    return this.#replica.membershipCommitted;
  }

  /** Leader whose own-term entry is committed and applied: only now it may decide anything (DECISIONS L6). */
  get isReady(): boolean {
    return this.#replica.isReady;
  }

  get barred(): boolean {
    return this.#replica.barred;
  }

  /** Replica that leadership is being handed to, 0 if none. */
  get transferee(): ReplicaId | 0 {
    return this.#replica.role.kind === 'leader' ? this.#replica.role.transferee : 0;
  }

  /** When this core wants `time`; also in the effects of each step. */
  get deadlineMs(): number {
    const replica = this.#replica;
    const role = replica.role;
    if (role.kind === 'leader') return leader.leaderDeadlineMs(role);
    if (role.kind !== 'follower') return role.deadlineMs;
    return role.held || !replica.isPromotable ? Number.POSITIVE_INFINITY : role.deadlineMs;
  }

  /** Leader only: one entry for everybody else in the membership; otherwise empty. */
  progress(): ReplicaProgress[] {
    const replica = this.#replica;
    if (replica.role.kind !== 'leader') return [];
    const lastIndex = replica.log.lastIndex;
    return [...replica.role.progress.values()].map((progress) => ({
      replicaId: progress.replicaId,
      voter: isVoter(replica.membership, progress.replicaId),
      state: progress.state,
      matchIndex: progress.matchIndex,
      nextIndex: progress.nextIndex,
      appendsInFlight: progress.appendsInFlight,
      caughtUpMs: progress.caughtUpMs(lastIndex, replica.nowMs),
    }));
  }

  /** Leader only: highest index that at least `count` voters have flushed, itself included; 0 if not leader. */
  flushedBy(count: number): LogIndex {
    const role = this.#replica.role;
    return role.kind === 'leader' ? leader.flushedBy(this.#replica, role, count) : logIndex(0);
  }

  // -------------------------------------------------------------- step

  /** Takes one event. The effects are the caller's; those with `write` > 0 must be written in the order of the steps. */
  step(event: RaftEvent): Effects {
    const replica = this.#replica;
    if ('nowMs' in event && event.nowMs > replica.nowMs) replica.nowMs = event.nowMs;
    this.#handle(event);
    if (replica.role.kind === 'leader') leader.replicate(replica, replica.role);
    follower.acknowledge(replica);
    return this.#finish();
  }

  #handle(event: RaftEvent): void {
    const replica = this.#replica;
    switch (event.kind) {
      case 'time':
        return this.#timePassed();
      case 'message':
        return this.#handleMessage(event.message);
      case 'appendRefused':
        return this.#appendRefused(event.from, event.term);
      case 'propose':
        return requests.propose(replica, event.entries);
      case 'persisted':
        return this.#persisted(event.write);
      case 'applied':
        assert(event.index <= replica.applyIndex, 'Only what is committed and flushed here is applied');
        if (event.index > replica.appliedIndex) replica.appliedIndex = event.index;
        return;
      case 'leaderAnnounced':
        return this.#leaderAnnounced(event.leader, event.term);
      case 'leaderLost':
        return this.#leaderLost(event.delayMs);
      case 'quorumCheck':
        return this.#checkQuorum(event.active);
      case 'peerReset':
        return requests.peerReset(replica, event.replica);
      case 'read':
        return handleRead(replica, event.requestId, event.round);
      case 'readConfirmed':
        return handleReadConfirmed(replica, event.replica, event.term, event.round);
      case 'transferLeadership':
        return requests.transferLeadership(replica, event.target);
      case 'campaign':
        if (!replica.isPromotable) this.#refuse('This replica may not lead');
        // A pre-candidate asks again: who was asked before may not have had its replica yet (first leader of a new group). A candidate is left to its vote's flush and its answers. Who was announced
        // a leader keeps it: everybody would refuse, and nobody is announced a second time in a term.
        else if (replica.role.kind === 'preCandidate' || (replica.role.kind === 'follower' && !replica.role.held))
          election.campaign(replica);
        return;
      case 'resign':
        if (replica.role.kind === 'leader') this.#resign();
        return;
      case 'changeMembership':
        return requests.changeMembership(replica, event.membership);
      case 'snapshotSent':
        return requests.snapshotSent(replica, event.replica, event.index);
      case 'snapshotInstalled':
        return this.#snapshotInstalled(event.index, event.term, event.membership);
      case 'compacted':
        assert(event.firstIndex - 1 <= replica.appliedIndex, 'Only applied entries are compacted');
        return replica.log.compactTo(logIndex(event.firstIndex - 1));
      case 'barred':
        return this.#setBarred(event.barred);
      default:
        return unreachable(event, 'event');
    }
  }

  #finish(): Effects {
    const replica = this.#replica;
    const outbox = replica.outbox;
    const write = outbox.hasWrites
      ? replica.durability.record(replica.log.lastIndex, outbox.hardState !== undefined)
      : 0;
    const { commitIndex, applyIndex, currentTerm, leaderId, isReady } = replica;
    assert(currentTerm >= this.#term, 'A term never goes back');
    assert(
      commitIndex >= this.#commitIndex && commitIndex <= replica.log.lastIndex,
      'The commit index only grows, inside the log',
    );
    assert(applyIndex >= this.#applyIndex, 'What may be applied only grows');
    assert(
      replica.role.kind !== 'leader' || replica.log.lastTerm === currentTerm,
      'The log of a leader ends in its term',
    );
    const role = replica.role.kind;
    const leadershipChanged =
      role !== this.#role || currentTerm !== this.#term || leaderId !== this.#leaderId || isReady !== this.#ready;
    this.#role = role;
    this.#term = currentTerm;
    this.#leaderId = leaderId;
    this.#ready = isReady;
    this.#commitIndex = commitIndex;
    this.#applyIndex = applyIndex;
    const effects: Effects = {
      hardState: outbox.hardState,
      truncateFrom: outbox.truncateFrom,
      append: outbox.appendedEntries,
      write,
      send: outbox.messages,
      commitIndex,
      applyIndex,
      leadershipChanged,
      membershipChanged: outbox.membershipChanged,
      needSnapshot: outbox.needSnapshot,
      reads: outbox.reads,
      proposed: outbox.proposed,
      refusal: outbox.refusal,
      deadlineMs: this.deadlineMs,
    };
    outbox.clear();
    return effects;
  }

  #refuse(reason: string): void {
    this.#replica.outbox.refusal = reason;
  }

  // -------------------------------------------------------------- time and disk

  #timePassed(): void {
    const replica = this.#replica;
    if (replica.nowMs < this.deadlineMs) return;
    const role = replica.role;
    if (role.kind === 'follower') election.campaign(replica);
    else if (role.kind === 'leader') leader.leaderTimePassed(replica, role);
    else election.campaignTimedOut(replica);
  }

  #persisted(write: number): void {
    const replica = this.#replica;
    replica.durability.flushed(write);
    replica.releaseResponses();
    election.candidatePersisted(replica);
    if (replica.role.kind === 'leader') leader.advanceCommit(replica, replica.role);
  }

  // -------------------------------------------------------------- messages

  #handleMessage(message: RaftMessage): void {
    const replica = this.#replica;
    // An id is never reused: what was meant for an earlier replica of this broker is not for this one (DECISIONS I3).
    if (message.to !== replica.id || message.from === replica.id) return this.#refuse('A message for another replica');
    if (message.term > replica.currentTerm && !this.#takeHigherTerm(message)) return;
    if (message.term < replica.currentTerm) return this.#answerOldTerm(message);
    switch (message.kind) {
      case 'preVote':
      case 'requestVote':
        return election.handleVoteRequest(replica, message);
      case 'preVoteResponse':
      case 'requestVoteResponse':
        return election.handleVoteResponse(replica, message);
      case 'appendEntries':
        return follower.handleAppendEntries(replica, message);
      case 'appendEntriesResponse':
        if (replica.role.kind === 'leader') leader.handleAppendResponse(replica, replica.role, message);
        return;
      case 'timeoutNow':
        return election.campaignByTransfer(replica);
      default:
        return unreachable(message, 'message');
    }
  }

  /** False: the message is to be ignored. A pre-vote and its grant name a term that nobody is in yet. */
  #takeHigherTerm(message: RaftMessage): boolean {
    const replica = this.#replica;
    switch (message.kind) {
      case 'preVote':
        return true;
      case 'preVoteResponse':
        if (message.granted) return true;
        if (replica.role.kind !== 'preCandidate') break;
        // Asked in a term that is over: soon again in the right one.
        election.loseCampaign(replica, message.term);
        return true;
      case 'requestVote':
        // Who has a leader helps nobody to depose it: a replica that was removed, or cut off, cannot disturb (thesis, sections 4.2.3 and 6.4).
        if (!message.transfer && election.sticksToLeader(replica)) return false;
        break;
      case 'appendEntries':
        replica.becomeFollower(message.term, message.from);
        return true;
      case 'appendEntriesResponse':
      case 'requestVoteResponse':
      case 'timeoutNow':
        break;
    }
    // A removed replica's answer to an old message must not end the term of a leader that goes on without it.
    if (message.kind !== 'requestVote' && !isMember(replica.membership, message.from)) return false;
    replica.becomeFollower(message.term, 0);
    return true;
  }

  /** Says to who lives in an older term that it is over; without that, a cut-off replica with a higher term would stay alone (bug R23). */
  #answerOldTerm(message: RaftMessage): void {
    const replica = this.#replica;
    if (message.kind === 'appendEntries') follower.refuseAppend(replica, message.from, false);
    else if (message.kind === 'preVote' || message.kind === 'requestVote') election.handleVoteRequest(replica, message);
  }

  #appendRefused(from: ReplicaId, term: Term): void {
    const replica = this.#replica;
    if (term > replica.currentTerm) replica.becomeFollower(term, from);
    if (term === replica.currentTerm) follower.followLeader(replica, from);
    follower.refuseAppend(replica, from, term === replica.currentTerm);
  }

  // -------------------------------------------------------------- liveness, told by the driver

  #leaderAnnounced(leaderId: ReplicaId, term: Term): void {
    const replica = this.#replica;
    if (leaderId === replica.id) return;
    if (term < replica.currentTerm) return follower.refuseAppend(replica, leaderId, false);
    if (term > replica.currentTerm) replica.becomeFollower(term, leaderId);
    follower.followLeader(replica, leaderId).held = true;
  }

  #leaderLost(delayMs: number): void {
    const replica = this.#replica;
    const role = replica.role;
    if (role.kind !== 'follower') return;
    role.leaderId = 0;
    role.held = false;
    role.deadlineMs = Math.max(replica.nowMs + delayMs, election.pledgedUntilMs(replica));
    if (role.deadlineMs <= replica.nowMs) election.campaign(replica);
  }

  #checkQuorum(active: ReadonlySet<ReplicaId>): void {
    const replica = this.#replica;
    if (replica.role.kind !== 'leader') return;
    if (!isQuorum(replica.membership, (id) => id === replica.id || active.has(id)))
      replica.becomeFollower(replica.currentTerm, 0);
  }

  // -------------------------------------------------------------- leaving office

  /** Others go first: whoever leaves office by itself has a reason. */
  #resign(): void {
    const replica = this.#replica;
    replica.becomeFollower(replica.currentTerm, 0);
    if (replica.role.kind === 'follower') replica.role.deadlineMs += 2 * replica.options.electionTimeoutMs;
  }

  #setBarred(barred: boolean): void {
    const replica = this.#replica;
    if (replica.barred === barred) return;
    replica.barred = barred;
    if (barred && replica.role.kind === 'leader') this.#resign();
    else if (replica.role.kind !== 'follower') replica.becomeFollower(replica.currentTerm, 0);
    else replica.role.deadlineMs = replica.nowMs + replica.role.timeoutMs;
  }

  // -------------------------------------------------------------- catch-up

  #snapshotInstalled(index: LogIndex, term: Term, membership: Membership): void {
    const replica = this.#replica;
    assert(replica.role.kind !== 'leader', 'A leader installs nothing');
    assert(term <= replica.currentTerm, 'A checkpoint of a future term cannot come from a leader');
    replica.resetTo(index, term, membership);
    const role = replica.role;
    if (role.kind !== 'follower' || role.leaderId === 0) return;
    // Committed entries: any leader has them.
    if (role.verifiedIndex < index) role.verifiedIndex = index;
    role.ackOwed = true;
  }
}
