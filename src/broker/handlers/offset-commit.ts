/**
 * OffsetCommit (8): stores positions of a group; answered when they are durable on a quorum and applied.
 *
 * Behaviour: a partition that does not exist gets UNKNOWN_TOPIC_OR_PARTITION, metadata above the limit OFFSET_METADATA_TOO_LARGE, the others are committed together. The member and
 * generation are checked here and again when the commit is applied.
 *
 * Version notes: 1 carries a time stamp that is ignored, 2–4 a retention time that is ignored (as Kafka does for groups); 6+ leader epochs; 7+ static members; 9 tells an unknown group by its own code.
 */
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import { type OffsetCommitResponse, offsetCommitApi } from '../../kafka-protocol/messages/offset-commit.ts';
import type { GroupCoordinator } from '../groups/group-coordinator.ts';
import type { OffsetToCommit } from '../groups/group-requests.ts';
import { type AnyHandler, defineHandler } from '../network/dispatch.ts';

export function offsetCommitHandler(coordinator: GroupCoordinator): AnyHandler {
  return defineHandler({
    api: offsetCommitApi,
    handle(request, { apiVersion }) {
      const offsets: OffsetToCommit[] = [];
      const refusals = request.topics.map(({ name, partitions }) =>
        partitions.map(({ partitionIndex, committedOffset, committedLeaderEpoch, committedMetadata }) => {
          const metadata = committedMetadata ?? '';
          const topicId = coordinator.topicIdOf(name, partitionIndex);
          if (topicId === undefined) return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION;
          if (Buffer.byteLength(metadata) > coordinator.config.offsetMetadataBytesMax) {
            return ErrorCode.OFFSET_METADATA_TOO_LARGE;
          }
          offsets.push({
            topic: name,
            topicId,
            partition: partitionIndex,
            offset: committedOffset,
            leaderEpoch: committedLeaderEpoch,
            metadata,
          });
          return ErrorCode.NONE;
        }),
      );
      const respond = (errorCode: ErrorCode): OffsetCommitResponse => ({
        topics: request.topics.map(({ name, partitions }, t) => ({
          name,
          partitions: partitions.map(({ partitionIndex }, p) => {
            const refusal = refusals[t]![p]!;
            return { partitionIndex, errorCode: refusal === ErrorCode.NONE ? errorCode : refusal };
          }),
        })),
      });
      const shard = coordinator.shardOf(request.groupId);
      if (typeof shard === 'number') return respond(shard);
      if (offsets.length === 0) return respond(shard.availability());
      return new Promise<OffsetCommitResponse>((resolve) => {
        shard.commit(
          {
            groupId: request.groupId,
            generation: request.generationIdOrMemberEpoch,
            memberId: request.memberId,
            groupInstanceId: request.groupInstanceId,
            offsets,
            unknownGroupError: apiVersion >= 9 ? ErrorCode.GROUP_ID_NOT_FOUND : ErrorCode.ILLEGAL_GENERATION,
          },
          (errorCode) => resolve(respond(errorCode)),
        );
      });
    },
  });
}
