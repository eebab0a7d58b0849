/** An invocation and how it ended. */
import type { ClientEvent, EventType, OperationName } from './history.ts';

interface OperationOf<F extends OperationName> {
  readonly f: F;
  readonly process: number;
  readonly type: Exclude<EventType, 'invoke'>;
  readonly invoke: ClientEvent<F>;
  /** Undefined if the run ended first; `type` is `info` then. */
  readonly completion: ClientEvent<F> | undefined;
}

export type Operation = { [F in OperationName]: OperationOf<F> }[OperationName];
export type SendOperation = Extract<Operation, { f: 'send' }>;
export type PollOperation = Extract<Operation, { f: 'poll' }>;

/** Key and value of each record that a send asked for. */
export function* attempted(operation: SendOperation): Generator<{ key: number; value: number }, void, undefined> {
  for (const [, key, value] of operation.invoke.value) {
    yield { key, value: typeof value === 'number' ? value : value[1] };
  }
}

/** Key, offset and value of each record of a send as its completion tells; the offset is null where it does not. */
export function* placed(
  operation: SendOperation,
): Generator<{ key: number; offset: number | null; value: number }, void, undefined> {
  for (const [, key, value] of operation.completion?.value ?? []) {
    if (typeof value === 'number') yield { key, offset: null, value };
    else yield { key, offset: value[0], value: value[1] };
  }
}

/** Records of each key that a poll returned; also of one that failed later: pollers always emit safe data. */
export function* polled(
  operation: PollOperation,
): Generator<{ key: number; records: readonly (readonly [offset: number, value: number])[] }, void, undefined> {
  for (const [, byKey] of operation.completion?.value ?? []) {
    if (byKey === undefined) continue;
    for (const [key, records] of Object.entries(byKey)) yield { key: Number(key), records };
  }
}
