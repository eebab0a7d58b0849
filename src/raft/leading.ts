/**
 * The leading end of liveness (DECISIONS L1, L5, L7, C2): announces what this broker leads, counts who follows, starts confirmation rounds for reads, and keeps the in-sync
 * replicas that are announced up to date. Costs nothing for a group in which nothing happens.
 */
import type { BrokerId, GroupId, ReplicaId } from '../std/brands.ts';
import type { DriverContext } from './driver-context.ts';
import type { GroupReplica } from './group-replica.ts';
import { isMember } from './group-replica.ts';
import { hasLaggards, inSyncBrokers } from './in-sync.ts';
import type { LeaderTable } from './leader-table.ts';
import type { Leadership, LeadershipList } from './leadership-list.ts';
import type { Peer } from './peer.ts';
import type { HeartbeatAck } from './peer-codec.ts';

export class Leading {
  readonly #context: DriverContext;
  readonly #list: LeadershipList;
  readonly #table: LeaderTable;
  /** Groups whose announcement may have to change. */
  readonly #due = new Set<GroupReplica>();
  /** Groups with a follower that is not at the end of the log. */
  readonly #watched = new Set<GroupReplica>();
  /** Sequence number at which the term led now was first announced. */
  readonly #since = new Map<GroupId, number>();
  /** Groups with reads that wait for a confirmation. */
  readonly #readers = new Set<GroupReplica>();
  #round = 0;
  #roundWanted = false;

  constructor(context: DriverContext, list: LeadershipList, table: LeaderTable) {
    this.#context = context;
    this.#list = list;
    this.#table = table;
  }

  get round(): number {
    return this.#round;
  }

  /** Leadership, readiness or membership of a replica changed. */
  changed(replica: GroupReplica): void {
    this.#due.add(replica);
    if (replica.role === 'leader') this.#watched.add(replica);
  }

  /** A leader appended: its followers are behind for a moment. */
  appended(replica: GroupReplica): void {
    this.#watched.add(replica);
  }

  /** Looks again at groups that time alone can change. */
  review(): void {
    for (const replica of this.#watched) {
      this.#due.add(replica);
      if (!hasLaggards(replica)) this.#watched.delete(replica);
    }
    const { peers } = this.#context;
    let sent = this.#list.sequence;
    for (const peer of peers.values()) if (peer.fullSent && peer.sentSequence < sent) sent = peer.sentSequence;
    this.#list.trim(sent);
  }

