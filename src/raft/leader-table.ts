/**
 * Who leads which group, as far as this broker was told (DECISIONS C2): its own leaderships and what its connected, living peers announce; the highest term wins. Never a guess:
 * a leader whose broker died or whose link is down is unknown.
 */
import type { BrokerId, GroupId } from '../std/brands.ts';
import type { LeadershipList } from './leadership-list.ts';
import type { Peer } from './peer.ts';
import type { LeaderAnnouncement } from './raft-group.ts';

export class LeaderTable {
  readonly #brokerId: BrokerId;
  readonly #own: LeadershipList;
  readonly #peers: ReadonlyMap<BrokerId, Peer>;
  readonly #leaders = new Map<GroupId, LeaderAnnouncement>();
  readonly #touched = new Set<GroupId>();
  readonly #listeners: ((groups: readonly GroupId[]) => void)[] = [];

  constructor(brokerId: BrokerId, own: LeadershipList, peers: ReadonlyMap<BrokerId, Peer>) {
    this.#brokerId = brokerId;
    this.#own = own;
    this.#peers = peers;
  }

  leaderOf(groupId: GroupId): LeaderAnnouncement | undefined {
    return this.#leaders.get(groupId);
  }

  onChanged(listener: (groups: readonly GroupId[]) => void): void {
    this.#listeners.push(listener);
  }

  /** Something that decides about this group's leader changed. */
  touch(groupId: GroupId): void {
    this.#touched.add(groupId);
  }

  /** A peer's life or link changed: so may everything it announced. */
  touchPeer(peer: Peer): void {
    for (const groupId of peer.leaderships.keys()) this.#touched.add(groupId);
  }

  /** Makes what was touched visible and tells the listeners, once per pass. */
  flush(): void {
    if (this.#touched.size === 0) return;
    const changed: GroupId[] = [];
    for (const groupId of this.#touched) {
      const leader = this.#find(groupId);
      if (isSame(leader, this.#leaders.get(groupId))) continue;
      if (leader === undefined) this.#leaders.delete(groupId);
      else this.#leaders.set(groupId, leader);
      changed.push(groupId);
    }
    this.#touched.clear();
    if (changed.length > 0) for (const listener of this.#listeners) listener(changed);
  }

  #find(groupId: GroupId): LeaderAnnouncement | undefined {
    const own = this.#own.get(groupId);
    let best: LeaderAnnouncement | undefined;
    if (own !== undefined) {
      best = { groupId, leader: this.#brokerId, term: own.term, ready: own.ready, inSync: own.inSync };
    }
    for (const peer of this.#peers.values()) {
      if (!peer.live || peer.link === undefined) continue;
      const announced = peer.leaderships.get(groupId);
      if (announced === undefined || (best !== undefined && best.term >= announced.term)) continue;
      const { term, ready, inSync } = announced;
      best = { groupId, leader: peer.brokerId, term, ready, inSync };
    }
    return best;
  }
}

function isSame(some: LeaderAnnouncement | undefined, other: LeaderAnnouncement | undefined): boolean {
  if (some === undefined || other === undefined) return some === other;
  return (
    some.leader === other.leader &&
    some.term === other.term &&
    some.ready === other.ready &&
    some.inSync.length === other.inSync.length &&
    some.inSync.every((brokerId, at) => brokerId === other.inSync[at])
  );
}
