/**
 * DeleteTopics (20): by name, from version 6 also by topic id.
 *
 * Behaviour: answered when every live broker has applied the deletion, or with error 7 after the time-out. Refused with 73 where delete.topic.enable is false, and for internal topics. A topic
 * created again under the name is another one, with another id, and starts empty at offset 0.
 */
import { ZERO_UUID } from '../../kafka-protocol/byte-reader.ts';
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import { type DeleteTopicsResponse, deleteTopicsApi } from '../../kafka-protocol/messages/delete-topics.ts';
import { type AnyHandler, defineHandler } from '../network/dispatch.ts';
import type { HandlerServices } from './handler-services.ts';

type TopicResponse = DeleteTopicsResponse['responses'][number];

export function deleteTopicsHandler({ cluster, config }: HandlerServices): AnyHandler {
  return defineHandler({
    api: deleteTopicsApi,
    async handle(request, { apiVersion }) {
      const topics =
        apiVersion >= 6 ? request.topics : request.topicNames.map((name) => ({ name, topicId: ZERO_UUID }));
      const failed = (
        errorCode: ErrorCode,
        errorMessage: string,
      ): ((topic: (typeof topics)[number]) => TopicResponse) => {
        return ({ name, topicId }) => ({
          name: name ?? (apiVersion < 6 ? '' : null),
          topicId,
          errorCode,
          errorMessage,
        });
      };
      if (!config['delete.topic.enable']) {
        return {
          responses: topics.map(failed(ErrorCode.TOPIC_DELETION_DISABLED, 'Property delete.topic.enable is false')),
        };
      }
      const isInternal = (name: string | null): boolean =>
        name !== null && cluster.image.topics.get(name)?.isInternal === true;
      const internal = topics.filter(({ name }) => isInternal(name));
      const deletable = topics.filter(({ name }) => !isInternal(name));
      const outcomes = deletable.length === 0 ? [] : await cluster.deleteTopics(deletable, request.timeoutMs);
      return {
        responses: [
          ...outcomes.map(({ name, topicId, errorCode, errorMessage }) => ({ name, topicId, errorCode, errorMessage })),
          ...internal.map(failed(ErrorCode.INVALID_TOPIC_EXCEPTION, 'Internal topics can not be deleted')),
        ],
      };
    },
  });
}
