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
}
