/** A cluster of topics in memory for tests of handlers: what a handler asks is answered at once, and what happens is decided by the test. */

import type { Cluster, ConfigChange, NewTopic, NewTopicOutcome, Outcome } from '../../src/broker/cluster/cluster.ts';
import type { BrokerRegistration, MetadataImage, TopicImage } from '../../src/broker/cluster/metadata-image.ts';
import { parseBrokerConfig } from '../../src/broker/config/broker-config.ts';
import type { HandlerServices } from '../../src/broker/handlers/handler-services.ts';
import type { RequestContext } from '../../src/broker/network/dispatch.ts';
import { MemoryBudget } from '../../src/broker/network/memory-budget.ts';
import type {
  PartitionLog,
  ProduceOptions,
  ProduceResult,
  ReadResult,
  TimestampAndOffset,
} from '../../src/broker/partition/partition-log.ts';
import { ErrorCode } from '../../src/kafka-protocol/error-codes.ts';
import type { LeaderAnnouncement, RaftGroup, RaftGroups } from '../../src/raft/raft-group.ts';
import { brokerId, groupId, type Offset, offset, replicaId, term } from '../../src/std/brands.ts';
import { SimulatedTime } from '../simulation/simulated-clock.ts';

export class FakePartition implements PartitionLog {
  readonly group: RaftGroup;
  readonly groupId = groupId(1);
  readonly topic: string;
  readonly topicId: string;
  readonly partition: number;
  logStartOffset: Offset = offset(0);
  leaderEpoch = term(5);
  isLeader = true;
  isReady = true;
  confirms = true;
  /** One entry per record: its bytes and its time. */
  readonly records: { bytes: Uint8Array; timestampMs: number }[] = [];
  readonly produced: { records: Uint8Array; options: ProduceOptions; done: (result: ProduceResult) => void }[] = [];
  readonly listeners = new Set<() => void>();
  reads = 0;
  /** Set: what is read comes from files, once this resolves. */
  files: Promise<void> | undefined;

  constructor(topic: string, topicId: string, partition: number) {
    this.topic = topic;
    this.topicId = topicId;
    this.partition = partition;
    this.group = {
      inSyncBrokers: [brokerId(1)],
      membership: { voters: [{ replicaId: replicaId(1), brokerId: brokerId(1), storeId: '1' }] },
      readBarrier: (done: (confirmed: boolean) => void) => queueMicrotask(() => done(this.confirms)),
    } as unknown as RaftGroup;
  }

  get highWatermark(): Offset {
    return offset(this.records.length);
  }

  get sizeBytes(): number {
    return this.records.reduce((sum, { bytes }) => sum + bytes.length, 0);
  }

  append(sizeBytes: number, timestampMs = 0): void {
    this.records.push({ bytes: new Uint8Array(sizeBytes).fill(this.records.length), timestampMs });
    this.changed();
  }

  changed(): void {
    for (const listener of [...this.listeners]) listener();
  }

  produce(records: Uint8Array, options: ProduceOptions, done: (result: ProduceResult) => void): void {
    this.produced.push({ records, options, done });
  }

  read(fetchOffset: number, maxBytes: number, atLeastOne: boolean): ReadResult | Promise<ReadResult> {
    this.reads++;
    const result = this.#read(fetchOffset, maxBytes, atLeastOne);
    return this.files === undefined ? result : this.files.then(() => result);
  }

