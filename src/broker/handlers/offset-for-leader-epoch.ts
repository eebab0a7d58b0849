/**
 * OffsetForLeaderEpoch (23): where an epoch of the log ends; how a reader finds out that what it read was cut off (KIP-320).
 *
 * Behaviour: the largest known epoch ≤ the given one and the offset where the next begins, or the log end; −1, −1 if there is none. Committed records are never cut off here, so for our
 * own epochs the answer never makes a reader go back.
 */
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import { offsetForLeaderEpochApi } from '../../kafka-protocol/messages/offset-for-leader-epoch.ts';
import { type AnyHandler, defineHandler } from '../network/dispatch.ts';
import type { HandlerServices } from './handler-services.ts';
import { confirmed, ledPartition, untilReady } from './partition-access.ts';

export function offsetForLeaderEpochHandler({ cluster, timers }: HandlerServices): AnyHandler {
  const endOfEpoch = async (
    topic: string,
    wanted: { partition: number; currentLeaderEpoch: number; leaderEpoch: number },
  ) => {
    const { partition } = wanted;
    const access = ledPartition(cluster, cluster.image.topics.get(topic), partition, wanted.currentLeaderEpoch);
    if (access.kind === 'error') return { partition, errorCode: access.errorCode };
    if (!(await untilReady(access.log, timers))) return { partition, errorCode: ErrorCode.NOT_LEADER_OR_FOLLOWER };
    const end = access.log.endOffsetForEpoch(wanted.leaderEpoch);
    // "Never heard of it" makes a consumer start over: who says that must not be a deposed leader.
    if (end.endOffset < 0 && !(await confirmed(access.log))) {
      return { partition, errorCode: ErrorCode.NOT_LEADER_OR_FOLLOWER };
    }
    return { partition, errorCode: ErrorCode.NONE, ...end };
  };
  return defineHandler({
    api: offsetForLeaderEpochApi,
    async handle(request) {
      const topics = await Promise.all(
        request.topics.map(async ({ topic, partitions }) => ({
          topic,
          partitions: await Promise.all(partitions.map((partition) => endOfEpoch(topic, partition))),
        })),
      );
      return { topics };
    },
  });
}
