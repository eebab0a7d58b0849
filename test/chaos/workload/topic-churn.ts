/**
 * A topic that is made, used, deleted and made again under the same name, again and again: each life has keys of its own, so that nothing of an earlier one may be seen in it. It is deleted by
 * its id while clients use it; they end before it is made again, because what a client sends names the topic by its name.
 */
import { createTopicsApi } from '../../../src/kafka-protocol/messages/create-topics.ts';
import { deleteTopicsApi } from '../../../src/kafka-protocol/messages/delete-topics.ts';
import { metadataApi } from '../../../src/kafka-protocol/messages/metadata.ts';
import type { SeededRandom } from '../../../src/std/seeded-random.ts';
import type { Keys } from '../clients/keys.ts';
import { ClientNetwork, pause } from '../clients/network.ts';
import { OffsetRegister } from '../clients/offset-register.ts';
import { PartitionReader } from '../clients/reader.ts';
import { SequencedProducer } from '../clients/sequenced-producer.ts';
import { Mark, type TopicRecreated } from '../history/history.ts';
import type { Recorder } from '../history/recorder.ts';
import { SendGenerator, type Values } from './generator.ts';

export interface TopicChurnOptions {
  readonly network: ClientNetwork;
  readonly recorder: Recorder;
  readonly keys: Keys;
  readonly values: Values;
  readonly random: SeededRandom;
  readonly replicationFactor: number;
  readonly requestTimeoutMs: number;
}

export const CHURN_TOPIC = 'chaos-churn';
const CHURN_GROUP = 'chaos-churn-register';
const PARTITIONS = 2;
const CREATE_VERSION = 4;
/** The first that deletes by id. */
const DELETE_VERSION = 6;
/** The first that tells ids. */
const METADATA_VERSION = 10;
const STEPS_PER_SECOND = 20;
const WINDOW = 5;
/** What the deletion leaves open is given up after it. */
const SEND_DEADLINE_MS = 1_500;
const RETRY_PAUSE_MS = 100;
const LIFE_MS = { min: 600, max: 2_500 } as const;
/** How long the topic is used while its deletion is asked for. */
const OVERLAP_MS = 300;
const CODE = { none: 0, unknownTopic: 3, exists: 36, unknownId: 100 } as const;
/** Sixteen zero bytes. */
const NO_ID = 'AAAAAAAAAAAAAAAAAAAAAA';

export class TopicChurn {
  readonly #options: TopicChurnOptions;
  #keys: readonly number[] = [];
  /** Lives that ended. */
  deletions = 0;

  constructor(options: TopicChurnOptions) {
    this.#options = options;
  }

  /** One life: made, used, deleted. With `isLast` it stays, so that all of it is read at the end. False if the deadline (ms, of `performance.now`) came first. */
  async live(deadlineMs: number, isLast: boolean): Promise<boolean> {
    const { keys, recorder, random, network } = this.#options;
    const id = await this.#create(deadlineMs);
    if (id === undefined) return false;
    const replaces = this.#keys;
    this.#keys = keys.addTopic(CHURN_TOPIC, PARTITIONS);
    recorder.nemesis(Mark.topicRecreated, { keys: this.#keys, replaces } satisfies TopicRecreated);
    // A network of its own: what is known of leaders is known by the name.
    const own = new ClientNetwork(network.bootstrap, (endpoint) => network.route(endpoint));
    const life = this.#use(own);
    await pause(random.between(LIFE_MS.min, LIFE_MS.max));
    if (!isLast) {
      recorder.nemesis(Mark.topicDeleted, this.#keys);
      const deleted = this.#delete(id);
      await Promise.race([deleted, pause(OVERLAP_MS)]);
      life.stop();
      await Promise.all([deleted, life.ended]);
      keys.retire(this.#keys);
      this.deletions += 1;
      return true;
    }
    life.stop();
    await life.ended;
    return true;
  }

  #use(network: ClientNetwork): { stop: () => void; ended: Promise<unknown> } {
    const { recorder, keys, requestTimeoutMs, values, random } = this.#options;
    const common = { network, recorder, keys, requestTimeoutMs };
    let isStopped = false;
    const threads = this.#keys.flatMap((key) => {
      const producer = new SequencedProducer({ ...common, key, window: WINDOW, deadlineMs: SEND_DEADLINE_MS });
      const generator = new SendGenerator(random.fork(), values, STEPS_PER_SECOND);
      const reader = new PartitionReader(common, key);
      const produce = async (): Promise<void> => {
        const open = new Set<Promise<void>>();
        while (!isStopped) {
          if (!(await producer.prepare())) {
            await pause(RETRY_PAUSE_MS);
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
      };
      const read = async (): Promise<void> => {
        while (!isStopped) await reader.poll(100);
        reader.close();
      };
      return [produce(), read()];
    });
    threads.push(this.#useRegister({ ...common, group: CHURN_GROUP }, () => isStopped));
    return {
      stop: () => {
        isStopped = true;
      },
      ended: Promise.all(threads),
    };
  }

  /** What was committed for an earlier life must not be there in this one. */
  async #useRegister(
    options: ConstructorParameters<typeof OffsetRegister>[0],
    isStopped: () => boolean,
  ): Promise<void> {
    const register = new OffsetRegister(options);
    const [key] = this.#keys as [number];
    await register.read(key);
    for (let offset = 1; !isStopped(); offset++) {
      // Other numbers in each life, so that one of an earlier life is known as such.
      await register.commit(key, key * 1_000_000 + offset);
      await register.read(key);
      await pause(RETRY_PAUSE_MS);
    }
    register.close();
  }

  /** The id of a topic that was made now. */
  async #create(deadlineMs: number): Promise<string | undefined> {
    const { network, replicationFactor } = this.#options;
    while (performance.now() < deadlineMs) {
      const answer = await network.askAny(
        createTopicsApi,
        CREATE_VERSION,
        {
          topics: [{ name: CHURN_TOPIC, numPartitions: PARTITIONS, replicationFactor, assignments: [], configs: [] }],
          timeoutMs: 3_000,
          validateOnly: false,
        },
        4_000,
      );
      const code = answer?.topics[0]?.errorCode;
      const id = code === CODE.none || code === CODE.exists ? await this.#id() : undefined;
      if (id !== undefined && code === CODE.none) return id;
      // Made by an attempt that was not answered, perhaps while clients of the one before were still there: nobody knows what is in it.
      if (id !== undefined) await this.#delete(id);
      await pause(RETRY_PAUSE_MS);
    }
    return undefined;
  }

  async #id(): Promise<string | undefined> {
    const answer = await this.#options.network.askAny(metadataApi, METADATA_VERSION, {
      topics: [{ topicId: NO_ID, name: CHURN_TOPIC }],
      allowAutoTopicCreation: false,
    });
    const topic = answer?.topics[0];
    return topic === undefined || topic.errorCode === CODE.unknownTopic || topic.topicId === NO_ID
      ? undefined
      : topic.topicId;
  }

  async #delete(topicId: string): Promise<void> {
    for (;;) {
      const answer = await this.#options.network.askAny(
        deleteTopicsApi,
        DELETE_VERSION,
        { topics: [{ name: null, topicId }], timeoutMs: 3_000 },
        4_000,
      );
      const code = answer?.responses[0]?.errorCode;
      if (code === CODE.none || code === CODE.unknownId || code === CODE.unknownTopic) return;
      await pause(RETRY_PAUSE_MS);
    }
  }
}
