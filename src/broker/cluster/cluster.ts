/**
 * What handlers may ask of the cluster: read the image, change metadata (on whichever broker leads it: requests are forwarded), find local partitions.
 * Implemented by `cluster-controller.ts` (changes, on top of the metadata group) and `partition-registry.ts` (local replicas).
 */
import type { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import type { BrokerId, GroupId } from '../../std/brands.ts';
import type { PartitionLog } from '../partition/partition-log.ts';
import type { MetadataImage } from './metadata-image.ts';

export interface Outcome {
  readonly errorCode: ErrorCode;
  readonly errorMessage: string | null;
}

export interface NewTopic {
  readonly name: string;
  /** -1: broker default. */
  readonly partitionCount: number;
  readonly replicationFactor: number;
  /** Partition → broker ids, or empty. */
  readonly assignments: readonly { partition: number; brokerIds: readonly number[] }[];
  readonly configs: readonly { name: string; value: string | null }[];
}

export interface NewTopicOutcome extends Outcome {
  readonly name: string;
  readonly topicId: string;
  readonly partitionCount: number;
  readonly replicationFactor: number;
}

export interface ConfigChange {
  readonly resource: 'topic' | 'broker';
  /** Topic name; broker id as text, '' for the cluster default. */
  readonly resourceName: string;
  readonly operations: readonly {
    name: string;
    operation: 'set' | 'delete' | 'append' | 'subtract';
    value: string | null;
  }[];
}

export interface Cluster {
  readonly brokerId: BrokerId;
  readonly image: MetadataImage;
  /** Broker that leads the metadata group, undefined during an election. */
  readonly controllerId: BrokerId | undefined;
  /** Brokers registered with a live session, this one included. */
  liveBrokers(): readonly BrokerId[];

  /** Local replica of a partition, undefined if this broker has none. */
  partition(topic: string, partition: number): PartitionLog | undefined;
  partitionByGroup(groupId: GroupId): PartitionLog | undefined;
  partitions(): Iterable<PartitionLog>;

  /** Answered when every live broker has applied the change and each new partition has a leader, or after `timeoutMs` with 7. */
  createTopics(
    topics: readonly NewTopic[],
    options: { validateOnly: boolean; timeoutMs: number; internal?: boolean },
  ): Promise<readonly NewTopicOutcome[]>;
  /** By name or by topic id. */
  deleteTopics(
    topics: readonly { name: string | null; topicId: string }[],
    timeoutMs: number,
  ): Promise<readonly (Outcome & { name: string | null; topicId: string })[]>;
  createPartitions(
    topics: readonly { name: string; count: number; assignments: readonly (readonly number[])[] | null }[],
    options: { validateOnly: boolean; timeoutMs: number },
  ): Promise<readonly (Outcome & { name: string })[]>;
  alterConfigs(
    changes: readonly ConfigChange[],
    options: { validateOnly: boolean; timeoutMs: number },
  ): Promise<readonly Outcome[]>;
  /** A producer id never given before (blocks are committed by the metadata group). */
  allocateProducerId(timeoutMs: number): Promise<{ errorCode: ErrorCode; producerId: number }>;
  /** Makes sure that the local image is at least as new as everything committed before the call (ReadIndex on the metadata leader); false on time-out. For topics that the image does not know. */
  refresh(timeoutMs: number): Promise<boolean>;
  onImageChanged(listener: (image: MetadataImage) => void): () => void;
}
