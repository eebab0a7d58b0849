/** What must hold for the order in which one process sees or writes a partition, and for order in real time across processes. */
import type { ClientEvent } from '../history/history.ts';
import { type Operation, placed, polled } from '../history/operation.ts';
import type { Observations } from './observations.ts';
import type { Findings } from './violation.ts';

/** Returns how many answers had been asked for from behind what their client had given before; no broker can be blamed for their place. */
export function checkOrder(operations: readonly Operation[], observations: Observations, findings: Findings): number {
  const lateAnswers = checkPolls(operations, observations, findings);
  checkSends(operations, findings);
  checkRealtimeOrder(operations, observations, findings);
  return lateAnswers;
}

function checkPolls(operations: readonly Operation[], observations: Observations, findings: Findings): number {
  /** process → key → last offset polled. */
  const positions = new Map<number, Map<number, number>>();
  let lateAnswers = 0;
  for (const operation of operations) {
    if (operation.f === 'assign') positions.delete(operation.process);
    if (operation.f !== 'poll') continue;
    const at = operation.completion;
    if (at === undefined) continue;
    const rebalanced = new Set(at.rebalanced ?? []);
    let position = positions.get(operation.process);
    if (position === undefined) {
      position = new Map();
      positions.set(operation.process, position);
    }
    for (const key of rebalanced) position.delete(key);
    for (const { key, records } of polled(operation)) {
      const { rank, order, mayBeDeletedBelow } = observations.get(key)!;
      let previous = position.get(key);
      // The client asked for what it had already, or earlier than that: two of its fetches began at one place, or one outlived a rebalance.
      if (previous !== undefined && at.asked !== undefined && at.asked[key]! <= previous) {
        lateAnswers++;
        continue;
      }
      records.forEach(([offset], i) => {
        if (previous !== undefined && !(rebalanced.has(key) && i > 0)) {
          const within = i > 0;
          if (offset <= previous) {
            findings.add(
              within ? 'int-nonmonotonic-poll' : 'nonmonotonic-poll',
              at,
              `Process ${operation.process} polled offset ${offset} of key ${key} after ${previous}`,
            );
          } else if (rank.get(offset)! > rank.get(previous)! + 1 && offset > mayBeDeletedBelow) {
            findings.add(
              within ? 'int-poll-skip' : 'poll-skip',
              at,
              `Process ${operation.process} polled offset ${offset} of key ${key} after ${previous}, without ${order[rank.get(previous)! + 1]}`,
            );
          }
        }
        previous = offset;
      });
      if (previous !== undefined) position.set(key, previous);
    }
  }
  return lateAnswers;
}

function checkSends(operations: readonly Operation[], findings: Findings): void {
  /** process → key → highest offset of its earlier sends. */
  const highest = new Map<number, Map<number, number>>();
  for (const operation of operations) {
    if (operation.f !== 'send' || operation.completion === undefined) continue;
    let ofProcess = highest.get(operation.process);
    if (ofProcess === undefined) {
      ofProcess = new Map();
      highest.set(operation.process, ofProcess);
    }
    const within = new Map<number, number>();
    for (const { key, offset } of placed(operation)) {
      if (offset === null) continue;
      const before = ofProcess.get(key);
      const previous = within.get(key);
      if (previous !== undefined && offset <= previous) {
        findings.add(
          'int-nonmonotonic-send',
          operation.completion,
          `One request of process ${operation.process} got offset ${offset} of key ${key} after ${previous}`,
        );
      }
      if (before !== undefined && offset <= before) {
        findings.add(
          'nonmonotonic-send',
          operation.completion,
          `Process ${operation.process} got offset ${offset} of key ${key} after ${before}`,
        );
      }
      within.set(key, offset);
    }
    for (const [key, offset] of within) ofProcess.set(key, Math.max(offset, ofProcess.get(key) ?? -1));
  }
}

/** A send lands above everything that anybody knew when it began; also one whose outcome is unknown and that was found by a reader. This is linearizability of append. */
function checkRealtimeOrder(operations: readonly Operation[], observations: Observations, findings: Findings): void {
  const maxima = new Map([...observations.keys()].map((key) => [key, new KnownMaximum()]));
  for (const operation of operations) {
    const at = operation.completion;
    if (at === undefined) continue;
    if (operation.f === 'send' && operation.type === 'ok') {
      for (const { key, offset } of placed(operation)) if (offset !== null) maxima.get(key)!.add(at, offset);
    } else if (operation.f === 'poll') {
      for (const { key, records } of polled(operation))
        for (const [offset] of records) maxima.get(key)!.add(at, offset);
    }
  }
  for (const known of observations.values()) {
    const maximum = maxima.get(known.key)!;
    maximum.seal();
    for (const sent of known.sent.values()) {
      const before = maximum.before(sent.operation.invoke);
      for (const offset of sent.offsets) {
        if (offset > before) continue;
        findings.add(
          'realtime-order',
          sent.operation.completion ?? sent.operation.invoke,
          `Value ${sent.value} of key ${known.key} landed at offset ${offset}, but ${before} was known before it was sent`,
        );
      }
    }
  }
}

/** The highest number known at each point of a history. Filled in any order, sealed, then asked. */
export class KnownMaximum {
  readonly #facts: { index: number; maximum: number }[] = [];

  /** From the event `at` on, `value` is known. */
  add(at: Pick<ClientEvent, 'index'>, value: number): void {
    this.#facts.push({ index: at.index, maximum: value });
  }

  seal(): void {
    this.#facts.sort((a, b) => a.index - b.index);
    let maximum = -1;
    for (const fact of this.#facts) {
      maximum = Math.max(maximum, fact.maximum);
      fact.maximum = maximum;
    }
  }

  /** The highest value known before the event `at`; −1: none. */
  before(at: Pick<ClientEvent, 'index'>): number {
    let low = 0;
    let high = this.#facts.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#facts[middle]!.index < at.index) low = middle + 1;
      else high = middle;
    }
    return low === 0 ? -1 : this.#facts[low - 1]!.maximum;
  }
}
