import { beforeEach, describe, expect, test } from 'vitest';
import { FakeBroker } from '../../../test/fakes/fake-broker.ts';
import { ZERO_UUID } from '../../kafka-protocol/byte-reader.ts';
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import type { RequestContext } from '../network/dispatch.ts';
import { createHandlers } from './handlers.ts';

let broker: FakeBroker;
beforeEach(() => {
  broker = new FakeBroker();
});

/** Sends a decoded request through the table; the shape of answers is the schema's, which the compiler checks in the handlers. */
// biome-ignore lint/suspicious/noExplicitAny: answers of all APIs go through one function here
async function ask(apiKey: number, apiVersion: number, request: object, context?: RequestContext): Promise<any> {
  const handler = createHandlers(broker.services).find(apiKey, apiVersion);
  expect(handler, `API ${apiKey} version ${apiVersion}`).toBeDefined();
  return handler!.handle(request, context ?? broker.context(apiVersion));
}

describe('ApiVersions', () => {
  test('names what has a handler, and Produce from 0 on', async () => {
    const { apiKeys } = await ask(18, 0, {});
    expect(apiKeys.map(({ apiKey }: { apiKey: number }) => apiKey)).toEqual([
      0, 1, 2, 3, 18, 19, 20, 21, 22, 23, 32, 33, 35, 37, 44, 60,
    ]);
    expect(apiKeys[0]).toEqual({ apiKey: 0, minVersion: 0, maxVersion: 11 });
    expect(createHandlers(broker.services).find(0, 2)).toBeUndefined();
  });

  test.each([
    ['kafka-js', '2.2', ErrorCode.NONE],
    ['', '', ErrorCode.INVALID_REQUEST],
    ['-a', '1', ErrorCode.INVALID_REQUEST],
    ['a b', '1', ErrorCode.INVALID_REQUEST],
  ])('judges the software name %j %j', async (clientSoftwareName, clientSoftwareVersion, errorCode) => {
    const answer = await ask(18, 3, { clientSoftwareName, clientSoftwareVersion });
    expect(answer.errorCode).toBe(errorCode);
  });
});

