import { describe, expect, test } from 'vitest';
import { FakeBroker } from '../../../test/fakes/fake-broker.ts';
import type { AnyApi } from '../../kafka-protocol/api.ts';
import { ALL_APIS } from '../../kafka-protocol/api-keys.ts';
import { ZERO_UUID } from '../../kafka-protocol/byte-reader.ts';
import { decodeRequest, decodeResponse, encodeRequest, encodeResponse } from '../../kafka-protocol/headers.ts';
import { createHandlers } from './handlers.ts';

/** What is missing in a version is left out, so that one request serves all versions. */
function onlyFieldsOf(api: AnyApi, version: number, body: Record<string, unknown>): object {
  type Fields = Record<
    string,
    { versions: { min: number; max: number }; type: { kind: string; element?: object; fields?: Fields } }
  >;
  const prune = (fields: Fields, value: Record<string, unknown>): Record<string, unknown> => {
    const entries = Object.entries(value).filter(([name]) => {
      const versions = fields[name]?.versions;
      return versions !== undefined && version >= versions.min && version <= versions.max;
    });
    return Object.fromEntries(entries.map(([name, item]) => [name, pruneValue(fields[name]!.type, item)]));
  };
  const pruneValue = (type: { kind: string; element?: object; fields?: Fields }, value: unknown): unknown => {
    if (value === null) return null;
    if (type.kind === 'struct') return prune(type.fields!, value as Record<string, unknown>);
    if (type.kind === 'array') return (value as unknown[]).map((item) => pruneValue(type.element as never, item));
    return value;
  };
  return prune((api as unknown as { request: { fields: Fields } }).request.fields, body);
}

/** The header of a batch without records. */
function emptyBatch(): Uint8Array {
  const bytes = Buffer.alloc(61);
  bytes.writeInt32BE(49, 8);
  bytes[16] = 2;
  return bytes;
}

const topicId = () => Buffer.from('t-topic-id-------'.slice(0, 16)).toString('base64url');
const listOffset = (timestamp: number) => ({ partitionIndex: 0, currentLeaderEpoch: -1, timestamp });
/** Requests that reach every kind of answer: success, refusal, what is led elsewhere. */
const REQUESTS: Record<string, Record<string, unknown>[]> = {
  Produce: [-1, 1].map((acks) => ({
    transactionalId: null,
    acks,
    timeoutMs: 100,
    topicData: ['t', 'elsewhere', 'missing'].map((name) => ({
      name,
      partitionData: [{ index: 0, records: emptyBatch() }],
    })),
  })),
  Fetch: [0, 1].map((isolationLevel) => ({
    maxWaitMs: 0,
    minBytes: 1,
    maxBytes: 100,
    isolationLevel,
    topics: ['t', 'elsewhere', 'missing'].map((topic) => ({
      topic,
      topicId:
        topic === 'missing' ? ZERO_UUID : Buffer.from(`${topic}-topic-id-------`.slice(0, 16)).toString('base64url'),
      partitions: [{ partition: 0, fetchOffset: 1 + 98 * isolationLevel, lastFetchedEpoch: 9, partitionMaxBytes: 100 }],
    })),
    forgottenTopicsData: [],
  })),
  ListOffsets: [-1, -2, -3, 15, 99].map((timestamp) => ({
    replicaId: -1,
    isolationLevel: 0,
    topics: ['t', 'elsewhere'].map((name) => ({ name, partitions: [listOffset(timestamp)] })),
  })),
  Metadata: [
    {
      topics: [{ name: 't' }, { name: 'led-nowhere' }, { name: 'no/name' }, { name: 'new' }],
      allowAutoTopicCreation: true,
    },
    { topics: [], includeTopicAuthorizedOperations: true, includeClusterAuthorizedOperations: true },
  ],
  ApiVersions: [{ clientSoftwareName: 'a', clientSoftwareVersion: '1' }],
  CreateTopics: [
    {
      topics: ['new', '..'].map((name) => ({
        name,
        numPartitions: 1,
        replicationFactor: 1,
        assignments: [],
        configs: [],
      })),
      timeoutMs: 100,
      validateOnly: false,
    },
  ],
  DeleteTopics: [
    {
      topics: [
        { name: 't', topicId: ZERO_UUID },
        { name: null, topicId: topicId() },
      ],
      topicNames: ['t'],
      timeoutMs: 1,
    },
  ],
  DeleteRecords: [
    {
      topics: [
        {
          name: 't',
          partitions: [
            { partitionIndex: 0, offset: 1 },
            { partitionIndex: 9, offset: 1 },
          ],
        },
      ],
      timeoutMs: 1,
    },
  ],
  InitProducerId: [null, 'tx'].map((transactionalId) => ({ transactionalId, transactionTimeoutMs: 1 })),
  OffsetForLeaderEpoch: [
    { topics: [{ topic: 't', partitions: [0, 9].map((partition) => ({ partition, leaderEpoch: 5 })) }] },
  ],
  DescribeConfigs: [
    {
      resources: [
        { resourceType: 2, resourceName: 't', configurationKeys: null },
        { resourceType: 4, resourceName: '1', configurationKeys: null },
        { resourceType: 4, resourceName: '', configurationKeys: null },
        { resourceType: 9, resourceName: 'x', configurationKeys: [] },
      ],
      includeSynonyms: true,
      includeDocumentation: true,
    },
  ],
  AlterConfigs: [
    {
      resources: [{ resourceType: 2, resourceName: 't', configs: [{ name: 'retention.ms', value: '1' }] }],
      validateOnly: false,
    },
  ],
  DescribeLogDirs: [{ topics: null }, { topics: [{ topic: 't', partitions: [0] }] }],
  CreatePartitions: [{ topics: [{ name: 't', count: 9, assignments: null }], timeoutMs: 1, validateOnly: false }],
  IncrementalAlterConfigs: [
    {
      resources: [{ resourceType: 2, resourceName: 't', configs: [{ name: 'x', configOperation: 0, value: null }] }],
      validateOnly: false,
    },
  ],
  DescribeCluster: [{ includeClusterAuthorizedOperations: true, endpointType: 1 }],
};

