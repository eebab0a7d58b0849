/** kafkajs 2.2.4, unmodified, against three brokers. */
import { compress as zstdCompress, decompress as zstdDecompress } from '@cloudpss/zstd';
import kafkajs, { type Admin, type Consumer, type IHeaders, type KafkaMessage, type Producer } from 'kafkajs';
import SnappyCodec from 'kafkajs-snappy';
import { compressFrame, decompressFrame } from 'lz4-napi';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { TestCluster, until } from './test-cluster.ts';

const { CompressionCodecs, CompressionTypes, Kafka, logLevel, Partitioners } = kafkajs;
CompressionCodecs[CompressionTypes.Snappy] = SnappyCodec;
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: (encoder: { buffer: Buffer }) => compressFrame(encoder.buffer),
  decompress: (buffer: Buffer) => decompressFrame(buffer),
});
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: (encoder: { buffer: Buffer }) => zstdCompress(encoder.buffer),
  decompress: (buffer: Buffer) => zstdDecompress(buffer),
});

let cluster: TestCluster;
let admin: Admin;
const clients: { disconnect(): Promise<void> }[] = [];
let topicNumber = 0;
let errors: string[] = [];

const kafka = (retries = 8) =>
  new Kafka({
    clientId: 'compat',
    brokers: cluster.bootstrap,
    logLevel: logLevel.ERROR,
    logCreator: () => (entry) => void errors.push(`${entry.log.message}: ${entry.log.error}`),
    retry: { retries, initialRetryTime: 50, maxRetryTime: 500 },
  });

beforeAll(async () => {
  cluster = await TestCluster.start(3);
  admin = kafka().admin();
  await admin.connect();
});
afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.disconnect()));
  expect(cluster.failures).toEqual([]);
  errors = [];
});
afterAll(async () => {
  await admin.disconnect();
  await cluster.close();
});

async function newTopic(numPartitions = 1, configEntries: { name: string; value: string }[] = []): Promise<string> {
  const topic = `topic-${++topicNumber}`;
  await admin.createTopics({ topics: [{ topic, numPartitions, configEntries }], waitForLeaders: false });
  return topic;
}

async function newProducer(
  options: Parameters<InstanceType<typeof Kafka>['producer']>[0] = {},
  retries = 8,
): Promise<Producer> {
  const producer = kafka(retries).producer({ createPartitioner: Partitioners.DefaultPartitioner, ...options });
  clients.push(producer);
  await producer.connect();
  return producer;
}

/** Everything from the beginning (or where `seekTo` says) on, until `count` messages came. */
async function consume(
  topic: string,
  count: number,
  options: { seekTo?: string; consumer?: Parameters<InstanceType<typeof Kafka>['consumer']>[0] } = {},
): Promise<(KafkaMessage & { partition: number })[]> {
  const consumer: Consumer = kafka().consumer({
    groupId: `reader-${++topicNumber}`,
    maxWaitTimeInMs: 200,
    ...options.consumer,
  });
  clients.push(consumer);
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  const messages: (KafkaMessage & { partition: number })[] = [];
  await consumer.run({
    eachMessage: ({ message, partition }) => {
      messages.push({ ...message, partition });
      return Promise.resolve();
    },
  });
  if (options.seekTo !== undefined) consumer.seek({ topic, partition: 0, offset: options.seekTo });
  await until(() => messages.length >= count);
  return messages;
}

const values = (messages: KafkaMessage[]) => messages.map(({ value }) => value?.toString() ?? null);

