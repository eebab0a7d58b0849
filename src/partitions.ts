/**
 * The partitions of one broker as objects: makes their state machines and logs, keeps their settings up to date, and runs their housekeeping. Knows which of them are shards of the group
 * coordinator.
 */

import type { MetadataImage, TopicImage } from './broker/cluster/metadata-image.ts';
import { decodeReplicaDescriptor } from './broker/cluster/replica-descriptor.ts';
import type { BrokerConfig } from './broker/config/broker-config.ts';
import { resolveTopicSettings } from './broker/config/topic-config.ts';
import type { TopicSettings } from './broker/config/topic-settings.ts';
import { ConsumerOffsetsExtension } from './broker/groups/consumer-offsets-extension.ts';
import { CONSUMER_OFFSETS_TOPIC, type GroupCoordinator } from './broker/groups/group-coordinator.ts';
import { GroupShard } from './broker/groups/group-shard.ts';
import { PARTITIONS_DIRECTORY } from './broker/partition/log-files.ts';
import { Partition } from './broker/partition/partition.ts';
import type { PartitionLog } from './broker/partition/partition-log.ts';
import type { ScrubTarget } from './broker/partition/partition-repair.ts';
import { createPartitionResources, type PartitionResources } from './broker/partition/partition-resources.ts';
import { PartitionStateMachine } from './broker/partition/partition-state-machine.ts';
import { Scrubber } from './broker/partition/scrubber.ts';
import type { RaftDriver } from './raft/raft-driver.ts';
import type { RaftGroup } from './raft/raft-group.ts';
import type { StateMachine } from './raft/state-machine.ts';
import { assert } from './std/assert.ts';
import { brokerId, type GroupId, type ReplicaId } from './std/brands.ts';
import type { Environment, TimerHandle } from './std/environment.ts';
import type { Log } from './std/log.ts';

export interface PartitionsOptions {
  readonly machine: Environment & { readonly log: Log };
  readonly config: BrokerConfig;
  image(): MetadataImage & { topicById(topicId: string): TopicImage | undefined };
  onFailure(error: unknown): void;
}

interface LocalPartition {
  readonly machine: PartitionStateMachine;
  readonly extension: ConsumerOffsetsExtension | undefined;
  settings: TopicSettings;
}

const NO_CONFIGS: ReadonlyMap<string, string> = new Map();

export class Partitions {
  readonly #options: PartitionsOptions;
  readonly #resources: PartitionResources;
  readonly #byStateMachine = new Map<StateMachine, LocalPartition>();
  readonly #open = new Set<Partition>();
  readonly #targets = new Map<GroupId, ScrubTarget>();
  #driver: RaftDriver | undefined;
  #scrubber: Scrubber | undefined;
  #coordinator: GroupCoordinator | undefined;
  #timer: TimerHandle | undefined;

