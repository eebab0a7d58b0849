/** How the planners of metadata changes answer: Kafka's error codes with sentences for people. */
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import type { ApplyResult, ItemOutcome } from './apply-metadata-command.ts';
import type { Outcome } from './cluster.ts';

export const OK: Outcome = { errorCode: ErrorCode.NONE, errorMessage: null };

/** A refusal with its sentence for people. */
export function refuse(errorCode: ErrorCode, errorMessage: string): Outcome {
  return { errorCode, errorMessage };
}

/** What apply said of each item. */
export function itemOutcomes(applied: ApplyResult | undefined): readonly ItemOutcome[] {
  return applied?.kind === 'items' ? applied.outcomes : [];
}

/** What apply refused although the leader had found it right: another leader's command came in between. */
export function toOutcome(item: ItemOutcome): Outcome {
  switch (item) {
    case 'done':
      return OK;
    case 'topicExists':
      return refuse(ErrorCode.TOPIC_ALREADY_EXISTS, 'The topic already exists.');
    case 'unknownTopic':
      return refuse(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, 'This topic is not known.');
    case 'unknownBroker':
      return refuse(ErrorCode.INVALID_REPLICA_ASSIGNMENT, 'A broker of the assignment is not registered.');
    case 'conflict':
      return refuse(ErrorCode.INVALID_REQUEST, 'Another change came in between; ask again.');
  }
}

/** How often each key comes. */
export function countBy<T>(items: readonly T[], key: (item: T) => string): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const item of items) counts.set(key(item), (counts.get(key(item)) ?? 0) + 1);
  return counts;
}
