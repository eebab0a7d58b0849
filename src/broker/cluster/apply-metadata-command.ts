/**
 * What each metadata command does to the state: a pure function, equal on every broker (DECISIONS P1).
 *
 * The leader validates before it proposes, against a state that has everything it proposed before. Apply checks again what the state's own consistency rests on (a name or topic id
 * taken once, brokers that exist, versions that were not overtaken) and refuses the item, because an earlier leader's command may still have come in between.
 */
import { assert, unreachable } from '../../std/assert.ts';
import { type BrokerId, groupId, METADATA_GROUP_ID, type ReplicaId, replicaId } from '../../std/brands.ts';
import type { ConfigEntries, MetadataCommand, PartitionBrokers } from './metadata-command.ts';
import type { PartitionPlacement, ReplicaPlacement, Tombstone, TopicImage } from './metadata-image.ts';
import { DELETED_TOPICS_MAX, type MetadataState } from './metadata-state.ts';

/** done: the item took effect. Everything else changed nothing. */
export type ItemOutcome = 'done' | 'topicExists' | 'unknownTopic' | 'unknownBroker' | 'conflict';

export type ApplyResult =
  /** One per item of the command, in its order. */
  | { readonly kind: 'items'; readonly outcomes: readonly ItemOutcome[] }
  | { readonly kind: 'registered'; readonly metadataReplicaId: ReplicaId }
  /** The store was replaced by another one before (DECISIONS I1). */
  | { readonly kind: 'storeRetired' }
  /** first … first + count − 1 were never given before. */
  | { readonly kind: 'producerIds'; readonly first: number; readonly count: number };

export interface Applied {
  readonly state: MetadataState;
  readonly result: ApplyResult;
}

const DONE: ApplyResult = { kind: 'items', outcomes: ['done'] };

/** State without the new applied index; the caller sets it. */
export function applyMetadataCommand(state: MetadataState, command: MetadataCommand): Applied {
  switch (command.kind) {
    case 'registerBroker':
      return registerBroker(state, command);
    case 'createTopics':
      return createTopics(state, command.topics);
    case 'deleteTopics':
      return deleteTopics(state, command.topicIds);
    case 'createPartitions':
      return createPartitions(state, command.topics);
    case 'alterConfigs':
      return alterConfigs(state, command.resources);
    case 'allocateProducerIds': {
      const first = state.nextProducerId;
      return {
        state: state.with({ nextProducerId: first + command.count }),
        result: { kind: 'producerIds', first, count: command.count },
      };
    }
    case 'replicasRemoved':
      return {
        state: state.with({ tombstones: state.tombstones.withChanges([], command.replicaIds) }),
        result: { kind: 'items', outcomes: command.replicaIds.map(() => 'done') },
      };
    case 'setReplicas':
      return setReplicas(state, command.partitions);
    case 'replicasFinal':
      return replicasFinal(state, command.partitions);
    case 'replaceReplica':
      return replaceReplica(state, command);
    case 'buryReplicas':
      return buryReplicas(state, command.replicas);
    case 'clusterTime':
      // Never backward: what was deleted by time was deleted for good.
      return { state: state.with({ clusterTimeMs: Math.max(state.clusterTimeMs ?? 0, command.timeMs) }), result: DONE };
    case 'featureLevel':
      return { state: state.with({ featureLevel: Math.max(state.featureLevel, command.level) }), result: DONE };
    default:
      return unreachable(command, 'metadata command');
  }
}

function registerBroker(
  state: MetadataState,
  { broker, metadataReplicaId }: Extract<MetadataCommand, { kind: 'registerBroker' }>,
): Applied {
  if (state.retiredStores.has(broker.storeId)) return { state, result: { kind: 'storeRetired' } };
  const known = state.brokers.get(broker.brokerId);
  let nextReplicaId = state.nextReplicaId;
  let ownReplicaId: ReplicaId;
  if (known?.storeId === broker.storeId) ownReplicaId = known.metadataReplicaId;
  else ownReplicaId = metadataReplicaId === 0 ? replicaId(nextReplicaId++) : metadataReplicaId;
  const brokers = new Map(state.brokers).set(broker.brokerId, { ...broker, metadataReplicaId: ownReplicaId });
  let next = state.with({ brokers, nextReplicaId });
  if (known !== undefined && known.storeId !== broker.storeId) {
    next = replaceStore(next, broker.brokerId, known.storeId, broker.storeId);
  }
  return { state: next, result: { kind: 'registered', metadataReplicaId: ownReplicaId } };
}

