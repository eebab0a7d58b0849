/** @platformatic/kafka, which speaks the flexible protocol versions, topic ids and fetch sessions, against three brokers. */
import {
  Admin,
  Consumer,
  MessagesStreamModes,
  ProduceAcks,
  Producer,
  stringDeserializers,
  stringSerializers,
} from '@platformatic/kafka';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { TestCluster, until } from './test-cluster.ts';

let cluster: TestCluster;
let admin: Admin;
const clients: { close(force?: boolean): Promise<void> }[] = [];
let number = 0;

const base = () => ({ clientId: 'compat', bootstrapBrokers: cluster.bootstrap, retries: 20, retryDelay: 100 });

beforeAll(async () => {
  cluster = await TestCluster.start(3);
  admin = new Admin(base());
});
afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close(true)));
  expect(cluster.failures).toEqual([]);
});
afterAll(async () => {
  await admin.close();
  await cluster.close();
});

async function newTopic(partitions = 1): Promise<string> {
  const topic = `topic-${++number}`;
  await admin.createTopics({ topics: [topic], partitions, replicas: 3 });
  return topic;
}

function newProducer(options: object = {}) {
  const producer = new Producer({ ...base(), serializers: stringSerializers, ...options });
  clients.push(producer);
  return producer;
}

async function consume(topics: string[], count: number, groupId = `group-${++number}`) {
  const consumer = new Consumer({ ...base(), groupId, deserializers: stringDeserializers, maxWaitTime: 200 });
  clients.push(consumer);
  const stream = await consumer.consume({
    topics,
    mode: MessagesStreamModes.COMMITTED,
    fallbackMode: 'earliest',
    autocommit: true,
  });
  const messages: {
    topic: string;
    key: string;
    value: string;
    partition: number;
    offset: bigint;
    headers: Map<string, string>;
    commit(): void | Promise<void>;
  }[] = [];
  stream.on('data', (message) => messages.push(message as (typeof messages)[number]));
  await until(() => messages.length >= count);
  return messages;
}

describe('@platformatic/kafka', () => {
  test('creates, lists, describes and deletes topics', async () => {
    const [created] = await admin.createTopics({ topics: [`topic-${++number}`], partitions: 3, replicas: 3 });
    expect(created).toMatchObject({ name: `topic-${number}`, partitions: 3, replicas: 3 });
    expect(await admin.listTopics()).toContain(created!.name);
    const metadata = await admin.metadata({ topics: [created!.name] });
    const topic = metadata.topics.get(created!.name)!;
    expect(topic.id).toBe(created!.id);
    expect(topic.partitions.map(({ replicas }) => [...replicas].sort())).toEqual([
      [1, 2, 3],
      [1, 2, 3],
      [1, 2, 3],
    ]);
    const [configs] = await admin.describeConfigs({ resources: [{ resourceType: 2, resourceName: created!.name }] });
    expect(configs!.configs.find(({ name }) => name === 'cleanup.policy')).toMatchObject({ value: 'delete' });
    await admin.deleteTopics({ topics: [created!.name] });
    expect(await admin.listTopics()).not.toContain(created!.name);
  });

  test.each([
    ['no compression, acks all', { acks: ProduceAcks.ALL }],
    ['no compression, acks 1', { acks: ProduceAcks.LEADER }],
    ['no compression, no answer', { acks: ProduceAcks.NO_RESPONSE }],
    ['gzip', { compression: 'gzip' }],
    ['idempotence', { idempotent: true, acks: ProduceAcks.ALL }],
  ])('produces and consumes with %s', async (_, options) => {
    const topic = await newTopic(2);
    const producer = newProducer(options);
    const sent = Array.from({ length: 40 }, (__, index) => ({
      topic,
      partition: index % 2,
      key: `key-${index}`,
      value: `value-${index}`,
      headers: { number: `${index}` },
    }));
    await producer.send({ messages: sent.slice(0, 20) });
    await producer.send({ messages: sent.slice(20) });
    const messages = await consume([topic], 40);
    expect(messages.map(({ value }) => value).sort()).toEqual(sent.map(({ value }) => value).sort());
    for (const partition of [0, 1]) {
      const own = messages.filter((message) => message.partition === partition);
      expect(own.map(({ offset }) => Number(offset))).toEqual(Array.from({ length: 20 }, (__, index) => index));
      expect(own[3]!.headers.get('number')).toBe(`${6 + partition}`);
    }
  });

  test('consumes several topics, told apart by their ids', async () => {
    const topics = [await newTopic(), await newTopic(), await newTopic()];
    await newProducer().send({ messages: topics.map((topic) => ({ topic, value: `for ${topic}` })) });
    const messages = await consume(topics, 3);
    for (const { topic, value } of messages) expect(value).toBe(`for ${topic}`);
  });

  test('creates a topic when it is first used, and a recreated one is another', async () => {
    const topic = `auto-${++number}`;
    const producer = newProducer({ autocreateTopics: true });
    await producer.send({ messages: [{ topic, value: 'old' }] });
    await admin.deleteTopics({ topics: [topic] });
    await admin.createTopics({ topics: [topic], partitions: 1, replicas: 3 });
    const offsets = await admin.listOffsets({
      topics: [{ name: topic, partitions: [{ partitionIndex: 0, timestamp: -1n }] }],
    });
    expect(offsets[0]!.partitions[0]!.offset).toBe(0n);
    await newProducer().send({ messages: [{ topic, value: 'new' }] });
    expect((await consume([topic], 1)).map(({ value }) => value)).toEqual(['new']);
  });

  test('goes on behind what its group committed', async () => {
    const topic = await newTopic();
    const groupId = `group-${++number}`;
    const producer = newProducer();
    await producer.send({ messages: [{ topic, value: 'first' }] });
    const [first] = await consume([topic], 1, groupId);
    await first!.commit();
    await clients.pop()!.close(true);
    await producer.send({ messages: [{ topic, value: 'second' }] });
    expect((await consume([topic], 1, groupId)).map(({ value }) => value)).toEqual(['second']);
    const groups = await admin.listGroups();
    expect([...groups.keys()]).toContain(groupId);
  });

  test('gets on when the leader goes', async () => {
    const topic = await newTopic();
    const producer = newProducer({ idempotent: true, acks: ProduceAcks.ALL });
    await producer.send({ messages: [{ topic, value: '0' }] });
    const { topics } = await admin.metadata({ topics: [topic], forceUpdate: true });
    const leader = topics.get(topic)!.partitions[0]!.leader;
    await cluster.stopBroker(leader);
    // This client asks a broker that is gone again and again; a new one asks the others.
    await newProducer({ idempotent: true, acks: ProduceAcks.ALL }).send({ messages: [{ topic, value: '1' }] });
    await cluster.startBroker(leader);
    await cluster.untilReady(leader);
    await producer.send({ messages: [{ topic, value: '2' }] });
    expect((await consume([topic], 3)).map(({ value }) => value)).toEqual(['0', '1', '2']);
  });
});
