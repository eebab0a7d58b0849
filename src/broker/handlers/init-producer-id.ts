/**
 * InitProducerId (22): an identity for an idempotent producer.
 *
 * Behaviour: without a transactional id a producer id that was never given before, epoch 0, whatever the request carries (KIP-360: an idempotent producer starts afresh).
 * With a transactional id UNSUPPORTED_VERSION: there are no transactions yet, and a client must not believe that there were.
 */
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import { initProducerIdApi } from '../../kafka-protocol/messages/init-producer-id.ts';
import { type AnyHandler, defineHandler } from '../network/dispatch.ts';
import type { HandlerServices } from './handler-services.ts';

const ALLOCATE_TIMEOUT_MS = 10_000;

export function initProducerIdHandler({ cluster }: HandlerServices): AnyHandler {
  const failed = (errorCode: ErrorCode) => ({ errorCode, producerId: -1, producerEpoch: -1 });
  return defineHandler({
    api: initProducerIdApi,
    async handle(request) {
      if (request.transactionalId === '') return failed(ErrorCode.INVALID_REQUEST);
      if (request.transactionalId !== null) return failed(ErrorCode.UNSUPPORTED_VERSION);
      const { errorCode, producerId } = await cluster.allocateProducerId(ALLOCATE_TIMEOUT_MS);
      if (errorCode !== ErrorCode.NONE) return failed(errorCode);
      return { errorCode, producerId, producerEpoch: 0 };
    },
  });
}