/** Every replica on the lost store gets a successor on the new one, as a target; who votes stays with the groups (DECISIONS C3). */
function replaceStore(state: MetadataState, broker: BrokerId, oldStoreId: string, newStoreId: string): MetadataState {
  let nextReplicaId = state.nextReplicaId;
  const changed: [string, TopicImage][] = [];
  // Sorted: replica ids are given out in this order, which must be the same on all brokers.
  for (const name of [...state.topics.keys()].sort()) {
    const topic = state.topics.get(name) as TopicImage;
    let isChanged = false;
    const partitions = topic.partitions.map((partition) => {
      const lost = partition.replicas.find((replica) => replica.brokerId === broker && replica.storeId === oldStoreId);
      if (lost === undefined) return partition;
      isChanged = true;
      const successor: ReplicaPlacement = {
        replicaId: replicaId(nextReplicaId++),
        brokerId: broker,
        storeId: newStoreId,
      };
      return {
        ...partition,
        replicas: partition.replicas.map((replica) => (replica === lost ? successor : replica)),
        removing: [...partition.removing, lost],
        version: partition.version + 1,
      };
    });
    if (isChanged) changed.push([name, { ...topic, partitions }]);
  }
  // Nobody is left who could acknowledge the removal of what the old store held.
  const orphaned = [...state.tombstones.values()].filter((tombstone) => tombstone.storeId === oldStoreId);
  return state.with({
    nextReplicaId,
    topics: state.topics.withChanges(changed),
    retiredStores: new Set(state.retiredStores).add(oldStoreId),
    tombstones: state.tombstones.withChanges(
      [],
      orphaned.map((tombstone) => tombstone.replicaId),
    ),
  });
}

/** Placements of new partitions; undefined if a broker is not registered. */
function place(
  state: MetadataState,
  firstPartition: number,
  partitions: PartitionBrokers,
): { placements: PartitionPlacement[]; nextGroupId: number; nextReplicaId: number } | undefined {
  let { nextGroupId, nextReplicaId } = state;
  const placements: PartitionPlacement[] = [];
  for (const [index, brokers] of partitions.entries()) {
    const replicas: ReplicaPlacement[] = [];
    for (const id of brokers) {
      const broker = state.brokers.get(id);
      if (broker === undefined) return undefined;
      replicas.push({ replicaId: replicaId(nextReplicaId++), brokerId: id, storeId: broker.storeId });
    }
    assert(replicas.length > 0, 'A partition is placed on no broker');
    assert(new Set(brokers).size === brokers.length, 'A partition is placed twice on one broker');
    placements.push({
      partition: firstPartition + index,
      groupId: groupId(nextGroupId++),
      replicas,
      version: 0,
      removing: [],
    });
  }
  return { placements, nextGroupId, nextReplicaId };
}

function createTopics(
  state: MetadataState,
  topics: Extract<MetadataCommand, { kind: 'createTopics' }>['topics'],
): Applied {
  const outcomes: ItemOutcome[] = [];
  const created = new Map<string, TopicImage>();
  const ids = new Map<string, string>();
  let counters = state;
  const deleted = new Set(state.deletedTopicIds);
  for (const topic of topics) {
    if (state.topics.has(topic.name) || created.has(topic.name)) {
      outcomes.push('topicExists');
      continue;
    }
    if (state.topicNames.has(topic.topicId) || ids.has(topic.topicId) || deleted.has(topic.topicId)) {
      outcomes.push('conflict');
      continue;
    }
    const placed = place(counters, 0, topic.partitions);
    if (placed === undefined) {
      outcomes.push('unknownBroker');
      continue;
    }
    counters = counters.with({ nextGroupId: placed.nextGroupId, nextReplicaId: placed.nextReplicaId });
    created.set(topic.name, {
      name: topic.name,
      topicId: topic.topicId,
      isInternal: topic.isInternal,
      partitions: placed.placements,
      configs: sortedConfigs(topic.configs),
    });
    ids.set(topic.topicId, topic.name);
    outcomes.push('done');
  }
  return {
    state: counters.with({ topics: state.topics.withChanges(created), topicNames: state.topicNames.withChanges(ids) }),
    result: { kind: 'items', outcomes },
  };
}

