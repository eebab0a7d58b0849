/**
 * From a topic and partition in a request to the local replica, with the error code Kafka gives where there is none: unknown topic 3 (by id 100), led elsewhere 6, stale or future leader
 * epoch 74 / 75.
 */
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import type { RaftGroups } from '../../raft/raft-group.ts';
import type { Timers } from '../../std/environment.ts';
import type { Cluster } from '../cluster/cluster.ts';
import type { TopicImage } from '../cluster/metadata-image.ts';
import type { PartitionLog } from '../partition/partition-log.ts';

/** How long a request waits for a leader that is not ready (DECISIONS L6). */
export const NOT_READY_PARK_MS = 500;

export type PartitionAccess =
  | { readonly kind: 'found'; readonly log: PartitionLog }
  | { readonly kind: 'error'; readonly errorCode: ErrorCode };

/** The local replica of a partition of a known topic, whether it leads or not. */
export function localPartition(cluster: Cluster, topic: TopicImage | undefined, partition: number): PartitionAccess {
  if (topic?.partitions[partition] === undefined) return failed(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION);
  const log = cluster.partition(topic.name, partition);
  // A replica of an earlier topic of that name may still be on its way out.
  if (log === undefined || log.topicId !== topic.topicId) return failed(ErrorCode.NOT_LEADER_OR_FOLLOWER);
  return { kind: 'found', log };
}

/** {@link localPartition} that leads, with the leader epoch the client believes in checked (−1: not said). It may not be ready yet. */
export function ledPartition(
  cluster: Cluster,
  topic: TopicImage | undefined,
  partition: number,
  currentLeaderEpoch: number,
): PartitionAccess {
  const access = localPartition(cluster, topic, partition);
  if (access.kind === 'error') return access;
  const { log } = access;
  if (currentLeaderEpoch >= 0 && currentLeaderEpoch < log.leaderEpoch) return failed(ErrorCode.FENCED_LEADER_EPOCH);
  if (currentLeaderEpoch > log.leaderEpoch) return failed(ErrorCode.UNKNOWN_LEADER_EPOCH);
  return log.isLeader ? access : failed(ErrorCode.NOT_LEADER_OR_FOLLOWER);
}

/** Waits up to {@link NOT_READY_PARK_MS} for a leader to become ready; false if it did not or lost its leadership. */
export function untilReady(log: PartitionLog, timers: Timers): boolean | Promise<boolean> {
  if (log.isReady) return true;
  if (!log.isLeader) return false;
  return new Promise((resolve) => {
    const settle = (): void => {
      unsubscribe();
      timer.cancel();
      resolve(log.isReady);
    };
    const timer = timers.after(NOT_READY_PARK_MS, settle);
    const unsubscribe = log.onChange(() => {
      if (log.isReady || !log.isLeader) settle();
    });
  });
}

/** True once everything committed before the call is applied here and this broker was confirmed to lead afterwards. */
export function confirmed(log: PartitionLog): Promise<boolean> {
  return new Promise((resolve) => log.group.readBarrier(resolve));
}

/** The new leader for the client's hint with errors 6 and 74 (KIP-951), if it is known. */
export function leaderHint(
  cluster: Cluster,
  groups: RaftGroups,
  topic: TopicImage | undefined,
  partition: number,
): { leaderId: number; leaderEpoch: number } | undefined {
  const placement = topic?.partitions[partition];
  if (placement === undefined) return undefined;
  const announcement = groups.leaderOf(placement.groupId);
  if (announcement === undefined || !cluster.liveBrokers().includes(announcement.leader)) return undefined;
  return { leaderId: announcement.leader, leaderEpoch: announcement.term };
}

/** Addresses of the brokers named by hints. */
export function endpointsOf(
  cluster: Cluster,
  brokerIds: ReadonlySet<number>,
): { nodeId: number; host: string; port: number; rack: string | null }[] {
  const endpoints = [];
  for (const { brokerId, host, port, rack } of cluster.image.brokers.values()) {
    if (brokerIds.has(brokerId)) endpoints.push({ nodeId: brokerId, host, port, rack });
  }
  return endpoints;
}

function failed(errorCode: ErrorCode): PartitionAccess {
  return { kind: 'error', errorCode };
}
