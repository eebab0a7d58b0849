/** kafkajs as applications use it, writing down what it was told: producers with and without sequence numbers, and members of a consumer group that commit what they have read. */

import { connect as connectTcp } from 'node:net';
import { type Batch, type ISocketFactory, Kafka, type logCreator, logLevel, Partitioners } from 'kafkajs';
import { assert } from '../../../src/std/assert.ts';
import type { SendMop } from '../history/history.ts';
import type { Recorder } from '../history/recorder.ts';
import { decodeValue, encodeValue, type Keys } from './keys.ts';
import { type ClientNetwork, pause } from './network.ts';
import { sends } from './sequenced-producer.ts';

export interface KafkajsOptions {
  readonly network: ClientNetwork;
  readonly recorder: Recorder;
  readonly keys: Keys;
  readonly requestTimeoutMs: number;
}

const RETRY = { initialRetryTime: 50, maxRetryTime: 300, factor: 0.2, multiplier: 2 };
const SESSION_TIMEOUT_MS = 6_000;
const REBALANCE_TIMEOUT_MS = 10_000;
const REJOIN_PAUSE_MS = 200;

/**
 * A kafkajs consumer that is stopped while it makes fetchers for other brokers leaves these running: each asks whether the consumer runs, is told no, and asks again, without ever giving way to anything else in the process. All it does
 * in that circle is to say so, and whoever throws then ends it.
 */
const endIdleFetchers: logCreator = () => {
  return ({ level, log: { message } }) => {
    if (level === logLevel.DEBUG && message === 'consumer not running, exiting') throw new Error(message);
  };
};

function kafka({ network, requestTimeoutMs }: KafkajsOptions, clientId: string): Kafka {
  const socketFactory: ISocketFactory = ({ host, port, onConnect }) => {
    const socket = connectTcp(network.route({ host, port }), onConnect);
    socket.setNoDelay(true);
    return socket;
  };
  return new Kafka({
    clientId,
    brokers: network.bootstrap.map(({ host, port }) => `${host}:${port}`),
    logLevel: logLevel.DEBUG,
    logCreator: endIdleFetchers,
    connectionTimeout: 1_000,
    requestTimeout: requestTimeoutMs,
    retry: { ...RETRY, retries: 20 },
    socketFactory,
  });
}

/** What went wrong. The outcome is always unknown: kafkajs may have sent several times, and tells the last error only. */
export function reasonOf(error: unknown): string {
  let cause = error as Error & { cause?: unknown; originalError?: unknown };
  for (let depth = 0; depth < 5; depth++) {
    const next = cause.cause ?? cause.originalError;
    if (!(next instanceof Error)) break;
    cause = next;
  }
  return `${cause.name}: ${cause.message}`;
}

/** One record batch at a time, as `maxInFlightRequests: 1` has it. */
export class KafkajsProducer {
  readonly #options: KafkajsOptions;
  readonly #isIdempotent: boolean;
  #producer: ReturnType<Kafka['producer']> | undefined;
  #process: number;

  constructor(options: KafkajsOptions, isIdempotent: boolean) {
    this.#options = options;
    this.#isIdempotent = isIdempotent;
    this.#process = options.recorder.newProcess();
  }

  /** Sends one batch and records what came of it; never rejects. */
  async send(key: number, values: readonly number[], recordBytes: number): Promise<void> {
    const { recorder, keys, requestTimeoutMs } = this.#options;
    const { topic, partition } = keys.partitionOf(key);
    const producer = await this.#connected();
    if (producer === undefined) return;
    recorder.client(this.#process, 'invoke', 'send', sends(key, values), {
      acks: -1,
      ...(this.#isIdempotent ? {} : { mayDuplicate: true as const }),
    });
    try {
      const [answer] = await producer.send({
        topic,
        acks: -1,
        timeout: requestTimeoutMs,
        messages: values.map((value) => ({ partition, value: encodeValue(value, recordBytes) })),
      });
      const base = Number(answer?.baseOffset ?? -1);
      const placed = values.map((value, i): SendMop => ['send', key, [base < 0 ? null : base + i, value]]);
      recorder.client(this.#process, 'ok', 'send', placed);
    } catch (error) {
      recorder.client(this.#process, 'info', 'send', sends(key, values), { error: ['kafkajs', reasonOf(error)] });
      this.#process = recorder.newProcess();
      // kafkajs gives the sequence of a batch that it gave up on to the next one; an application closes such a producer.
      await this.close();
    }
  }

  async close(): Promise<void> {
    const producer = this.#producer;
    this.#producer = undefined;
    await producer?.disconnect().catch(() => undefined);
  }

  async #connected(): Promise<ReturnType<Kafka['producer']> | undefined> {
    if (this.#producer !== undefined) return this.#producer;
    const producer = kafka(this.#options, 'chaos-producer').producer({
      idempotent: this.#isIdempotent,
      maxInFlightRequests: 1,
      allowAutoTopicCreation: false,
      createPartitioner: Partitioners.DefaultPartitioner,
      retry: { ...RETRY, retries: 30 },
    });
    try {
      await producer.connect();
    } catch {
      await producer.disconnect().catch(() => undefined);
      await pause(REJOIN_PAUSE_MS);
      return undefined;
    }
    this.#producer = producer;
    return producer;
  }
}

/** From where on kafkajs asked for a batch; it drops what a broker gave from before that. Not among its types. */
function fetchedOffset(batch: Batch): number {
  const { fetchedOffset: offset } = batch as Batch & { readonly fetchedOffset?: string };
  assert(offset !== undefined, 'kafkajs says what it asked for');
  return Number(offset);
}

/** One member of a group; started again when kafkajs gives up. */
export class GroupMember {
  readonly #options: KafkajsOptions;
  readonly #group: string;
  readonly #topics: readonly string[];
  readonly #process: number;
  #consumer: ReturnType<Kafka['consumer']> | undefined;
  #isStopped = false;
  #running: Promise<void> | undefined;

