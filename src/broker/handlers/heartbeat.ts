/** Heartbeat (12): a member lives; REBALANCE_IN_PROGRESS tells it to join again. */
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import { heartbeatApi } from '../../kafka-protocol/messages/heartbeat.ts';
import type { GroupCoordinator } from '../groups/group-coordinator.ts';
import { type AnyHandler, defineHandler } from '../network/dispatch.ts';

export function heartbeatHandler(coordinator: GroupCoordinator): AnyHandler {
  return defineHandler({
    api: heartbeatApi,
    handle({ groupId, generationId, ...identity }) {
      if (groupId === '') return { errorCode: ErrorCode.INVALID_GROUP_ID };
      const shard = coordinator.shardOf(groupId);
      if (typeof shard === 'number') return { errorCode: shard };
      return { errorCode: shard.heartbeat(groupId, identity, generationId) };
    },
  });
}
