/**
 * What the parts of the driver share. There is one per broker; raft-driver.ts makes it and is the only one that runs passes.
 */
import type { BrokerId, GroupId, Lsn, ReplicaId } from '../std/brands.ts';
import type { Clock } from '../std/environment.ts';
import type { Log } from '../std/log.ts';
import type { ReplicaStorage } from '../wal/replica-storage.ts';
import type { Effects, RaftEvent } from './core/types.ts';
import type { DeadlineHeap } from './deadline-heap.ts';
import type { GroupReplica } from './group-replica.ts';
import type { Peer } from './peer.ts';
import type { PeerItem } from './peer-codec.ts';
import type { RaftDriverConfig } from './raft-driver-config.ts';
import type { RaftDriverMetrics } from './raft-driver-metrics.ts';
import type { Channel, Transport } from './transport.ts';

export interface DriverContext {
  readonly brokerId: BrokerId;
  /** Hex. */
  readonly storeId: string;
  readonly config: RaftDriverConfig;
  readonly clock: Clock;
  readonly storage: ReplicaStorage;
  readonly transport: Transport;
  readonly metrics: RaftDriverMetrics;
  readonly log: Log;
  readonly deadlines: DeadlineHeap;
  readonly peers: ReadonlyMap<BrokerId, Peer>;
  readonly replicas: ReadonlyMap<GroupId, GroupReplica>;
  readonly replicasById: ReadonlyMap<ReplicaId, GroupReplica>;
  /** Driver time (DECISIONS L2). */
  readonly nowMs: number;
  /** The broker refuses proposals because its disk is nearly full (DECISIONS W10). */
  readonly diskFull: boolean;
  /** Bytes proposed here and not yet applied, over all groups. */
  proposedBytes: number;
  /** Bytes received from leaders and not yet flushed, over all groups. */
  readonly receivedBytes: number;

  /** How full the WAL is: un-checkpointed entries as a share of its limit, or how far it has grown beyond it. */
  readonly walShare: number;

  /** Whether proposals of so many bytes fit what this broker may have under way, and its WAL. */
  hasRoomFor(bytes: number): boolean;
  /** Calls back once, in a pass in which there is room for proposals. */
  whenRoom(callback: () => void): void;
  /** A pass runs once all pending input was read. */
  schedule(): void;
  /** Runs `task` in the next pass: for everything that comes from outside a pass. Cores are stepped in passes only. */
  enqueue(task: () => void): void;
  /** Steps a core and does what its effects say. Within a pass. */
  step(replica: GroupReplica, event: RaftEvent): Effects;
  /** Whether this replica follows its announced leader may have changed without a step saying so. Within a pass. */
  reviewFollowing(replica: GroupReplica): void;
  /** Adds a linearizable read to the next confirmation round. Within a pass. */
  requestRead(replica: GroupReplica, requestId: number): void;
  /** Runs `done` once everything up to `lsn` is flushed, in a pass. */
  afterFlush(lsn: Lsn, done: () => void): void;
  /** Adds to this pass's control message for a peer. Dropped if its link is down. */
  sendControl(peer: Peer, item: PeerItem): void;
  /** Sends a message of its own; false if there is no room, see Transport.send. */
  sendItem(peer: Peer, channel: Channel, item: PeerItem): boolean;
  /** Ends a link whose bytes are not to be believed, or that takes none. */
  resetLink(peer: Peer, reason: string): void;
  /** Something broke that no replica survives: the broker stops. */
  fail(error: unknown): void;
}
