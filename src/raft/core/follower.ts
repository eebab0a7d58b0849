/**
 * The receiving end of AppendEntries (Raft paper, section 5.3).
 *
 * Only a real contradiction, same index and another term, truncates; a message that is short, late or repeated changes nothing (bug R9). The commit index follows the leader's
 * only as far as the log was compared with this leader's (bug R10). One acknowledgement covers everything that is verified and flushed.
 */

import { assert } from '../../std/assert.ts';
import { logIndex, type ReplicaId, term as toTerm } from '../../std/brands.ts';
import type { Replica } from './replica.ts';
import type { FollowerState } from './roles.ts';
import type { AppendEntries } from './types.ts';

/** `leader` leads the current term: follows it and takes this as a sign of its life. */
export function followLeader(replica: Replica, leader: ReplicaId): FollowerState {
  assert(leader !== replica.id && replica.role.kind !== 'leader', 'There is one leader in a term');
  if (replica.role.kind !== 'follower') replica.becomeFollower(replica.currentTerm, leader);
  const role = replica.role as FollowerState;
  // Found again after it was lost: a term has one leader, so what was verified against it and what is owed to it still holds.
  if (role.leaderId === 0) role.leaderId = leader;
  replica.campaignsFailed = 0;
  replica.pledge = undefined;
  assert(role.leaderId === leader, 'There is one leader in a term');
  if (!role.held) role.deadlineMs = replica.nowMs + role.timeoutMs;
  return role;
}

/** A message of the current term's leader. */
export function handleAppendEntries(replica: Replica, message: AppendEntries): void {
  const role = followLeader(replica, message.from);
  const { prevIndex, entries } = message;
  assertWellFormed(message);

  // At or below the commit index this leader has what we have (leader completeness); above, terms decide.
  if (prevIndex > replica.commitIndex && replica.log.termAt(prevIndex) !== message.prevTerm) {
    rejectAppend(replica, message);
    return;
  }
  assert(
    prevIndex > replica.commitIndex || (replica.log.termAt(prevIndex) ?? message.prevTerm) === message.prevTerm,
    'A committed entry cannot differ from the leader',
  );

  let known = 0;
  while (known < entries.length) {
    const entry = entries[known]!;
    const ownTerm = replica.log.termAt(entry.index);
    if (ownTerm === undefined && entry.index > replica.log.lastIndex) break;
    if (ownTerm !== undefined && ownTerm !== entry.term) {
      assert(entry.index > role.verifiedIndex, 'A leader does not contradict itself');
      replica.truncateFrom(entry.index);
      break;
    }
    known++;
  }
  if (known < entries.length) replica.appendFromLeader(entries, known);

  const matched = Math.max(prevIndex + entries.length, replica.commitIndex);
  if (matched > role.verifiedIndex) role.verifiedIndex = logIndex(matched);
  replica.commitTo(logIndex(Math.min(message.commitIndex, role.verifiedIndex)));
  if (entries.length > 0 || message.probe) role.ackOwed = true;
}

/** A hole, a falling term or one from the future would come from a broken leader (bug R14): stopping beats storing it. */
function assertWellFormed(message: AppendEntries): void {
  let index: number = message.prevIndex;
  let term = message.prevTerm;
  for (const entry of message.entries) {
    assert(entry.index === index + 1, 'Entries must follow each other');
    assert(entry.term >= term && entry.term <= message.term, 'Terms in a log never decrease');
    index = entry.index;
    term = entry.term;
  }
}

function rejectAppend(replica: Replica, message: AppendEntries): void {
  const hintIndex = replica.log.lastIndexWithTermAtMost(message.prevIndex, message.prevTerm);
  replica.respond({
    kind: 'appendEntriesResponse',
    from: replica.id,
    to: message.from,
    term: replica.currentTerm,
    accepted: false,
    matchIndex: logIndex(0),
    rejectedIndex: message.prevIndex,
    hintIndex,
    hintTerm: replica.log.termAt(hintIndex) ?? toTerm(0),
    overloaded: false,
  });
}

/** Answers a leader of an older term, so that it learns that it is over (bug R23), or one whose message the driver had to throw away. */
export function refuseAppend(replica: Replica, to: ReplicaId, overloaded: boolean): void {
  replica.respond({
    kind: 'appendEntriesResponse',
    from: replica.id,
    to,
    term: replica.currentTerm,
    accepted: false,
    matchIndex: logIndex(0),
    rejectedIndex: logIndex(0),
    hintIndex: logIndex(0),
    hintTerm: toTerm(0),
    overloaded,
  });
}

/** At the end of each step: acknowledges what is verified and flushed, in one message, if the leader waits for it. */
export function acknowledge(replica: Replica): void {
  const role = replica.role;
  if (role.kind !== 'follower' || !role.ackOwed || role.leaderId === 0 || !replica.hardStateFlushed) return;
  const matchIndex = logIndex(Math.min(role.verifiedIndex, replica.durability.persistedIndex));
  if (matchIndex === role.verifiedIndex) role.ackOwed = false;
  else if (matchIndex <= role.ackedIndex) return;
  role.ackedIndex = matchIndex;
  replica.outbox.send({
    kind: 'appendEntriesResponse',
    from: replica.id,
    to: role.leaderId,
    term: replica.currentTerm,
    accepted: true,
    matchIndex,
    rejectedIndex: logIndex(0),
    hintIndex: logIndex(0),
    hintTerm: toTerm(0),
    overloaded: false,
  });
}
