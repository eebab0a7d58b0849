/**
 * CreatePartitions (37): gives a topic more partitions.
 *
 * Behaviour: the count only grows (else 37); answered when every live broker has applied it and each new partition has a leader. A result for each topic, in order.
 */
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import { createPartitionsApi } from '../../kafka-protocol/messages/create-partitions.ts';
import type { Outcome } from '../cluster/cluster.ts';
import { type AnyHandler, defineHandler } from '../network/dispatch.ts';
import type { HandlerServices } from './handler-services.ts';

export function createPartitionsHandler({ cluster }: HandlerServices): AnyHandler {
  return defineHandler({
    api: createPartitionsApi,
    async handle(request) {
      const { validateOnly, timeoutMs } = request;
      const refusals = new Map<string, Outcome>();
      const seen = new Set<string>();
      for (const { name } of request.topics) {
        if (seen.has(name)) {
          refusals.set(name, {
            errorCode: ErrorCode.INVALID_REQUEST,
            errorMessage: 'The topic is named more than once in this request',
          });
        }
        seen.add(name);
        if (cluster.image.topics.get(name)?.isInternal) {
          refusals.set(name, {
            errorCode: ErrorCode.INVALID_TOPIC_EXCEPTION,
            errorMessage: 'Internal topics keep their partitions',
          });
        }
      }
      const accepted = request.topics
        .filter(({ name }) => !refusals.has(name))
        .map(({ name, count, assignments }) => ({
          name,
          count,
          assignments: assignments?.map(({ brokerIds }) => brokerIds) ?? null,
        }));
      const outcomes: ReadonlyMap<string, Outcome> = new Map(
        accepted.length === 0
          ? []
          : (await cluster.createPartitions(accepted, { validateOnly, timeoutMs })).map((outcome) => [
              outcome.name,
              outcome,
            ]),
      );
      const results = [...seen].map((name) => {
        const { errorCode, errorMessage } = (refusals.get(name) ?? outcomes.get(name))!;
        return { name, errorCode, errorMessage };
      });
      return { throttleTimeMs: 0, results };
    },
  });
}
