/** Clients that send garbage, too much, too slowly, or never read, beside one that just works. */
import { connect, type Socket } from 'node:net';
import kafkajs, { type Producer } from 'kafkajs';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { encodeRequest } from '../../src/kafka-protocol/headers.ts';
import { fetchApi } from '../../src/kafka-protocol/messages/fetch.ts';
import { produceApi } from '../../src/kafka-protocol/messages/produce.ts';
import { SeededRandom } from '../../src/std/seeded-random.ts';
import { TestCluster, until } from './test-cluster.ts';

const TOPIC = 'shared';
const LIMITS = {
  'socket.request.max.bytes': 2_000_000,
  'queued.max.request.bytes': 4_000_000,
  'max.connections': 40,
  'connection.max.buffered.response.bytes': 200_000,
};

let cluster: TestCluster;
let producer: Producer;
const sockets: Socket[] = [];

beforeAll(async () => {
  cluster = await TestCluster.start(1, LIMITS);
  const kafka = new kafkajs.Kafka({ brokers: cluster.bootstrap, logLevel: kafkajs.logLevel.NOTHING });
  producer = kafka.producer({ createPartitioner: kafkajs.Partitioners.DefaultPartitioner });
  await producer.connect();
  await producer.send({ topic: TOPIC, messages: [{ value: 'x'.repeat(100_000) }] });
});
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  // Whatever happened: the others are served, and the broker lives.
  await producer.send({ topic: TOPIC, messages: [{ value: 'still here' }] });
  expect(cluster.failures).toEqual([]);
  await until(async () => (await cluster.total('connections')) <= 3);
  await until(async () => (await held('requests')) === 0);
  await until(async () => (await held('responses')) === 0);
});
afterAll(async () => {
  await producer.disconnect();
  await cluster.close();
});

function open(): Promise<Socket & { isClosed?: boolean }> {
  return new Promise((resolve, reject) => {
    const socket: Socket & { isClosed?: boolean } = connect(cluster.kafkaPort(1), '127.0.0.1', () => resolve(socket));
    sockets.push(socket);
    socket.on('error', reject);
    socket.on('close', () => {
      socket.isClosed = true;
    });
  });
}

async function closesAfter(bytes: Uint8Array): Promise<void> {
  const socket = await open();
  socket.resume();
  socket.write(bytes);
  await until(() => socket.isClosed === true);
}

const fetchFrame = (correlationId: number) =>
  Buffer.concat(
    encodeRequest(
      fetchApi,
      4,
      { correlationId, clientId: 'slow' },
      {
        replicaId: -1,
        maxWaitMs: 0,
        minBytes: 1,
        topics: [{ topic: TOPIC, partitions: [{ partition: 0, fetchOffset: 0, partitionMaxBytes: 1_000_000 }] }],
      },
    ),
  );
const produceFrame = (records: Uint8Array) =>
  Buffer.concat(
    encodeRequest(
      produceApi,
      3,
      { correlationId: 1, clientId: 'bad' },
      {
        acks: 1,
        timeoutMs: 1000,
        topicData: [{ name: TOPIC, partitionData: [{ index: 0, records }] }],
      },
    ),
  );

describe('a client that sends', () => {
  test.each([
    ['an HTTP request', Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n')],
    ['a TLS hello', Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03])],
    ['a request above the limit', Buffer.from([0x7f, 0, 0, 0])],
    ['a negative size', Buffer.from([0x80, 0, 0, 0])],
    ['an unknown API', Buffer.from([0, 0, 0, 10, 0x03, 0xe7, 0, 0, 0, 0, 0, 1, 0xff, 0xff])],
    ['an array that claims two billion elements', claimsMany()],
  ])('%s is closed', async (_, bytes) => {
    await closesAfter(bytes);
    await until(() => cluster.lines.some((line) => line.startsWith('Closing the connection of a client')));
  });

  test('random bytes, framed or not, costs only its own connection', async () => {
    const random = new SeededRandom(7);
    for (let round = 0; round < 60; round++) {
      const socket = await open();
      socket.resume();
      const garbage = Buffer.from(random.bytes(1 + random.below(400)));
      const size = Buffer.alloc(4);
      size.writeInt32BE(garbage.length);
      // A known API and version in front makes the decoders meet the rest.
      garbage.writeInt16BE(random.below(48), 0);
      if (garbage.length > 4) garbage.writeInt16BE(random.below(12), 2);
      socket.end(round % 3 === 0 ? garbage : Buffer.concat([size, garbage]));
      await until(() => socket.isClosed === true);
    }
  });

  test('valid frames with damaged records is told so', async () => {
    const random = new SeededRandom(8);
    const socket = await open();
    let answers = 0;
    socket.on('data', () => answers++);
    for (let round = 0; round < 30; round++) {
      const before = answers;
      const records = Buffer.from(random.bytes(61 + random.below(200)));
      records[16] = 2;
      records.writeInt32BE(records.length - 12, 8);
      socket.write(produceFrame(records));
      await until(() => answers > before || socket.isClosed === true);
      expect(socket.isClosed).not.toBe(true);
    }
  });
});

describe('a client that', () => {
  test('stops in the middle of a request holds no more than it sent', async () => {
    for (let client = 0; client < 5; client++) {
      const socket = await open();
      socket.write(Buffer.from([0, 0x10, 0, 0, 0, 0]));
      socket.write(Buffer.alloc(1000));
    }
    await until(async () => (await held('requests')) === 5 * 1006);
  });

  test('never reads its answers is not served for ever', async () => {
    const socket = await open();
    socket.pause();
    for (let request = 0; request < 400; request++) socket.write(fetchFrame(request));
    let previous = -1;
    await until(async () => {
      const sent = await cluster.total('record_bytes_out_total');
      const isStill = sent === previous && sent > 0;
      previous = sent;
      await new Promise((resolve) => setTimeout(resolve, 100));
      return isStill;
    });
    // The kernel's buffers took some; our own memory holds little.
    expect(previous).toBeLessThan(400 * 100_000);
    expect(await held('responses')).toBeLessThan(600_000);
  });

  test('is one too many is turned away, and the others stay', async () => {
    const many = await Promise.all(Array.from({ length: 45 }, () => open().catch(() => undefined)));
    await until(() => many.filter((socket) => socket?.isClosed === true).length >= 5);
    expect(await cluster.total('connections')).toBeLessThanOrEqual(40);
  });
});

/** Memory that all brokers hold for requests or responses. */
async function held(pool: 'requests' | 'responses'): Promise<number> {
  const pools = await Promise.all(cluster.ids.map((id) => cluster.metric(id, 'memory_pool_used_bytes')));
  return pools.reduce((sum, values) => sum + values.get(`pool="${pool}"`)!, 0);
}

/** Metadata version 1 with an array of 2^31 − 1 topics, in 20 bytes. */
function claimsMany(): Buffer {
  const frame = Buffer.alloc(4 + 16);
  frame.writeInt32BE(16, 0);
  frame.writeInt16BE(3, 4);
  frame.writeInt16BE(1, 6);
  frame.writeInt16BE(-1, 12);
  frame.writeInt32BE(0x7fffffff, 14);
  return frame;
}
