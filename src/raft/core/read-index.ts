/**
 * ReadIndex (Raft thesis, section 6.4): a read is answered from an index that was committed when it came, after a quorum confirmed in a round begun later that this leader still leads.
 * A leader without committed entry of its own term does not know what is committed; such a read waits for that entry (bug R26).
 */
import { assert } from '../../std/assert.ts';
import type { ReplicaId, Term } from '../../std/brands.ts';
import { quorumValue } from './quorum.ts';
import type { Replica } from './replica.ts';
import type { LeaderState } from './roles.ts';

export function handleRead(replica: Replica, requestId: number, round: number): void {
  const role = replica.role;
  if (role.kind !== 'leader') {
    replica.outbox.addRead({ requestId, index: undefined });
    return;
  }
  const last = role.reads[role.reads.length - 1];
  assert(last === undefined || round >= last.round, 'Confirmation rounds never decrease');
  role.reads.push({ requestId, index: replica.ownTermCommitted ? replica.commitIndex : role.ownTermIndex, round });
  confirmReads(replica, role);
}

/** `peer` said in `round` that it follows the leader of `term`. */
export function handleReadConfirmed(replica: Replica, peer: ReplicaId, term: Term, round: number): void {
  const role = replica.role;
  if (role.kind !== 'leader' || term !== replica.currentTerm) return;
  const progress = role.progress.get(peer);
  if (progress === undefined || progress.confirmedRound >= round) return;
  progress.confirmedRound = round;
  confirmReads(replica, role);
}

/** Answers the reads that are confirmed now. */
export function confirmReads(replica: Replica, role: LeaderState): void {
  if (role.reads.length === 0 || !replica.ownTermCommitted) return;
  const confirmedRound = quorumValue(replica.membership, (id) =>
    id === replica.id ? Number.POSITIVE_INFINITY : (role.progress.get(id)?.confirmedRound ?? Number.NEGATIVE_INFINITY),
  );
  let confirmed = 0;
  while (confirmed < role.reads.length && role.reads[confirmed]!.round <= confirmedRound) {
    const { requestId, index } = role.reads[confirmed]!;
    replica.outbox.addRead({ requestId, index });
    confirmed++;
  }
  if (confirmed > 0) role.reads = role.reads.slice(confirmed);
}
