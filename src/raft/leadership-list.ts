/**
 * The ordered list of what this broker leads (DECISIONS L1, C2). Each change takes the next sequence number; a peer gets the whole list when its link comes up and
 * what changed since after that, in the order of the channel. What a follower acknowledges ("I follow everything up to sequence n, except …") refers to these numbers.
 */
import type { BrokerId, GroupId, ReplicaId, Term } from '../std/brands.ts';
import type { Announcement } from './peer-codec.ts';

export interface Leadership {
  readonly groupId: GroupId;
  readonly term: Term;
  readonly ready: boolean;
  readonly leader: ReplicaId;
  readonly inSync: readonly BrokerId[];
  /** The group's other replicas by broker. */
  readonly members: ReadonlyMap<BrokerId, ReplicaId>;
}

interface Listed {
  readonly leadership: Leadership;
  readonly leading: boolean;
  readonly sequence: number;
}

export class LeadershipList {
  #sequence = 0;
  readonly #listed = new Map<GroupId, Listed>();
  /** Changes that some peer may not have been sent, ascending. */
  #changes: { readonly sequence: number; readonly groupId: GroupId }[] = [];

  /** Number of the latest change. */
  get sequence(): number {
    return this.#sequence;
  }

  /** What is led now. */
  get(groupId: GroupId): (Leadership & { readonly sequence: number }) | undefined {
    const listed = this.#listed.get(groupId);
    return listed?.leading ? { ...listed.leadership, sequence: listed.sequence } : undefined;
  }

  /** Sequence number at which the leadership of a group was last announced; undefined if it is not led. */
  sequenceOf(groupId: GroupId): number | undefined {
    const listed = this.#listed.get(groupId);
    return listed?.leading ? listed.sequence : undefined;
  }

  announce(leadership: Leadership): void {
    this.#record(leadership, true);
  }

  withdraw(groupId: GroupId): void {
    const listed = this.#listed.get(groupId);
    if (listed?.leading) this.#record(listed.leadership, false);
  }

  /** What a peer that was sent everything up to `sequence` lacks, once per group; with 0, the whole list. */
  changesSince(sequence: number, receiver: BrokerId): Announcement[] {
    const announcements: Announcement[] = [];
    if (sequence === 0) {
      for (const listed of this.#listed.values())
        if (listed.leading) announcements.push(toAnnouncement(listed, receiver));
      return announcements;
    }
    const changes = this.#changes;
    for (let at = firstAfter(changes, sequence); at < changes.length; at++) {
      const { groupId, sequence: changed } = changes[at]!;
      const listed = this.#listed.get(groupId)!;
      // An older change of a group that changed again: only the latest state is told.
      if (listed.sequence === changed) announcements.push(toAnnouncement(listed, receiver));
    }
    return announcements;
  }

  /** Every connected peer was sent everything up to `sequence`: forget how it came to be. */
  trim(sequence: number): void {
    const keepFrom = firstAfter(this.#changes, sequence);
    for (let at = 0; at < keepFrom; at++) {
      const { groupId, sequence: changed } = this.#changes[at]!;
      const listed = this.#listed.get(groupId);
      if (listed !== undefined && !listed.leading && listed.sequence === changed) this.#listed.delete(groupId);
    }
    if (keepFrom > 0) this.#changes = this.#changes.slice(keepFrom);
  }

  #record(leadership: Leadership, leading: boolean): void {
    const sequence = ++this.#sequence;
    this.#listed.set(leadership.groupId, { leadership, leading, sequence });
    this.#changes.push({ sequence, groupId: leadership.groupId });
  }
}

function toAnnouncement({ leadership, leading }: Listed, receiver: BrokerId): Announcement {
  const { groupId, term, ready, leader, inSync, members } = leadership;
  return { groupId, term, leading, ready, leader, receiver: members.get(receiver) ?? 0, inSync };
}

/** Position of the first change after `sequence`. */
function firstAfter(changes: readonly { readonly sequence: number }[], sequence: number): number {
  let low = 0;
  let high = changes.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (changes[middle]!.sequence <= sequence) low = middle + 1;
    else high = middle;
  }
  return low;
}
