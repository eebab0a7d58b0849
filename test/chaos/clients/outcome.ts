/**
 * What an error says about a request: certainly not done (`fail`), or unknown (`info`). Anything not known here is unknown. NOT_LEADER_OR_FOLLOWER is unknown (KAFKA-13574), NOT_COORDINATOR for the same
 * reason, and so is
 * OUT_OF_ORDER_SEQUENCE_NUMBER once an earlier attempt at the same batch may have succeeded; a client decides that by asking for every attempt.
 */
import { ErrorCode } from '../../../src/kafka-protocol/error-codes.ts';

/** Codes by which a broker says that it refused before it appended anything. */
const CERTAINLY_NOT_DONE: ReadonlySet<number> = new Set([
  ErrorCode.CORRUPT_MESSAGE,
  ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
  ErrorCode.LEADER_NOT_AVAILABLE,
  ErrorCode.MESSAGE_TOO_LARGE,
  ErrorCode.OFFSET_METADATA_TOO_LARGE,
  ErrorCode.INVALID_TOPIC_EXCEPTION,
  ErrorCode.RECORD_LIST_TOO_LARGE,
  ErrorCode.NOT_ENOUGH_REPLICAS,
  ErrorCode.INVALID_REQUIRED_ACKS,
  ErrorCode.ILLEGAL_GENERATION,
  ErrorCode.INVALID_GROUP_ID,
  ErrorCode.UNKNOWN_MEMBER_ID,
  ErrorCode.REBALANCE_IN_PROGRESS,
  ErrorCode.TOPIC_AUTHORIZATION_FAILED,
  ErrorCode.GROUP_AUTHORIZATION_FAILED,
  ErrorCode.CLUSTER_AUTHORIZATION_FAILED,
  ErrorCode.INVALID_TIMESTAMP,
  ErrorCode.UNSUPPORTED_VERSION,
  ErrorCode.INVALID_REPLICATION_FACTOR,
  ErrorCode.NOT_CONTROLLER,
  ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
  ErrorCode.INVALID_PRODUCER_EPOCH,
  ErrorCode.UNKNOWN_PRODUCER_ID,
  ErrorCode.PRODUCER_FENCED,
  ErrorCode.INVALID_RECORD,
]);

/** Codes after which the same request may succeed, here or at another broker. */
const WORTH_ANOTHER_TRY: ReadonlySet<number> = new Set([
  ErrorCode.UNKNOWN_SERVER_ERROR,
  ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
  ErrorCode.LEADER_NOT_AVAILABLE,
  ErrorCode.NOT_LEADER_OR_FOLLOWER,
  ErrorCode.REQUEST_TIMED_OUT,
  ErrorCode.BROKER_NOT_AVAILABLE,
  ErrorCode.REPLICA_NOT_AVAILABLE,
  ErrorCode.NETWORK_EXCEPTION,
  ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
  ErrorCode.COORDINATOR_NOT_AVAILABLE,
  ErrorCode.NOT_COORDINATOR,
  ErrorCode.NOT_ENOUGH_REPLICAS,
  ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
  ErrorCode.KAFKA_STORAGE_ERROR,
  ErrorCode.FENCED_LEADER_EPOCH,
  ErrorCode.UNKNOWN_LEADER_EPOCH,
  ErrorCode.OFFSET_NOT_AVAILABLE,
  ErrorCode.THROTTLING_QUOTA_EXCEEDED,
  ErrorCode.CORRUPT_MESSAGE,
]);

const NAMES = new Map(
  Object.entries(ErrorCode).map(([name, code]) => [code as number, name.toLowerCase().replaceAll('_', '-')]),
);

export type FailureType = 'fail' | 'info';

export function outcomeOfCode(code: number): FailureType {
  return CERTAINLY_NOT_DONE.has(code) ? 'fail' : 'info';
}

export function isWorthAnotherTry(code: number): boolean {
  return WORTH_ANOTHER_TRY.has(code);
}

export function nameOfCode(code: number): string {
  return NAMES.get(code) ?? `code-${code}`;
}