describe('topics', () => {
  test('are created, listed, described and deleted', async () => {
    const topic = await newTopic(4);
    expect(await admin.listTopics()).toContain(topic);
    const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
    expect(topics[0]!.partitions.length).toBe(4);
    for (const { replicas, leader, partitionErrorCode } of topics[0]!.partitions) {
      expect(partitionErrorCode).toBe(0);
      expect([...replicas].sort()).toEqual([1, 2, 3]);
      expect(replicas).toContain(leader);
    }
    expect(new Set(topics[0]!.partitions.map(({ leader }) => leader)).size).toBe(3);
    await admin.deleteTopics({ topics: [topic] });
    expect(await admin.listTopics()).not.toContain(topic);
    await expect(admin.deleteTopics({ topics: [topic] })).rejects.toThrow(/does not host this topic-partition/);
  });

  test('start empty at offset 0 when they are created again', async () => {
    const topic = await newTopic();
    const producer = await newProducer();
    await producer.send({ topic, messages: [{ value: 'old' }] });
    await admin.deleteTopics({ topics: [topic] });
    await admin.createTopics({ topics: [{ topic, numPartitions: 1 }], waitForLeaders: false });
    expect(await admin.fetchTopicOffsets(topic)).toEqual([{ partition: 0, offset: '0', high: '0', low: '0' }]);
    await producer.send({ topic, messages: [{ value: 'new' }] });
    expect(values(await consume(topic, 1))).toEqual(['new']);
  });

  test('are refused with reasons', async () => {
    const topic = await newTopic();
    const create = (options: object) => admin.createTopics({ topics: [{ topic: `x-${topic}`, ...options }] });
    expect(await admin.createTopics({ topics: [{ topic }] })).toBe(false);
    await expect(create({ replicationFactor: 4 })).rejects.toMatchObject({
      errors: [{ type: 'INVALID_REPLICATION_FACTOR' }],
    });
    await expect(create({ configEntries: [{ name: 'cleanup.policy', value: 'compact' }] })).rejects.toMatchObject({
      errors: [{ type: 'INVALID_CONFIG' }],
    });
    await expect(create({ numPartitions: 0 })).rejects.toMatchObject({ errors: [{ type: 'INVALID_PARTITIONS' }] });
  });

  test('get more partitions', async () => {
    const topic = await newTopic(1);
    await admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] });
    expect((await admin.fetchTopicOffsets(topic)).length).toBe(3);
  });

  test('have configs that can be read and changed', async () => {
    const topic = await newTopic(1, [{ name: 'retention.ms', value: '3600000' }]);
    const describe = async (name: string) => {
      const { resources } = await admin.describeConfigs({
        includeSynonyms: false,
        resources: [{ type: kafkajs.ConfigResourceTypes.TOPIC, name: topic }],
      });
      return resources[0]!.configEntries.find(({ configName }) => configName === name)?.configValue;
    };
    expect(await describe('retention.ms')).toBe('3600000');
    expect(await describe('cleanup.policy')).toBe('delete');
    await admin.alterConfigs({
      validateOnly: false,
      resources: [
        {
          type: kafkajs.ConfigResourceTypes.TOPIC,
          name: topic,
          configEntries: [{ name: 'max.message.bytes', value: '2000' }],
        },
      ],
    });
    expect(await describe('max.message.bytes')).toBe('2000');
    expect(await describe('retention.ms')).toBe('604800000');
    const producer = await newProducer({}, 0);
    await expect(producer.send({ topic, messages: [{ value: 'x'.repeat(3000) }] })).rejects.toMatchObject({
      type: 'MESSAGE_TOO_LARGE',
    });
  });

  test('come to be when they are first used', async () => {
    const topic = `auto-${++topicNumber}`;
    const producer = await newProducer();
    await producer.send({ topic, messages: [{ value: 'first' }] });
    expect(values(await consume(topic, 1))).toEqual(['first']);
    expect(errors).toEqual([]);
  });
});

