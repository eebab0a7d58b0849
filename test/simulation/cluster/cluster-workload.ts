/** The clients of a simulated cluster: topics with producers and consumers on each partition, groups, and an administrator who deletes and creates. */
import { ErrorCode } from '../../../src/kafka-protocol/error-codes.ts';
import { createPartitionsApi } from '../../../src/kafka-protocol/messages/create-partitions.ts';
import { createTopicsApi } from '../../../src/kafka-protocol/messages/create-topics.ts';
import { deleteTopicsApi } from '../../../src/kafka-protocol/messages/delete-topics.ts';
import { metadataApi } from '../../../src/kafka-protocol/messages/metadata.ts';
import type { SeededRandom } from '../../../src/std/seeded-random.ts';
import type { Violation as Finding } from '../../chaos/checker/violation.ts';
import { nameOfCode } from '../../chaos/clients/outcome.ts';
import { isClientEvent, pairOperations, type SendMop } from '../../chaos/history/history.ts';
import { Violation } from '../raft-oracle.ts';
import type { SimulatedTime } from '../simulated-clock.ts';
import type { Actor, ActorContext } from './actor.ts';
import type { ClusterPlan } from './cluster-plan.ts';
import type { ClusterTruth } from './cluster-truth.ts';
import { GroupAssignments, GroupMember, OffsetRegister } from './group-clients.ts';
import { EndAsker, Follower, NO_TOPIC_ID, Poller } from './partition-reader.ts';
import { PlainSender } from './plain-sender.ts';
import { RogueSender } from './rogue-sender.ts';
import { SequencedSender } from './sequenced-sender.ts';
import type { SimulatedClientNetwork } from './simulated-client-network.ts';
import { type Key, SimulatedHistory } from './simulated-history.ts';
import type { SimulatedNode } from './simulated-node.ts';
import type { Tempo } from './tempo.ts';
import { TrimmedPartitionReader } from './trimmed-partition.ts';
import { VirtualClient } from './virtual-client.ts';

export interface ClusterWorkloadOptions {
  readonly time: SimulatedTime;
  readonly network: SimulatedClientNetwork;
  readonly random: SeededRandom;
  readonly plan: ClusterPlan;
  readonly history: SimulatedHistory;
  readonly nodes: readonly SimulatedNode[];
  readonly truth: ClusterTruth;
  readonly tempo: Tempo;
  readonly fail: (error: unknown) => void;
  readonly log: (line: string) => void;
}

interface Topic {
  readonly name: string;
  /** Deleted and created again during the run; then nobody may address it by a name that means two topics. */
  readonly isVolatile: boolean;
  readonly isTrimmed?: boolean;
  topicId: string | undefined;
  keys: Key[];
  actors: Actor[];
}

const ADMIN_TIMEOUT_MS = 5_000;
const RETRY_MS = 100;
const TIMELINE_EVENTS = 60;
const PATIENCE = 4;
const TRIMMED = 'trimmed';
const TRIMMED_CONFIGS = [
  { name: 'retention.bytes', value: '30000' },
  { name: 'retention.ms', value: '20000' },
];