describe('Metadata', () => {
  const wanted = (...names: string[]) => ({
    topics: names.map((name) => ({ name, topicId: ZERO_UUID })),
    allowAutoTopicCreation: true,
  });

  test('gives brokers, leaders and in-sync replicas from the image and the announcements', async () => {
    broker.addTopic('t', [1, undefined, 3]);
    broker.live.delete(3);
    const answer = await ask(3, 12, wanted('t'));
    expect(answer.brokers.map(({ nodeId }: { nodeId: number }) => nodeId)).toEqual([1, 2]);
    expect(answer.controllerId).toBe(2);
    expect(answer.clusterId).toBe('cluster-1');
    const [led, leaderless, deadLeader] = answer.topics[0].partitions;
    expect(led).toEqual({
      errorCode: 0,
      partitionIndex: 0,
      leaderId: 1,
      leaderEpoch: 5,
      replicaNodes: [1, 2, 3],
      isrNodes: [1, 2],
      offlineReplicas: [3],
    });
    expect(leaderless).toMatchObject({ errorCode: ErrorCode.LEADER_NOT_AVAILABLE, leaderId: -1, isrNodes: [1, 2] });
    expect(deadLeader).toMatchObject({ errorCode: ErrorCode.LEADER_NOT_AVAILABLE, leaderId: -1 });
    expect(broker.refreshes).toBe(0);
  });

  test('stands in for a controller that is not live', async () => {
    broker.live.delete(2);
    expect((await ask(3, 1, { topics: [] })).controllerId).toBe(1);
  });

  test('means all topics by null, and by none in version 0', async () => {
    broker.addTopic('a', [1]);
    broker.addTopic('b', [1]);
    const names = ({ topics }: { topics: { name: string }[] }) => topics.map(({ name }) => name);
    expect(names(await ask(3, 1, { topics: null }))).toEqual(['a', 'b']);
    expect(names(await ask(3, 0, { topics: [] }))).toEqual(['a', 'b']);
    expect(names(await ask(3, 1, { topics: [] }))).toEqual([]);
  });

  test('asks the metadata leader about an unknown topic before it creates one', async () => {
    broker.onRefresh = () => broker.addTopic('t', [1]);
    const answer = await ask(3, 12, wanted('t'));
    expect(answer.topics[0].errorCode).toBe(0);
    expect([broker.refreshes, broker.created.length]).toEqual([1, 0]);
  });

  test('creates a topic and answers with its leaders', async () => {
    const answer = await ask(3, 5, wanted('new'));
    expect(answer.topics[0]).toMatchObject({ errorCode: 0, name: 'new' });
    expect(answer.topics[0].partitions[0].leaderId).toBe(1);
    expect(broker.created[0]).toMatchObject({ partitionCount: -1, replicationFactor: -1 });
  });

  test('does not create where request, broker or name forbid it, and omits no entry', async () => {
    const errors = ({ topics }: { topics: { errorCode: number }[] }) => topics.map(({ errorCode }) => errorCode);
    const forbidden = { ...wanted('x', 'no/slash'), allowAutoTopicCreation: false };
    expect(errors(await ask(3, 12, forbidden))).toEqual([3, 17]);
    expect(errors(await ask(3, 3, { ...forbidden, topics: [{ name: 'no/slash', topicId: ZERO_UUID }] }))).toEqual([17]);
    broker = new FakeBroker('auto.create.topics.enable=false');
    expect(errors(await ask(3, 12, wanted('x')))).toEqual([3]);
    expect(broker.created).toEqual([]);
  });

  test('finds topics by id, and answers 100 for an id that is unknown', async () => {
    const { topicId } = broker.addTopic('t', [1]);
    const unknown = Buffer.alloc(16, 7).toString('base64url');
    const { topics } = await ask(3, 12, { topics: [topicId, unknown].map((id) => ({ name: null, topicId: id })) });
    expect(topics.map(({ errorCode, name }: { errorCode: number; name: string }) => [errorCode, name])).toEqual([
      [0, 't'],
      [100, null],
    ]);
    expect(broker.created).toEqual([]);
  });

  test('never answers without a name where the version has to have one', async () => {
    const unknown = Buffer.alloc(16, 7).toString('base64url');
    const topics = [
      { name: null, topicId: unknown },
      { name: null, topicId: ZERO_UUID },
    ];
    const answers = await Promise.all([10, 11, 12].map((version) => ask(3, version, { topics })));
    const codes = [ErrorCode.UNKNOWN_TOPIC_ID, ErrorCode.INVALID_REQUEST];
    expect(answers.map((answer) => answer.topics)).toMatchObject(
      ['', '', null].map((name) => codes.map((errorCode) => ({ errorCode, name }))),
    );
  });

  test('passes on why a topic could not be created', async () => {
    broker.createOutcome = { errorCode: ErrorCode.INVALID_REPLICATION_FACTOR, errorMessage: '' };
    expect((await ask(3, 12, wanted('x'))).topics[0].errorCode).toBe(38);
    broker.createOutcome = { errorCode: ErrorCode.REQUEST_TIMED_OUT, errorMessage: '' };
    expect((await ask(3, 12, wanted('x'))).topics[0].errorCode).toBe(ErrorCode.LEADER_NOT_AVAILABLE);
    broker.createOutcome = { errorCode: ErrorCode.NOT_CONTROLLER, errorMessage: '' };
    expect((await ask(3, 12, wanted('x'))).topics[0].errorCode).toBe(ErrorCode.LEADER_NOT_AVAILABLE);
  });
});

