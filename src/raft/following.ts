/**
 * The following end of liveness (DECISIONS L1): takes what peers announce, tells the cores whom they follow, keeps the list of exceptions true, and tells the
 * cores when their leader is lost.
 *
 * Invariant: whenever an acknowledgement leaves, `peer.ownExceptions` names every group of the peer's list that this broker does not follow in the announced term. So
 * whatever changes a core's term or leader, or a replica's existence, ends in a review.
 */
import type { GroupId, ReplicaId } from '../std/brands.ts';
import { allVoters } from './core/membership.ts';
import { isQuorum } from './core/quorum.ts';
import type { DriverContext } from './driver-context.ts';
import type { GroupReplica } from './group-replica.ts';
import type { LeaderTable } from './leader-table.ts';
import type { Peer } from './peer.ts';
import type { Announcement, Heartbeat } from './peer-codec.ts';

export class Following {
  readonly #context: DriverContext;
  readonly #table: LeaderTable;

  constructor(context: DriverContext, table: LeaderTable) {
    this.#context = context;
    this.#table = table;
  }

  heard(peer: Peer, heartbeat: Heartbeat): void {
    if (heartbeat.full) {
      this.#takeFull(peer, heartbeat.announcements);
      this.#electLeaderless();
    } else for (const announcement of heartbeat.announcements) this.#take(peer, announcement);
    const isNews = heartbeat.full || heartbeat.sequence !== peer.heardSequence || heartbeat.round !== peer.heardRound;
    peer.heardSequence = heartbeat.sequence;
    peer.heardRound = heartbeat.round;
    if (isNews) peer.ackDue = true;
    else peer.ackOwed = true;
  }

