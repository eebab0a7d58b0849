/**
 * The group coordinator of one broker: finds the shard of a group (Kafka's rule: hash of its id over the partitions of `__consumer_offsets`) and the broker that answers for it.
 */
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import type { RaftGroups } from '../../raft/raft-group.ts';
import type { TimerHandle, Timers } from '../../std/environment.ts';
import type { Cluster } from '../cluster/cluster.ts';
import type { BrokerRegistration } from '../cluster/metadata-image.ts';
import type { GroupConfig } from './group-config.ts';
import type { GroupShard } from './group-shard.ts';

export const CONSUMER_OFFSETS_TOPIC = '__consumer_offsets';

const REFRESH_TIMEOUT_MS = 2000;

export interface GroupCoordinatorOptions {
  readonly cluster: Cluster;
  readonly groups: RaftGroups;
  readonly timers: Timers;
  readonly config: GroupConfig;
  /** Creates `__consumer_offsets` if it does not exist yet; NONE once it does. */
  readonly ensureTopic: () => Promise<ErrorCode>;
}

/** Where a group stands with one partition, for the lag metric. */
export interface CommittedPosition {
  readonly groupId: string;
  readonly topic: string;
  readonly partition: number;
  readonly committedOffset: number;
  /** As the replica on this broker knows it; undefined if it has none, or the topic was deleted since. */
  readonly highWatermark: number | undefined;
}

export class GroupCoordinator {
  readonly config: GroupConfig;
  readonly #options: GroupCoordinatorOptions;
  readonly #shards = new Map<number, GroupShard>();
  #retentionTimer: TimerHandle | undefined;

  constructor(options: GroupCoordinatorOptions) {
    this.#options = options;
    this.config = options.config;
  }

  start(): void {
    this.#retentionTimer = this.#options.timers.after(this.config.retentionCheckIntervalMs, () => {
      for (const shard of this.#shards.values()) shard.expireOffsets();
      this.start();
    });
  }

  stop(): void {
    this.#retentionTimer?.cancel();
  }

  /** Registers the local replica of a `__consumer_offsets` partition. */
  addShard(partition: number, shard: GroupShard): void {
    this.#shards.set(partition, shard);
  }

  removeShard(partition: number): void {
    this.#shards.delete(partition);
  }

  /** The shard that answers for a group here, or NOT_COORDINATOR. Whether it may answer now it says itself. */
  shardOf(groupId: string): GroupShard | ErrorCode {
    const partitions = this.#partitionCount();
    if (partitions === undefined) return ErrorCode.NOT_COORDINATOR;
    return this.#shards.get(partitionOf(groupId, partitions)) ?? ErrorCode.NOT_COORDINATOR;
  }

  /** Shards that this broker leads, whether ready or not. */
  shards(): Iterable<GroupShard> {
    return this.#shards.values();
  }

  /** The broker that coordinates a group; creates the offsets topic on first use. */
  async locate(groupId: string): Promise<BrokerRegistration | ErrorCode> {
    if (this.#partitionCount() === undefined) {
      const errorCode = await this.#options.ensureTopic();
      if (errorCode !== ErrorCode.NONE) return ErrorCode.COORDINATOR_NOT_AVAILABLE;
    }
    const { cluster, groups } = this.#options;
    const topic = cluster.image.topics.get(CONSUMER_OFFSETS_TOPIC);
    const placement = topic?.partitions[partitionOf(groupId, topic.partitions.length)];
    if (placement === undefined) return ErrorCode.COORDINATOR_NOT_AVAILABLE;
    const announcement = groups.leaderOf(placement.groupId);
    // Only who is in the Metadata list, too: a client that is sent to a dead broker asks again much later.
    if (announcement === undefined || !cluster.liveBrokers().includes(announcement.leader)) {
      return ErrorCode.COORDINATOR_NOT_AVAILABLE;
    }
    return cluster.image.brokers.get(announcement.leader) ?? ErrorCode.COORDINATOR_NOT_AVAILABLE;
  }

  /** Topic id for what is committed now; undefined if the topic or partition does not exist. */
  topicIdOf(topic: string, partition: number): string | undefined {
    const image = this.#options.cluster.image.topics.get(topic);
    return image !== undefined && partition >= 0 && partition < image.partitions.length ? image.topicId : undefined;
  }

  /** Looks at topics again, as the metadata leader knows them now; false if it could not be asked in time. */
  refreshTopics(): Promise<boolean> {
    return this.#options.cluster.refresh(REFRESH_TIMEOUT_MS);
  }

  /** Committed positions of all groups that this broker coordinates. */
  *positions(): Generator<CommittedPosition> {
    for (const shard of this.#shards.values()) {
      if (shard.availability() !== ErrorCode.NONE) continue;
      for (const { groupId, topic, partition, value } of shard.committedOffsets()) {
        // A position in a topic that is gone says nothing about its successor of the same name.
        const log = this.#options.cluster.partition(topic, partition);
        const highWatermark = log?.topicId === value.topicId ? log.highWatermark : undefined;
        yield { groupId, topic, partition, committedOffset: value.offset, highWatermark };
      }
    }
  }

  #partitionCount(): number | undefined {
    return this.#options.cluster.image.topics.get(CONSUMER_OFFSETS_TOPIC)?.partitions.length;
  }
}

/** Kafka's rule, so that tools which compute it agree: Java's hash of the id's UTF-16 units, made non-negative, modulo the number of partitions. */
export function partitionOf(groupId: string, partitions: number): number {
  let hash = 0;
  for (let i = 0; i < groupId.length; i++) hash = (Math.imul(31, hash) + groupId.charCodeAt(i)) | 0;
  return (hash === -2_147_483_648 ? 0 : Math.abs(hash)) % partitions;
}
