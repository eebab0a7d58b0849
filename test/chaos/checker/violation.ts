/** What a checker can find, and how findings are collected. */

/** Every kind of violation, with what it means. A checker that finds a kind that is not here does not compile. */
export const VIOLATIONS = {
  'lost-write': 'An acknowledged record is missing although later ones of its partition were read',
  unseen: 'An acknowledged record at the end of its partition was never read',
  duplicate: 'A record is at several offsets although its producer has sequence numbers or sent it once',
  'inconsistent-offsets': 'Two records were seen at one offset',
  G1a: 'A record was read whose send had certainly failed',
  'never-sent': 'A record was read that nobody sent',
  'int-nonmonotonic-poll': 'Within one poll an offset does not lie above the one before',
  'int-poll-skip': 'Within one poll an existing record is left out',
  'nonmonotonic-poll': 'A consumer without a new assignment was given an offset again',
  'poll-skip': 'A consumer without a new assignment was not given an existing record',
  'int-nonmonotonic-send': 'Records of one request got offsets in another order',
  'nonmonotonic-send': 'A later send of one process got a lower offset than an earlier one',
  'sequence-reordered': 'Of two batches of one idempotent producer the later one is first in the log',
  'sequence-hole': 'A batch of an idempotent producer is in the log although one before it is not',
  'realtime-order': 'A send landed at or below an offset that was known before the send began',
  'offset-gap': 'Offsets of a partition are not dense from 0 on',
  'high-watermark-regression': 'A client saw a high watermark go back',
  'stale-end-offset': 'ListOffsets gave an end below what was known before it was asked',
  'committed-offset-back': 'A committed offset was read that is below one known before',
  'committed-offset-phantom': 'A committed offset was read that nobody had tried to commit',
  'group-skip': 'A consumer group left out an existing record',
  'group-rewind': 'A group began again before its committed offset',
  'ack-without-quorum': 'A record was acknowledged while no majority of the brokers could take part',
  'false-out-of-range': 'An offset was called out of range that was known to exist',
  'corrupt-read': 'A batch with a wrong checksum was served',
  'deleted-read': 'A record was read below an offset up to which deletion had been confirmed before the read began',
  resurrected:
    'A record of a deleted topic that had been acknowledged or refused was read from the topic made anew under its name',
  'sequence-broken':
    'An idempotent producer whose batches had all been acknowledged was told that its next one is out of order',
} as const;

export type ViolationKind = keyof typeof VIOLATIONS;

export interface Violation {
  readonly kind: ViolationKind;
  /** One sentence with the facts. */
  readonly detail: string;
  /** Index of the event at which it shows. */
  readonly index: number;
  /** Nanoseconds since the run began. */
  readonly time: number;
}

/** Examples that are kept of each kind; the counts are complete. */
const EXAMPLES_MAX = 10;

export class Findings {
  readonly examples: Violation[] = [];
  readonly counts = new Map<ViolationKind, number>();

  add(kind: ViolationKind, at: { readonly index: number; readonly time: number }, detail: string): void {
    const count = (this.counts.get(kind) ?? 0) + 1;
    this.counts.set(kind, count);
    if (count <= EXAMPLES_MAX) this.examples.push({ kind, detail, index: at.index, time: at.time });
  }
}
