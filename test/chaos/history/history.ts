/**
 * The history of a run: what clients asked, what they were told, and what was done to the brokers; nothing is judged here.
 *
 * One event a line (JSONL). `time` is nanoseconds of the harness' one monotonic clock since the run began, `index` is dense. A process is logically single-threaded: each `invoke` is followed
 * by exactly one completion of the same process: `ok` (it happened), `fail` (it certainly did not), `info` (unknown). After `info` a process is never used again: its operation may take
 * effect at any later time.
 */
import type { Operation } from './operation.ts';

/** [offset, value]; the offset is null where the client was not told. */
export type Placed = readonly [offset: number | null, value: number];
/** key → records in the order received. Keys are integers that stand for topic-partitions. */
export type Polled = Readonly<Record<string, readonly (readonly [offset: number, value: number])[]>>;
export type OffsetsByKey = Readonly<Record<string, number>>;

export type SendMop = readonly ['send', key: number, value: number | Placed];
export type PollMop = readonly ['poll'] | readonly ['poll', Polled];

/** What an operation does; the shape of `value` follows from `f`. */
export interface OperationValues {
  /** Appends records; unique values per key. All sends of one operation are one produce request. */
  send: readonly SendMop[];
  /** Reads what follows the process' position. */
  poll: readonly PollMop[];
  /** Takes over keys and forgets its positions. */
  assign: readonly number[];
  /** Stores positions of a group. */
  commit: { readonly group: string; readonly offsets: OffsetsByKey };
  /** Reads the stored positions of a group; −1: none. */
  committed: { readonly group: string; readonly offsets: OffsetsByKey };
  /** Asks the leaders for the ends of keys. */
  'list-offsets': OffsetsByKey;
  /** Deletes all records below these offsets; completed with the new starts of the logs. */
  'delete-records': OffsetsByKey;
}
export type OperationName = keyof OperationValues;
export type EventType = 'invoke' | 'ok' | 'fail' | 'info';

/** Facts about an operation that the checker needs beside its value. */
export interface Attributes {
  /** [name, details …] of what went wrong. */
  readonly error?: readonly (string | number)[];
  /** The client sends again by itself and without sequence numbers, so the record may be there twice. */
  readonly mayDuplicate?: true;
  readonly acks?: number;
  /** Producer identity and number of the batch in it: a later number is appended only if all before it were, and behind them. */
  readonly sequence?: readonly [producer: string, number: number];
  /** High watermarks that came with a poll. */
  readonly highWatermarks?: OffsetsByKey;
  /** From where on a client asked for what it polled that does not only go forward: kafkajs may fetch the same records twice at a time, and keeps answers over a rebalance. */
  readonly asked?: OffsetsByKey;
  /** Group in whose name is assigned or polled. */
  readonly group?: string;
  /** Part of the reading of everything at the end. */
  readonly final?: true;
  /** Keys whose positions changed by a rebalance during the operation. */
  readonly rebalanced?: readonly number[];
}

export interface ClientEvent<F extends OperationName = OperationName> extends Attributes {
  readonly index: number;
  readonly time: number;
  readonly process: number;
  readonly type: EventType;
  readonly f: F;
  readonly value: OperationValues[F];
}

/** What was done to the brokers. */
export interface NemesisEvent {
  readonly index: number;
  readonly time: number;
  readonly process: 'nemesis';
  readonly type: 'info';
  readonly f: string;
  readonly value: unknown;
}

export type HistoryEvent = ClientEvent | NemesisEvent;

/** Names that the checker understands in nemesis events. */
export const Mark = {
  /** No majority of the brokers can take part from here on: what is sent after this and answered before `quorumBack` can not have been replicated. */
  quorumLost: 'quorum-lost',
  /** From here on a majority may take part again. */
  quorumBack: 'quorum-back',
  /** A fault has taken effect; value {kind, brokers, evidence}. */
  faultBegins: 'fault-begins',
  faultEnds: 'fault-ends',
  /** Value: keys that were read from their beginning to their end after everything was healed. */
  finalReads: 'final-reads',
  /** From here on a topic may be gone; value: its keys. */
  topicDeleted: 'topic-deleted',
  /** A topic was created again under the name of one that was deleted; value {keys, replaces}: keys of the new partitions and of the old ones. */
  topicRecreated: 'topic-recreated',
} as const;

export interface TopicRecreated {
  readonly keys: readonly number[];
  readonly replaces: readonly number[];
}

export function isClientEvent(event: HistoryEvent): event is ClientEvent {
  return event.process !== 'nemesis';
}

export function parseHistory(jsonl: string): HistoryEvent[] {
  return jsonl
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as HistoryEvent);
}

/** Pairs invocations with completions, in the order of invocation. One that never completed counts as `info`. Throws if the history breaks its own rules. */
export function pairOperations(events: readonly HistoryEvent[]): Operation[] {
  const operations: Operation[] = [];
  const open = new Map<number, { invoke: ClientEvent; position: number }>();
  const retired = new Set<number>();
  events.forEach((event, index) => {
    if (event.index !== index) throw new Error(`Event ${index} of the history has index ${event.index}`);
    if (!isClientEvent(event)) return;
    const { process, type } = event;
    const pending = open.get(process);
    if (type === 'invoke') {
      if (pending !== undefined) throw new Error(`Process ${process} invokes at ${index} before it completed`);
      if (retired.has(process)) throw new Error(`Process ${process} goes on at ${index} after an unknown outcome`);
      open.set(process, { invoke: event, position: operations.length });
      operations.push({ f: event.f, process, type: 'info', invoke: event, completion: undefined } as Operation);
      return;
    }
    if (pending === undefined || pending.invoke.f !== event.f) {
      throw new Error(`Process ${process} completes at ${index} what it did not invoke`);
    }
    open.delete(process);
    if (type === 'info') retired.add(process);
    operations[pending.position] = {
      f: event.f,
      process,
      type,
      invoke: pending.invoke,
      completion: event,
    } as Operation;
  });
  return operations;
}
