/**
 * ListOffsets (2): offsets by position or time.
 *
 * Behaviour:
 *  - Linearizable: answered after a ReadIndex round of the partition's group, so that a deposed leader never gives an end that another one has moved on from (DECISIONS L5).
 *  - −1 high watermark (also the last stable offset: there are no transactions), −2 log start, −3 the record with the highest timestamp, −4 the log start (nothing is tiered), −5 nothing;
 *    else the first record at or after the timestamp, with its own timestamp, or −1, −1.
 *
 * Version notes: 1 to 9. 4+ checks the leader epoch and returns one; before 5, error 78 (not known yet) is 5.
 */
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import {
  type ListOffsetsRequest,
  type ListOffsetsResponse,
  listOffsetsApi,
} from '../../kafka-protocol/messages/list-offsets.ts';
import { type AnyHandler, defineHandler } from '../network/dispatch.ts';
import { PartitionDamageError } from '../partition/partition-damage-error.ts';
import type { PartitionLog, TimestampAndOffset } from '../partition/partition-log.ts';
import type { HandlerServices } from './handler-services.ts';
import { confirmed, ledPartition, untilReady } from './partition-access.ts';

type PartitionRequest = ListOffsetsRequest['topics'][number]['partitions'][number];
type PartitionResponse = ListOffsetsResponse['topics'][number]['partitions'][number];

const LEADER_EPOCH_SINCE_VERSION = 4;
const LATEST = -1;
const EARLIEST = -2;
const MAX_TIMESTAMP = -3;
const EARLIEST_LOCAL = -4;
const LATEST_TIERED = -5;
/** From which version each of the special timestamps may be asked. */
const SINCE: { readonly [timestamp: number]: number } = {
  [LATEST]: 1,
  [EARLIEST]: 1,
  [MAX_TIMESTAMP]: 7,
  [EARLIEST_LOCAL]: 8,
  [LATEST_TIERED]: 9,
};

export function listOffsetsHandler(services: HandlerServices): AnyHandler {
  return defineHandler({
    api: listOffsetsApi,
    async handle(request, { apiVersion }) {
      const topics = await Promise.all(
        request.topics.map(async ({ name, partitions }) => ({
          name,
          partitions: await Promise.all(
            partitions.map((partition) => listOffset(services, name, partition, apiVersion)),
          ),
        })),
      );
      return { topics };
    },
  });
}

async function listOffset(
  { cluster, timers }: HandlerServices,
  topic: string,
  { partitionIndex, currentLeaderEpoch, timestamp }: PartitionRequest,
  apiVersion: number,
): Promise<PartitionResponse> {
  const failed = (errorCode: ErrorCode): PartitionResponse => ({ partitionIndex, errorCode });
  if (timestamp < 0 && apiVersion < (SINCE[timestamp] ?? Number.POSITIVE_INFINITY)) {
    return failed(ErrorCode.UNSUPPORTED_VERSION);
  }
  const access = ledPartition(cluster, cluster.image.topics.get(topic), partitionIndex, currentLeaderEpoch);
  if (access.kind === 'error') return failed(access.errorCode);
  const { log } = access;
  const notYet = apiVersion >= 5 ? ErrorCode.OFFSET_NOT_AVAILABLE : ErrorCode.LEADER_NOT_AVAILABLE;
  if (!(await untilReady(log, timers))) return failed(log.isLeader ? notYet : ErrorCode.NOT_LEADER_OR_FOLLOWER);
  if (!(await confirmed(log))) return failed(log.isLeader ? notYet : ErrorCode.NOT_LEADER_OR_FOLLOWER);
  try {
    const found = await find(log, timestamp);
    return {
      partitionIndex,
      errorCode: ErrorCode.NONE,
      timestamp: found?.timestampMs ?? -1,
      offset: found?.offset ?? -1,
      ...(apiVersion >= LEADER_EPOCH_SINCE_VERSION ? { leaderEpoch: found?.leaderEpoch ?? -1 } : {}),
    };
  } catch (error) {
    if (error instanceof PartitionDamageError) return failed(ErrorCode.KAFKA_STORAGE_ERROR);
    throw error;
  }
}

function find(
  log: PartitionLog,
  timestamp: number,
): TimestampAndOffset | undefined | Promise<TimestampAndOffset | undefined> {
  switch (timestamp) {
    case LATEST:
      return { timestampMs: -1, offset: log.highWatermark, leaderEpoch: log.leaderEpoch };
    case EARLIEST:
    case EARLIEST_LOCAL:
      return { timestampMs: -1, offset: log.logStartOffset, leaderEpoch: -1 };
    case LATEST_TIERED:
      return undefined;
    case MAX_TIMESTAMP:
      return log.findMaxTimestamp();
    default:
      return log.findByTimestamp(timestamp);
  }
}
