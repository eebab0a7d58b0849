/**
 * DeleteRecords (21): moves the start of a partition's log forward, by a committed command.
 *
 * Behaviour: −1 means up to the high watermark; beyond it is error 1; at or below the current start nothing changes. Answers the log start that holds then. An offset inside a batch is
 * allowed: the batch stays until none of its records is needed, and readers skip what lies before the start.
 */
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import { deleteRecordsApi } from '../../kafka-protocol/messages/delete-records.ts';
import { offset } from '../../std/brands.ts';
import { type AnyHandler, defineHandler } from '../network/dispatch.ts';
import type { HandlerServices } from './handler-services.ts';
import { ledPartition, untilReady } from './partition-access.ts';

export function deleteRecordsHandler({ cluster, timers }: HandlerServices): AnyHandler {
  const deleteUpTo = async (topic: string, wanted: { partitionIndex: number; offset: number }) => {
    const { partitionIndex } = wanted;
    const failed = (errorCode: ErrorCode) => ({ partitionIndex, lowWatermark: -1, errorCode });
    const access = ledPartition(cluster, cluster.image.topics.get(topic), partitionIndex, -1);
    if (access.kind === 'error') return failed(access.errorCode);
    const { log } = access;
    if (!(await untilReady(log, timers))) return failed(ErrorCode.NOT_LEADER_OR_FOLLOWER);
    const to = wanted.offset === -1 ? log.highWatermark : wanted.offset;
    if (to < 0 || to > log.highWatermark) return failed(ErrorCode.OFFSET_OUT_OF_RANGE);
    if (to > log.logStartOffset) {
      const errorCode = await new Promise<ErrorCode>((resolve) => log.moveLogStart(offset(to), resolve));
      if (errorCode !== ErrorCode.NONE) return failed(errorCode);
    }
    return { partitionIndex, lowWatermark: log.logStartOffset, errorCode: ErrorCode.NONE };
  };
  return defineHandler({
    api: deleteRecordsApi,
    async handle(request) {
      const topics = await Promise.all(
        request.topics.map(async ({ name, partitions }) => ({
          name,
          partitions: await Promise.all(partitions.map((partition) => deleteUpTo(name, partition))),
        })),
      );
      return { throttleTimeMs: 0, topics };
    },
  });
}