describe('produce', () => {
  test.each([0, 1, -1])('with acks %i', async (acks) => {
    const topic = await newTopic();
    const producer = await newProducer();
    const results = await producer.send({ topic, acks, messages: [{ value: 'a' }, { value: 'b' }] });
    if (acks !== 0) expect(results).toMatchObject([{ partition: 0, errorCode: 0, baseOffset: '0' }]);
    expect(values(await consume(topic, 2))).toEqual(['a', 'b']);
  });

  test('keeps keys, headers, timestamps, and what is null', async () => {
    const topic = await newTopic();
    const producer = await newProducer();
    const headers: IHeaders = { one: 'x', many: ['y', 'z'], empty: '' };
    await producer.send({
      topic,
      messages: [
        { key: 'key', value: 'value', headers, timestamp: '1600000000000' },
        { key: null, value: 'no key' },
        { key: 'tombstone', value: null },
        { key: '', value: '' },
      ],
    });
    const messages = await consume(topic, 4);
    expect(messages.map(({ key }) => key?.toString() ?? null)).toEqual(['key', null, 'tombstone', '']);
    expect(values(messages)).toEqual(['value', 'no key', null, '']);
    expect(messages[0]!.timestamp).toBe('1600000000000');
    expect(messages[0]!.headers!.one!.toString()).toBe('x');
    expect((messages[0]!.headers!.many as Buffer[]).map(String)).toEqual(['y', 'z']);
  });

  test.each([
    ['none', CompressionTypes.None],
    ['gzip', CompressionTypes.GZIP],
    ['snappy', CompressionTypes.Snappy],
    ['lz4', CompressionTypes.LZ4],
    ['zstd', CompressionTypes.ZSTD],
  ])('with compression %s', async (_, compression) => {
    const topic = await newTopic();
    const producer = await newProducer();
    const sent = Array.from({ length: 200 }, (__, index) => `${index} ${'text '.repeat(50)}`);
    for (let batch = 0; batch < 4; batch++) {
      await producer.send({
        topic,
        compression,
        messages: sent.slice(50 * batch, 50 * batch + 50).map((value) => ({ value })),
      });
    }
    expect(values(await consume(topic, 200))).toEqual(sent);
    expect(await admin.fetchTopicOffsets(topic)).toMatchObject([{ high: '200', low: '0' }]);
  });

  test('takes a record of 1 MB, and says MESSAGE_TOO_LARGE above the limit', async () => {
    const topic = await newTopic();
    const producer = await newProducer({}, 0);
    const value = Buffer.alloc(1_048_000, 7);
    await producer.send({ topic, messages: [{ value }] });
    await expect(producer.send({ topic, messages: [{ value: Buffer.alloc(1_100_000) }] })).rejects.toMatchObject({
      type: 'MESSAGE_TOO_LARGE',
    });
    const [message] = await consume(topic, 1);
    expect(message!.value!.equals(value)).toBe(true);
  });

  test('spreads over partitions in one request and keeps the order of each', async () => {
    const topic = await newTopic(6);
    const producer = await newProducer();
    const messages = Array.from({ length: 120 }, (_, index) => ({ value: `${index}`, partition: index % 6 }));
    await producer.send({ topic, messages });
    const read = await consume(topic, 120);
    for (let partition = 0; partition < 6; partition++) {
      const own = read.filter((message) => message.partition === partition);
      expect(own.map(({ offset }) => Number(offset))).toEqual(Array.from({ length: 20 }, (_, index) => index));
      expect(values(own)).toEqual(
        messages.filter((message) => message.partition === partition).map(({ value }) => value),
      );
    }
  });
});

