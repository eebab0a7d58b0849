/**
 * The leading end of replication (Raft paper, section 5.3; thesis, 10.2.1: the leader writes its own disk in parallel with its followers).
 *
 * Commit is counted from flushed indexes only, the leader's own included (bugs R4, R5), and only for entries of its own term: older ones are committed along with them (bug R1).
 * Messages leave at the end of a step, so whatever a step changes costs each peer one message: entries if there are any, else news of the commit index.
 */

import { assert } from '../../std/assert.ts';
import { type LogIndex, logIndex, type ReplicaId } from '../../std/brands.ts';
import { ENTRY_KIND } from '../../wal/replica-storage.ts';
import { allMembers, allVoters, isJoint, isMember, isVoter, leaveJoint } from './membership.ts';
import { Progress } from './progress.ts';
import { quorumValue, valueReachedBy } from './quorum.ts';
import { confirmReads } from './read-index.ts';
import type { Replica } from './replica.ts';
import type { LeaderState } from './roles.ts';
import type { AppendEntriesResponse, Membership } from './types.ts';

/** A candidate won: appends the no-op of its term. */
export function becomeLeader(replica: Replica): void {
  assert(replica.role.kind === 'candidate' && replica.votedFor === replica.id, 'Only an elected candidate leads');
  assert(!replica.barred, 'A barred replica never leads');
  const role: LeaderState = {
    kind: 'leader',
    progress: new Map(),
    ownTermIndex: logIndex(replica.log.lastIndex + 1),
    transferee: 0,
    transferDeadlineMs: Number.POSITIVE_INFINITY,
    timeoutNowSent: false,
    reads: [],
  };
  replica.role = role;
  replica.campaignsFailed = 0;
  trackMembers(replica, role);
  replica.appendOwn(ENTRY_KIND.noop, []);
}

/**
 * Keeps one progress for everybody else in the membership. Who is being removed stays until that is committed, so that it learns of it and does not campaign for ever after.
 */
function trackMembers(replica: Replica, role: LeaderState): void {
  const possible = replica.configurations.possible;
  for (const { membership } of possible) {
    for (const { replicaId } of allMembers(membership)) {
      if (replicaId === replica.id || role.progress.has(replicaId)) continue;
      role.progress.set(replicaId, new Progress(replicaId, replica.log.lastIndex, replica.nowMs, replica.limits));
    }
  }
  for (const replicaId of role.progress.keys())
    if (!possible.some(({ membership }) => isMember(membership, replicaId))) role.progress.delete(replicaId);
}

/** Appends a configuration, which acts at once. */
export function appendConfiguration(replica: Replica, role: LeaderState, membership: Membership): LogIndex {
  const index = replica.appendOwn(ENTRY_KIND.configuration, [replica.options.membershipCodec.encode(membership)]);
  replica.adoptConfiguration(index, membership);
  trackMembers(replica, role);
  return index;
}

/** Index up to which `replicaId` has flushed what this leader has. */
export function matchIndexOf(replica: Replica, role: LeaderState, replicaId: ReplicaId): LogIndex {
  if (replicaId === replica.id) return replica.durability.persistedIndex;
  return role.progress.get(replicaId)?.matchIndex ?? logIndex(0);
}

/** Highest index that at least `count` voters have flushed, 0 if there are fewer voters (min.insync.replicas, DECISIONS L7). */
export function flushedBy(replica: Replica, role: LeaderState, count: number): LogIndex {
  const value = valueReachedBy(allVoters(replica.membership), count, (id) => matchIndexOf(replica, role, id));
  return logIndex(Math.max(value, 0));
}

/** After a flush or an acknowledgement: commits what a quorum has flushed, and does what waited for it. */
export function advanceCommit(replica: Replica, role: LeaderState): void {
  const index = logIndex(quorumValue(replica.membership, (id) => matchIndexOf(replica, role, id)));
  if (index <= replica.commitIndex || replica.log.termAt(index) !== replica.currentTerm) return;
  const before = replica.commitIndex;
  replica.commitTo(index);
  confirmReads(replica, role);
  const { index: configurationIndex, membership } = replica.configurations.current;
  if (configurationIndex > replica.commitIndex) return;
  if (isJoint(membership)) {
    appendConfiguration(replica, role, leaveJoint(membership));
    return;
  }
  // The removed are told before they are forgotten.
  if (configurationIndex > before) {
    replicate(replica, role);
    trackMembers(replica, role);
  }
  if (!isVoter(membership, replica.id)) leaveOffice(replica, role);
}

/** The committed configuration has another leader in mind (thesis, section 4.2.2): the most caught-up voter is asked to start at once. */
function leaveOffice(replica: Replica, role: LeaderState): void {
  let successor: Progress | undefined;
  for (const progress of role.progress.values())
    if (
      isVoter(replica.membership, progress.replicaId) &&
      (successor === undefined || progress.matchIndex > successor.matchIndex)
    )
      successor = progress;
  if (successor !== undefined) sendTimeoutNow(replica, successor.replicaId);
  replica.becomeFollower(replica.currentTerm, 0);
}

