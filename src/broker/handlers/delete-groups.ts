/** DeleteGroups (42): removes groups without members, with their offsets; answered when that is durable. */
import type { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import { deleteGroupsApi } from '../../kafka-protocol/messages/delete-groups.ts';
import type { GroupCoordinator } from '../groups/group-coordinator.ts';
import { type AnyHandler, defineHandler } from '../network/dispatch.ts';

export function deleteGroupsHandler(coordinator: GroupCoordinator): AnyHandler {
  const deleteGroup = (groupId: string) =>
    new Promise<{ groupId: string; errorCode: ErrorCode }>((resolve) => {
      const shard = coordinator.shardOf(groupId);
      if (typeof shard === 'number') return resolve({ groupId, errorCode: shard });
      shard.deleteGroup(groupId, (errorCode) => resolve({ groupId, errorCode }));
    });
  return defineHandler({
    api: deleteGroupsApi,
    async handle({ groupsNames }) {
      return { throttleTimeMs: 0, results: await Promise.all(groupsNames.map(deleteGroup)) };
    },
  });
}
