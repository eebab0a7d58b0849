/**
 * Who belongs to the group: questions about one membership, the rules by which one may follow another, and the history that a truncation falls back on.
 *
 * A configuration acts from the moment it is in the log (Raft thesis, section 4.1), so the one in force is always the last of the history.
 */

import { assert } from '../../std/assert.ts';
import type { LogIndex, ReplicaId } from '../../std/brands.ts';
import type { Configuration, Member, Membership } from './types.ts';

export function includes(members: readonly Member[], replica: ReplicaId): boolean {
  for (const member of members) if (member.replicaId === replica) return true;
  return false;
}

export function isJoint(membership: Membership): boolean {
  return membership.votersOutgoing.length > 0;
}

export function isVoter(membership: Membership, replica: ReplicaId): boolean {
  return includes(membership.voters, replica) || includes(membership.votersOutgoing, replica);
}

export function isMember(membership: Membership, replica: ReplicaId): boolean {
  return isVoter(membership, replica) || includes(membership.learners, replica);
}

/** Every member once. */
export function allMembers(membership: Membership): Member[] {
  const members = [...membership.voters];
  for (const member of membership.votersOutgoing) if (!includes(members, member.replicaId)) members.push(member);
  for (const member of membership.learners) if (!includes(members, member.replicaId)) members.push(member);
  return members;
}

/** Every voter of either side once. */
export function allVoters(membership: Membership): readonly Member[] {
  if (!isJoint(membership)) return membership.voters;
  const members = [...membership.voters];
  for (const member of membership.votersOutgoing) if (!includes(members, member.replicaId)) members.push(member);
  return members;
}

/** What a committed joint configuration becomes. */
export function leaveJoint(membership: Membership): Membership {
  return { voters: membership.voters, votersOutgoing: [], learners: membership.learners };
}

/** Why `next` must not follow `current`, in a sentence; undefined if it may. Any two quorums of `current` and `next` overlap then. */
export function changeProblem(current: Membership, next: Membership): string | undefined {
  if (isJoint(current)) return 'A joint configuration is in force';
  if (next.voters.length === 0) return 'A group needs at least one voter';
  if (hasTwice(next.voters) || hasTwice(next.votersOutgoing) || hasTwice(next.learners))
    return 'A replica is listed twice';
  if (next.voters.some((member) => includes(next.learners, member.replicaId))) return 'A replica is voter and learner';
  if (isJoint(next)) {
    if (!sameReplicas(next.votersOutgoing, current.voters)) return 'The outgoing voters are not the current ones';
    return undefined;
  }
  const added = next.voters.filter((member) => !includes(current.voters, member.replicaId)).length;
  const removed = current.voters.filter((member) => !includes(next.voters, member.replicaId)).length;
  if (added + removed > 1) return 'More than one voter changes: this needs a joint configuration';
  return undefined;
}

function hasTwice(members: readonly Member[]): boolean {
  return new Set(members.map((member) => member.replicaId)).size !== members.length;
}

function sameReplicas(left: readonly Member[], right: readonly Member[]): boolean {
  return left.length === right.length && left.every((member) => includes(right, member.replicaId));
}

/** The configurations of one log, oldest first. At least one, always: the initial one, or that of the checkpoint. */
export class ConfigurationHistory {
  #configurations: Configuration[];

  constructor(configurations: readonly Configuration[]) {
    assert(configurations.length > 0, 'A replica needs a configuration');
    for (let i = 1; i < configurations.length; i++)
      assert(configurations[i - 1]!.index < configurations[i]!.index, 'Configurations must ascend');
    this.#configurations = [...configurations];
  }

  /** In force. */
  get current(): Configuration {
    return this.#configurations[this.#configurations.length - 1]!;
  }

  /**
   * The last committed one and everything behind it: those that may turn out to be in force. Whoever votes in one of them is still needed: if the only replica with the longest log
   * would not campaign because an uncommitted entry removes it, nobody could be elected (Raft thesis, section 4.2.2).
   */
  get possible(): readonly Configuration[] {
    return this.#configurations;
  }

  append(configuration: Configuration): void {
    assert(configuration.index > this.current.index, 'A configuration must follow the one before');
    this.#configurations.push(configuration);
  }

  /** Entries ≥ index are gone. True if another configuration is in force now. */
  truncateFrom(index: LogIndex): boolean {
    let changed = false;
    while (this.current.index >= index) {
      assert(this.#configurations.length > 1, 'The first configuration is never truncated');
      this.#configurations.pop();
      changed = true;
    }
    return changed;
  }

  /** Nothing at or below `commitIndex` can be truncated: forgets what no truncation can need. */
  committed(commitIndex: LogIndex): void {
    const configurations = this.#configurations;
    let first = 0;
    while (first + 1 < configurations.length && configurations[first + 1]!.index <= commitIndex) first++;
    if (first > 0) configurations.splice(0, first);
  }

  /** An installed checkpoint brought its own; those of the void log must not act any more (bug R13). */
  reset(configuration: Configuration): void {
    this.#configurations = [configuration];
  }
}