export function sendTimeoutNow(replica: Replica, to: ReplicaId): void {
  replica.outbox.send({ kind: 'timeoutNow', from: replica.id, to, term: replica.currentTerm });
}

/** At the end of each step of a leader: whatever may and should leave now. */
export function replicate(replica: Replica, role: LeaderState): void {
  for (const progress of role.progress.values()) replicateTo(replica, progress);
}

function replicateTo(replica: Replica, progress: Progress): void {
  const { log, nowMs, limits } = replica;
  while (progress.canSend(nowMs)) {
    const probe = progress.state === 'probe';
    const prevIndex = logIndex(progress.nextIndex - 1);
    if (!probe && prevIndex === log.lastIndex) break;
    assert(prevIndex <= log.lastIndex, 'Nothing can be sent behind the end of the log');
    if (log.termAt(prevIndex) === undefined) {
      progress.becomeSnapshot();
      replica.outbox.addNeedSnapshot(progress.replicaId);
      return;
    }
    const entries = probe ? limits.probeEntriesMax : limits.appendEntriesMax;
    sendRange(replica, progress, logIndex(Math.min(prevIndex + entries, log.lastIndex)), probe);
  }
  // Everything is sent, but not that it is committed: without news, followers would not apply until the next proposal.
  if (progress.state === 'replicate' && progress.nextIndex > log.lastIndex && progress.commitSent < replica.commitIndex)
    sendRange(replica, progress, log.lastIndex, false);
}

function sendRange(replica: Replica, progress: Progress, lastIndex: LogIndex, probe: boolean): void {
  const prevIndex = logIndex(progress.nextIndex - 1);
  const prevTerm = replica.log.termAt(prevIndex);
  assert(prevTerm !== undefined, 'An AppendEntries names the term before its entries');
  replica.outbox.send({
    kind: 'appendRange',
    from: replica.id,
    to: progress.replicaId,
    term: replica.currentTerm,
    prevIndex,
    prevTerm,
    lastIndex,
    commitIndex: replica.commitIndex,
    probe,
  });
  progress.sent(lastIndex, replica.commitIndex, replica.nowMs);
}

/** An answer to an AppendEntries of this term; from a replica that is no member any more it says nothing. */
export function handleAppendResponse(replica: Replica, role: LeaderState, response: AppendEntriesResponse): void {
  const progress = role.progress.get(response.from);
  if (progress === undefined) return;
  progress.resetRetries();
  if (response.accepted) {
    assert(response.matchIndex <= replica.log.lastIndex, 'A follower cannot match more than the leader has');
    if (progress.accepted(response.matchIndex, replica.log.lastIndex, replica.nowMs)) {
      advanceCommit(replica, role);
      if (replica.role === role) continueTransfer(replica, role);
    }
    return;
  }
  if (response.overloaded) {
    if (progress.state === 'snapshot') return;
    progress.probeAgain();
    progress.pauseUntil(replica.nowMs + replica.limits.overloadPauseMs * (1 + replica.options.random()));
    return;
  }
  // The follower skipped terms above ours at that point; skip those of ours that are above its own.
  const hintIndex =
    response.hintTerm > 0
      ? replica.log.lastIndexWithTermAtMost(response.hintIndex, response.hintTerm)
      : response.hintIndex;
  progress.rejected(response.rejectedIndex, hintIndex);
}

/** Asks the transferee to take over as soon as it has everything (thesis, section 3.10). */
export function continueTransfer(replica: Replica, role: LeaderState): void {
  if (role.transferee === 0 || role.timeoutNowSent) return;
  if (role.progress.get(role.transferee)?.matchIndex !== replica.log.lastIndex) return;
  role.timeoutNowSent = true;
  sendTimeoutNow(replica, role.transferee);
}

/** The leader's own deadlines: silent peers are probed again, a transfer that takes too long is given up. */
export function leaderTimePassed(replica: Replica, role: LeaderState): void {
  if (replica.nowMs >= role.transferDeadlineMs) endTransfer(role);
  for (const progress of role.progress.values()) progress.takeTimeout(replica.nowMs);
}

export function endTransfer(role: LeaderState): void {
  role.transferee = 0;
  role.timeoutNowSent = false;
  role.transferDeadlineMs = Number.POSITIVE_INFINITY;
}

export function leaderDeadlineMs(role: LeaderState): number {
  let deadlineMs = role.transferDeadlineMs;
  for (const progress of role.progress.values()) if (progress.deadlineMs < deadlineMs) deadlineMs = progress.deadlineMs;
  return deadlineMs;
}
