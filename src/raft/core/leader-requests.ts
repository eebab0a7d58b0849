/**
 * What the driver asks of a leader: proposals, membership changes, transfer of leadership, and news about its peers. What must not be now is refused with a reason, never done halfway.
 */
import { assert } from '../../std/assert.ts';
import { type LogIndex, logIndex, type ReplicaId } from '../../std/brands.ts';
import { ENTRY_KIND } from '../../wal/replica-storage.ts';
import { appendConfiguration, continueTransfer } from './leader.ts';
import { changeProblem, isVoter } from './membership.ts';
import type { Replica } from './replica.ts';
import type { LeaderState } from './roles.ts';
import type { Membership, ProposedEntry } from './types.ts';

/** The role, if this replica may append now; otherwise says why not. */
function appendingLeader(replica: Replica): LeaderState | undefined {
  const { role, outbox } = replica;
  if (role.kind !== 'leader') outbox.refusal = 'Not the leader';
  else if (role.transferee !== 0) outbox.refusal = 'A leadership transfer is under way';
  else return role;
  return undefined;
}

export function propose(replica: Replica, entries: readonly ProposedEntry[]): void {
  if (appendingLeader(replica) === undefined) return;
  assert(entries.length > 0, 'A proposal has entries');
  const firstIndex = logIndex(replica.log.lastIndex + 1);
  for (const entry of entries) {
    assert(entry.kind !== ENTRY_KIND.configuration, 'A configuration is proposed by changeMembership');
    replica.appendOwn(entry.kind, entry.payload);
  }
  replica.outbox.proposed = { firstIndex, term: replica.currentTerm, count: entries.length };
}

export function changeMembership(replica: Replica, membership: Membership): void {
  const role = appendingLeader(replica);
  if (role === undefined) return;
  replica.outbox.refusal = refusalOfChange(replica, membership);
  if (replica.outbox.refusal !== undefined) return;
  const firstIndex = appendConfiguration(replica, role, membership);
  replica.outbox.proposed = { firstIndex, term: replica.currentTerm, count: 1 };
}

function refusalOfChange(replica: Replica, membership: Membership): string | undefined {
  // Before an entry of its own term is committed, a change of an earlier leader may still be alive elsewhere: two majorities that do not meet (bug R12).
  if (!replica.ownTermCommitted) return 'No entry of this term is committed yet';
  if (!replica.membershipCommitted) return 'Another membership change is pending';
  return changeProblem(replica.membership, membership);
}

/** Thesis, section 3.10: no proposals from now on, and once the target has everything it is asked to campaign. Given up after one election timeout. */
export function transferLeadership(replica: Replica, target: ReplicaId): void {
  const { role, outbox } = replica;
  if (role.kind !== 'leader') outbox.refusal = 'Not the leader';
  else if (target === replica.id) outbox.refusal = 'The target leads already';
  else if (!isVoter(replica.membership, target)) outbox.refusal = 'The target is not a voter';
  else if (role.transferee !== 0 && role.transferee !== target)
    outbox.refusal = 'Another leadership transfer is under way';
  else if (role.transferee === 0) {
    role.transferee = target;
    role.transferDeadlineMs = replica.nowMs + replica.options.electionTimeoutMs;
    continueTransfer(replica, role);
  }
}

/** What was under way to this peer is lost: one probe finds out what it has. */
export function peerReset(replica: Replica, peer: ReplicaId): void {
  const progress = replica.role.kind === 'leader' ? replica.role.progress.get(peer) : undefined;
  if (progress === undefined) return;
  progress.resetRetries();
  // A catch-up ends by its own event, whatever happens to the link.
  if (progress.state !== 'snapshot') progress.probeAgain();
}

/** A catch-up ended at checkpoint `index`, or failed: then it is asked for again after a pause. */
export function snapshotSent(replica: Replica, peer: ReplicaId, index: LogIndex | undefined): void {
  const progress = replica.role.kind === 'leader' ? replica.role.progress.get(peer) : undefined;
  if (progress === undefined || progress.state !== 'snapshot') return;
  progress.resetRetries();
  if (index === undefined) {
    progress.becomeProbe();
    progress.pauseUntil(replica.nowMs + replica.limits.snapshotRetryMs);
    return;
  }
  assert(index <= replica.commitIndex, 'A checkpoint holds committed entries only');
  progress.becomeProbe(logIndex(Math.max(index, progress.matchIndex) + 1));
}
