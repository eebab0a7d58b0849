/** Arbitrary metadata commands: names, ids and brokers come from small sets, so that commands meet each other. */
import fc from 'fast-check';
import type { MetadataCommand } from '../../src/broker/cluster/metadata-command.ts';
import { type BrokerId, brokerId, groupId, replicaId } from '../../src/std/brands.ts';

const topicIds = Array.from({ length: 8 }, (_, i) => Buffer.alloc(16, i + 1).toString('base64url'));
const arbitraryTopicId = fc.constantFrom(...topicIds);
const arbitraryBroker = fc.integer({ min: 1, max: 5 }).map(brokerId);
const brokers = fc.uniqueArray(arbitraryBroker, { minLength: 1, maxLength: 4 });
const partitions: fc.Arbitrary<BrokerId[][]> = fc.array(brokers, { minLength: 1, maxLength: 4 });
const configs = fc.uniqueArray(fc.tuple(fc.constantFrom('retention.ms', 'segment.ms', 'ä'), fc.string()), {
  selector: ([name]) => name,
});
const partitionVersion = fc.record({
  topicId: arbitraryTopicId,
  partition: fc.integer({ min: 0, max: 3 }),
  version: fc.integer({ min: 0, max: 3 }),
});

export const arbitraryRegistration: fc.Arbitrary<MetadataCommand> = fc.record({
  kind: fc.constant('registerBroker' as const),
  broker: fc.record({
    brokerId: arbitraryBroker,
    storeId: fc.constantFrom('aa', 'bb', 'cc', 'dd'),
    host: fc.constantFrom('localhost', 'broker.example'),
    port: fc.integer({ min: 1, max: 65_535 }),
    raftHost: fc.constant('localhost'),
    raftPort: fc.integer({ min: 1, max: 65_535 }),
    rack: fc.option(fc.constantFrom('rack-a', 'rack-b')),
  }),
  metadataReplicaId: fc.constantFrom(replicaId(1), replicaId(2), 0 as const),
});

export const arbitraryCommand: fc.Arbitrary<MetadataCommand> = fc.oneof(
  arbitraryRegistration,
  fc.record({
    kind: fc.constant('createTopics' as const),
    topics: fc.array(
      fc.record({
        name: fc.constantFrom('orders', 'payments', 'a.b', 'c', 'd', '__consumer_offsets'),
        topicId: arbitraryTopicId,
        isInternal: fc.boolean(),
        partitions,
        configs,
      }),
      { maxLength: 3 },
    ),
  }),
  fc.record({ kind: fc.constant('deleteTopics' as const), topicIds: fc.array(arbitraryTopicId, { maxLength: 3 }) }),
  fc.record({
    kind: fc.constant('createPartitions' as const),
    topics: fc.array(
      fc.record({ topicId: arbitraryTopicId, firstPartition: fc.integer({ min: 1, max: 4 }), partitions }),
      { maxLength: 2 },
    ),
  }),
  fc.record({
    kind: fc.constant('alterConfigs' as const),
    resources: fc.array(
      fc.oneof(
        fc.record({ resource: fc.constant('topic' as const), name: arbitraryTopicId, configs }),
        fc.record({ resource: fc.constant('broker' as const), name: fc.constantFrom('', '1'), configs }),
      ),
      { maxLength: 2 },
    ),
  }),
  fc.record({ kind: fc.constant('allocateProducerIds' as const), count: fc.integer({ min: 1, max: 1000 }) }),
  fc.record({
    kind: fc.constant('replicasRemoved' as const),
    replicaIds: fc.array(fc.integer({ min: 1000, max: 1060 }).map(replicaId), { maxLength: 5 }),
  }),
  fc.record({
    kind: fc.constant('setReplicas' as const),
    partitions: fc.array(
      fc.tuple(partitionVersion, brokers).map(([at, brokerIds]) => ({ ...at, brokerIds })),
      { maxLength: 3 },
    ),
  }),
  fc
    .record({ at: partitionVersion, replicaId: fc.integer({ min: 1, max: 50 }).map(replicaId) })
    .map(({ at, replicaId: lost }) => ({ kind: 'replaceReplica' as const, ...at, replicaId: lost })),
  fc.record({ kind: fc.constant('replicasFinal' as const), partitions: fc.array(partitionVersion, { maxLength: 3 }) }),
  fc.record({
    kind: fc.constant('buryReplicas' as const),
    replicas: fc.array(
      fc.record({
        replicaId: fc.integer({ min: 1, max: 1060 }).map(replicaId),
        groupId: fc.integer({ min: 0, max: 20 }).map(groupId),
        brokerId: fc.integer({ min: 1, max: 3 }).map(brokerId),
        storeId: fc.constantFrom('store-1', 'store-2', 'store-3'),
      }),
      { maxLength: 3 },
    ),
  }),
  fc.record({ kind: fc.constant('clusterTime' as const), timeMs: fc.integer({ min: 0, max: 2 ** 45 }) }),
  fc.record({ kind: fc.constant('featureLevel' as const), level: fc.integer({ min: 1, max: 9 }) }),
);

/** A history that begins with three brokers, so that most commands find what they need. */
export const arbitraryHistory: fc.Arbitrary<MetadataCommand[]> = fc
  .array(arbitraryCommand, { maxLength: 40 })
  .map((commands) => [
    ...[1, 2, 3].map(
      (id): MetadataCommand => ({
        kind: 'registerBroker',
        broker: {
          brokerId: brokerId(id),
          storeId: `store-${id}`,
          host: 'localhost',
          port: 9000 + id,
          raftHost: 'localhost',
          raftPort: 9100 + id,
          rack: null,
        },
        metadataReplicaId: replicaId(id),
      }),
    ),
    ...commands,
  ]);