export class ClusterWorkload {
  readonly #options: ClusterWorkloadOptions;
  readonly #topics: Topic[] = [];
  readonly #groupActors: Actor[] = [];
  readonly #members: GroupMember[] = [];
  readonly #trimmed: Topic = {
    name: TRIMMED,
    isVolatile: false,
    isTrimmed: true,
    topicId: undefined,
    keys: [],
    actors: [],
  };
  #trimmedReader: TrimmedPartitionReader | undefined;
  readonly #assignments = new GroupAssignments();
  /** Administration, one thing after the other. */
  #admin: Promise<void> = Promise.resolve();
  #isAdministering = false;
  #isStopping = false;
  isRunning = false;

  constructor(options: ClusterWorkloadOptions) {
    this.#options = options;
  }

  start(): void {
    const { plan } = this.#options;
    for (let at = 0; at < plan.topics; at++) {
      this.#topics.push({ name: `topic-${at}`, isVolatile: false, topicId: undefined, keys: [], actors: [] });
    }
    if (plan.faults.includes('recreateTopic') || plan.faults.includes('recreateIsolated')) {
      this.#topics.push({ name: 'volatile', isVolatile: true, topicId: undefined, keys: [], actors: [] });
    }
    this.#administer(async (client) => {
      for (const topic of this.#topics) await this.#create(client, topic, new Map());
      if (plan.trims) {
        await this.#create(client, this.#trimmed, new Map());
        this.#startTrimmed();
      }
      this.#startGroups();
      this.isRunning = true;
    });
  }

  /** Resolves when no administration is under way. */
  settled(): Promise<void> {
    this.#isStopping = true;
    return this.#admin;
  }

  /** Resolves when every partition acknowledged something that was sent after this call. */
  async probe(): Promise<void> {
    const keys = this.#topics.flatMap((topic) => topic.keys);
    await Promise.all(
      keys.map(async (key) => {
        const sender = new PlainSender(this.#context(50), { ...this.#senderOptions(key), recordBytesMax: 20 });
        const from = this.#options.history.events.length;
        sender.start(this.#options.fail);
        while (!this.#isAcknowledged(key, from)) await this.#sleep(50);
        await sender.stop();
      }),
    );
  }

  /** Resolves when all clients ended and every request has an outcome. */
  async stop(): Promise<void> {
    const topics = [...this.#topics, this.#trimmed];
    const actors = [...topics.flatMap((topic) => topic.actors), ...this.#groupActors, ...this.#members];
    await Promise.all(actors.map((actor) => actor.stop()));
  }

  #startTrimmed(): void {
    const { plan, time, fail } = this.#options;
    const { name } = this.#trimmed;
    if (this.#trimmed.topicId === undefined) return;
    const history = new SimulatedHistory(time);
    const key = history.newKey(name, 0);
    const reader = new TrimmedPartitionReader(this.#context(60, 1, history), key);
    const sender = new SequencedSender(this.#context(plan.senderPaceMs, 1, history), this.#senderOptions(key));
    this.#trimmedReader = reader;
    this.#trimmed.actors.push(reader, sender);
    for (const actor of this.#trimmed.actors) actor.start(fail);
  }

  /** Reads every live key from its beginning to its end with fresh clients. Gives their numbers. */
  async readEverything(): Promise<number[]> {
    const read: number[] = [];
    if (this.#trimmedReader !== undefined) {
      await new TrimmedPartitionReader(this.#context(10), {
        key: -1,
        topic: TRIMMED,
        partition: 0,
        topicId: undefined,
      }).readEverything();
    }
    for (const topic of this.#topics) {
      for (const key of topic.keys) {
        const context = this.#context(10);
        const ends = new EndAsker(context, [key]);
        let end: number | undefined;
        while (end === undefined) {
          end = await ends.endOf(key);
          if (end === undefined) await this.#sleep(RETRY_MS);
        }
        const { history } = this.#options;
        const process = history.newProcess();
        history.client(process, 'invoke', 'assign', [key.key]);
        history.client(process, 'ok', 'assign', [key.key]);
        const poller = new Poller(context, key, { process, version: 11, attributes: { final: true } });
        while (poller.position < end) if (!(await poller.poll(20))) await this.#sleep(RETRY_MS);
        // What the end did not tell must not be there.
        await poller.poll(20);
        poller.close();
        ends.close();
        context.client.close();
        read.push(key.key);
      }
    }
    return read;
  }

  // -------------------------------------------------------------- what the faults ask for

  recreateTopic(): boolean {
    const topic = this.#topics.find(({ isVolatile }) => isVolatile);
    if (topic?.topicId === undefined || this.#isAdministering || this.#isStopping) return false;
    this.#administer(async (client) => {
      await Promise.all(topic.actors.map((actor) => actor.stop()));
      topic.actors = [];
      const late = this.#unknownValues(topic.keys);
      await this.#delete(client, topic);
      await this.#create(client, topic, late);
    });
    return true;
  }

  /** The oldest records of the topic that is trimmed. */
  deleteRecords(): boolean {
    return !this.#isStopping && (this.#trimmedReader?.deleteRecords() ?? false);
  }

  addPartitions(): boolean {
    const { random, plan } = this.#options;
    const topic = random.pick(this.#topics.length === 0 ? [undefined] : this.#topics);
    if (topic?.topicId === undefined || topic.isVolatile || topic.keys.length > 4) return false;
    if (this.#isAdministering || this.#isStopping) return false;
    this.#administer(async (client) => {
      const count = topic.keys.length + 1;
      for (;;) {
        const answer = await client.ask(
          createPartitionsApi,
          1,
          {
            topics: [{ name: topic.name, count, assignments: null }],
            timeoutMs: ADMIN_TIMEOUT_MS,
            validateOnly: false,
          },
          2 * ADMIN_TIMEOUT_MS,
        );
        const code = answer?.results[0]?.errorCode;
        this.#options.log(`partition ${count - 1} of ${topic.name}: ${nameOfAnswer(code)}`);
        // Told so by the second attempt if the first one's answer was lost.
        if (code === ErrorCode.NONE || code === ErrorCode.INVALID_PARTITIONS) break;
        if (this.#isHopeless(code)) return;
        client.switchBroker();
        await client.rest(RETRY_MS);
      }
      this.#startPartition(topic, count - 1);
    });
    return plan.partitions > 0;
  }

  /** A member leaves by stopping, or another one comes. */
  churnGroup(): boolean {
    const { random } = this.#options;
    if (this.#members.length === 0 || this.#isStopping) return false;
    const active = this.#members.filter(({ isEnded }) => !isEnded);
    if (active.length > 1 && random.chance(0.5)) void random.pick(active).stop();
    else if (active.length < 5) this.#addMember();
    return true;
  }

  // -------------------------------------------------------------- for people

  /** The last things that clients saw of the partition that a finding is about. */
  timelineOf(finding: Finding): string[] {
    const { events } = this.#options.history;
    const key = /\bkey (\d+)/.exec(finding.detail)?.[1];
    const values = new Set(/\b(?:value|record) (\d+)/i.exec(finding.detail)?.slice(1));
    const lines: string[] = [];
    for (const event of events.slice(0, finding.index + 1)) {
      if (!isClientEvent(event)) continue;
      const text = JSON.stringify(event.value);
      const isAbout =
        key === undefined ||
        text.includes(`["send",${key},`) ||
        text.includes(`"${key}":`) ||
        [...values].some((value) => text.includes(value));
      if (!isAbout) continue;
      const error = event.error === undefined ? '' : ` ${JSON.stringify(event.error)}`;
      lines.push(
        `${(event.time / 1e6).toFixed(1)} client ${event.process} ${event.type} ${event.f} ${text.slice(0, 200)}${error}`,
      );
    }
    return lines.slice(-TIMELINE_EVENTS);
  }

  // -------------------------------------------------------------- topics

  #administer(work: (client: VirtualClient) => Promise<void>): void {
    const { client } = this.#context(RETRY_MS);
    this.#isAdministering = true;
    this.#admin = this.#admin
      .then(() => work(client))
      .catch(this.#options.fail)
      .then(() => {
        this.#isAdministering = false;
        client.close();
      });
  }

  /** `late`: values whose sending has an unknown outcome and that may still land in a partition of this name. */
  async #create(client: VirtualClient, topic: Topic, late: ReadonlyMap<number, readonly number[]>): Promise<void> {
    const { plan, log } = this.#options;
    const { name } = topic;
    const partitions = topic.isTrimmed === true ? 1 : plan.partitions;
    const deletedId = topic.topicId;
    topic.topicId = undefined;
    topic.keys = [];
    for (;;) {
      const answer = await client.ask(
        createTopicsApi,
        4,
        {
          topics: [
            {
              name,
              numPartitions: partitions,
              replicationFactor: plan.replicationFactor,
              assignments: [],
              configs: topic.isTrimmed === true ? TRIMMED_CONFIGS : [],
            },
          ],
          timeoutMs: ADMIN_TIMEOUT_MS,
          validateOnly: false,
        },
        2 * ADMIN_TIMEOUT_MS,
      );
      const code = answer?.topics[0]?.errorCode;
      log(`creation of ${name}: ${nameOfAnswer(code)}`);
      if (code === ErrorCode.NONE || code === ErrorCode.TOPIC_ALREADY_EXISTS) {
        const topicId = await this.#topicIdEverywhere(client, name, deletedId);
        if (topicId !== undefined) {
          topic.topicId = topicId;
          break;
        }
      }
      if (this.#isHopeless(code)) return;
      client.switchBroker();
      await client.rest(RETRY_MS);
    }
    log(`topic ${name} is ${topic.topicId}`);
    if (topic.isTrimmed === true) return;
    for (let partition = 0; partition < partitions; partition++) this.#startPartition(topic, partition, late);
  }

  /** The new id of a topic once all brokers that answer know it, but for one; undefined if they do not agree on a new one yet. */
  async #topicIdEverywhere(
    client: VirtualClient,
    name: string,
    deletedId: string | undefined,
  ): Promise<string | undefined> {
    let found: string | undefined;
    let silent = 0;
    for (const { port } of this.#options.nodes) {
      const connection = await client.connect(port);
      const answer = await connection
        ?.request(metadataApi, 12, { topics: [{ name, topicId: NO_TOPIC_ID }] }, client.options.requestTimeoutMs)
        .catch(() => undefined);
      connection?.close();
      const known = answer?.topics[0];
      if (answer === undefined) {
        silent++;
        continue;
      }
      if (known?.errorCode !== ErrorCode.NONE) return undefined;
      const { topicId } = known;
      if (topicId === deletedId || (found !== undefined && found !== topicId)) return undefined;
      found = topicId;
    }
    return silent <= 1 ? found : undefined;
  }

  async #delete(client: VirtualClient, topic: Topic): Promise<void> {
    for (;;) {
      const answer = await client.ask(
        deleteTopicsApi,
        6,
        {
          topics: [{ name: null, topicId: topic.topicId! }],
          topicNames: [],
          timeoutMs: ADMIN_TIMEOUT_MS,
        },
        2 * ADMIN_TIMEOUT_MS,
      );
      const code = answer?.responses[0]?.errorCode;
      this.#options.log(`deletion of ${topic.name}: ${nameOfAnswer(code)}`);
      if (code === ErrorCode.NONE || code === ErrorCode.UNKNOWN_TOPIC_ID) return;
      client.switchBroker();
      await client.rest(RETRY_MS);
    }
  }

  /** With a broker that stays broken there may be too few for new replicas. */
  #isHopeless(code: number | undefined): boolean {
    return this.#isStopping && code === ErrorCode.INVALID_REPLICATION_FACTOR;
  }

  #startPartition(topic: Topic, partition: number, late: ReadonlyMap<number, readonly number[]> = new Map()): void {
    const { history, random, plan } = this.#options;
    const key = history.newKey(topic.name, partition, topic.isVolatile ? topic.topicId : undefined);
    topic.keys.push(key);
    for (const value of late.get(partition) ?? []) {
      history.client(history.newProcess(), 'invoke', 'send', [['send', key.key, value] satisfies SendMop]);
    }
    const fetchVersion = random.pick([4, 7, 11, 12]);
    const actors: Actor[] = [
      new SequencedSender(this.#context(plan.senderPaceMs), this.#senderOptions(key)),
      new Follower(this.#context(60), key, fetchVersion),
    ];
    if (random.chance(0.5)) actors.push(new PlainSender(this.#context(plan.senderPaceMs), this.#senderOptions(key)));
    if (random.chance(0.3))
      actors.push(new SequencedSender(this.#context(plan.senderPaceMs), this.#senderOptions(key)));
    if (random.chance(0.3)) actors.push(new RogueSender(this.#context(100), this.#senderOptions(key)));
    if (random.chance(0.7)) actors.push(new EndAsker(this.#context(50, PATIENCE), [key]));
    for (const actor of actors) actor.start(this.#options.fail);
    topic.actors.push(...actors);
  }

  #senderOptions(key: Key) {
    const { random, plan } = this.#options;
    return {
      key,
      produceVersion: random.pick([3, 7, 8, 9, 11]),
      recordBytesMax: plan.recordBytesMax,
      compresses: plan.compresses,
      deadlineMs: random.pick([3_000, 20_000]),
    };
  }

  // -------------------------------------------------------------- groups

  #startGroups(): void {
    const { plan } = this.#options;
    const [topic] = this.#topics;
    const [key] = topic!.keys;
    // The topic could not be created: a broker stayed broken before it was.
    if (key === undefined) return;
    const register = [true, false].map(
      (isWriter) => new OffsetRegister(this.#context(60, isWriter ? 1 : PATIENCE), 'register', key, isWriter),
    );
    for (const actor of register) actor.start(this.#options.fail);
    this.#groupActors.push(...register);
    for (let at = 0; at < plan.groupMembers; at++) this.#addMember();
  }

  #addMember(): void {
    const { random, plan, fail } = this.#options;
    const member = new GroupMember(this.#context(30), {
      group: 'members',
      keys: this.#topics.filter(({ isVolatile }) => !isVolatile).flatMap((topic) => topic.keys.slice(0, 2)),
      sessionTimeoutMs: random.pick([600, 2_000]) * (plan.calmMs > 0 ? 10 : 1),
      fetchVersion: random.pick([4, 11]),
      instanceId: plan.hasStaticMembers ? this.#freeInstanceId() : null,
      assignments: this.#assignments,
      violated: (what) => fail(new Violation(what)),
    });
    this.#members.push(member);
    member.start(fail);
  }

  /** The name of a member that ended, if there is one. */
  #freeInstanceId(): string {
    const taken = new Set(this.#members.filter(({ isEnded }) => !isEnded).map(({ instanceId }) => instanceId));
    let number = 0;
    while (taken.has(`static-${number}`)) number++;
    return `static-${number}`;
  }

  // -------------------------------------------------------------- small things

  /** A patient client still waits for an old leader when others have found the new one: who answers it then must not answer from before. */
  #context(paceMs: number, patience = 1, history = this.#options.history): ActorContext {
    const { time, network, random, plan, nodes, truth, tempo, fail } = this.#options;
    const client = new VirtualClient({
      time,
      network,
      random: random.fork(),
      bootstrap: nodes.map(({ port }) => port),
      requestTimeoutMs: patience * plan.requestTimeoutMs,
      tempo,
      broken: fail,
    });
    return {
      client,
      history,
      truth,
      plan,
      get paceMs() {
        return paceMs * tempo.scale;
      },
    };
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => this.#options.time.after(ms, () => resolve()));
  }

  #isAcknowledged({ key }: Key, from: number): boolean {
    const { events } = this.#options.history;
    for (let at = from; at < events.length; at++) {
      const event = events[at]!;
      if (!isClientEvent(event) || event.type !== 'ok' || event.f !== 'send') continue;
      if ((event.value as SendMop[])[0]?.[1] === key) return true;
    }
    return false;
  }

  /** Partition → values whose outcome nobody knows. */
  #unknownValues(keys: readonly Key[]): Map<number, number[]> {
    const partitions = new Map(keys.map(({ key, partition }) => [key, partition]));
    const late = new Map<number, number[]>();
    for (const operation of pairOperations(this.#options.history.events)) {
      if (operation.f !== 'send' || operation.type !== 'info') continue;
      for (const [, key, value] of operation.invoke.value) {
        const partition = partitions.get(key);
        if (partition === undefined) continue;
        late.set(partition, [...(late.get(partition) ?? []), typeof value === 'number' ? value : value[1]]);
      }
    }
    return late;
  }
}

function nameOfAnswer(code: number | undefined): string {
  return code === undefined ? 'no answer' : nameOfCode(code);
}
