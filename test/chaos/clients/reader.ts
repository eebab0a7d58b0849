/** Readers on the bare protocol: a consumer that follows one partition from its beginning, a reader of ends, and the complete reading after everything was healed. */

import type { RawConnection } from '../../../scripts/bench/raw-client.ts';
import { ErrorCode } from '../../../src/kafka-protocol/error-codes.ts';
import { fetchApi } from '../../../src/kafka-protocol/messages/fetch.ts';
import { listOffsetsApi } from '../../../src/kafka-protocol/messages/list-offsets.ts';
import { iterateBatches } from '../../../src/kafka-protocol/record-batch.ts';
import { readRecords } from '../../../src/kafka-protocol/records.ts';
import { CheckedError } from '../checker/check-answers.ts';
import { Mark } from '../history/history.ts';
import type { Recorder } from '../history/recorder.ts';
import { decodeValue, type Keys } from './keys.ts';
import { type ClientNetwork, pause, requestWithin } from './network.ts';
import { nameOfCode } from './outcome.ts';

const FETCH_VERSION = 11;
const LIST_OFFSETS_VERSION = 5;
const FETCH_BYTES = 512 * 1024;
const END = -1;
const START = -2;
const RETRY_PAUSE_MS = 50;

export interface ReaderOptions {
  readonly network: ClientNetwork;
  readonly recorder: Recorder;
  readonly keys: Keys;
  readonly requestTimeoutMs: number;
}

/** One connection to the leader of one partition, found again when it is lost. */
class LeaderConnection {
  readonly #options: ReaderOptions;
  readonly topic: string;
  readonly partition: number;
  #connection: RawConnection | undefined;

  constructor(options: ReaderOptions, key: number) {
    this.#options = options;
    ({ topic: this.topic, partition: this.partition } = options.keys.partitionOf(key));
  }

  async get(waitMs: number): Promise<RawConnection | undefined> {
    if (this.#connection?.isOpen === true) return this.#connection;
    const { network } = this.#options;
    const leader = await network.leaderOf(this.topic, this.partition, performance.now() + waitMs);
    if (leader === undefined) return undefined;
    try {
      this.#connection = await network.connect(leader);
      return this.#connection;
    } catch {
      this.lose();
      return undefined;
    }
  }

  lose(): void {
    this.close();
    this.#options.network.forgetLeader(this.topic, this.partition);
  }

  close(): void {
    this.#connection?.close();
    this.#connection = undefined;
  }
}

export class PartitionReader {
  readonly #options: ReaderOptions;
  readonly #key: number;
  readonly #leader: LeaderConnection;
  readonly #isFinal: boolean;
  #process: number;
  position = 0;

