/** Consumers without a group: one that follows a partition from its beginning, and one that asks where it ends. */
import { ErrorCode } from '../../../src/kafka-protocol/error-codes.ts';
import { fetchApi } from '../../../src/kafka-protocol/messages/fetch.ts';
import { listOffsetsApi } from '../../../src/kafka-protocol/messages/list-offsets.ts';
import { iterateBatches, type RecordBatch } from '../../../src/kafka-protocol/record-batch.ts';
import { readRecords } from '../../../src/kafka-protocol/records.ts';
import { CheckedError } from '../../chaos/checker/check-answers.ts';
import { decodeValue } from '../../chaos/clients/keys.ts';
import { nameOfCode } from '../../chaos/clients/outcome.ts';
import type { Attributes } from '../../chaos/history/history.ts';
import { Actor, type ActorContext } from './actor.ts';
import { type Key, ProcessPool } from './simulated-history.ts';
import { RoutedConnection } from './virtual-client.ts';

const LIST_OFFSETS_VERSION = 5;
/** From here on a fetch says which leader it means. */
const EPOCHS_VERSION = 9;
const END = -1;
/** Asked and not answered yet. */
export const QUESTIONS_MAX = 10;
const BY_TOPIC_ID_VERSION = 13;
export const NO_TOPIC_ID = 'AAAAAAAAAAAAAAAAAAAAAA';

/** Reads one partition and records each poll. */
export class Poller {
  readonly #context: ActorContext;
  readonly #key: Key;
  readonly #leader: RoutedConnection;
  readonly #attributes: Attributes;
  readonly #process: number;
  readonly #version: number;
  position: number;
  #leaderEpoch = -1;

  constructor(
    context: ActorContext,
    key: Key,
    options: { process: number; version: number; position?: number; attributes?: Attributes },
  ) {
    this.#context = context;
    this.#key = key;
    this.#leader = RoutedConnection.toLeader(context.client, key.topic, key.partition);
    this.#process = options.process;
    this.#version = options.version;
    this.position = options.position ?? 0;
    this.#attributes = options.attributes ?? {};
  }

  /** One fetch. False if it gave nothing because of an error. */
  async poll(maxWaitMs: number): Promise<boolean> {
    const { history, client } = this.#context;
    const { topic, topicId, partition, key } = this.#key;
    const connection = await this.#leader.get();
    if (connection === undefined) {
      await client.rest(20);
      return false;
    }
    const leaderEpoch = client.leaderEpochOf(topic, partition);
    if (leaderEpoch < this.#leaderEpoch) {
      // As Java's client, and unlike those that know no epochs: who names an earlier leader is behind.
      this.#leader.lose();
      await client.rest(20);
      return false;
    }
    const knowsEpochs = this.#version >= EPOCHS_VERSION;
    if (knowsEpochs) this.#leaderEpoch = leaderEpoch;
    const process = this.#process;
    const group = this.#attributes.group === undefined ? {} : { group: this.#attributes.group };
    history.client(process, 'invoke', 'poll', [['poll']], group);
    const fetchBytes = client.options.random.pick([1_000, 20_000, 200_000]);
    try {
      const answer = await connection.request(
        fetchApi,
        topicId === undefined ? this.#version : BY_TOPIC_ID_VERSION,
        {
          maxWaitMs,
          minBytes: 1,
          maxBytes: fetchBytes,
          topics: [
            {
              topic,
              topicId: topicId ?? NO_TOPIC_ID,
              partitions: [
                {
                  partition,
                  currentLeaderEpoch: this.#leaderEpoch,
                  fetchOffset: this.position,
                  partitionMaxBytes: fetchBytes,
                },
              ],
            },
          ],
          forgottenTopicsData: [],
        },
        client.options.requestTimeoutMs + maxWaitMs,
      );
      const { errorCode, records, highWatermark } = answer.responses[0]!.partitions[0]!;
      if (errorCode !== 0) {
        this.#failed(
          errorCode === ErrorCode.OFFSET_OUT_OF_RANGE
            ? [CheckedError.offsetOutOfRange, key, this.position]
            : [nameOfCode(errorCode)],
        );
        return false;
      }
      const read = readFrom(records, this.position, (batch) =>
        this.#context.truth.fetched(this.#key, batch.baseOffset, batch.bytes),
      );
      if (read.kind === 'corrupt') {
        this.#failed([CheckedError.corruptBatch, key, read.baseOffset]);
        return false;
      }
      this.position = (read.records.at(-1)?.[0] ?? this.position - 1) + 1;
      history.client(process, 'ok', 'poll', [['poll', { [key]: read.records }]], {
        ...this.#attributes,
        // Without an epoch a leader answers that does not know yet that there is another one, and knows less.
        ...(knowsEpochs ? { highWatermarks: { [key]: highWatermark } } : {}),
      });
      return true;
    } catch (error) {
      this.#failed(['network', (error as Error).message]);
      return false;
    }
  }

  close(): void {
    this.#leader.close();
  }

  #failed(error: readonly (string | number)[]): void {
    this.#leader.lose();
    this.#context.history.client(this.#process, 'fail', 'poll', [['poll', {}]], { error });
  }
}

