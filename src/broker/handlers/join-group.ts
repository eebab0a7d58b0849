/**
 * JoinGroup (11): a member joins its group, or comes back for a rebalance. Parked until the generation is complete.
 *
 * Version notes: 0 has no rebalance time-out (the session's is taken); 4+ a dynamic member comes back with the id it was given (KIP-394); 5+ static members; 7+ protocol type in the answer and a null
 * protocol name; 9+ a returning static leader may skip the assignment.
 */
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import { type JoinGroupResponse, joinGroupApi } from '../../kafka-protocol/messages/join-group.ts';
import { joinError } from '../groups/group-answers.ts';
import type { GroupCoordinator } from '../groups/group-coordinator.ts';
import type { JoinResult } from '../groups/group-requests.ts';
import { type AnyHandler, defineHandler } from '../network/dispatch.ts';

export function joinGroupHandler(coordinator: GroupCoordinator): AnyHandler {
  return defineHandler({
    api: joinGroupApi,
    handle(request, { apiVersion, clientId, clientHost }) {
      return new Promise<JoinGroupResponse>((resolve) => {
        const answer = (result: JoinResult): void => resolve(toResponse(result, apiVersion));
        const { groupId, memberId } = request;
        if (groupId === '') return answer(joinError(ErrorCode.INVALID_GROUP_ID, memberId));
        const shard = coordinator.shardOf(groupId);
        if (typeof shard === 'number') return answer(joinError(shard, memberId));
        shard.join(
          {
            groupId,
            memberId,
            groupInstanceId: request.groupInstanceId,
            clientId: clientId ?? '',
            clientHost: `/${clientHost}`,
            sessionTimeoutMs: request.sessionTimeoutMs,
            rebalanceTimeoutMs: apiVersion === 0 ? request.sessionTimeoutMs : request.rebalanceTimeoutMs,
            protocolType: request.protocolType,
            // Kept as long as the member: the decoded bytes are views on the request.
            protocols: request.protocols.map(({ name, metadata }) => ({ name, metadata: Uint8Array.from(metadata) })),
            requiresKnownMemberId: apiVersion >= 4,
            supportsSkippingAssignment: apiVersion >= 9,
          },
          answer,
        );
      });
    },
  });
}

function toResponse(result: JoinResult, apiVersion: number): JoinGroupResponse {
  const { generation, protocolName, members, ...rest } = result;
  return {
    ...rest,
    generationId: generation,
    protocolName: protocolName ?? (apiVersion >= 7 ? null : ''),
    members,
  };
}