function deleteTopics(state: MetadataState, topicIds: readonly string[]): Applied {
  const names = new Map<string, string>();
  const buried: Tombstone[] = [];
  const outcomes = topicIds.map((topicId): ItemOutcome => {
    const topic = state.topicById(topicId);
    if (topic === undefined || names.has(topicId)) return 'unknownTopic';
    names.set(topicId, topic.name);
    for (const partition of topic.partitions) {
      buried.push(...tombstonesOf(state, partition, [...partition.replicas, ...partition.removing]));
    }
    return 'done';
  });
  return {
    state: state.with({
      topics: state.topics.withChanges([], names.values()),
      topicNames: state.topicNames.withChanges([], names.keys()),
      deletedTopicIds: [...state.deletedTopicIds, ...names.keys()].slice(-DELETED_TOPICS_MAX),
      tombstones: bury(state, buried),
    }),
    result: { kind: 'items', outcomes },
  };
}

function createPartitions(
  state: MetadataState,
  topics: Extract<MetadataCommand, { kind: 'createPartitions' }>['topics'],
): Applied {
  let next = state;
  const outcomes = topics.map(({ topicId, firstPartition, partitions }): ItemOutcome => {
    const topic = next.topicById(topicId);
    if (topic === undefined) return 'unknownTopic';
    if (topic.partitions.length !== firstPartition) return 'conflict';
    const placed = place(next, firstPartition, partitions);
    if (placed === undefined) return 'unknownBroker';
    next = withTopic(next, { ...topic, partitions: [...topic.partitions, ...placed.placements] }).with({
      nextGroupId: placed.nextGroupId,
      nextReplicaId: placed.nextReplicaId,
    });
    return 'done';
  });
  return { state: next, result: { kind: 'items', outcomes } };
}

function alterConfigs(
  state: MetadataState,
  resources: Extract<MetadataCommand, { kind: 'alterConfigs' }>['resources'],
): Applied {
  let next = state;
  const outcomes = resources.map(({ resource, name, configs }): ItemOutcome => {
    if (resource === 'topic') {
      const topic = next.topicById(name);
      if (topic === undefined) return 'unknownTopic';
      next = withTopic(next, { ...topic, configs: sortedConfigs(configs) });
      return 'done';
    }
    const brokerConfigs = new Map(next.brokerConfigs);
    if (configs.length === 0) brokerConfigs.delete(name);
    else brokerConfigs.set(name, sortedConfigs(configs));
    next = next.with({ brokerConfigs });
    return 'done';
  });
  return { state: next, result: { kind: 'items', outcomes } };
}

function setReplicas(
  state: MetadataState,
  partitions: Extract<MetadataCommand, { kind: 'setReplicas' }>['partitions'],
): Applied {
  let next = state;
  const outcomes = partitions.map(({ topicId, partition, version, brokerIds }): ItemOutcome => {
    const topic = next.topicById(topicId);
    const placement = topic?.partitions[partition];
    if (topic === undefined || placement === undefined) return 'unknownTopic';
    if (placement.version !== version) return 'conflict';
    let nextReplicaId = next.nextReplicaId;
    // A replica that was on its way out still exists: it keeps its id when its broker is asked for again.
    const existing = [...placement.replicas, ...placement.removing];
    const replicas: ReplicaPlacement[] = [];
    for (const id of brokerIds) {
      const storeId = next.brokers.get(id)?.storeId;
      if (storeId === undefined) return 'unknownBroker';
      const kept = existing.find((replica) => replica.brokerId === id && replica.storeId === storeId);
      replicas.push(kept ?? { replicaId: replicaId(nextReplicaId++), brokerId: id, storeId });
    }
    assert(
      replicas.length > 0 && new Set(brokerIds).size === brokerIds.length,
      'A target names no broker, or one twice',
    );
    const removing = existing.filter((replica) => !replicas.includes(replica));
    const changed = { ...placement, replicas, removing, version: version + 1 };
    next = withTopic(next, { ...topic, partitions: topic.partitions.with(partition, changed) }).with({ nextReplicaId });
    return 'done';
  });
  return { state: next, result: { kind: 'items', outcomes } };
}

