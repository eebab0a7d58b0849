/**
 * LeaveGroup (13): members leave; answered when that is durable.
 *
 * Version notes: 3+ several members, and an admin may name a static member by its instance id alone.
 */
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import { type LeaveGroupResponse, leaveGroupApi } from '../../kafka-protocol/messages/leave-group.ts';
import type { GroupCoordinator } from '../groups/group-coordinator.ts';
import { type AnyHandler, defineHandler } from '../network/dispatch.ts';

export function leaveGroupHandler(coordinator: GroupCoordinator): AnyHandler {
  return defineHandler({
    api: leaveGroupApi,
    handle(request, { apiVersion }) {
      const failed = (errorCode: ErrorCode): LeaveGroupResponse => ({ errorCode, members: [] });
      if (request.groupId === '') return failed(ErrorCode.INVALID_GROUP_ID);
      const shard = coordinator.shardOf(request.groupId);
      if (typeof shard === 'number') return failed(shard);
      const identities =
        apiVersion >= 3
          ? request.members.map(({ memberId, groupInstanceId }) => ({ memberId, groupInstanceId }))
          : [{ memberId: request.memberId, groupInstanceId: null }];
      return new Promise<LeaveGroupResponse>((resolve) => {
        shard.leave(request.groupId, identities, (errorCode, codes) => {
          if (errorCode !== ErrorCode.NONE) return resolve(failed(errorCode));
          if (apiVersion < 3) return resolve(failed(codes[0] ?? ErrorCode.NONE));
          resolve({
            errorCode,
            members: identities.map((identity, i) => ({ ...identity, errorCode: codes[i] ?? ErrorCode.NONE })),
          });
        });
      });
    },
  });
}
