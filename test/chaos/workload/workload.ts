/**
 * The load of a run: every kind of client at once, on topics of its own, until it is told to stop. Producers of different kinds share partitions, so that each kind can disturb the others.
 */
import { SeededRandom } from '../../../src/std/seeded-random.ts';
import { GroupMember, KafkajsProducer } from '../clients/kafkajs-clients.ts';
import { Keys } from '../clients/keys.ts';
import { type ClientNetwork, pause } from '../clients/network.ts';
import { OffsetRegister } from '../clients/offset-register.ts';
import { PlainProducer } from '../clients/plain-producer.ts';
import { EndReader, PartitionReader, readEverything } from '../clients/reader.ts';
import { SequencedProducer } from '../clients/sequenced-producer.ts';
import type { Recorder } from '../history/recorder.ts';
import { SendGenerator, Values } from './generator.ts';
import { ShrinkingTopic } from './shrinking-topic.ts';
import { TopicChurn, type TopicChurnOptions } from './topic-churn.ts';

export interface WorkloadOptions {
  readonly network: ClientNetwork;
  readonly recorder: Recorder;
  readonly seed: number;
  readonly replicationFactor: number;
  readonly partitions: number;
  /** Produce requests a second of each producer. */
  readonly stepsPerSecond: number;
  readonly requestTimeoutMs: number;
  readonly hasLargeRecords: boolean;
  /** Topic configs, e.g. min.insync.replicas. */
  readonly topicConfigs?: Record<string, string>;
}

export const TOPIC = 'chaos';
export const GROUP = 'chaos-group';
export const REGISTER_GROUP = 'chaos-register';
const WINDOW = 5;
const GROUP_MEMBERS = 2;
const SEND_DEADLINE_MS = 10_000;
const REGISTER_PAUSE_MS = 40;
const POLL_WAIT_MS = 250;
const CREATE_TIMEOUT_MS = 60_000;
/** How long threads may take to end what they are doing. */
const STOP_TIMEOUT_MS = 12_000;

export class Workload {
  readonly #options: WorkloadOptions;
  readonly keys = new Keys();
  /** Of the topic that stays. */
  readonly #standing: readonly number[];
  readonly #values = new Values();
  readonly #running = new Map<number, string>();
  readonly #threads: Promise<void>[] = [];
  readonly #members: GroupMember[] = [];
  readonly #closers: (() => void)[] = [];
  #isStopped = false;

  constructor(options: WorkloadOptions) {
    this.#options = options;
    this.#standing = this.keys.addTopic(TOPIC, options.partitions);
  }