  constructor(options: PartitionsOptions) {
    this.#options = options;
    const { machine, config } = options;
    this.#resources = createPartitionResources({
      disk: machine.disk,
      clock: machine.clock,
      timers: machine.timers,
      clusterTimeMs: () => options.image().clusterTimeMs,
      stampMs: () => this.#stampMs(),
      tailBytesMax: config['log.tail.cache.bytes'],
      onFailure: (error) => options.onFailure(error),
      onDamage: (error, directory) => {
        const target = [...this.#targets.values()].find(({ log }) => log.directory === directory);
        if (target !== undefined) this.#scrubber?.damageMet(target, error);
      },
    });
  }

  /** Looks for damage in the files and sees to its repair; undefined before {@link useDriver}. */
  get scrubber(): Scrubber | undefined {
    return this.#scrubber;
  }

  /** Memory of the newest records, of all partitions. */
  get tail(): { readonly usedBytes: number; readonly budgetBytes: number } {
    return this.#resources.tail;
  }

  /** Set once, before the driver starts. */
  useDriver(driver: RaftDriver): void {
    const { machine, config, onFailure } = this.#options;
    this.#driver = driver;
    this.#scrubber = new Scrubber({
      brokerId: brokerId(config['node.id']),
      groups: driver,
      resources: this.#resources,
      clock: machine.clock,
      timers: machine.timers,
      log: machine.log,
      bytesPerSecond: config['scrub.bytes.per.second'],
      intervalMs: config['scrub.interval.ms'],
      targets: () => this.#targets.values(),
      targetOf: (group) => this.#targets.get(group),
      checkpointAgain: (group) => driver.checkpointAgain(group),
      fail: onFailure,
    });
  }

  /** Set once, before the driver starts. */
  useCoordinator(coordinator: GroupCoordinator): void {
    this.#coordinator = coordinator;
  }

  /** The driver's factory. */
  createStateMachine(group: RaftGroup, descriptor: Uint8Array, metadata: StateMachine): StateMachine {
    const decoded = decodeReplicaDescriptor(descriptor);
    if (decoded.kind === 'metadata') return metadata;
    const { topic, topicId, partition } = decoded;
    const extension = topic === CONSUMER_OFFSETS_TOPIC ? new ConsumerOffsetsExtension() : undefined;
    const configs = this.#options.image().topicById(topicId)?.configs ?? NO_CONFIGS;
    const stateMachine = new PartitionStateMachine({
      resources: this.#resources,
      topic,
      partition,
      replicaId: group.replicaId,
      settings: () => local.settings,
      ...(extension === undefined ? {} : { extension }),
    });
    const { log } = stateMachine;
    const target = { group, name: `${topic}-${partition}`, log, stateFlaw: () => stateMachine.stateFlaw() };
    const local: LocalPartition = { machine: stateMachine, extension, settings: this.#resolve(configs) };
    this.#byStateMachine.set(stateMachine, local);
    this.#targets.set(group.groupId, target);
    return stateMachine;
  }

  open(group: RaftGroup, topic: TopicImage, partition: number): PartitionLog {
    const local = this.#byStateMachine.get(group.stateMachine);
    assert(local !== undefined, `Group ${group.groupId} is a partition made here`);
    const log = new Partition({
      group,
      machine: local.machine,
      resources: this.#resources,
      topic: topic.name,
      topicId: topic.topicId,
      partition,
      settings: () => local.settings,
      producerIdExpirationMs: this.#options.config['producer.id.expiration.ms'],
    });
    this.#open.add(log);
    if (local.extension !== undefined) this.#addShard(log, local.extension);
    return log;
  }

  /** Resolves the topic's settings anew. */
  configure(log: PartitionLog, topic: TopicImage): void {
    const local = this.#byStateMachine.get(log.group.stateMachine);
    if (local !== undefined) local.settings = this.#resolve(topic.configs);
  }

  close(log: PartitionLog): void {
    this.#open.delete(log as Partition);
    const local = this.#byStateMachine.get(log.group.stateMachine);
    const { groupId } = log.group;
    // A new replica of the group may have taken the place already.
    if (this.#targets.get(groupId)?.log === local?.machine.log) this.#targets.delete(groupId);
    this.#byStateMachine.delete(log.group.stateMachine);
    if (log.topic === CONSUMER_OFFSETS_TOPIC) this.#coordinator?.removeShard(log.partition);
  }

  /** Retention and the expiry of producers, at intervals, and the search for damage. */
  start(): void {
    this.#maintain();
    this.#scrubber?.start();
  }

  stop(): void {
    this.#timer?.cancel();
    this.#scrubber?.stop();
  }

  #maintain(): void {
    this.#timer = this.#options.machine.timers.after(this.#options.config['log.retention.check.interval.ms'], () => {
      for (const log of this.#open) log.maintain();
      this.#maintain();
    });
  }

  /** Files of a replica whose removal was cut short by a crash. */
  async destroyRemains(removed: ReplicaId): Promise<void> {
    const { disk } = this.#options.machine;
    for (const name of await disk.list(PARTITIONS_DIRECTORY)) {
      if (name.endsWith(`.${removed}`)) await disk.removeDirectory(`${PARTITIONS_DIRECTORY}/${name}`);
    }
  }

  #addShard(log: Partition, extension: ConsumerOffsetsExtension): void {
    const coordinator = this.#coordinator;
    assert(coordinator !== undefined, 'The coordinator exists before partitions are opened');
    const { machine, image } = this.#options;
    const shard = new GroupShard({
      log: {
        get isLeader() {
          return log.isLeader;
        },
        get isReady() {
          return log.isReady;
        },
        propose: (command, done) => log.proposeExtension([command], done),
        readBarrier: (done) => log.group.readBarrier(done),
      },
      state: extension.state,
      environment: machine,
      config: coordinator.config,
      clusterTimeMs: () => image().clusterTimeMs,
      stampMs: () => this.#stampMs(),
      topicIdOf: (topic) => image().topics.get(topic)?.topicId,
      refreshTopics: () => coordinator.refreshTopics(),
    });
    extension.onLeadershipChanged = () => shard.leadershipChanged();
    coordinator.addShard(log.partition, shard);
    shard.leadershipChanged();
  }

  #stampMs(): number {
    assert(this.#driver !== undefined, 'Nothing is written before there is a driver');
    return Math.round(this.#options.image().clusterTimeMs ?? this.#driver.latestWallMs());
  }

  #resolve(configs: ReadonlyMap<string, string>): TopicSettings {
    return resolveTopicSettings(configs, this.#options.image().brokerConfigs, this.#options.config);
  }
}