describe('Produce', () => {
  const batch = (recordCount: number) => {
    const bytes = Buffer.alloc(61);
    bytes.writeInt32BE(49, 8);
    bytes[16] = 2;
    bytes.writeInt32BE(recordCount, 57);
    return bytes;
  };
  const request = (acks: number, partitions: Record<string, number[]>, transactionalId: string | null = null) => ({
    transactionalId,
    acks,
    timeoutMs: 1000,
    topicData: Object.entries(partitions).map(([name, indexes]) => ({
      name,
      partitionData: indexes.map((index) => ({ index, records: batch(3) })),
    })),
  });
  const ok = { errorCode: ErrorCode.NONE, baseOffset: 7, logAppendTimeMs: -1, logStartOffset: 2, errorMessage: null };

  test('hands every partition over in this turn and answers in the order of the request', async () => {
    broker.addTopic('a', [1, 1]);
    broker.addTopic('b', [1]);
    const answer = ask(0, 9, request(-1, { a: [1, 0], b: [0] }));
    const logs = [broker.partition('b'), broker.partition('a', 0), broker.partition('a', 1)];
    expect(logs.map((log) => log.produced.length)).toEqual([1, 1, 1]);
    for (const log of logs) log.produced[0]!.done({ ...ok, baseOffset: log.partition });
    const { responses } = await answer;
    expect(responses.map((topic: { name: string }) => topic.name)).toEqual(['a', 'b']);
    expect(
      responses[0].partitionResponses.map(({ index, baseOffset }: Record<string, number>) => [index, baseOffset]),
    ).toEqual([
      [1, 1],
      [0, 0],
    ]);
    expect(broker.services.records).toMatchObject({ recordsIn: 9, recordBytesIn: 183 });
  });

  test('answers each partition for itself: unknown 3, led elsewhere by the log, internal 17', async () => {
    broker.addTopic('a', [1]);
    broker.addTopic('__consumer_offsets', [1]);
    const answer = ask(0, 10, request(1, { a: [0, 5], missing: [0], __consumer_offsets: [0] }));
    broker
      .partition('a')
      .produced[0]!.done({ ...ok, errorCode: ErrorCode.MESSAGE_TOO_LARGE, errorMessage: 'Too large' });
    const errors = (await answer).responses.map((topic: { partitionResponses: { errorCode: number }[] }) =>
      topic.partitionResponses.map(({ errorCode }) => errorCode),
    );
    expect(errors).toEqual([[10, 3], [3], [17]]);
  });

  test('names the new leader from version 10 on', async () => {
    broker.addTopic('a', [2]);
    for (const [version, hinted] of [
      [9, undefined],
      [10, { leaderId: 2, leaderEpoch: 5 }],
    ] as const) {
      const answer = ask(0, version, request(1, { a: [0] }));
      broker
        .partition('a')
        .produced.at(-1)!
        .done({ ...ok, errorCode: ErrorCode.NOT_LEADER_OR_FOLLOWER });
      const { responses, nodeEndpoints } = await answer;
      expect(responses[0].partitionResponses[0].currentLeader).toEqual(hinted);
      expect(nodeEndpoints).toEqual(hinted === undefined ? [] : [{ nodeId: 2, host: 'host2', port: 9002, rack: null }]);
    }
  });

  test('refuses other acks and transactions without touching the log', async () => {
    broker.addTopic('a', [1]);
    const error = async (body: object) => (await ask(0, 9, body)).responses[0].partitionResponses[0].errorCode;
    expect(await error(request(2, { a: [0] }))).toBe(ErrorCode.INVALID_REQUIRED_ACKS);
    expect(await error(request(-1, { a: [0] }, 'tx'))).toBe(ErrorCode.INVALID_TXN_STATE);
    expect(broker.partition('a').produced).toEqual([]);
  });

  test('does not answer acks 0, and closes the connection when it failed', async () => {
    broker.addTopic('a', [1]);
    const context = broker.context(9);
    const [good, bad] = [ask(0, 9, request(0, { a: [0] }), context), ask(0, 9, request(0, { a: [0] }), context)];
    broker.partition('a').produced[0]!.done(ok);
    expect(await good).toBeUndefined();
    expect(context.closedFor).toEqual([]);
    broker.partition('a').produced[1]!.done({ ...ok, errorCode: ErrorCode.NOT_LEADER_OR_FOLLOWER });
    expect(await bad).toBeUndefined();
    expect(context.closedFor.length).toBe(1);
  });

  test('answers a request without partitions', async () => {
    expect((await ask(0, 9, request(1, {}))).responses).toEqual([]);
  });
});

