/**
 * The disk of one replica in core tests: what was written in order, and how much of it is flushed. A crash keeps what was flushed and any prefix of the rest: a kernel may have
 * written it, but nobody was told.
 */

import type { Configuration, Effects, Membership } from '../../src/raft/core/types.ts';
import { membershipCodec } from '../../src/raft/membership-codec.ts';
import { assert } from '../../src/std/assert.ts';
import { type LogIndex, logIndex, replicaId, type Term, term } from '../../src/std/brands.ts';
import { ENTRY_KIND, type Entry, type HardState, type TermRun } from '../../src/wal/replica-storage.ts';

/** A log behind a checkpoint, with term and vote. */
export class LogImage {
  hardState: HardState = { currentTerm: term(0), votedFor: 0 };
  baseIndex: LogIndex = logIndex(0);
  baseTerm: Term = term(0);
  baseMembership: Membership;
  /** entries[i] has index baseIndex + 1 + i. */
  entries: Entry[] = [];
  commitHint: LogIndex = logIndex(0);

  constructor(membership: Membership) {
    this.baseMembership = membership;
  }

  get lastIndex(): LogIndex {
    return logIndex(this.baseIndex + this.entries.length);
  }

  entryAt(index: LogIndex): Entry | undefined {
    return this.entries[index - this.baseIndex - 1];
  }

  termAt(index: LogIndex): Term | undefined {
    return index === this.baseIndex ? this.baseTerm : this.entryAt(index)?.term;
  }

  append(entry: Entry): void {
    assert(entry.index === this.lastIndex + 1, 'A disk takes entries in order');
    this.entries.push(entry);
  }

  truncateFrom(index: LogIndex): void {
    assert(index > this.baseIndex && index <= this.lastIndex, 'A disk truncates what it has');
    this.entries.length = index - this.baseIndex - 1;
  }

  termRuns(): TermRun[] {
    const runs: TermRun[] = [];
    for (const entry of this.entries)
      if (runs[runs.length - 1]?.term !== entry.term) runs.push({ firstIndex: entry.index, term: entry.term });
    return runs;
  }

  configurations(upTo: LogIndex = this.lastIndex): Configuration[] {
    const result: Configuration[] = [{ index: this.baseIndex, membership: this.baseMembership }];
    for (const entry of this.entries)
      if (entry.kind === ENTRY_KIND.configuration && entry.index <= upTo)
        result.push({ index: entry.index, membership: membershipCodec.decode(entry.payload) });
    return result;
  }

  /** Moves the base to an entry that is in the state by now. */
  compactTo(index: LogIndex): void {
    if (index <= this.baseIndex) return;
    const configurations = this.configurations(index);
    this.baseTerm = this.termAt(index)!;
    this.baseMembership = configurations[configurations.length - 1]!.membership;
    this.entries.splice(0, index - this.baseIndex);
    this.baseIndex = index;
  }

  reset(index: LogIndex, indexTerm: Term, membership: Membership): void {
    this.baseIndex = index;
    this.baseTerm = indexTerm;
    this.baseMembership = membership;
    this.entries = [];
  }
}

type Frame =
  | { kind: 'hardState'; hardState: HardState }
  | { kind: 'truncate'; from: LogIndex }
  | { kind: 'append'; entry: Entry }
  | { kind: 'hint'; commitIndex: LogIndex }
  /** End of one step's writes. */
  | { kind: 'end'; write: number };

export class CoreDisk {
  /** As written. */
  readonly memory: LogImage;
  /** As a crash now would leave it at worst. */
  readonly durable: LogImage;
  #pending: Frame[] = [];

  constructor(membership: Membership) {
    this.memory = new LogImage(membership);
    this.durable = new LogImage(membership);
  }

  get hasPending(): boolean {
    return this.#pending.length > 0;
  }

  /** Takes the writes of a step; they are in memory at once. */
  write(effects: Effects): void {
    if (effects.write === 0) return;
    const first = this.#pending.length;
    if (effects.hardState) this.#pending.push({ kind: 'hardState', hardState: effects.hardState });
    if (effects.truncateFrom !== undefined) this.#pending.push({ kind: 'truncate', from: effects.truncateFrom });
    for (const entry of effects.append) this.#pending.push({ kind: 'append', entry });
    this.#pending.push({ kind: 'hint', commitIndex: effects.commitIndex }, { kind: 'end', write: effects.write });
    for (let i = first; i < this.#pending.length; i++) applyFrame(this.memory, this.#pending[i]!);
  }

  /** Writes under way: their numbers. */
  get pendingWrites(): number[] {
    return this.#pending.flatMap((frame) => (frame.kind === 'end' ? [frame.write] : []));
  }

  /** Flushes up to and including `write`. */
  flushTo(write: number): void {
    const end = this.#pending.findIndex((frame) => frame.kind === 'end' && frame.write === write);
    assert(end >= 0, 'Only what was written can be flushed');
    for (const frame of this.#pending.splice(0, end + 1)) applyFrame(this.durable, frame);
  }

  /** Loses what is not flushed, except for the first `kept` (0 … 1) of it. */
  crash(kept: number): void {
    const frames = Math.floor(this.#pending.length * kept);
    for (const frame of this.#pending.slice(0, frames)) applyFrame(this.durable, frame);
    this.#pending = [];
    copyImage(this.durable, this.memory);
  }

  /** A checkpoint at `index`, flushed with everything before it. */
  compactTo(index: LogIndex): void {
    assert(this.durable.lastIndex >= index, 'A checkpoint covers flushed entries');
    this.memory.compactTo(index);
    this.durable.compactTo(index);
  }

  /** An installed checkpoint, flushed with everything before it. */
  reset(index: LogIndex, indexTerm: Term, membership: Membership): void {
    for (const frame of this.#pending) if (frame.kind === 'hardState') applyFrame(this.durable, frame);
    // Completions of older writes still come; there is nothing left for them to write.
    this.#pending = this.#pending.filter((frame) => frame.kind === 'end');
    this.memory.reset(index, indexTerm, membership);
    this.durable.reset(index, indexTerm, membership);
  }
}

function applyFrame(image: LogImage, frame: Frame): void {
  switch (frame.kind) {
    case 'hardState':
      image.hardState = frame.hardState;
      return;
    case 'truncate':
      return image.truncateFrom(frame.from);
    case 'append':
      return image.append(frame.entry);
    case 'hint':
      if (frame.commitIndex > image.commitHint) image.commitHint = frame.commitIndex;
      return;
    case 'end':
      return;
  }
}

function copyImage(from: LogImage, to: LogImage): void {
  to.hardState = from.hardState;
  to.baseIndex = from.baseIndex;
  to.baseTerm = from.baseTerm;
  to.baseMembership = from.baseMembership;
  to.entries = [...from.entries];
  to.commitHint = from.commitHint;
}

/** Replicas 1, 2 … on brokers and stores of the same number. */
export function members(ids: readonly number[]): Membership['voters'] {
  return ids.map((id) => ({
    replicaId: replicaId(id),
    brokerId: id as never,
    storeId: id.toString(16).padStart(2, '0'),
  }));
}