  constructor(options: KafkajsOptions, group: string, topics: readonly string[]) {
    this.#options = options;
    this.#group = group;
    this.#topics = topics;
    this.#process = options.recorder.newProcess();
  }

  start(): void {
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#consumer?.disconnect().catch(() => undefined);
    await this.#running;
  }

  async #run(): Promise<void> {
    while (!this.#isStopped) {
      await this.#consume().catch(() => undefined);
      if (!this.#isStopped) await pause(REJOIN_PAUSE_MS);
    }
  }

  async #consume(): Promise<void> {
    const { keys, recorder } = this.#options;
    const consumer = kafka(this.#options, 'chaos-member').consumer({
      groupId: this.#group,
      sessionTimeout: SESSION_TIMEOUT_MS,
      rebalanceTimeout: REBALANCE_TIMEOUT_MS,
      heartbeatInterval: 500,
      maxWaitTimeInMs: 200,
      retry: { ...RETRY, retries: 20 },
    });
    this.#consumer = consumer;
    const ended = new Promise<void>((resolve) => {
      consumer.on(consumer.events.CRASH, ({ payload }) => {
        if (!payload.restart) resolve();
      });
      consumer.on(consumer.events.DISCONNECT, () => resolve());
    });
    consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
      const assigned = Object.entries(payload.memberAssignment).flatMap(([topic, partitions]) =>
        partitions.map((partition) => keys.keyOf(topic, partition)),
      );
      recorder.client(this.#process, 'invoke', 'assign', assigned, { group: this.#group });
      recorder.client(this.#process, 'ok', 'assign', assigned);
    });
    try {
      await consumer.connect();
      await consumer.subscribe({ topics: [...this.#topics], fromBeginning: true });
      await consumer.run({
        autoCommit: false,
        // Done below. kafkajs would do it once more when a batch ends, and send a consumer back whose batch took longer than a rebalance.
        eachBatchAutoResolve: false,
        eachBatch: async ({ batch, isStale, isRunning, resolveOffset }) => {
          if (isStale() || !isRunning()) return;
          const key = keys.keyOf(batch.topic, batch.partition);
          const records = batch.messages.map(({ offset, value }): [number, number] => [
            Number(offset),
            decodeValue(value),
          ]);
          const last = records.at(-1);
          if (last === undefined) return;
          recorder.client(this.#process, 'invoke', 'poll', [['poll']], { group: this.#group });
          recorder.client(this.#process, 'ok', 'poll', [['poll', { [key]: records }]], {
            asked: { [key]: fetchedOffset(batch) },
          });
          resolveOffset(String(last[0]));
          await this.#commit(consumer, key, last[0] + 1);
        },
      });
      await ended;
    } finally {
      await consumer.disconnect().catch(() => undefined);
    }
  }

  async #commit(consumer: ReturnType<Kafka['consumer']>, key: number, offset: number): Promise<void> {
    const { recorder, keys } = this.#options;
    const { topic, partition } = keys.partitionOf(key);
    const process = recorder.newProcess();
    const value = { group: this.#group, offsets: { [key]: offset } };
    recorder.client(process, 'invoke', 'commit', value);
    // A consumer that is being stopped resolves a commit without having made it; only the event says that a broker answered.
    let isAnswered = false;
    const forget = consumer.on(consumer.events.COMMIT_OFFSETS, ({ payload }) => {
      isAnswered ||= payload.topics.some(
        (each) =>
          each.topic === topic &&
          each.partitions.some((one) => Number(one.partition) === partition && Number(one.offset) === offset),
      );
    });
    try {
      await consumer.commitOffsets([{ topic, partition, offset: String(offset) }]);
      if (isAnswered) recorder.client(process, 'ok', 'commit', value);
      else recorder.client(process, 'info', 'commit', value, { error: ['kafkajs', 'stopped before it committed'] });
    } catch (error) {
      recorder.client(process, 'info', 'commit', value, { error: ['kafkajs', reasonOf(error)] });
      throw error;
    } finally {
      forget();
    }
  }
}
