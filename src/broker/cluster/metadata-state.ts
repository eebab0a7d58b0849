/**
 * The whole applied state of the metadata group: the image that everybody sees, and the counters that give out identities. Immutable: a change makes a new object that shares
 * what did not change, so an image once handed out stays as it is and a checkpoint is written from it while apply goes on.
 */
import type { BrokerId, ReplicaId } from '../../std/brands.ts';
import type { BrokerRegistration, MetadataImage, Tombstone, TopicImage } from './metadata-image.ts';
import { PersistentMap } from './persistent-map.ts';

/** Replica ids below belong to the initial voters of the metadata group, which exist before anybody can give out ids: 1 … n in the order of their broker ids. */
export const FIRST_REPLICA_ID = 1000;
/** Group 0 is the metadata group. */
export const FIRST_GROUP_ID = 1;
/** More deletions than can happen while one creation is being repeated. */
export const DELETED_TOPICS_MAX = 1024;
/** What a new cluster may use (DECISIONS I4). */
export const INITIAL_FEATURE_LEVEL = 1;

interface StateFields {
  readonly clusterId: string;
  readonly appliedIndex: number;
  readonly appliedTerm: number;
  readonly brokers: ReadonlyMap<BrokerId, BrokerRegistration>;
  readonly topics: PersistentMap<string, TopicImage>;
  readonly topicNames: PersistentMap<string, string>;
  readonly deletedTopicIds: readonly string[];
  readonly brokerConfigs: ReadonlyMap<string, ReadonlyMap<string, string>>;
  readonly featureLevel: number;
  readonly clusterTimeMs: number | undefined;
  readonly tombstones: PersistentMap<ReplicaId, Tombstone>;
  readonly retiredStores: ReadonlySet<string>;
  readonly nextGroupId: number;
  readonly nextReplicaId: number;
  readonly nextProducerId: number;
}

export class MetadataState implements MetadataImage {
  readonly clusterId: string;
  readonly appliedIndex: number;
  readonly appliedTerm: number;
  readonly brokers: ReadonlyMap<BrokerId, BrokerRegistration>;
  readonly topics: PersistentMap<string, TopicImage>;
  /** Topic id → name. */
  readonly topicNames: PersistentMap<string, string>;
  /** The last topics deleted, oldest first: whoever repeats a creation whose outcome got lost must not bring such a topic back. At most {@link DELETED_TOPICS_MAX}. */
  readonly deletedTopicIds: readonly string[];
  readonly brokerConfigs: ReadonlyMap<string, ReadonlyMap<string, string>>;
  readonly featureLevel: number;
  readonly clusterTimeMs: number | undefined;
  readonly tombstones: PersistentMap<ReplicaId, Tombstone>;
  /** Stores that were replaced by another one under the same broker id: they never count again (DECISIONS I1), so nothing waits for them either. */
  readonly retiredStores: ReadonlySet<string>;
  /** Next identities to give out; they only grow. */
  readonly nextGroupId: number;
  readonly nextReplicaId: number;
  readonly nextProducerId: number;

  constructor(fields: StateFields) {
    this.clusterId = fields.clusterId;
    this.appliedIndex = fields.appliedIndex;
    this.appliedTerm = fields.appliedTerm;
    this.brokers = fields.brokers;
    this.topics = fields.topics;
    this.topicNames = fields.topicNames;
    this.deletedTopicIds = fields.deletedTopicIds;
    this.brokerConfigs = fields.brokerConfigs;
    this.featureLevel = fields.featureLevel;
    this.clusterTimeMs = fields.clusterTimeMs;
    this.tombstones = fields.tombstones;
    this.retiredStores = fields.retiredStores;
    this.nextGroupId = fields.nextGroupId;
    this.nextReplicaId = fields.nextReplicaId;
    this.nextProducerId = fields.nextProducerId;
  }

  /** The state before the first entry. */
  static initial(clusterId: string): MetadataState {
    return new MetadataState({
      clusterId,
      appliedIndex: 0,
      appliedTerm: 0,
      brokers: new Map(),
      topics: PersistentMap.empty(),
      topicNames: PersistentMap.empty(),
      deletedTopicIds: [],
      brokerConfigs: new Map(),
      featureLevel: INITIAL_FEATURE_LEVEL,
      clusterTimeMs: undefined,
      tombstones: PersistentMap.empty(),
      retiredStores: new Set(),
      nextGroupId: FIRST_GROUP_ID,
      nextReplicaId: FIRST_REPLICA_ID,
      nextProducerId: 0,
    });
  }

  topicById(topicId: string): TopicImage | undefined {
    const name = this.topicNames.get(topicId);
    return name === undefined ? undefined : this.topics.get(name);
  }

  with(changes: Partial<StateFields>): MetadataState {
    return new MetadataState({ ...this, ...changes });
  }
}
