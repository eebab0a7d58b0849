/**
 * OffsetFetch (9): the committed positions of groups, linearizable.
 *
 * Behaviour: nothing committed (also an unknown group or partition) is offset −1 with error 0, as every consumer expects. A coordinator that is not ready says so per group and, below version 2,
 * per partition: never −1, which would reset a consumer (RELIABILITY K17).
 *
 * Version notes: 2+ null topics mean all, and a request-level error; 5+ leader epochs; 7+ requireStable (nothing is unstable without transactions); 8+ several groups.
 */
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import { type OffsetFetchResponse, offsetFetchApi } from '../../kafka-protocol/messages/offset-fetch.ts';
import type { GroupCoordinator } from '../groups/group-coordinator.ts';
import type { OffsetAnswer } from '../groups/group-shard.ts';
import { type AnyHandler, defineHandler } from '../network/dispatch.ts';

type WantedTopics = readonly { readonly name: string; readonly partitionIndexes: readonly number[] }[] | null;
type GroupAnswer = NonNullable<OffsetFetchResponse['groups']>[number];

export function offsetFetchHandler(coordinator: GroupCoordinator): AnyHandler {
  return defineHandler({
    api: offsetFetchApi,
    async handle(request, { apiVersion }) {
      if (apiVersion >= 8) {
        const groups = await Promise.all(
          request.groups.map(({ groupId, topics }) => fetchGroup(coordinator, groupId, topics)),
        );
        return { topics: [], groups };
      }
      const { topics, errorCode } = await fetchGroup(coordinator, request.groupId, request.topics);
      return { topics, errorCode, groups: [] };
    },
  });
}

function fetchGroup(coordinator: GroupCoordinator, groupId: string, topics: WantedTopics): Promise<GroupAnswer> {
  const wanted = topics?.flatMap(({ name, partitionIndexes }) =>
    partitionIndexes.map((partition) => ({ topic: name, partition })),
  );
  return new Promise((resolve) => {
    const answer = (errorCode: ErrorCode, offsets: readonly OffsetAnswer[]): void =>
      resolve({ groupId, errorCode, topics: byTopic(errorCode, offsets) });
    const failed = (errorCode: ErrorCode): void =>
      answer(
        errorCode,
        (wanted ?? []).map((key) => ({ ...key, value: undefined })),
      );
    const shard = coordinator.shardOf(groupId);
    if (typeof shard === 'number') return failed(shard);
    shard.fetchOffsets(groupId, wanted, (errorCode, offsets) => {
      if (errorCode !== ErrorCode.NONE) failed(errorCode);
      else answer(errorCode, offsets);
    });
  });
}

function byTopic(errorCode: ErrorCode, offsets: readonly OffsetAnswer[]): GroupAnswer['topics'] {
  const topics = new Map<string, OffsetAnswer[]>();
  for (const offset of offsets) {
    const known = topics.get(offset.topic);
    if (known === undefined) topics.set(offset.topic, [offset]);
    else known.push(offset);
  }
  return [...topics].map(([name, partitions]) => ({
    name,
    partitions: partitions.map(({ partition, value }) => ({
      partitionIndex: partition,
      committedOffset: value?.offset ?? -1,
      committedLeaderEpoch: value?.leaderEpoch ?? -1,
      metadata: value?.metadata ?? '',
      errorCode,
    })),
  }));
}