  #read(fetchOffset: number, maxBytes: number, atLeastOne: boolean): ReadResult {
    const facts = { highWatermark: this.highWatermark, logStartOffset: this.logStartOffset };
    if (fetchOffset < this.logStartOffset || fetchOffset > this.highWatermark) {
      return { ...facts, errorCode: ErrorCode.OFFSET_OUT_OF_RANGE, records: [], sizeBytes: 0 };
    }
    const pieces: Uint8Array[] = [];
    let sizeBytes = 0;
    for (const { bytes } of this.records.slice(fetchOffset)) {
      if (sizeBytes + bytes.length > maxBytes && !(atLeastOne && pieces.length === 0)) break;
      pieces.push(bytes);
      sizeBytes += bytes.length;
    }
    return { ...facts, errorCode: ErrorCode.NONE, records: pieces, sizeBytes };
  }

  bytesAvailable(fetchOffset: number, maxBytes: number): number {
    const sizeBytes = this.records.slice(fetchOffset).reduce((sum, { bytes }) => sum + bytes.length, 0);
    return Math.min(sizeBytes, maxBytes);
  }

  onChange(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  findByTimestamp(timestampMs: number): Promise<TimestampAndOffset | undefined> {
    const found = this.records.findIndex((record) => record.timestampMs >= timestampMs);
    return Promise.resolve(found === -1 ? undefined : this.#at(found));
  }

  findMaxTimestamp(): Promise<TimestampAndOffset | undefined> {
    const times = this.records.map((record) => record.timestampMs);
    return Promise.resolve(times.length === 0 ? undefined : this.#at(times.indexOf(Math.max(...times))));
  }

  endOffsetForEpoch(epoch: number): { leaderEpoch: number; endOffset: number } {
    if (epoch < 1) return { leaderEpoch: -1, endOffset: -1 };
    return { leaderEpoch: Math.min(epoch, this.leaderEpoch), endOffset: this.highWatermark };
  }

  moveLogStart(to: Offset, done: (errorCode: ErrorCode) => void): void {
    this.logStartOffset = to;
    done(ErrorCode.NONE);
  }

  #at(position: number): TimestampAndOffset {
    return { timestampMs: this.records[position]!.timestampMs, offset: position, leaderEpoch: this.leaderEpoch };
  }
}

export class FakeBroker {
  readonly time = new SimulatedTime();
  readonly machine = this.time.machine();
  readonly topics = new Map<string, TopicImage>();
  readonly brokers = new Map<number, BrokerRegistration>();
  readonly partitions = new Map<string, FakePartition>();
  readonly leaders = new Map<number, LeaderAnnouncement>();
  readonly brokerConfigs = new Map<string, Map<string, string>>();
  readonly live = new Set<number>([1, 2, 3]);
  readonly changes: ConfigChange[] = [];
  refreshes = 0;
  /** Runs at each refresh: the newest image arrives. */
  onRefresh: () => void = () => {};
  createOutcome: Outcome = { errorCode: ErrorCode.NONE, errorMessage: null };
  readonly created: NewTopic[] = [];
  producerId = 1000;
  readonly services: HandlerServices;
  #nextGroup = 1;

  constructor(properties = '') {
    for (const id of [1, 2, 3]) {
      this.brokers.set(id, {
        brokerId: brokerId(id),
        storeId: `${id}`,
        host: `host${id}`,
        port: 9000 + id,
        raftHost: 'r',
        raftPort: 1,
        rack: null,
        metadataReplicaId: replicaId(id),
      });
    }
    const voters = 'controller.quorum.voters=1@127.0.0.1:9192';
    const { config } = parseBrokerConfig(`node.id=1\n${voters}\nlog.dirs=/data\n${properties}`);
    this.services = {
      cluster: this.#cluster(),
      groups: { leaderOf: (id: number) => this.leaders.get(id) } as unknown as RaftGroups,
      config,
      clock: this.machine,
      timers: this.machine,
      records: { recordsIn: 0, recordBytesIn: 0, recordBytesOut: 0 },
      responseMemory: new MemoryBudget(1_000_000),
      space: () => Promise.resolve({ freeBytes: 10, totalBytes: 100 }),
    };
  }

  /** A topic whose partitions are led as given, by broker id. */
  addTopic(name: string, leaders: readonly (number | undefined)[], configs: Record<string, string> = {}): TopicImage {
    const topicId = Buffer.from(`${name}-topic-id-------`.slice(0, 16)).toString('base64url');
    const partitions = leaders.map((leader, partition) => {
      const id = groupId(this.#nextGroup++);
      if (leader !== undefined) {
        this.leaders.set(id, {
          groupId: id,
          leader: brokerId(leader),
          term: term(5),
          ready: true,
          inSync: [1, 2].map(brokerId),
        });
      }
      const log = new FakePartition(name, topicId, partition);
      log.isLeader = leader === 1;
      log.isReady = log.isLeader;
      this.partitions.set(`${name}/${partition}`, log);
      const replicas = [1, 2, 3].map((broker) => ({
        replicaId: replicaId(id * 10 + broker),
        brokerId: brokerId(broker),
        storeId: `${broker}`,
      }));
      return { partition, groupId: id, replicas, version: 0, removing: [] };
    });
    const topic: TopicImage = {
      name,
      topicId,
      isInternal: name.startsWith('__'),
      partitions,
      configs: new Map(Object.entries(configs)),
    };
    this.topics.set(name, topic);
    return topic;
  }

  partition(topic: string, partition = 0): FakePartition {
    return this.partitions.get(`${topic}/${partition}`)!;
  }

  context(apiVersion: number): RequestContext & { closedFor: string[]; disconnect(): void } {
    const listeners = new Set<() => void>();
    const closedFor: string[] = [];
    const context = {
      apiVersion,
      clientId: 'client',
      clientHost: '10.0.0.9',
      connectionId: 1,
      isClosed: false,
      closedFor,
      closeConnection: (reason: string) => void closedFor.push(reason),
      onClosed: (listener: () => void) => {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
      disconnect: () => {
        context.isClosed = true;
        for (const listener of [...listeners]) listener();
      },
    };
    return context;
  }

  #cluster(): Cluster {
    const image = {
      clusterId: 'cluster-1',
      appliedIndex: 1,
      brokers: this.brokers,
      topics: this.topics,
      topicById: (id: string) => [...this.topics.values()].find((topic) => topic.topicId === id),
      brokerConfigs: this.brokerConfigs,
      featureLevel: 1,
      clusterTimeMs: undefined,
    } as unknown as MetadataImage;
    const unused = (): never => {
      throw new Error('Not expected in this test');
    };
    return {
      brokerId: brokerId(1),
      image,
      controllerId: brokerId(2),
      liveBrokers: () => [...this.live].map(brokerId),
      partition: (topic, partition) => this.partitions.get(`${topic}/${partition}`),
      partitionByGroup: unused,
      partitions: () => this.partitions.values(),
      createTopics: (topics, { validateOnly }) => {
        const outcomes = topics.map((topic): NewTopicOutcome => {
          const { errorCode, errorMessage } = this.createOutcome;
          this.created.push(topic);
          const made = errorCode === ErrorCode.NONE && !validateOnly ? this.addTopic(topic.name, [1]) : undefined;
          return {
            name: topic.name,
            topicId: made?.topicId ?? 'AAAAAAAAAAAAAAAAAAAAAA',
            partitionCount: 1,
            replicationFactor: 3,
            errorCode,
            errorMessage,
          };
        });
        return Promise.resolve(outcomes);
      },
      deleteTopics: (topics) =>
        Promise.resolve(topics.map((topic) => ({ ...topic, errorCode: ErrorCode.NONE, errorMessage: null }))),
      createPartitions: (topics) =>
        Promise.resolve(topics.map(({ name }) => ({ name, errorCode: ErrorCode.NONE, errorMessage: null }))),
      alterConfigs: (changes) => {
        this.changes.push(...changes);
        return Promise.resolve(changes.map(() => ({ errorCode: ErrorCode.NONE, errorMessage: null })));
      },
      allocateProducerId: () => Promise.resolve({ errorCode: ErrorCode.NONE, producerId: this.producerId++ }),
      refresh: () => {
        this.refreshes++;
        this.onRefresh();
        return Promise.resolve(true);
      },
      onImageChanged: unused,
    };
  }
}