function replicasFinal(
  state: MetadataState,
  partitions: Extract<MetadataCommand, { kind: 'replicasFinal' }>['partitions'],
): Applied {
  let next = state;
  const outcomes = partitions.map(({ topicId, partition, version }): ItemOutcome => {
    const topic = next.topicById(topicId);
    const placement = topic?.partitions[partition];
    if (topic === undefined || placement === undefined) return 'unknownTopic';
    // A newer target may have taken a removed replica back.
    if (placement.version !== version) return 'conflict';
    const tombstones = bury(next, tombstonesOf(next, placement, placement.removing));
    const changed = { ...placement, removing: [] };
    next = withTopic(next, { ...topic, partitions: topic.partitions.with(partition, changed) }).with({ tombstones });
    return 'done';
  });
  return { state: next, result: { kind: 'items', outcomes } };
}

/** The successor is a target like any other; the lost one takes no part in its group, so that its files need not wait for a new configuration. */
function replaceReplica(
  state: MetadataState,
  { topicId, partition, version, replicaId: lostId }: Extract<MetadataCommand, { kind: 'replaceReplica' }>,
): Applied {
  const refused = (outcome: ItemOutcome): Applied => ({ state, result: { kind: 'items', outcomes: [outcome] } });
  const topic = state.topicById(topicId);
  const placement = topic?.partitions[partition];
  if (topic === undefined || placement === undefined) return refused('unknownTopic');
  const lost = placement.replicas.find((replica) => replica.replicaId === lostId);
  if (placement.version !== version || lost === undefined) return refused('conflict');
  // With another store of that broker it was replaced by then.
  if (state.brokers.get(lost.brokerId)?.storeId !== lost.storeId) return refused('unknownBroker');
  const successor: ReplicaPlacement = { ...lost, replicaId: replicaId(state.nextReplicaId) };
  const replicas = placement.replicas.map((replica) => (replica === lost ? successor : replica));
  const changed = { ...placement, replicas, version: version + 1 };
  const next = withTopic(state, { ...topic, partitions: topic.partitions.with(partition, changed) });
  return {
    state: next.with({
      nextReplicaId: state.nextReplicaId + 1,
      tombstones: bury(next, tombstonesOf(next, placement, [lost])),
    }),
    result: DONE,
  };
}

/** A replica id means one replica for ever, so one that was given out and is placed nowhere has been removed: whoever has it still did not hear, or forgot. */
function buryReplicas(state: MetadataState, replicas: readonly Tombstone[]): Applied {
  const placed = new Set<ReplicaId>();
  for (const { metadataReplicaId } of state.brokers.values()) placed.add(metadataReplicaId);
  for (const { partitions } of state.topics.values()) {
    for (const placement of partitions) {
      for (const replica of [...placement.replicas, ...placement.removing]) placed.add(replica.replicaId);
    }
  }
  const buried: Tombstone[] = [];
  const outcomes = replicas.map((replica): ItemOutcome => {
    if (state.brokers.get(replica.brokerId)?.storeId !== replica.storeId) return 'unknownBroker';
    if (replica.groupId === METADATA_GROUP_ID || replica.replicaId >= state.nextReplicaId) return 'conflict';
    if (placed.has(replica.replicaId)) return 'conflict';
    buried.push(replica);
    return 'done';
  });
  return { state: state.with({ tombstones: bury(state, buried) }), result: { kind: 'items', outcomes } };
}

function tombstonesOf(
  state: MetadataState,
  partition: PartitionPlacement,
  replicas: readonly ReplicaPlacement[],
): Tombstone[] {
  return replicas
    .filter((replica) => !state.retiredStores.has(replica.storeId))
    .map((replica) => ({ ...replica, groupId: partition.groupId }));
}

function bury(state: MetadataState, tombstones: readonly Tombstone[]): MetadataState['tombstones'] {
  return state.tombstones.withChanges(tombstones.map((tombstone) => [tombstone.replicaId, tombstone]));
}

function withTopic(state: MetadataState, topic: TopicImage): MetadataState {
  return state.with({ topics: state.topics.withChanges([[topic.name, topic]]) });
}

function sortedConfigs(configs: ConfigEntries): ReadonlyMap<string, string> {
  return new Map([...configs].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)));
}
