/**
 * FindCoordinator (10): which broker answers for a group.
 *
 * Behaviour: names a broker of the Metadata list, or COORDINATOR_NOT_AVAILABLE (retriable) while the group's partition of `__consumer_offsets` has no leader; the first call creates that topic.
 * Transactions and share groups do not exist: their key types are refused with UNSUPPORTED_VERSION, so that nobody waits for a coordinator that never comes.
 *
 * Version notes: 1+ key type; 4+ many keys at once and the answer in an array.
 */
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import { findCoordinatorApi } from '../../kafka-protocol/messages/find-coordinator.ts';
import type { GroupCoordinator } from '../groups/group-coordinator.ts';
import { type AnyHandler, defineHandler } from '../network/dispatch.ts';

const KEY_TYPE_GROUP = 0;

interface Located {
  readonly key: string;
  readonly errorCode: ErrorCode;
  readonly errorMessage: string | null;
  readonly nodeId: number;
  readonly host: string;
  readonly port: number;
}

export function findCoordinatorHandler(coordinator: GroupCoordinator): AnyHandler {
  return defineHandler({
    api: findCoordinatorApi,
    async handle(request, { apiVersion }) {
      if (apiVersion >= 4) {
        const { keyType, coordinatorKeys } = request;
        return { coordinators: await Promise.all(coordinatorKeys.map((key) => locate(coordinator, key, keyType))) };
      }
      const { key: _, ...located } = await locate(coordinator, request.key, request.keyType);
      return located;
    },
  });
}

async function locate(coordinator: GroupCoordinator, key: string, keyType: number): Promise<Located> {
  const failed = (errorCode: ErrorCode, errorMessage: string): Located => ({
    key,
    errorCode,
    errorMessage,
    nodeId: -1,
    host: '',
    port: -1,
  });
  if (keyType !== KEY_TYPE_GROUP) {
    return failed(ErrorCode.UNSUPPORTED_VERSION, 'Only consumer groups have a coordinator: there are no transactions');
  }
  if (key === '') return failed(ErrorCode.INVALID_GROUP_ID, 'The group id is empty');
  const broker = await coordinator.locate(key);
  if (typeof broker === 'number') return failed(broker, 'The coordinator is being elected');
  return {
    key,
    errorCode: ErrorCode.NONE,
    errorMessage: null,
    nodeId: broker.brokerId,
    host: broker.host,
    port: broker.port,
  };
}
