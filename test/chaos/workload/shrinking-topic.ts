/** A topic whose records are deleted from its beginning on (DeleteRecords) while it is written and read: by readers that follow it, and by ones that begin again where it begins. */
import { deleteRecordsApi } from '../../../src/kafka-protocol/messages/delete-records.ts';
import type { SeededRandom } from '../../../src/std/seeded-random.ts';
import { pause, requestWithin } from '../clients/network.ts';
import { nameOfCode, outcomeOfCode } from '../clients/outcome.ts';
import { EndReader, PartitionReader, type ReaderOptions } from '../clients/reader.ts';
import { SequencedProducer } from '../clients/sequenced-producer.ts';
import { SendGenerator, type Values } from './generator.ts';

export interface ShrinkingTopicOptions extends ReaderOptions {
  readonly values: Values;
  readonly random: SeededRandom;
  readonly replicationFactor: number;
}

const SHRINKING_TOPIC = 'chaos-shrinking';
const PARTITIONS = 2;
const VERSION = 1;
const WINDOW = 5;
const STEPS_PER_SECOND = 20;
const DEADLINE_MS = 8_000;
const PAUSE_MS = 100;
const CREATE_TIMEOUT_MS = 20_000;
/** How much a reader that begins again reads before it does so once more. */
const READS_FROM_START = 20;

export class ShrinkingTopic {
  readonly #options: ShrinkingTopicOptions;
  readonly #threads: Promise<void>[] = [];
  #isStopped = false;
  /** Confirmed. */
  deletions = 0;

  constructor(options: ShrinkingTopicOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    const { network, keys, replicationFactor, random, values } = this.#options;
    const topic = { name: SHRINKING_TOPIC, partitions: PARTITIONS, replicationFactor };
    await network.createTopics([topic], CREATE_TIMEOUT_MS);
    for (const key of keys.addTopic(SHRINKING_TOPIC, PARTITIONS)) {
      const generator = new SendGenerator(random.fork(), values, STEPS_PER_SECOND, true);
      this.#threads.push(this.#produce(key, generator), this.#follow(key), this.#readAgain(key), this.#shrink(key));
    }
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await Promise.all(this.#threads);
  }

  async #produce(key: number, generator: SendGenerator): Promise<void> {
    const producer = new SequencedProducer({ ...this.#options, key, window: WINDOW, deadlineMs: DEADLINE_MS });
    const open = new Set<Promise<void>>();
    while (!this.#isStopped) {
      if (!(await producer.prepare())) {
        await pause(PAUSE_MS);
        continue;
      }
      const step = generator.next();
      const sent = producer.submit(step.values, step.recordBytes).then(() => void open.delete(sent));
      open.add(sent);
      if (open.size >= WINDOW) await Promise.race(open);
      await pause(step.pauseMs);
    }
    await Promise.all(open);
    producer.close();
  }

  async #follow(key: number): Promise<void> {
    const reader = new PartitionReader(this.#options, key);
    while (!this.#isStopped) await reader.poll(PAUSE_MS);
    reader.close();
  }

  async #readAgain(key: number): Promise<void> {
    while (!this.#isStopped) {
      const reader = new PartitionReader(this.#options, key);
      for (let i = 0; i < READS_FROM_START && !this.#isStopped; i++) await reader.poll(PAUSE_MS);
      reader.close();
    }
  }

  /** Deletes a part of what there is, again and again. */
  async #shrink(key: number): Promise<void> {
    const { random, recorder } = this.#options;
    const ends = new EndReader(this.#options);
    const own = random.fork();
    let process = recorder.newProcess();
    let start = 0;
    while (!this.#isStopped) {
      await pause(own.between(200, 1_500));
      const end = await ends.read(key);
      if (end === undefined || end <= start) continue;
      const target = own.between(start, end);
      recorder.client(process, 'invoke', 'delete-records', { [key]: target });
      const answer = await this.#delete(key, target);
      if ('lowWatermark' in answer) {
        recorder.client(process, 'ok', 'delete-records', { [key]: answer.lowWatermark });
        this.deletions += 1;
        start = answer.lowWatermark;
      } else {
        recorder.client(process, answer.type, 'delete-records', { [key]: target }, { error: [answer.error] });
        if (answer.type === 'info') process = recorder.newProcess();
      }
    }
    ends.close();
  }

  async #delete(
    key: number,
    offset: number,
  ): Promise<{ lowWatermark: number } | { type: 'info' | 'fail'; error: string }> {
    const { network, keys, requestTimeoutMs } = this.#options;
    const { topic, partition } = keys.partitionOf(key);
    try {
      const leader = await network.leaderOf(topic, partition, performance.now() + requestTimeoutMs);
      if (leader === undefined) return { type: 'fail', error: 'no leader' };
      const connection = await network.connect(leader);
      try {
        const { topics } = await requestWithin(
          connection,
          deleteRecordsApi,
          VERSION,
          {
            topics: [{ name: topic, partitions: [{ partitionIndex: partition, offset }] }],
            timeoutMs: requestTimeoutMs,
          },
          requestTimeoutMs,
        );
        const { errorCode, lowWatermark } = topics[0]!.partitions[0]!;
        if (errorCode === 0) return { lowWatermark };
        network.forgetLeader(topic, partition);
        return { type: outcomeOfCode(errorCode), error: nameOfCode(errorCode) };
      } finally {
        connection.close();
      }
    } catch (error) {
      network.forgetLeader(topic, partition);
      return { type: 'info', error: (error as Error).message };
    }
  }
}
