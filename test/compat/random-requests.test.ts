/** Every API in every version with random contents, over a socket: whatever a client asks, it gets an answer that can be read, or a closed connection, and the broker lives. */
import { connect, type Socket } from 'node:net';
import kafkajs from 'kafkajs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ALL_APIS } from '../../src/kafka-protocol/api-keys.ts';
import { ZERO_UUID } from '../../src/kafka-protocol/byte-reader.ts';
import { FrameParser } from '../../src/kafka-protocol/framing.ts';
import { decodeResponse } from '../../src/kafka-protocol/headers.ts';
import { SeededRandom } from '../../src/std/seeded-random.ts';
import { type RequestVocabulary, randomRequest } from '../fakes/random-request.ts';
import { TestCluster } from './test-cluster.ts';

const REQUESTS_PER_VERSION = 12;
/** Some requests may wait for longer than is worth waiting for: a group that never completes, a fetch of what never comes. */
const PATIENCE_MS = 400;

let cluster: TestCluster;
let words: RequestVocabulary;

beforeAll(async () => {
  cluster = await TestCluster.start(1, { 'offsets.topic.num.partitions': 2 });
  const kafka = new kafkajs.Kafka({ brokers: cluster.bootstrap, logLevel: kafkajs.logLevel.NOTHING });
  const admin = kafka.admin();
  await admin.connect();
  await admin.createTopics({ topics: [{ topic: 'here', numPartitions: 2 }] });
  const producer = kafka.producer({ createPartitioner: kafkajs.Partitioners.DefaultPartitioner });
  await producer.connect();
  await producer.send({ topic: 'here', messages: [{ value: 'a' }, { value: 'b' }] });
  await producer.disconnect();
  await admin.setOffsets({ groupId: 'group', topic: 'here', partitions: [{ partition: 0, offset: '1' }] });
  await admin.disconnect();
  const emptyBatch = Buffer.alloc(61);
  emptyBatch.writeInt32BE(49, 8);
  emptyBatch[16] = 2;
  words = {
    strings: ['here', 'here', 'group', '__consumer_offsets', 'retention.ms', '1', '', 'consumer', 'range', 'member'],
    uuids: [ZERO_UUID, Buffer.alloc(16, 5).toString('base64url')],
    bytes: [new Uint8Array(0), new Uint8Array(3), emptyBatch],
  };
});
afterAll(() => cluster.close());

class Client {
  readonly #socket: Socket;
  readonly #parser = new FrameParser();
  #frame: ((frame: Uint8Array | undefined) => void) | undefined;
  isClosed = false;

  constructor() {
    this.#socket = connect(cluster.kafkaPort(1), '127.0.0.1');
    this.#socket.on('data', (chunk) => this.#parser.push(chunk, (frame) => this.#frame?.(frame)));
    this.#socket.on('error', () => {});
    this.#socket.on('close', () => {
      this.isClosed = true;
      this.#frame?.(undefined);
    });
  }

  /** The answer; undefined if the connection was closed or the patience ended. */
  ask(request: Buffer): Promise<Uint8Array | undefined> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#frame?.(undefined), PATIENCE_MS);
      this.#frame = (frame) => {
        clearTimeout(timer);
        this.#frame = undefined;
        resolve(frame);
      };
      this.#socket.write(request);
    });
  }

  destroy(): void {
    this.#socket.destroy();
  }
}

const cases = ALL_APIS.flatMap((api) =>
  Array.from({ length: api.versions.max - api.versions.min + 1 }, (_, step) => ({
    api,
    version: api.versions.min + step,
  })),
);

describe('random requests', () => {
  test('are answered readably in every version of every API', async () => {
    const random = new SeededRandom(20);
    let client = new Client();
    let answers = 0;
    let correlationId = 0;
    for (const { api, version } of cases) {
      for (let round = 0; round < REQUESTS_PER_VERSION; round++) {
        const request = randomRequest(api, version, ++correlationId, random, words);
        const frame = await client.ask(request);
        expect(cluster.failures, `${api.name} version ${version}: ${request.toString('hex').slice(0, 2000)}`).toEqual(
          [],
        );
        if (frame === undefined) {
          client.destroy();
          client = new Client();
          continue;
        }
        answers++;
        expect(decodeResponse(api, version, frame).correlationId, `${api.name} version ${version}`).toBe(correlationId);
      }
    }
    client.destroy();
    expect(answers).toBeGreaterThan(cases.length * REQUESTS_PER_VERSION * 0.6);
  });
});
