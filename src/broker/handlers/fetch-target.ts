/** The partitions of one Fetch request, resolved: where to read, or what is wrong. */
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import type { FetchRequest } from '../../kafka-protocol/messages/fetch.ts';
import type { Cluster } from '../cluster/cluster.ts';
import type { TopicImage } from '../cluster/metadata-image.ts';
import type { PartitionLog } from '../partition/partition-log.ts';
import { ledPartition } from './partition-access.ts';

const TOPIC_IDS_FROM_VERSION = 13;

export interface Divergence {
  readonly epoch: number;
  readonly endOffset: number;
}

export interface FetchTarget {
  readonly topicImage: TopicImage | undefined;
  readonly partition: number;
  readonly fetchOffset: number;
  readonly maxBytes: number;
  /** Undefined if there is an error from the start. */
  readonly log: PartitionLog | undefined;
  readonly errorCode: ErrorCode;
  /** Epoch of the last record that the reader has, -1 if it does not say. */
  readonly lastFetchedEpoch: number;
}

/** One target per partition, in the order of the request. */
export function resolveFetchTargets(cluster: Cluster, request: FetchRequest, apiVersion: number): FetchTarget[] {
  const targets: FetchTarget[] = [];
  const byId = apiVersion >= TOPIC_IDS_FROM_VERSION;
  for (const { topic: name, topicId, partitions } of request.topics) {
    const topic = byId ? cluster.image.topicById(topicId) : cluster.image.topics.get(name);
    const unknown = byId ? ErrorCode.UNKNOWN_TOPIC_ID : ErrorCode.UNKNOWN_TOPIC_OR_PARTITION;
    for (const wanted of partitions) {
      const access =
        topic === undefined
          ? { kind: 'error' as const, errorCode: unknown }
          : ledPartition(cluster, topic, wanted.partition, wanted.currentLeaderEpoch);
      const log = access.kind === 'found' ? access.log : undefined;
      targets.push({
        topicImage: topic,
        partition: wanted.partition,
        fetchOffset: wanted.fetchOffset,
        maxBytes: wanted.partitionMaxBytes,
        log,
        errorCode: access.kind === 'error' ? access.errorCode : ErrorCode.NONE,
        lastFetchedEpoch: wanted.lastFetchedEpoch,
      });
    }
  }
  return targets;
}

/**
 * Where the reader's log and that of a ready leader agreed last, if the reader's is not a prefix (KIP-320); undefined if it is. That its epoch is not known here is no disagreement: an epoch
 * without records leaves no trace, and a reader may have it from ListOffsets.
 */
export function divergenceOf({ log, lastFetchedEpoch, fetchOffset }: FetchTarget): Divergence | undefined {
  if (log === undefined || lastFetchedEpoch < 0 || !log.isReady) return undefined;
  const { leaderEpoch, endOffset } = log.endOffsetForEpoch(lastFetchedEpoch);
  return leaderEpoch < 0 || endOffset >= fetchOffset ? undefined : { epoch: leaderEpoch, endOffset };
}