describe('fetch', () => {
  async function numbered(count: number, timestampOf?: (index: number) => number): Promise<string> {
    const topic = await newTopic();
    const producer = await newProducer();
    for (let first = 0; first < count; first += 10) {
      const messages = Array.from({ length: 10 }, (_, step) => ({
        value: `${first + step}`,
        ...(timestampOf === undefined ? {} : { timestamp: `${timestampOf(first + step)}` }),
      }));
      await producer.send({ topic, messages });
    }
    return topic;
  }

  test('starts where it is told, inside of a batch too', async () => {
    const topic = await numbered(50);
    const messages = await consume(topic, 7, { seekTo: '43' });
    expect(values(messages.slice(-7))).toEqual(['43', '44', '45', '46', '47', '48', '49']);
  });

  test('gets on with limits smaller than a batch', async () => {
    const topic = await numbered(30);
    const consumer = { groupId: `tiny-${++topicNumber}`, maxBytes: 1, maxBytesPerPartition: 1, minBytes: 1 };
    expect(values(await consume(topic, 30, { consumer }))).toEqual(
      Array.from({ length: 30 }, (_, index) => `${index}`),
    );
  });

  test('waits for new records and gets them at once', async () => {
    const topic = await newTopic();
    const reading = consume(topic, 1, { consumer: { groupId: `wait-${++topicNumber}`, maxWaitTimeInMs: 3_000 } });
    const producer = await newProducer();
    await producer.send({ topic, messages: [{ value: 'late' }] });
    expect(values(await reading)).toEqual(['late']);
  });

  test('finds offsets by timestamp', async () => {
    const topic = await numbered(40, (index) => 1_600_000_000_000 + index * 1000);
    const at = async (timestamp: number) => (await admin.fetchTopicOffsetsByTimestamp(topic, timestamp))[0]!.offset;
    expect(await at(1_600_000_000_000)).toBe('0');
    expect(await at(1_600_000_017_000)).toBe('17');
    expect(await at(1_600_000_016_001)).toBe('17');
    expect(await at(1_600_000_999_000)).toBe('40');
  });

  test('goes back to where it may read when its offset is out of range', async () => {
    const topic = await numbered(20);
    // kafkajs looks the leader up in metadata that this loads.
    await admin.fetchTopicOffsets(topic);
    await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '15' }] });
    expect(await admin.fetchTopicOffsets(topic)).toMatchObject([{ low: '15', high: '20' }]);
    const messages = await consume(topic, 5, { seekTo: '3' });
    expect(values(messages.slice(-5))).toEqual(['15', '16', '17', '18', '19']);
  });
});

describe('idempotent producer', () => {
  test('neither loses nor doubles while the leader moves and brokers restart', async () => {
    const topic = await newTopic();
    const producer = await newProducer({ idempotent: true, maxInFlightRequests: 1 }, 40);
    let sent = 0;
    let isDone = false;
    const sending = (async () => {
      while (!isDone) await producer.send({ topic, messages: [{ value: `${sent++}` }] });
    })();
    for (let round = 0; round < 2; round++) {
      const before = sent;
      await until(() => sent > before + 20);
      const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
      const leader = topics[0]!.partitions[0]!.leader;
      await cluster.stopBroker(leader);
      const without = sent;
      await until(() => sent > without + 20);
      await cluster.startBroker(leader);
      await cluster.untilReady(leader);
    }
    isDone = true;
    await sending;
    const messages = await consume(topic, sent);
    expect(values(messages)).toEqual(Array.from({ length: sent }, (_, index) => `${index}`));
    expect(messages.map(({ offset }) => Number(offset))).toEqual(Array.from({ length: sent }, (_, index) => index));
    // Who comes next has the cluster as it was.
    for (const id of cluster.ids) await cluster.untilReady(id);
    await until(async () => (await cluster.total('partitions_leaderless')) === 0);
  });

  test('is told that there are no transactions', async () => {
    const producer = kafka(1).producer({ transactionalId: 'tx', idempotent: true, maxInFlightRequests: 1 });
    clients.push(producer);
    await producer.connect();
    await expect(producer.transaction()).rejects.toThrow(/coordinator/);
    expect(errors).toEqual(expect.arrayContaining([expect.stringMatching(/version of API is not supported/)]));
  });
});

describe('consumer groups', () => {
  test('go on behind what was committed', async () => {
    const topic = await newTopic();
    const producer = await newProducer();
    const groupId = `group-${++topicNumber}`;
    await producer.send({ topic, messages: [{ value: '0' }, { value: '1' }, { value: '2' }] });
    const first = kafka().consumer({ groupId, maxWaitTimeInMs: 100 });
    await first.connect();
    await first.subscribe({ topic, fromBeginning: true });
    const seen: string[] = [];
    await first.run({ eachMessage: ({ message }) => Promise.resolve(void seen.push(message.value!.toString())) });
    await until(() => seen.length === 3);
    await first.disconnect();
    expect(await admin.fetchOffsets({ groupId, topics: [topic] })).toEqual([
      { topic, partitions: [{ partition: 0, offset: '3', metadata: null }] },
    ]);
    await producer.send({ topic, messages: [{ value: '3' }] });
    expect(values(await consume(topic, 1, { consumer: { groupId } }))).toEqual(['3']);
    const { groups } = await admin.listGroups();
    expect(groups.map((group) => group.groupId)).toContain(groupId);
  });
});
