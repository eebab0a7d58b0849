/**
 * Judges a history: pure, from events to findings. Semantics of Jepsen's Kafka workload, plus what a log with dense offsets and quorum acknowledgements promises beyond.
 *
 * Unknown outcomes are never guessed: a send without an answer may be there, once. Without the reading of everything at the end, missing records are not judged and `complete` is false.
 */
import { type HistoryEvent, isClientEvent, Mark, pairOperations } from '../history/history.ts';
import { type Operation, placed } from '../history/operation.ts';
import { checkAnswers } from './check-answers.ts';
import { checkContents } from './check-contents.ts';
import { checkGroups } from './check-groups.ts';
import { checkOrder } from './check-order.ts';
import { checkSequences } from './check-sequences.ts';
import { type Observations, observe, topicLives } from './observations.ts';
import { Findings, type Violation, type ViolationKind } from './violation.ts';

export interface Verdict {
  /** How often each kind was found; empty if the promise was kept. */
  readonly counts: Readonly<Partial<Record<ViolationKind, number>>>;
  /** The first few of each kind, in the order of the history. */
  readonly examples: readonly Violation[];
  /** Every key that was sent to was read to its end after healing. */
  readonly complete: boolean;
  readonly statistics: Statistics;
}

export interface Statistics {
  readonly attemptedRecords: number;
  readonly acknowledgedRecords: number;
  readonly failedRecords: number;
  readonly unknownRecords: number;
  /** Of the unknown ones: found by a reader. */
  readonly unknownPresentRecords: number;
  readonly acknowledgedReadRecords: number;
  /** Values at several offsets by producers that may duplicate. */
  readonly allowedDuplicates: number;
  readonly polls: number;
  readonly commits: number;
  readonly endOffsetReads: number;
  /** Polls with an answer that the client had kept back; they are judged by their contents only. */
  readonly lateAnswers: number;
}

export function checkHistory(events: readonly HistoryEvent[]): Verdict {
  const operations = pairOperations(events);
  const lives = topicLives(events);
  const observations = observe(operations, lives.before);
  const findings = new Findings();
  const readToEnd = new Set<number>();
  for (const event of events) {
    if (!isClientEvent(event) && event.f === Mark.finalReads)
      for (const key of event.value as number[]) readToEnd.add(key);
  }
  checkContents(observations, readToEnd, findings);
  const lateAnswers = checkOrder(operations, observations, findings);
  checkSequences(operations, observations, readToEnd, findings);
  checkAnswers(events, operations, observations, findings, lives);
  checkGroups(operations, observations, findings, lives);
  return {
    counts: Object.fromEntries(findings.counts),
    examples: findings.examples.sort((a, b) => a.index - b.index),
    complete: [...observations.keys()].every((key) => readToEnd.has(key)),
    statistics: { ...countRecords(operations, observations), lateAnswers },
  };
}

function countRecords(operations: readonly Operation[], observations: Observations): Omit<Statistics, 'lateAnswers'> {
  const records = { ok: 0, fail: 0, info: 0 };
  let acknowledgedRead = 0;
  let unknownPresent = 0;
  let allowedDuplicates = 0;
  for (const { sent } of observations.values()) {
    for (const { operation, read, offsets } of sent.values()) {
      records[operation.type] += 1;
      if (operation.type === 'ok' && read) acknowledgedRead += 1;
      if (operation.type === 'info' && read) unknownPresent += 1;
      if (offsets.size > 1 && operation.invoke.mayDuplicate === true) allowedDuplicates += 1;
    }
  }
  const completed = (f: Operation['f']): number =>
    operations.filter((operation) => operation.f === f && operation.type === 'ok').length;
  return {
    attemptedRecords: records.ok + records.fail + records.info,
    acknowledgedRecords: records.ok,
    failedRecords: records.fail,
    unknownRecords: records.info,
    unknownPresentRecords: unknownPresent,
    acknowledgedReadRecords: acknowledgedRead,
    allowedDuplicates,
    polls: completed('poll'),
    commits: completed('commit'),
    endOffsetReads: completed('list-offsets'),
  };
}

/** Times (ns) at which records were acknowledged, in order, with how many; what gaps and throughput are computed from. */
export function acknowledgements(
  operations: readonly Operation[],
): { time: number; records: number; latencyNs: number }[] {
  const result = [];
  for (const operation of operations) {
    if (operation.f !== 'send' || operation.type !== 'ok') continue;
    const time = operation.completion!.time;
    result.push({ time, records: [...placed(operation)].length, latencyNs: time - operation.invoke.time });
  }
  return result.sort((a, b) => a.time - b.time);
}
