/**
 * Applied cluster metadata, as every broker has it: brokers, topics, placements, configs. Read-only; changed only by the metadata group's state machine (metadata-state-machine.ts).
 * Who leads is not in here: leaders announce that directly (DECISIONS C2), see RaftGroups.leaderOf.
 */
import type { BrokerId, GroupId, ReplicaId } from '../../std/brands.ts';

export interface BrokerRegistration {
  readonly brokerId: BrokerId;
  readonly storeId: string;
  /** Kafka endpoint as advertised. */
  readonly host: string;
  readonly port: number;
  readonly raftHost: string;
  readonly raftPort: number;
  readonly rack: string | null;
  /** This store's replica of the metadata group; given at registration, like every replica id never reused (DECISIONS I3). */
  readonly metadataReplicaId: ReplicaId;
}

export interface ReplicaPlacement {
  readonly replicaId: ReplicaId;
  readonly brokerId: BrokerId;
  readonly storeId: string;
}

export interface PartitionPlacement {
  readonly partition: number;
  readonly groupId: GroupId;
  /** Target of the group's membership, preferred leader first (DECISIONS C3); the version grows with each change. */
  readonly replicas: readonly ReplicaPlacement[];
  readonly version: number;
  /** Replicas of earlier targets that still exist: they may vote until the group's leader reported the final configuration (DECISIONS C3). Usually empty. */
  readonly removing: readonly ReplicaPlacement[];
}

/** A replica that is no longer part of anything, but whose store has not confirmed yet that its data is gone (DECISIONS I3). */
export interface Tombstone {
  readonly replicaId: ReplicaId;
  readonly groupId: GroupId;
  readonly brokerId: BrokerId;
  readonly storeId: string;
}

export interface TopicImage {
  readonly name: string;
  /** Kafka's base64url form; never reused. */
  readonly topicId: string;
  readonly isInternal: boolean;
  readonly partitions: readonly PartitionPlacement[];
  /** Only what was set on the topic; effective values come from TopicConfig (broker/config/topic-config.ts). */
  readonly configs: ReadonlyMap<string, string>;
}

export interface MetadataImage {
  readonly clusterId: string;
  /** Index of the last metadata entry in this image. */
  readonly appliedIndex: number;
  readonly brokers: ReadonlyMap<BrokerId, BrokerRegistration>;
  readonly topics: ReadonlyMap<string, TopicImage>;
  topicById(topicId: string): TopicImage | undefined;
  /** Dynamic broker configs: '' = cluster default, else by broker id (as text). */
  readonly brokerConfigs: ReadonlyMap<string, ReadonlyMap<string, string>>;
  /** Committed feature level of the cluster (DECISIONS I4). */
  readonly featureLevel: number;
  /** Cluster time in milliseconds since 1970 as last committed, undefined before the first agreement (DECISIONS P4). */
  readonly clusterTimeMs: number | undefined;
  /** Replicas to be deleted; the only licence to delete data. */
  readonly tombstones: ReadonlyMap<ReplicaId, Tombstone>;
}
