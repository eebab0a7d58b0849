/** What must hold for what brokers tell beside records: high watermarks, ends of logs, error codes, and acknowledgements in times without a quorum. */
import { type HistoryEvent, isClientEvent, Mark } from '../history/history.ts';
import { type Operation, placed, polled } from '../history/operation.ts';
import { KnownMaximum } from './check-order.ts';
import type { Observations, TopicLives } from './observations.ts';
import type { Findings } from './violation.ts';

/** Error names that the checks below react to; whoever records errors uses them. */
export const CheckedError = {
  /** [name, key, offset] */
  offsetOutOfRange: 'offset-out-of-range',
  /** [name, key, base offset] */
  corruptBatch: 'corrupt-batch',
  /** [name, key, code]: the batch refused was the oldest that this producer had open, and all before it were acknowledged. */
  outOfOrderAtHead: 'out-of-order-sequence-at-head',
} as const;

export function checkAnswers(
  events: readonly HistoryEvent[],
  operations: readonly Operation[],
  observations: Observations,
  findings: Findings,
  { deletedAt }: TopicLives,
): void {
  // Another topic of that name may have answered: a request to create it that a broker had not read yet when it was paused.
  const mayBeGone = (key: string | number | undefined, at: HistoryEvent): boolean =>
    at.index > (deletedAt.get(Number(key)) ?? Number.POSITIVE_INFINITY);
  checkHighWatermarks(operations, findings);
  checkKnownEnds(operations, observations, findings, mayBeGone);
  checkDeleted(operations, findings);
  checkQuorum(events, operations, findings);
  for (const { f, completion } of operations) {
    const error = completion?.error;
    if (f === 'send' && error?.[0] === CheckedError.outOfOrderAtHead && !mayBeGone(error[1], completion!)) {
      findings.add(
        'sequence-broken',
        completion!,
        `A producer of key ${error[1]} was refused its next batch with code ${error[2]}`,
      );
    }
    if (f === 'poll' && error?.[0] === CheckedError.corruptBatch) {
      findings.add(
        'corrupt-read',
        completion!,
        `The batch at offset ${error[2]} of key ${error[1]} was served with a wrong checksum`,
      );
    }
  }
}

function checkHighWatermarks(operations: readonly Operation[], findings: Findings): void {
  const highest = new Map<string, number>();
  for (const { f, process, completion } of operations) {
    if (f !== 'poll' || completion?.highWatermarks === undefined) continue;
    for (const [key, highWatermark] of Object.entries(completion.highWatermarks)) {
      const id = `${process}/${key}`;
      const before = highest.get(id) ?? -1;
      if (highWatermark < before) {
        findings.add(
          'high-watermark-regression',
          completion,
          `Process ${process} saw the high watermark ${highWatermark} of key ${key} after ${before}`,
        );
      }
      highest.set(id, Math.max(before, highWatermark));
    }
  }
}

/** ListOffsets is linearizable, and an offset up to the known end is never out of range. */
function checkKnownEnds(
  operations: readonly Operation[],
  observations: Observations,
  findings: Findings,
  mayBeGone: (key: string | number, at: HistoryEvent) => boolean,
): void {
  const ends = new Map<number, KnownMaximum>();
  const endOf = (key: number): KnownMaximum => {
    let end = ends.get(key);
    if (end === undefined) {
      end = new KnownMaximum();
      ends.set(key, end);
    }
    return end;
  };
  for (const operation of operations) {
    const at = operation.completion;
    if (at === undefined) continue;
    if (operation.f === 'send' && operation.type === 'ok') {
      for (const { key, offset } of placed(operation)) if (offset !== null) endOf(key).add(at, offset + 1);
    } else if (operation.f === 'poll') {
      for (const { key, records } of polled(operation)) for (const [offset] of records) endOf(key).add(at, offset + 1);
    } else if (operation.f === 'list-offsets' && operation.type === 'ok') {
      for (const [key, end] of Object.entries(operation.completion!.value)) endOf(Number(key)).add(at, end);
    }
  }
  for (const end of ends.values()) end.seal();
  for (const operation of operations) {
    const at = operation.completion;
    if (at === undefined) continue;
    if (operation.f === 'list-offsets' && operation.type === 'ok') {
      for (const [key, end] of Object.entries(operation.completion!.value)) {
        const before = endOf(Number(key)).before(operation.invoke);
        if (end < before && !mayBeGone(key, at)) {
          findings.add('stale-end-offset', at, `Key ${key} was said to end at ${end}, but ${before} was known before`);
        }
      }
    } else if (operation.f === 'poll' && at.error?.[0] === CheckedError.offsetOutOfRange) {
      const [, key, offset] = at.error as [string, number, number];
      const before = endOf(key).before(operation.invoke);
      if (mayBeGone(key, at)) continue;
      if (offset <= before && offset >= (observations.get(key)?.mayBeDeletedBelow ?? 0)) {
        findings.add(
          'false-out-of-range',
          at,
          `Offset ${offset} of key ${key} was refused, but ${before} was known before`,
        );
      }
    }
  }
}

/** What is known to be deleted is not read any more. */
function checkDeleted(operations: readonly Operation[], findings: Findings): void {
  const starts = new Map<number, KnownMaximum>();
  for (const operation of operations) {
    if (operation.f !== 'delete-records' || operation.type !== 'ok') continue;
    for (const [key, start] of Object.entries(operation.completion!.value)) {
      const known = starts.get(Number(key)) ?? new KnownMaximum();
      starts.set(Number(key), known);
      known.add(operation.completion!, start);
    }
  }
  for (const known of starts.values()) known.seal();
  for (const operation of operations) {
    if (operation.f !== 'poll' || operation.completion === undefined) continue;
    for (const { key, records } of polled(operation)) {
      const start = starts.get(key)?.before(operation.invoke) ?? 0;
      const first = records[0];
      if (first === undefined || first[0] >= start) continue;
      findings.add(
        'deleted-read',
        operation.completion,
        `Offset ${first[0]} of key ${key} was read, but the log was known to begin at ${start}`,
      );
    }
  }
}

/** Sent after the quorum was lost and answered before it came back: no majority can have flushed it. */
function checkQuorum(events: readonly HistoryEvent[], operations: readonly Operation[], findings: Findings): void {
  const outages: { from: number; to: number }[] = [];
  for (const event of events) {
    if (isClientEvent(event)) continue;
    if (event.f === Mark.quorumLost) outages.push({ from: event.index, to: Number.POSITIVE_INFINITY });
    const last = outages.at(-1);
    if (event.f === Mark.quorumBack && last !== undefined) last.to = Math.min(last.to, event.index);
  }
  for (const operation of operations) {
    if (operation.f !== 'send' || operation.type !== 'ok') continue;
    const { invoke, completion } = operation;
    if (outages.some(({ from, to }) => invoke.index > from && completion!.index < to)) {
      findings.add(
        'ack-without-quorum',
        completion!,
        `Process ${operation.process} got an acknowledgement without a quorum`,
      );
    }
  }
}