  constructor(options: ReaderOptions, key: number, purpose: { final?: boolean } = {}) {
    this.#options = options;
    this.#key = key;
    this.#leader = new LeaderConnection(options, key);
    this.#isFinal = purpose.final ?? false;
    this.#process = options.recorder.newProcess();
    options.recorder.client(this.#process, 'invoke', 'assign', [key]);
    options.recorder.client(this.#process, 'ok', 'assign', [key]);
  }

  /** One fetch, recorded. False if it gave nothing because of an error. */
  async poll(maxWaitMs: number): Promise<boolean> {
    const { recorder, requestTimeoutMs } = this.#options;
    const connection = await this.#leader.get(500);
    if (connection === undefined) {
      await pause(RETRY_PAUSE_MS);
      return false;
    }
    recorder.client(this.#process, 'invoke', 'poll', [['poll']]);
    try {
      const { responses } = await requestWithin(
        connection,
        fetchApi,
        FETCH_VERSION,
        {
          maxWaitMs,
          minBytes: 1,
          maxBytes: FETCH_BYTES,
          topics: [
            {
              topic: this.#leader.topic,
              partitions: [
                { partition: this.#leader.partition, fetchOffset: this.position, partitionMaxBytes: FETCH_BYTES },
              ],
            },
          ],
          forgottenTopicsData: [],
        },
        requestTimeoutMs + maxWaitMs,
      );
      const answer = responses[0]!.partitions[0]!;
      if (answer.errorCode !== 0) {
        this.#leader.lose();
        this.#failed(
          answer.errorCode === ErrorCode.OFFSET_OUT_OF_RANGE
            ? [CheckedError.offsetOutOfRange, this.#key, this.position]
            : [nameOfCode(answer.errorCode)],
        );
        await pause(RETRY_PAUSE_MS);
        if (answer.errorCode === ErrorCode.OFFSET_OUT_OF_RANGE) await this.#goToStart();
        return false;
      }
      const records = readFrom(answer.records, this.position);
      const last = records.at(-1);
      if (last !== undefined) this.position = last[0] + 1;
      recorder.client(this.#process, 'ok', 'poll', [['poll', { [this.#key]: records }]], {
        highWatermarks: { [this.#key]: answer.highWatermark },
        ...(this.#isFinal ? { final: true as const } : {}),
      });
      return true;
    } catch (error) {
      this.#leader.lose();
      this.#failed(
        error instanceof CorruptBatchError
          ? [CheckedError.corruptBatch, this.#key, error.baseOffset]
          : ['network', (error as Error).message],
      );
      await pause(RETRY_PAUSE_MS);
      return false;
    }
  }

  close(): void {
    this.#leader.close();
  }

  /** Goes on where the log begins if that is behind the position: a consumer's `auto.offset.reset`. */
  async #goToStart(): Promise<void> {
    const { recorder, requestTimeoutMs } = this.#options;
    const connection = await this.#leader.get(500);
    if (connection === undefined) return;
    try {
      const { topic, partition } = this.#leader;
      const { errorCode, offset } = await listOffset(connection, topic, partition, START, requestTimeoutMs);
      if (errorCode !== 0 || offset <= this.position) return;
      this.position = offset;
      recorder.client(this.#process, 'invoke', 'assign', [this.#key]);
      recorder.client(this.#process, 'ok', 'assign', [this.#key]);
    } catch {
      // The next poll fails again, and comes here again.
      this.#leader.lose();
    }
  }

  #failed(error: readonly (string | number)[]): void {
    this.#options.recorder.client(this.#process, 'fail', 'poll', [['poll', {}]], { error });
  }
}

class CorruptBatchError extends Error {
  readonly baseOffset: number;

  constructor(baseOffset: number) {
    super(`The batch at offset ${baseOffset} has a wrong checksum`);
    this.baseOffset = baseOffset;
  }
}

function readFrom(bytes: Uint8Array | null, position: number): [number, number][] {
  const records: [number, number][] = [];
  if (bytes === null) return records;
  for (const batch of iterateBatches(bytes)) {
    if (!batch.isCrcValid()) throw new CorruptBatchError(batch.baseOffset);
    if (batch.isControl) continue;
    for (const { offset, value } of readRecords(batch)) {
      if (offset >= position) records.push([offset, decodeValue(value)]);
    }
  }
  return records;
}

async function listOffset(
  connection: RawConnection,
  topic: string,
  partition: number,
  timestamp: number,
  timeoutMs: number,
): Promise<{ errorCode: number; offset: number }> {
  const { topics } = await requestWithin(
    connection,
    listOffsetsApi,
    LIST_OFFSETS_VERSION,
    {
      replicaId: -1,
      isolationLevel: 0,
      topics: [{ name: topic, partitions: [{ partitionIndex: partition, timestamp }] }],
    },
    timeoutMs,
  );
  return topics[0]!.partitions[0]!;
}

/** Asks leaders for the ends of partitions. */
export class EndReader {
  readonly #options: ReaderOptions;
  readonly #leaders = new Map<number, LeaderConnection>();
  #process: number;

  constructor(options: ReaderOptions) {
    this.#options = options;
    this.#process = options.recorder.newProcess();
  }

  /** The end of a key's partition, recorded; undefined if it was not told. */
  async read(key: number): Promise<number | undefined> {
    const { recorder, requestTimeoutMs } = this.#options;
    let leader = this.#leaders.get(key);
    if (leader === undefined) {
      leader = new LeaderConnection(this.#options, key);
      this.#leaders.set(key, leader);
    }
    const connection = await leader.get(500);
    if (connection === undefined) return undefined;
    recorder.client(this.#process, 'invoke', 'list-offsets', {});
    try {
      const { topic, partition } = leader;
      const { errorCode, offset } = await listOffset(connection, topic, partition, END, requestTimeoutMs);
      if (errorCode === 0) {
        recorder.client(this.#process, 'ok', 'list-offsets', { [key]: offset });
        return offset;
      }
      recorder.client(this.#process, 'fail', 'list-offsets', {}, { error: [nameOfCode(errorCode)] });
    } catch (error) {
      recorder.client(this.#process, 'fail', 'list-offsets', {}, { error: ['network', (error as Error).message] });
    }
    leader.lose();
    return undefined;
  }

  close(): void {
    for (const leader of this.#leaders.values()) leader.close();
  }
}

/** Reads every key from its beginning to its end with a fresh client, and marks in the history which were read completely. Gives the keys that were not, within `timeoutMs`. */
export async function readEverything(options: ReaderOptions, timeoutMs: number): Promise<number[]> {
  const deadlineMs = performance.now() + timeoutMs;
  const unread: number[] = [];
  const read: number[] = [];
  const ends = new EndReader(options);
  for (const key of options.keys.all) {
    let end: number | undefined;
    while (end === undefined && performance.now() < deadlineMs) {
      end = await ends.read(key);
      if (end === undefined) await pause(RETRY_PAUSE_MS);
    }
    const reader = new PartitionReader(options, key, { final: true });
    while (end !== undefined && reader.position < end && performance.now() < deadlineMs) await reader.poll(200);
    // One more look: what the end did not tell must not be there.
    if (end !== undefined && reader.position >= end) await reader.poll(50);
    reader.close();
    if (end !== undefined && reader.position >= end) read.push(key);
    else unread.push(key);
  }
  ends.close();
  options.recorder.nemesis(Mark.finalReads, read);
  return unread;
}