  #takeFull(peer: Peer, announcements: readonly Announcement[]): void {
    const before = peer.leaderships;
    peer.leaderships = new Map();
    for (const announcement of announcements) this.#take(peer, announcement);
    for (const [groupId, announcement] of before) {
      if (!peer.leaderships.has(groupId)) this.#lost(peer, announcement, this.#context.config.steppedDownDelayMs);
    }
  }

  /**
   * After brokers were started together nobody leads anything, and waiting for election timeouts would only cost time: where a quorum is connected, candidates come one after the other, in the order of
   * the membership, so that leaders are where they are preferred. One whose broker is not there yet is waited for, but not for long. A leader that was not heard of yet announces itself meanwhile, and
   * pre-votes keep it where it is.
   */
  #electLeaderless(): void {
    const { replicas, peers, brokerId, nowMs, config } = this.#context;
    for (const replica of replicas.values()) {
      const { core, membership } = replica;
      if (core === undefined || core.barred || replica.role !== 'follower' || core.leaderId !== 0) continue;
      const voters = allVoters(membership);
      const isConnected = (id: ReplicaId): boolean => {
        const member = voters.find((voter) => voter.replicaId === id);
        return member?.brokerId === brokerId || (member !== undefined && peers.get(member.brokerId)?.fit === true);
      };
      if (!isQuorum(membership, isConnected)) continue;
      const rank = voters.findIndex((voter) => voter.replicaId === replica.replicaId);
      const delayMs = config.rankDelayMs + Math.max(rank, 0) * config.leaderlessRankDelayMs;
      this.#context.step(replica, { kind: 'leaderLost', nowMs, delayMs });
    }
  }

  #take(peer: Peer, announcement: Announcement): void {
    const { groupId } = announcement;
    const before = peer.leaderships.get(groupId);
    if (!announcement.leading) {
      peer.leaderships.delete(groupId);
      peer.forgetException(groupId);
      if (before !== undefined) this.#lost(peer, before, this.#context.config.steppedDownDelayMs);
      return;
    }
    peer.leaderships.set(groupId, announcement);
    // Exceptions belong to a term: both sides forget them when another one begins (see Leading).
    if (before?.term !== announcement.term) peer.forgetException(groupId);
    this.#hold(peer, announcement);
    this.#table.touch(groupId);
  }

  /** The core follows the announced leader, if its term allows that. */
  #hold(peer: Peer, announcement: Announcement): void {
    const replica = this.#receiverOf(announcement);
    if (replica !== undefined && peer.fit) {
      const { leader, term } = announcement;
      this.#context.step(replica, { kind: 'leaderAnnounced', nowMs: this.#context.nowMs, leader, term });
    }
    this.#review(peer, announcement);
  }

  #receiverOf(announcement: Announcement): GroupReplica | undefined {
    const replica = this.#context.replicas.get(announcement.groupId);
    return replica?.core !== undefined && replica.replicaId === announcement.receiver ? replica : undefined;
  }

  /** A replica's term, leader, existence or fitness to count changed. */
  reviewGroup(groupId: GroupId): void {
    for (const peer of this.#context.peers.values()) {
      const announcement = peer.leaderships.get(groupId);
      if (announcement !== undefined) this.#review(peer, announcement);
    }
  }

  #review(peer: Peer, announcement: Announcement): void {
    if (peer.link === undefined) return;
    const { groupId, receiver, term, leader } = announcement;
    if (receiver === 0) {
      peer.setOwnException(groupId, false);
      return;
    }
    const core = this.#receiverOf(announcement)?.core;
    const follows = core !== undefined && !core.barred && core.term === term && core.leaderId === leader;
    peer.setOwnException(groupId, !follows);
  }

  /** A replica's core started: it may be announced a leader already. */
  replicaStarted(replica: GroupReplica): void {
    for (const peer of this.#context.peers.values()) {
      const announcement = peer.leaderships.get(replica.groupId);
      if (announcement !== undefined && peer.live) this.#hold(peer, announcement);
    }
  }

  /** The peer is dead, silent or its disk stalls: what it leads needs another leader. */
  peerLost(peer: Peer): void {
    for (const announcement of peer.leaderships.values()) this.#lost(peer, announcement, 0);
  }

  /** The peer is heard of again, in the same life of the link: its list still holds. */
  peerBack(peer: Peer): void {
    for (const announcement of peer.leaderships.values()) {
      this.#hold(peer, announcement);
      this.#table.touch(announcement.groupId);
    }
  }

  /** The peer's process started anew: it leads nothing. */
  forgetList(peer: Peer): void {
    const before = peer.leaderships;
    peer.leaderships = new Map();
    for (const announcement of before.values()) this.#lost(peer, announcement, 0);
  }

  #lost(peer: Peer, announcement: Announcement, delayMs: number): void {
    const { groupId, leader, term } = announcement;
    this.#table.touch(groupId);
    const replica = this.#context.replicas.get(groupId);
    const core = replica?.core;
    if (replica === undefined || core === undefined || core.term !== term || core.leaderId !== leader) return;
    const rankMs = rankOf(this.#context, replica, peer) * this.#context.config.rankDelayMs;
    this.#context.step(replica, { kind: 'leaderLost', nowMs: this.#context.nowMs, delayMs: delayMs + rankMs });
  }
}

/**
 * Place of this replica among those that can lead after `lost`: the same on every survivor that sees the same brokers alive, another order for each (group, term), so that a
 * thousand groups find their new leaders spread over the survivors, mostly in the first attempt (DECISIONS L4).
 */
function rankOf(context: DriverContext, replica: GroupReplica, lost: Peer): number {
  const own = rankHash(replica.groupId, replica.currentTerm, replica.replicaId);
  let rank = 0;
  for (const member of allVoters(replica.membership)) {
    if (member.replicaId === replica.replicaId || member.brokerId === lost.brokerId) continue;
    if (context.peers.get(member.brokerId)?.fit !== true) continue;
    if (rankHash(replica.groupId, replica.currentTerm, member.replicaId) < own) rank++;
  }
  return rank;
}

function rankHash(groupId: number, term: number, replicaId: number): number {
  let hash = 0x811c9dc5;
  for (const value of [groupId, term, replicaId]) {
    hash = Math.imul(hash ^ (value >>> 0), 0x01000193);
    hash = Math.imul(hash ^ Math.floor(value / 2 ** 32), 0x01000193);
    hash ^= hash >>> 15;
  }
  hash = Math.imul(hash, 0x2c1b3c6d);
  return (hash ^ (hash >>> 12)) >>> 0;
}
