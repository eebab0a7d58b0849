/**
 * A partition that loses its oldest records by size, by time and because somebody asks for it, while it is written and read. Its history is not judged: the checker's rules are for logs that begin at
 * 0. Instead every batch that is read must be the one that was applied there, without gaps, the log start never moves back, and not behind a deletion that was acknowledged.
 */
import type { AnyApi, DecodedResponseOf, EncodableRequestOf } from '../../../src/kafka-protocol/api.ts';
import { ErrorCode } from '../../../src/kafka-protocol/error-codes.ts';
import { deleteRecordsApi } from '../../../src/kafka-protocol/messages/delete-records.ts';
import { fetchApi } from '../../../src/kafka-protocol/messages/fetch.ts';
import { listOffsetsApi } from '../../../src/kafka-protocol/messages/list-offsets.ts';
import { iterateBatches } from '../../../src/kafka-protocol/record-batch.ts';
import { Violation } from '../raft-oracle.ts';
import { Actor, type ActorContext } from './actor.ts';
import type { Key } from './simulated-history.ts';
import { RoutedConnection } from './virtual-client.ts';

const EARLIEST = -2;
const LATEST = -1;
const FETCH_VERSION = 11;
const FETCH_BYTES = 50_000;

/** Reads from the log's start on, again and again. */
export class TrimmedPartitionReader extends Actor {
  readonly #key: Key;
  readonly #leader: RoutedConnection;
  /** The largest log start that a broker answered for. */
  #startOffset = 0;
  #position = 0;

  constructor(context: ActorContext, key: Key) {
    super(context);
    this.#key = key;
    this.#leader = RoutedConnection.toLeader(context.client, key.topic, key.partition);
  }

  protected async run(): Promise<void> {
    while (this.isRunning) {
      await this.pace();
      await this.#try(() => this.#poll(this.context.client.options.random.pick([0, 50])));
    }
    this.#leader.close();
  }

  /** Moves the log start up to what was read. False if there is nothing to delete. */
  deleteRecords(): boolean {
    const { random } = this.context.client.options;
    const offset = random.between(this.#startOffset, this.#position);
    if (offset <= this.#startOffset) return false;
    void this.#try(async () => {
      const answer = await this.#ask(deleteRecordsApi, 1, {
        topics: [{ name: this.#key.topic, partitions: [{ partitionIndex: this.#key.partition, offset }] }],
        timeoutMs: 1_000,
      });
      const { errorCode, lowWatermark } = answer.topics[0]!.partitions[0]!;
      if (errorCode !== ErrorCode.NONE) return false;
      if (lowWatermark < offset)
        throw new Violation(`Records up to ${offset} are deleted, and ${lowWatermark} is there`);
      this.#startOffset = Math.max(this.#startOffset, lowWatermark);
      return true;
    });
    return true;
  }

  /** From its start to its end. */
  async readEverything(): Promise<void> {
    const end = await this.#offsetAt(LATEST);
    await this.#begin();
    while (this.#position < end) {
      if (!(await this.#try(() => this.#poll(20)))) await this.context.client.rest(50);
    }
    this.#leader.close();
    this.context.client.close();
  }

  async #poll(maxWaitMs: number): Promise<boolean> {
    const { topic, partition } = this.#key;
    const answer = await this.#ask(fetchApi, FETCH_VERSION, {
      maxWaitMs,
      minBytes: 1,
      maxBytes: FETCH_BYTES,
      topics: [{ topic, partitions: [{ partition, fetchOffset: this.#position, partitionMaxBytes: FETCH_BYTES }] }],
      forgottenTopicsData: [],
    });
    const { errorCode, records } = answer.responses[0]!.partitions[0]!;
    if (errorCode === ErrorCode.OFFSET_OUT_OF_RANGE) {
      const before = this.#position;
      await this.#begin();
      if (this.#position <= before) throw new Violation(`Offset ${before} of ${topic} is called out of range`);
      return true;
    }
    if (errorCode !== ErrorCode.NONE) return false;
    for (const batch of iterateBatches(records ?? new Uint8Array(0))) {
      if (!batch.isCrcValid()) throw new Violation(`The batch of ${topic} at ${batch.baseOffset} is corrupt`);
      if (batch.baseOffset > this.#position) throw new Violation(`${topic} has nothing at ${this.#position}`);
      this.context.truth.fetched(this.#key, batch.baseOffset, batch.bytes);
      this.#position = Math.max(this.#position, batch.baseOffset + batch.lastOffsetDelta + 1);
    }
    return true;
  }

  async #begin(): Promise<void> {
    const atLeast = this.#startOffset;
    const start = await this.#offsetAt(EARLIEST);
    if (start < atLeast) throw new Violation(`${this.#key.topic} begins at ${start}, it began at ${atLeast} before`);
    this.#startOffset = Math.max(this.#startOffset, start);
    this.#position = start;
  }

  /** Asks until somebody answers. */
  async #offsetAt(timestamp: number): Promise<number> {
    const { topic, partition } = this.#key;
    let found: number | undefined;
    while (found === undefined) {
      const isAnswered = await this.#try(async () => {
        const answer = await this.#ask(listOffsetsApi, 5, {
          replicaId: -1,
          isolationLevel: 0,
          topics: [{ name: topic, partitions: [{ partitionIndex: partition, timestamp }] }],
        });
        const { errorCode, offset } = answer.topics[0]!.partitions[0]!;
        if (errorCode === ErrorCode.NONE) found = offset;
        return errorCode === ErrorCode.NONE;
      });
      if (!isAnswered) await this.context.client.rest(50);
    }
    return found;
  }

  async #ask<A extends AnyApi>(api: A, version: number, body: EncodableRequestOf<A>): Promise<DecodedResponseOf<A>> {
    const connection = await this.#leader.get();
    if (connection === undefined) throw new Error('No leader is known');
    return connection.request(api, version, body, this.context.client.options.requestTimeoutMs);
  }

  /** False, and another connection next time, if it fails. A violation is none of the network's failures. */
  async #try(work: () => Promise<boolean>): Promise<boolean> {
    let isDone = false;
    try {
      isDone = await work();
    } catch (error) {
      if (error instanceof Violation) this.context.client.options.broken(error);
    }
    if (!isDone) this.#leader.lose();
    return isDone;
  }
}