  /** Creates the topic and starts all clients. */
  async start(): Promise<void> {
    const { network, replicationFactor, partitions, topicConfigs, seed, recorder, requestTimeoutMs } = this.#options;
    const { keys } = this;
    await network.createTopics(
      [
        {
          name: TOPIC,
          partitions,
          replicationFactor,
          ...(topicConfigs === undefined ? {} : { configs: topicConfigs }),
        },
      ],
      CREATE_TIMEOUT_MS,
    );
    const random = new SeededRandom(seed);
    const { stepsPerSecond, hasLargeRecords } = this.#options;
    const generator = (): SendGenerator =>
      new SendGenerator(random.fork(), this.#values, stepsPerSecond, hasLargeRecords);
    const common = { network, recorder, keys, requestTimeoutMs };

    for (const key of this.#standing) {
      this.#thread(`ordered producer ${key}`, () =>
        this.#produceInOrder(
          new SequencedProducer({ ...common, key, window: WINDOW, deadlineMs: SEND_DEADLINE_MS }),
          generator(),
        ),
      );
      this.#thread(`reader ${key}`, () => this.#follow(new PartitionReader(common, key)));
    }
    const acks = [-1, 1, 0] as const;
    this.#standing.slice(0, acks.length).forEach((key, i) => {
      const producer = new PlainProducer({ ...common, key, acks: acks[i]! });
      const steps = generator();
      this.#closers.push(() => producer.close());
      this.#thread(`producer with acks ${acks[i]}`, async () => {
        const step = steps.next();
        await producer.send(step.values, step.recordBytes);
        await pause(step.pauseMs);
      });
    });
    for (const isIdempotent of [true, false]) {
      const producer = new KafkajsProducer(common, isIdempotent);
      const steps = generator();
      this.#thread(
        `kafkajs producer${isIdempotent ? ', idempotent' : ''}`,
        async () => {
          const step = steps.next();
          await producer.send(steps.pick(this.#standing), step.values, step.recordBytes);
          await pause(step.pauseMs);
        },
        () => producer.close(),
      );
    }
    this.#useRegister(common, random.fork());
    const ends = new EndReader(common);
    const endRandom = random.fork();
    this.#closers.push(() => ends.close());
    this.#thread('reader of ends', async () => {
      await ends.read(endRandom.pick(this.#standing));
      await pause(REGISTER_PAUSE_MS);
    });
    for (let i = 0; i < GROUP_MEMBERS; i++) {
      const member = new GroupMember(common, GROUP, [TOPIC]);
      member.start();
      this.#members.push(member);
    }
  }

  /** A topic that comes and goes beside the load; the nemesis moves it. */
  churn(random: SeededRandom): TopicChurn {
    return new TopicChurn(this.#special(random));
  }

  /** A topic whose records are deleted beside the load; the nemesis begins and ends it. */
  shrinking(random: SeededRandom): ShrinkingTopic {
    return new ShrinkingTopic(this.#special(random));
  }

  #special(random: SeededRandom): TopicChurnOptions {
    const { network, recorder, replicationFactor, requestTimeoutMs } = this.#options;
    const { keys } = this;
    return { network, recorder, keys, values: this.#values, random, replicationFactor, requestTimeoutMs };
  }

  /** Ends all clients; what they have open is completed or becomes unknown first. Gives the names of those that did not end in time. */
  async stop(): Promise<string[]> {
    this.#isStopped = true;
    this.#members.forEach((member, i) => {
      this.#track(`group member ${i}`, member.stop());
    });
    await Promise.race([Promise.all(this.#threads), pause(STOP_TIMEOUT_MS)]);
    for (const close of this.#closers) close();
    return [...this.#running.values()];
  }

  /** Reads everything with fresh clients; gives the keys that could not be read to their end. */
  readEverything(timeoutMs: number): Promise<number[]> {
    const { network, recorder, requestTimeoutMs } = this.#options;
    return readEverything({ network, recorder, keys: this.keys, requestTimeoutMs }, timeoutMs);
  }

  #thread(name: string, step: () => Promise<void>, close?: () => Promise<void>): void {
    const run = async (): Promise<void> => {
      while (!this.#isStopped) await step();
      await close?.();
    };
    this.#track(name, run());
  }

  #track(name: string, thread: Promise<void>): void {
    const number = this.#threads.length;
    this.#running.set(number, name);
    this.#threads.push(
      thread.finally(() => {
        this.#running.delete(number);
      }),
    );
  }

  async #produceInOrder(producer: SequencedProducer, generator: SendGenerator): Promise<void> {
    const open = new Set<Promise<void>>();
    while (!this.#isStopped) {
      if (!(await producer.prepare())) {
        await pause(100);
        continue;
      }
      const step = generator.next();
      const sent = producer.submit(step.values, step.recordBytes).then(() => {
        open.delete(sent);
      });
      open.add(sent);
      if (open.size >= WINDOW) await Promise.race(open);
      await pause(step.pauseMs);
    }
    await Promise.all(open);
    producer.close();
  }

  async #follow(reader: PartitionReader): Promise<void> {
    while (!this.#isStopped) await reader.poll(POLL_WAIT_MS);
    reader.close();
  }

  #useRegister(common: Omit<ConstructorParameters<typeof OffsetRegister>[0], 'group'>, random: SeededRandom): void {
    const writer = new OffsetRegister({ ...common, group: REGISTER_GROUP });
    const reader = new OffsetRegister({ ...common, group: REGISTER_GROUP });
    this.#closers.push(
      () => writer.close(),
      () => reader.close(),
    );
    let next = 1;
    this.#thread('register writer', async () => {
      await writer.commit(random.pick(this.#standing), next++);
      await pause(REGISTER_PAUSE_MS);
    });
    const readerRandom = random.fork();
    this.#thread('register reader', async () => {
      await reader.read(readerRandom.pick(this.#standing));
      await pause(REGISTER_PAUSE_MS);
    });
  }
}