function newBroker(): FakeBroker {
  const broker = new FakeBroker();
  broker.addTopic('t', [1], { 'retention.ms': '7' });
  broker.addTopic('elsewhere', [2]);
  broker.addTopic('led-nowhere', [undefined]);
  broker.brokerConfigs.set('', new Map([['log.retention.ms', '9']]));
  broker.partition('t').append(10, 10);
  broker.partition('t').append(10, 20);
  return broker;
}

const served = new Set(
  createHandlers(newBroker().services)
    .served()
    .map(({ key }) => key),
);
const cases = ALL_APIS.filter(({ key }) => served.has(key)).flatMap((api) =>
  Array.from(
    { length: api.versions.max - api.versions.min + 1 },
    (_, step) => [api.name, api.versions.min + step, api] as const,
  ),
);

describe('every API in every version that is served', () => {
  test('has requests here', () => {
    expect(Object.keys(REQUESTS).sort()).toEqual([...new Set(cases.map(([name]) => name))].sort());
  });

  test.each(cases)('%s version %i: what is answered can be written and read', async (name, version, api) => {
    for (const body of REQUESTS[name]!) {
      const broker = newBroker();
      const header = { correlationId: 7, clientId: 'c' };
      const frame = Buffer.concat(
        encodeRequest(api, version, header, onlyFieldsOf(api, version, body) as never),
      ).subarray(4);
      const handler = createHandlers(broker.services).find(api.key, version)!;
      const pending = Promise.resolve(handler.handle(decodeRequest(api, frame).body, broker.context(version)));
      for (const log of [broker.partition('t'), broker.partition('elsewhere')]) {
        for (const { done } of log.produced) {
          const errorCode = log.isLeader ? 0 : 6;
          done({ errorCode, baseOffset: 3, logAppendTimeMs: 5, logStartOffset: 1, errorMessage: 'text' });
        }
      }
      await broker.time.runFor(1_000);
      const response = Buffer.concat(encodeResponse(api, version, 7, (await pending) as never)).subarray(4);
      expect(decodeResponse(api, version, response).correlationId).toBe(7);
    }
  });
});