describe('ListOffsets', () => {
  const at = (timestamp: number, currentLeaderEpoch = -1, partitionIndex = 0) => ({
    topics: [{ name: 't', partitions: [{ partitionIndex, currentLeaderEpoch, timestamp }] }],
  });
  const list = async (version: number, body: object) => {
    const answer = ask(2, version, body);
    await broker.time.drain();
    const { errorCode, offset, timestamp } = (await answer).topics[0].partitions[0];
    return errorCode === 0 ? [offset, timestamp] : errorCode;
  };

  beforeEach(() => {
    broker.addTopic('t', [1, 2]);
    for (const time of [10, 30, 20]) broker.partition('t').append(1, time);
  });

  test('gives ends, times and the record with the highest time', async () => {
    expect(await list(9, at(-1))).toEqual([3, -1]);
    expect(await list(9, at(-2))).toEqual([0, -1]);
    expect(await list(9, at(-3))).toEqual([1, 30]);
    expect(await list(9, at(-4))).toEqual([0, -1]);
    expect(await list(9, at(-5))).toEqual([-1, -1]);
    expect(await list(1, at(11))).toEqual([1, 30]);
    expect(await list(1, at(31))).toEqual([-1, -1]);
    expect(await list(6, at(-3))).toBe(ErrorCode.UNSUPPORTED_VERSION);
    expect(await list(9, at(-9))).toBe(ErrorCode.UNSUPPORTED_VERSION);
  });

  test('says who should be asked instead, and fences epochs', async () => {
    expect(await list(9, at(-1, -1, 1))).toBe(ErrorCode.NOT_LEADER_OR_FOLLOWER);
    expect(await list(9, at(-1, -1, 2))).toBe(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION);
    expect(await list(9, at(-1, 4))).toBe(ErrorCode.FENCED_LEADER_EPOCH);
    expect(await list(9, at(-1, 6))).toBe(ErrorCode.UNKNOWN_LEADER_EPOCH);
    expect(await list(9, at(-1, 5))).toEqual([3, -1]);
  });

  test('does not answer from a leadership that was not confirmed', async () => {
    broker.partition('t').confirms = false;
    expect(await list(5, at(-1))).toBe(ErrorCode.OFFSET_NOT_AVAILABLE);
    expect(await list(4, at(-1))).toBe(ErrorCode.LEADER_NOT_AVAILABLE);
  });

  test('waits for a leader that is about to be ready', async () => {
    const log = broker.partition('t');
    log.isReady = false;
    const answer = ask(2, 9, at(-1));
    await broker.time.runFor(100);
    log.isReady = true;
    log.changed();
    expect((await answer).topics[0].partitions[0]).toMatchObject({ errorCode: 0, offset: 3 });
    expect(log.listeners.size).toBe(0);
    log.isReady = false;
    expect(await list(9, at(-1))).toBe(ErrorCode.OFFSET_NOT_AVAILABLE);
  });
});

describe('OffsetForLeaderEpoch and DeleteRecords', () => {
  beforeEach(() => {
    broker.addTopic('t', [1, 2]);
    for (let record = 0; record < 4; record++) broker.partition('t').append(1);
  });

  test('tell where an epoch ends', async () => {
    const partitions = [
      { partition: 0, currentLeaderEpoch: -1, leaderEpoch: 5 },
      { partition: 1, currentLeaderEpoch: -1, leaderEpoch: 5 },
      { partition: 0, currentLeaderEpoch: -1, leaderEpoch: 0 },
    ];
    const answer = await ask(23, 4, { topics: [{ topic: 't', partitions }] });
    expect(answer.topics[0].partitions).toEqual([
      { partition: 0, errorCode: 0, leaderEpoch: 5, endOffset: 4 },
      { partition: 1, errorCode: 6 },
      { partition: 0, errorCode: 0, leaderEpoch: -1, endOffset: -1 },
    ]);
    broker.partition('t').confirms = false;
    const deposed = await ask(23, 4, { topics: [{ topic: 't', partitions }] });
    expect(deposed.topics[0].partitions.map(({ errorCode }: { errorCode: number }) => errorCode)).toEqual([0, 6, 6]);
  });

  test('delete up to an offset inside of the log, never back', async () => {
    const deleteTo = async (offset: number) =>
      (await ask(21, 2, { topics: [{ name: 't', partitions: [{ partitionIndex: 0, offset }] }] })).topics[0]
        .partitions[0];
    expect(await deleteTo(2)).toEqual({ partitionIndex: 0, lowWatermark: 2, errorCode: 0 });
    expect(await deleteTo(1)).toEqual({ partitionIndex: 0, lowWatermark: 2, errorCode: 0 });
    expect(await deleteTo(5)).toMatchObject({ errorCode: ErrorCode.OFFSET_OUT_OF_RANGE });
    expect(await deleteTo(-2)).toMatchObject({ errorCode: ErrorCode.OFFSET_OUT_OF_RANGE });
    expect(await deleteTo(-1)).toEqual({ partitionIndex: 0, lowWatermark: 4, errorCode: 0 });
  });
});

describe('InitProducerId', () => {
  test('gives new ids to idempotent producers and refuses transactions', async () => {
    expect(await ask(22, 4, { transactionalId: null })).toEqual({ errorCode: 0, producerId: 1000, producerEpoch: 0 });
    expect((await ask(22, 4, { transactionalId: null, producerId: 1000, producerEpoch: 0 })).producerId).toBe(1001);
    expect((await ask(22, 4, { transactionalId: 'tx' })).errorCode).toBe(ErrorCode.UNSUPPORTED_VERSION);
    expect((await ask(22, 4, { transactionalId: '' })).errorCode).toBe(ErrorCode.INVALID_REQUEST);
  });
});