type Read = { kind: 'records'; records: [number, number][] } | { kind: 'corrupt'; baseOffset: number };

function readFrom(bytes: Uint8Array | null, position: number, seen: (batch: RecordBatch) => void): Read {
  const records: [number, number][] = [];
  for (const batch of iterateBatches(bytes ?? new Uint8Array(0))) {
    if (!batch.isCrcValid()) return { kind: 'corrupt', baseOffset: batch.baseOffset };
    seen(batch);
    for (const { offset, value } of readRecords(batch)) {
      if (offset >= position) records.push([offset, decodeValue(value)]);
    }
  }
  return { kind: 'records', records };
}

/** Follows a partition; begins again from its start now and then, on another connection. */
export class Follower extends Actor {
  readonly #key: Key;
  readonly #version: number;

  constructor(context: ActorContext, key: Key, version: number) {
    super(context);
    this.#key = key;
    this.#version = version;
  }

  protected async run(): Promise<void> {
    const { history, client } = this.context;
    const { random } = client.options;
    while (this.isRunning) {
      const process = history.newProcess();
      history.client(process, 'invoke', 'assign', [this.#key.key]);
      history.client(process, 'ok', 'assign', [this.#key.key]);
      const poller = new Poller(this.context, this.#key, { process, version: this.#version });
      while (this.isRunning && !random.chance(0.01)) {
        if (!(await poller.poll(random.pick([0, 20, 200])))) await client.rest(30);
        await this.pace();
      }
      poller.close();
    }
  }
}

/** Asks for the ends of partitions: linearizable reads. Does not wait for one answer before it asks again: what a broker finds in its socket after a pause must be answered as of now. */
export class EndAsker extends Actor {
  readonly #keys: readonly Key[];
  readonly #leaders = new Map<number, RoutedConnection>();
  readonly #processes = new ProcessPool(this.context.history);

  constructor(context: ActorContext, keys: readonly Key[]) {
    super(context);
    this.#keys = keys;
  }

  protected async run(): Promise<void> {
    const asking = new Set<Promise<unknown>>();
    while (this.isRunning) {
      await this.pace();
      if (asking.size >= QUESTIONS_MAX) continue;
      const asked: Promise<unknown> = this.endOf(this.context.client.options.random.pick(this.#keys)).then(() =>
        asking.delete(asked),
      );
      asking.add(asked);
    }
    await Promise.all(asking);
    this.close();
  }

  close(): void {
    for (const leader of this.#leaders.values()) leader.close();
  }

  /** Undefined without an answer. */
  async endOf({ key, topic, partition }: Key): Promise<number | undefined> {
    const { history, client } = this.context;
    let leader = this.#leaders.get(key);
    if (leader === undefined) {
      leader = RoutedConnection.toLeader(client, topic, partition);
      this.#leaders.set(key, leader);
    }
    const connection = await leader.get();
    if (connection === undefined) return undefined;
    const process = this.#processes.take();
    history.client(process, 'invoke', 'list-offsets', {});
    let reason = 'network';
    try {
      const { topics } = await connection.request(
        listOffsetsApi,
        LIST_OFFSETS_VERSION,
        {
          replicaId: -1,
          isolationLevel: 0,
          topics: [{ name: topic, partitions: [{ partitionIndex: partition, timestamp: END }] }],
        },
        client.options.requestTimeoutMs,
      );
      const { errorCode, offset } = topics[0]!.partitions[0]!;
      if (errorCode === 0) {
        history.client(process, 'ok', 'list-offsets', { [key]: offset });
        this.#processes.giveBack(process);
        return offset;
      }
      reason = nameOfCode(errorCode);
    } catch (error) {
      reason = (error as Error).message;
    }
    history.client(process, 'fail', 'list-offsets', {}, { error: [reason] });
    this.#processes.giveBack(process);
    leader.lose();
    return undefined;
  }
}
