/**
 * Asks every partition of a topic to take one record until it acknowledged one, and notes when that was. Asks all brokers, because who leads is what nobody knows after a failure: a broker that does not lead a
 * partition says so at once, and a metadata request for thousands of partitions would be work of its own.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { produceApi } from '../../src/kafka-protocol/messages/produce.ts';
import { encodeRecordBatch } from '../../src/kafka-protocol/records.ts';
import { type Endpoint, RawConnection } from './raw-client.ts';

const PRODUCE_VERSION = 7;
/** Partitions of one request: those of a request are answered together, and one that takes long shall not hide the others. */
const CHUNK = 50;
const CONNECT_AGAIN_MS = 10;
const ASK_AGAIN_MS = 20;
const TIMEOUT_MS = 120_000;
const REQUEST_TIMEOUT_MS = 10_000;

export interface ProbeResult {
  /** Milliseconds from the beginning until the first and the last partition acknowledged. */
  readonly firstMs: number;
  readonly lastMs: number;
  quantileMs(quantile: number): number;
}

export class PartitionProbe {
  readonly #endpoints: readonly Endpoint[];
  readonly #topic: string;
  readonly #startedMs: number;
  readonly #pending: Set<number>;
  readonly #acknowledgedMs: number[] = [];
  readonly #batch = encodeRecordBatch([{ timestamp: Date.now(), value: Buffer.alloc(100, 'x') }]);

  /** Times count from `startedMs` (as of performance.now()). */
  constructor(endpoints: readonly Endpoint[], topic: string, partitions: readonly number[], startedMs: number) {
    this.#endpoints = endpoints;
    this.#topic = topic;
    this.#startedMs = startedMs;
    this.#pending = new Set(partitions);
  }

  /** Resolves when every partition acknowledged a record. */
  async run(): Promise<ProbeResult> {
    const limitMs = this.#startedMs + TIMEOUT_MS;
    await Promise.all(this.#endpoints.map((endpoint) => this.#ask(endpoint, limitMs)));
    if (this.#pending.size > 0) throw new Error(`${this.#pending.size} partitions acknowledged nothing`);
    const times = this.#acknowledgedMs;
    return {
      firstMs: times[0] ?? 0,
      lastMs: times.at(-1) ?? 0,
      quantileMs: (quantile) => times[Math.min(times.length - 1, Math.floor(times.length * quantile))] ?? 0,
    };
  }

  async #ask(endpoint: Endpoint, limitMs: number): Promise<void> {
    let connection: RawConnection | undefined;
    while (this.#pending.size > 0 && performance.now() < limitMs) {
      if (!connection?.isOpen) {
        connection = await RawConnection.open(endpoint).catch(() => undefined);
        if (connection === undefined) {
          await sleep(CONNECT_AGAIN_MS);
          continue;
        }
      }
      const open = connection;
      const pending = [...this.#pending];
      const requests: Promise<void>[] = [];
      for (let at = 0; at < pending.length; at += CHUNK) {
        requests.push(this.#produce(open, pending.slice(at, at + CHUNK)).catch(() => open.close()));
      }
      await Promise.all(requests);
      if (this.#pending.size > 0) await sleep(ASK_AGAIN_MS);
    }
    connection?.close();
  }

  async #produce(connection: RawConnection, partitions: readonly number[]): Promise<void> {
    const partitionData = partitions.map((index) => ({ index, records: this.#batch }));
    const { responses } = await connection.request(produceApi, PRODUCE_VERSION, {
      acks: -1,
      timeoutMs: REQUEST_TIMEOUT_MS,
      topicData: [{ name: this.#topic, partitionData }],
    });
    const nowMs = performance.now() - this.#startedMs;
    for (const { partitionResponses } of responses) {
      for (const { index, errorCode } of partitionResponses) {
        if (errorCode === 0 && this.#pending.delete(index)) this.#acknowledgedMs.push(nowMs);
      }
    }
  }
}