describe('CreateTopics', () => {
  const topic = (name: string, more: object = {}) => ({
    name,
    numPartitions: -1,
    replicationFactor: -1,
    assignments: [],
    configs: [],
    ...more,
  });
  const create = async (topics: object[], validateOnly = false) =>
    (await ask(19, 7, { topics, timeoutMs: 100, validateOnly })).topics;

  test('answers with id and effective configs', async () => {
    const [made] = await create([topic('t', { configs: [{ name: 'retention.ms', value: '5' }] })]);
    expect(made).toMatchObject({ name: 't', errorCode: 0, numPartitions: 1, replicationFactor: 3 });
    expect(made.configs.find(({ name }: { name: string }) => name === 'retention.ms')).toEqual({
      name: 'retention.ms',
      value: '5',
      readOnly: false,
      configSource: 1,
      isSensitive: false,
    });
  });

  test('judges each topic for itself', async () => {
    const results = await create([
      topic('good'),
      topic('twice'),
      topic('twice'),
      topic('..'),
      topic('__consumer_offsets'),
      topic('compacted', { configs: [{ name: 'cleanup.policy', value: 'compact' }] }),
      topic('both', { numPartitions: 1, assignments: [{ partitionIndex: 0, brokerIds: [1] }] }),
    ]);
    expect(results.map(({ name, errorCode }: { name: string; errorCode: number }) => [name, errorCode])).toEqual([
      ['good', 0],
      ['twice', ErrorCode.INVALID_REQUEST],
      ['..', ErrorCode.INVALID_TOPIC_EXCEPTION],
      ['__consumer_offsets', ErrorCode.INVALID_REQUEST],
      ['compacted', ErrorCode.INVALID_CONFIG],
      ['both', ErrorCode.INVALID_REQUEST],
    ]);
    expect(broker.created.map(({ name }) => name)).toEqual(['good']);
  });
});

describe('DeleteTopics and CreatePartitions', () => {
  test('delete by name or id, never internal topics', async () => {
    const { topicId } = broker.addTopic('t', [1]);
    broker.addTopic('__consumer_offsets', [1]);
    const { responses } = await ask(20, 6, {
      topics: [
        { name: null, topicId },
        { name: '__consumer_offsets', topicId: ZERO_UUID },
      ],
      timeoutMs: 1,
    });
    expect(responses.map(({ errorCode }: { errorCode: number }) => errorCode)).toEqual([0, 17]);
    expect((await ask(20, 1, { topicNames: ['t'], timeoutMs: 1 })).responses[0]).toMatchObject({
      name: 't',
      errorCode: 0,
    });
    broker = new FakeBroker('delete.topic.enable=false');
    expect((await ask(20, 1, { topicNames: ['t'], timeoutMs: 1 })).responses[0].errorCode).toBe(73);
  });

  test('give every topic one result', async () => {
    const grow = (name: string) => ({ name, count: 3, assignments: null });
    const { results } = await ask(37, 3, {
      topics: [grow('a'), grow('b'), grow('b')],
      timeoutMs: 1,
      validateOnly: false,
    });
    expect(results.map(({ name, errorCode }: { name: string; errorCode: number }) => [name, errorCode])).toEqual([
      ['a', 0],
      ['b', ErrorCode.INVALID_REQUEST],
    ]);
  });
});

