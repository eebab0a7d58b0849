/** OffsetDelete (47): removes committed positions of a group; refused for topics that its members subscribe to (GROUP_SUBSCRIBED_TO_TOPIC). */
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import { type OffsetDeleteResponse, offsetDeleteApi } from '../../kafka-protocol/messages/offset-delete.ts';
import type { GroupCoordinator } from '../groups/group-coordinator.ts';
import { type AnyHandler, defineHandler } from '../network/dispatch.ts';

export function offsetDeleteHandler(coordinator: GroupCoordinator): AnyHandler {
  return defineHandler({
    api: offsetDeleteApi,
    handle({ groupId, topics }) {
      const failed = (errorCode: ErrorCode): OffsetDeleteResponse => ({ errorCode, topics: [] });
      const shard = coordinator.shardOf(groupId);
      if (typeof shard === 'number') return failed(shard);
      const subscribed = shard.subscribedTopics(groupId);
      const isSubscribed = (topic: string) => subscribed === 'unknown' || subscribed.has(topic);
      const partitions = topics.flatMap(({ name, partitions: indexes }) =>
        isSubscribed(name) ? [] : indexes.map(({ partitionIndex }) => ({ topic: name, partition: partitionIndex })),
      );
      return new Promise<OffsetDeleteResponse>((resolve) => {
        shard.deleteOffsets(groupId, partitions, (errorCode) => {
          if (errorCode !== ErrorCode.NONE) return resolve(failed(errorCode));
          resolve({
            errorCode,
            topics: topics.map(({ name, partitions: indexes }) => ({
              name,
              partitions: indexes.map(({ partitionIndex }) => ({
                partitionIndex,
                errorCode: isSubscribed(name) ? ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC : ErrorCode.NONE,
              })),
            })),
          });
        });
      });
    },
  });
}
