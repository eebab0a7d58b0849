/**
 * SyncGroup (14): the leader brings the assignment, everybody gets his share. Parked until the assignment is durable.
 *
 * Version notes: 3+ static members; 5+ protocol type and name are compared and returned.
 */
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import { type SyncGroupResponse, syncGroupApi } from '../../kafka-protocol/messages/sync-group.ts';
import { syncError } from '../groups/group-answers.ts';
import type { GroupCoordinator } from '../groups/group-coordinator.ts';
import { type AnyHandler, defineHandler } from '../network/dispatch.ts';

export function syncGroupHandler(coordinator: GroupCoordinator): AnyHandler {
  return defineHandler({
    api: syncGroupApi,
    handle({ generationId, ...request }) {
      if (request.groupId === '') return syncError(ErrorCode.INVALID_GROUP_ID);
      const shard = coordinator.shardOf(request.groupId);
      if (typeof shard === 'number') return syncError(shard);
      return new Promise<SyncGroupResponse>((resolve) => shard.sync({ ...request, generation: generationId }, resolve));
    },
  });
}
