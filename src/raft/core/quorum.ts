/**
 * Arithmetic of majorities, joint configurations included (Raft thesis, section 4.3): a decision needs a majority of the voters and, while a joint configuration is in force, of
 * the outgoing voters too. Pure; no allocation, since a leader asks with every acknowledgement.
 */

import { assert } from '../../std/assert.ts';
import type { ReplicaId } from '../../std/brands.ts';
import type { Member, Membership } from './types.ts';

/** Smallest number of `voters` of which any two sets of that size overlap. */
export function majority(voters: number): number {
  return (voters >> 1) + 1;
}

/** Largest value that at least `count` of the members reached; quadratic, but for a handful of members and without sorting a copy. */
export function valueReachedBy(
  members: readonly Member[],
  count: number,
  valueFor: (replica: ReplicaId) => number,
): number {
  let best = Number.NEGATIVE_INFINITY;
  for (const candidate of members) {
    const value = valueFor(candidate.replicaId);
    if (value <= best) continue;
    let reached = 0;
    for (const member of members) if (valueFor(member.replicaId) >= value) reached++;
    if (reached >= count) best = value;
  }
  return best;
}

/** Largest value (log index, read round) that a quorum reached. */
export function quorumValue(membership: Membership, valueFor: (replica: ReplicaId) => number): number {
  const { voters, votersOutgoing } = membership;
  assert(voters.length > 0, 'A group has at least one voter');
  const value = valueReachedBy(voters, majority(voters.length), valueFor);
  if (votersOutgoing.length === 0) return value;
  return Math.min(value, valueReachedBy(votersOutgoing, majority(votersOutgoing.length), valueFor));
}

/** True if the replicas for which `includes` holds are a quorum. */
export function isQuorum(membership: Membership, includes: (replica: ReplicaId) => boolean): boolean {
  return (
    isMajority(membership.voters, includes) &&
    (membership.votersOutgoing.length === 0 || isMajority(membership.votersOutgoing, includes))
  );
}

/** How an election stands: won with a quorum of grants, lost when those who have not refused are no quorum any more. */
export function voteResult(membership: Membership, votes: ReadonlyMap<ReplicaId, boolean>): 'won' | 'lost' | 'pending' {
  if (isQuorum(membership, (replica) => votes.get(replica) === true)) return 'won';
  return isQuorum(membership, (replica) => votes.get(replica) !== false) ? 'pending' : 'lost';
}

function isMajority(members: readonly Member[], includes: (replica: ReplicaId) => boolean): boolean {
  let count = 0;
  for (const member of members) if (includes(member.replicaId)) count++;
  return count >= majority(members.length);
}