describe('DescribeConfigs', () => {
  const describeOne = async (resourceType: number, resourceName: string, more: object = {}) =>
    (
      await ask(32, 4, {
        resources: [{ resourceType, resourceName, configurationKeys: null, ...more }],
        includeSynonyms: true,
      })
    ).results[0];
  const entry = (result: { configs: { name: string }[] }, name: string) =>
    result.configs.find((config) => config.name === name);

  test('has every topic config with value, source and synonyms', async () => {
    broker.addTopic('t', [1], { 'retention.ms': '7' });
    const result = await describeOne(2, 't');
    expect(result.configs.length).toBeGreaterThan(12);
    expect(entry(result, 'retention.ms')).toMatchObject({
      value: '7',
      configSource: 1,
      configType: 5,
      synonyms: [
        { name: 'retention.ms', value: '7', source: 1 },
        { name: 'log.retention.hours', value: '604800000', source: 5 },
      ],
    });
    expect(entry(result, 'cleanup.policy')).toMatchObject({
      value: 'delete',
      configSource: 5,
      configType: 7,
    });
    const some = await describeOne(2, 't', { configurationKeys: ['segment.bytes', 'nonsense'] });
    expect(some.configs.map(({ name }: { name: string }) => name)).toEqual(['segment.bytes']);
  });

  test("has the properties of this broker that tools read, and not another one's", async () => {
    const result = await describeOne(4, '1');
    for (const name of [
      'default.replication.factor',
      'num.partitions',
      'auto.create.topics.enable',
      'inter.broker.protocol.version',
    ]) {
      expect(entry(result, name), name).toMatchObject({ readOnly: true, isSensitive: false });
    }
    expect(entry(result, 'node.id')).toMatchObject({ value: '1', configSource: 4 });
    expect(entry(result, 'min.insync.replicas')).toMatchObject({ readOnly: false });
    expect((await describeOne(4, '2')).errorCode).toBe(ErrorCode.INVALID_REQUEST);
    expect((await describeOne(8, '1')).errorCode).toBe(ErrorCode.INVALID_REQUEST);
  });

  test('has cluster defaults under the empty name, and looks twice for an unknown topic', async () => {
    broker.brokerConfigs.set('', new Map([['log.retention.ms', '9']]));
    expect((await describeOne(4, '')).configs.map(({ name }: { name: string }) => name)).toEqual(['log.retention.ms']);
    expect((await describeOne(2, 'missing')).errorCode).toBe(3);
    expect(broker.refreshes).toBe(1);
  });
});

describe('AlterConfigs', () => {
  test('changes by operation, one answer per resource', async () => {
    broker.addTopic('t', [1], { 'retention.ms': '7' });
    const resource = (
      resourceType: number,
      resourceName: string,
      name: string,
      configOperation: number,
      value: string | null,
    ) => ({
      resourceType,
      resourceName,
      configs: [{ name, configOperation, value }],
    });
    const { responses } = await ask(44, 1, {
      resources: [
        resource(2, 't', 'retention.ms', 1, null),
        resource(2, 't', 'cleanup.policy', 2, 'compact'),
        resource(4, '', 'log.retention.ms', 0, '5'),
        resource(4, '1', 'log.retention.ms', 0, '5'),
        resource(4, '', 'num.partitions', 0, '5'),
        resource(2, 't', 'retention.ms', 9, '5'),
        resource(32, 'g', 'x', 0, '5'),
      ],
      validateOnly: false,
    });
    expect(responses.map(({ errorCode }: { errorCode: number }) => errorCode)).toEqual([0, 40, 0, 42, 40, 42, 42]);
    expect(broker.changes).toEqual([
      {
        resource: 'topic',
        resourceName: 't',
        operations: [{ name: 'retention.ms', operation: 'delete', value: null }],
      },
      {
        resource: 'broker',
        resourceName: '',
        operations: [{ name: 'log.retention.ms', operation: 'set', value: '5' }],
      },
    ]);
  });

  test('replaces everything that is set in the old form', async () => {
    broker.addTopic('t', [1], { 'retention.ms': '7', 'segment.bytes': '1000' });
    await ask(33, 2, {
      resources: [{ resourceType: 2, resourceName: 't', configs: [{ name: 'segment.bytes', value: '2000' }] }],
      validateOnly: false,
    });
    expect(broker.changes[0]!.operations).toEqual([
      { name: 'retention.ms', operation: 'delete', value: null },
      { name: 'segment.bytes', operation: 'set', value: '2000' },
    ]);
  });
});

describe('DescribeCluster and DescribeLogDirs', () => {
  test('show live brokers, and sizes of local partitions', async () => {
    broker.addTopic('t', [1]);
    broker.partition('t').append(10);
    broker.live.delete(3);
    const cluster = await ask(60, 1, { endpointType: 1 });
    expect([cluster.controllerId, cluster.brokers.length, cluster.clusterId]).toEqual([2, 2, 'cluster-1']);
    expect((await ask(60, 1, { endpointType: 2 })).errorCode).toBe(ErrorCode.UNSUPPORTED_ENDPOINT_TYPE);
    const dirs = await ask(35, 4, { topics: null });
    expect(dirs.results[0]).toMatchObject({ logDir: '/data', totalBytes: 100, usableBytes: 10 });
    expect(dirs.results[0].topics).toEqual([
      { name: 't', partitions: [{ partitionIndex: 0, partitionSize: 10, offsetLag: 0, isFutureKey: false }] },
    ]);
    expect((await ask(35, 4, { topics: [{ topic: 't', partitions: [1] }] })).results[0].topics).toEqual([]);
  });
});
