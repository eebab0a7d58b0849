/** What a history tells about the contents of each partition: which value is at which offset, who sent it, who read it. The ground on which all checks stand. */
import { type ClientEvent, type HistoryEvent, isClientEvent, Mark, type TopicRecreated } from '../history/history.ts';
import { attempted, type Operation, placed, polled, type SendOperation } from '../history/operation.ts';

export interface SentValue {
  readonly value: number;
  readonly operation: SendOperation;
  /** Every offset at which it was seen, by its producer or a reader. */
  readonly offsets: Set<number>;
  /** A poll returned it. */
  read: boolean;
  /** Where its producer was told it is. */
  acknowledgedOffset: number | undefined;
}

export interface KeyObservations {
  readonly key: number;
  readonly sent: Map<number, SentValue>;
  /** offset → first value seen there. */
  readonly valueAt: Map<number, number>;
  /** Offsets at which more than one value was seen. */
  readonly conflicts: { readonly offset: number; readonly value: number; readonly at: ClientEvent }[];
  /** Values that were read and that nobody sent. */
  readonly neverSent: { readonly offset: number; readonly value: number; readonly at: ClientEvent }[];
  /** Values of a deleted topic of the same name that were read here although their sends had a known outcome. */
  readonly resurrected: { readonly offset: number; readonly value: number; readonly at: ClientEvent }[];
  /** Somebody asked for the deletion of all records below this offset; 0: nobody did. What is missing there is not missed. */
  mayBeDeletedBelow: number;
  /** Highest offset that any poll returned; −1: none. */
  highestRead: number;
  /** All offsets seen, ascending. */
  order: number[];
  /** offset → its place in `order`. */
  rank: Map<number, number>;
}

export type Observations = ReadonlyMap<number, KeyObservations>;

/** What the history tells of topics that come and go. */
export interface TopicLives {
  /** key → the key of the deleted partition of the same name that it replaced. */
  readonly before: ReadonlyMap<number, number>;
  /** key → index of the event from which on its topic may be gone. */
  readonly deletedAt: ReadonlyMap<number, number>;
}

export function topicLives(events: readonly HistoryEvent[]): TopicLives {
  const deletedAt = new Map<number, number>();
  for (const event of events) {
    if (isClientEvent(event) || event.f !== Mark.topicDeleted) continue;
    for (const key of event.value as number[]) deletedAt.set(key, event.index);
  }
  return { before: predecessors(events), deletedAt };
}

function predecessors(events: readonly HistoryEvent[]): ReadonlyMap<number, number> {
  const result = new Map<number, number>();
  for (const event of events) {
    if (isClientEvent(event) || event.f !== Mark.topicRecreated) continue;
    const { keys, replaces } = event.value as TopicRecreated;
    keys.forEach((key, i) => {
      if (replaces[i] !== undefined) result.set(key, replaces[i]);
    });
  }
  return result;
}

export function observe(
  operations: readonly Operation[],
  before: ReadonlyMap<number, number> = new Map(),
): Observations {
  const keys = new Map<number, KeyObservations>();
  const of = (key: number): KeyObservations => {
    let known = keys.get(key);
    if (known === undefined) {
      known = {
        key,
        sent: new Map(),
        valueAt: new Map(),
        conflicts: [],
        neverSent: [],
        resurrected: [],
        mayBeDeletedBelow: 0,
        highestRead: -1,
        order: [],
        rank: new Map(),
      };
      keys.set(key, known);
    }
    return known;
  };

  for (const operation of operations) {
    if (operation.f !== 'send') continue;
    for (const { key, value } of attempted(operation)) {
      const { sent } = of(key);
      if (sent.has(value)) throw new Error(`Value ${value} of key ${key} was sent twice by the workload`);
      sent.set(value, { value, operation, offsets: new Set(), read: false, acknowledgedOffset: undefined });
    }
  }
  for (const operation of operations) {
    if (operation.f !== 'delete-records' || operation.type === 'fail') continue;
    for (const [key, offset] of Object.entries(operation.invoke.value)) {
      const known = of(Number(key));
      known.mayBeDeletedBelow = Math.max(known.mayBeDeletedBelow, offset);
    }
  }
  const see = (known: KeyObservations, offset: number, value: number, at: ClientEvent): void => {
    const before = known.valueAt.get(offset);
    if (before === undefined) known.valueAt.set(offset, value);
    else if (before !== value) known.conflicts.push({ offset, value, at });
    known.sent.get(value)?.offsets.add(offset);
  };
  /** A request names a topic by its name: one with an unknown outcome may land in the topic that was made anew. */
  const sentBefore = (key: number, value: number): SentValue | undefined => {
    for (let old = before.get(key); old !== undefined; old = before.get(old)) {
      const sent = keys.get(old)?.sent.get(value);
      if (sent !== undefined) return sent;
    }
    return undefined;
  };
  for (const operation of operations) {
    if (operation.f === 'send') {
      for (const { key, offset, value } of placed(operation)) {
        if (offset === null) continue;
        const known = of(key);
        see(known, offset, value, operation.completion!);
        const sent = known.sent.get(value);
        if (sent !== undefined && operation.type === 'ok') sent.acknowledgedOffset = offset;
      }
    } else if (operation.f === 'poll') {
      for (const { key, records } of polled(operation)) {
        const known = of(key);
        for (const [offset, value] of records) {
          see(known, offset, value, operation.completion!);
          known.highestRead = Math.max(known.highestRead, offset);
          const sent = known.sent.get(value);
          if (sent !== undefined) {
            sent.read = true;
            continue;
          }
          const elsewhere = sentBefore(key, value);
          const found = { offset, value, at: operation.completion! };
          if (elsewhere === undefined) known.neverSent.push(found);
          else if (elsewhere.operation.type !== 'info') known.resurrected.push(found);
        }
      }
    }
  }
  for (const known of keys.values()) {
    known.order = [...known.valueAt.keys()].sort((a, b) => a - b);
    known.rank = new Map(known.order.map((offset, rank) => [offset, rank]));
  }
  return keys;
}
