/** DescribeGroups (15): state and members of groups. An unknown group is `Dead` without an error, as Kafka says it below version 6. */
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import { type DescribeGroupsResponse, describeGroupsApi } from '../../kafka-protocol/messages/describe-groups.ts';
import type { GroupCoordinator } from '../groups/group-coordinator.ts';
import type { GroupDescription } from '../groups/group-requests.ts';
import { type AnyHandler, defineHandler } from '../network/dispatch.ts';

type DescribedGroup = DescribeGroupsResponse['groups'][number];

export function describeGroupsHandler(coordinator: GroupCoordinator): AnyHandler {
  return defineHandler({
    api: describeGroupsApi,
    async handle({ groups }) {
      return { groups: await Promise.all(groups.map((groupId) => describeGroup(coordinator, groupId))) };
    },
  });
}

function describeGroup(coordinator: GroupCoordinator, groupId: string): Promise<DescribedGroup> {
  return new Promise((resolve) => {
    const shard = coordinator.shardOf(groupId);
    if (typeof shard === 'number') return resolve(toDescribed(groupId, shard, undefined));
    shard.describe(groupId, (errorCode, group) => resolve(toDescribed(groupId, errorCode, group)));
  });
}

function toDescribed(groupId: string, errorCode: ErrorCode, group: GroupDescription | undefined): DescribedGroup {
  return {
    errorCode,
    groupId,
    groupState: group?.state ?? (errorCode === ErrorCode.NONE ? 'Dead' : ''),
    protocolType: group?.protocolType ?? '',
    protocolData: group?.protocol ?? '',
    members: (group?.members ?? []).map(({ metadata, assignment, ...member }) => ({
      ...member,
      memberMetadata: metadata,
      memberAssignment: assignment,
    })),
  };
}