  /** Brings the list up to date; then a round begins if reads wait for one. Before heartbeats are written. */
  flush(): void {
    for (const replica of this.#due) this.#announce(replica);
    this.#due.clear();
    if (!this.#roundWanted) return;
    this.#roundWanted = false;
    this.#round++;
    this.#context.metrics.readRounds++;
    for (const peer of this.#context.peers.values()) peer.heartbeatDue = true;
  }

  #announce(replica: GroupReplica): void {
    const { groupId } = replica;
    if (replica.role !== 'leader' || replica.removed) {
      if (this.#list.get(groupId)?.leader !== replica.replicaId) return;
      this.#list.withdraw(groupId);
      this.#forgetTerm(groupId);
      this.#since.delete(groupId);
    } else {
      const listed = this.#list.get(groupId);
      const leadership: Leadership = {
        groupId,
        term: replica.currentTerm,
        ready: replica.isReady,
        leader: replica.replicaId,
        inSync: inSyncBrokers(this.#context, replica),
        members: replica.members,
      };
      if (listed !== undefined && isSameLeadership(listed, leadership)) return;
      this.#list.announce(leadership);
      if (listed?.term !== leadership.term) {
        this.#since.set(groupId, this.#list.sequence);
        this.#forgetTerm(groupId);
      }
    }
    this.#table.touch(groupId);
    for (const peer of this.#context.peers.values()) peer.heartbeatDue = true;
  }

  /** What followers said belongs to a term that is over. */
  #forgetTerm(groupId: GroupId): void {
    for (const peer of this.#context.peers.values()) peer.exceptions.delete(groupId);
  }

  acknowledged(peer: Peer, ack: HeartbeatAck): void {
    peer.acknowledgedSequence = ack.sequence;
    for (const groupId of ack.exceptionsRemoved) {
      if (!peer.exceptions.delete(groupId)) continue;
      const replica = this.#ledBy(groupId);
      const follower = replica?.members.get(peer.brokerId);
      if (replica === undefined || follower === undefined) continue;
      this.#due.add(replica);
      this.#context.step(replica, { kind: 'peerReset', nowMs: this.#context.nowMs, replica: follower });
    }
    for (const groupId of ack.exceptionsAdded) {
      const since = this.#since.get(groupId);
      // Said before the term that is led now was announced: about an earlier one.
      if (since === undefined || ack.sequence < since) continue;
      peer.exceptions.add(groupId);
      const replica = this.#ledBy(groupId);
      if (replica !== undefined) this.#checkQuorum(replica);
    }
    if (this.#readers.size > 0) this.#confirmReads(peer, ack);
  }

  /** The acknowledgement speaks for every group whose term it knows and that it does not except. */
  #confirmReads(peer: Peer, ack: HeartbeatAck): void {
    for (const replica of this.#readers) {
      if (!replica.hasReads) {
        this.#readers.delete(replica);
        continue;
      }
      const { groupId } = replica;
      const since = this.#since.get(groupId);
      const listed = this.#list.get(groupId);
      if (since === undefined || listed === undefined || ack.sequence < since || peer.exceptions.has(groupId)) continue;
      const follower = listed.members.get(peer.brokerId);
      if (follower === undefined) continue;
      this.#context.step(replica, {
        kind: 'readConfirmed',
        nowMs: this.#context.nowMs,
        replica: follower,
        term: listed.term,
        round: ack.round,
      });
    }
  }

  /** A read joins the next round, which starts at the end of this pass. */
  requestRead(replica: GroupReplica, requestId: number): void {
    this.#readers.add(replica);
    this.#roundWanted = true;
    const round = this.#round + 1;
    this.#context.step(replica, { kind: 'read', nowMs: this.#context.nowMs, requestId, round });
  }

  /** The broker of some followers does not count any more, or counts again. */
  peerChanged(peer: Peer): void {
    for (const replica of this.#context.replicas.values()) {
      if (replica.role !== 'leader' || !isMember(replica.membership, peer.brokerId)) continue;
      this.#due.add(replica);
      if (!peer.fit) this.#checkQuorum(replica);
    }
  }

  /** A new life of a link began: what was under way to its followers is lost. */
  linkUp(peer: Peer): void {
    for (const replica of this.#context.replicas.values()) {
      if (replica.role !== 'leader') continue;
      const follower = replica.members.get(peer.brokerId);
      if (follower === undefined) continue;
      this.#context.step(replica, { kind: 'peerReset', nowMs: this.#context.nowMs, replica: follower });
    }
  }

  /** Our disk stalls: others lead better (DECISIONS W11). */
  resignAll(): void {
    for (const replica of this.#context.replicas.values()) {
      if (replica.role === 'leader') this.#context.step(replica, { kind: 'resign', nowMs: this.#context.nowMs });
    }
  }

  #checkQuorum(replica: GroupReplica): void {
    const active: ReadonlySet<ReplicaId> = replica.activeReplicas();
    this.#due.add(replica);
    this.#context.step(replica, { kind: 'quorumCheck', nowMs: this.#context.nowMs, active });
  }

  #ledBy(groupId: GroupId): GroupReplica | undefined {
    const replica = this.#context.replicas.get(groupId);
    return replica?.role === 'leader' ? replica : undefined;
  }
}

function isSameLeadership(some: Leadership, other: Leadership): boolean {
  return (
    some.term === other.term &&
    some.ready === other.ready &&
    some.leader === other.leader &&
    isSameList(some.inSync, other.inSync) &&
    some.members.size === other.members.size &&
    [...some.members].every(([brokerId, replicaId]) => other.members.get(brokerId) === replicaId)
  );
}

function isSameList(some: readonly BrokerId[], other: readonly BrokerId[]): boolean {
  return some.length === other.length && some.every((brokerId, at) => brokerId === other[at]);
}
