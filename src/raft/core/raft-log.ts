/**
 * The terms of one replica's log, without its entries: runs of equal terms behind a base (checkpoint or compaction point), whose own term is known.
 *
 * Promise: indexes are contiguous from base + 1 to lastIndex, terms never decrease. Whoever truncates has checked that nothing committed goes (asserted by the callers, which know
 * the commit index).
 */

import { assert } from '../../std/assert.ts';
import { type LogIndex, logIndex, type Term, term } from '../../std/brands.ts';
import type { TermRun } from '../../wal/replica-storage.ts';

export class RaftLog {
  #baseIndex: LogIndex;
  #baseTerm: Term;
  #lastIndex: LogIndex;
  /** Ascending in index and term; the first one starts at base + 1 or below (compaction cuts lazily). */
  #runs: TermRun[];

  constructor(baseIndex: LogIndex, baseTerm: Term, lastIndex: LogIndex, runs: readonly TermRun[]) {
    assert(baseIndex >= 0 && lastIndex >= baseIndex, 'A log cannot end before it begins');
    assert(lastIndex === baseIndex || runs.length > 0, 'Entries need a term');
    let previousTerm = baseTerm;
    let previousIndex: number = baseIndex;
    for (const run of runs) {
      assert(run.term >= previousTerm && run.firstIndex > previousIndex, 'Term runs must ascend');
      previousTerm = run.term;
      previousIndex = run.firstIndex;
    }
    assert(previousIndex <= lastIndex, 'A term run must begin inside the log');
    assert(runs.length === 0 || runs[0]!.firstIndex === baseIndex + 1, 'The first term run must begin behind the base');
    this.#baseIndex = baseIndex;
    this.#baseTerm = baseTerm;
    this.#lastIndex = lastIndex;
    this.#runs = [...runs];
  }

  /** Index before the first entry; its term is known. */
  get baseIndex(): LogIndex {
    return this.#baseIndex;
  }

  get lastIndex(): LogIndex {
    return this.#lastIndex;
  }

  get lastTerm(): Term {
    const runs = this.#runs;
    return runs.length === 0 ? this.#baseTerm : runs[runs.length - 1]!.term;
  }

  /** Term of the entry at `index`; undefined below the base and behind the end. */
  termAt(index: LogIndex): Term | undefined {
    if (index > this.#lastIndex || index < this.#baseIndex) return undefined;
    if (index === this.#baseIndex) return this.#baseTerm;
    const runs = this.#runs;
    // Almost always the last run: from the end.
    for (let i = runs.length - 1; i >= 0; i--) {
      const run = runs[i]!;
      if (run.firstIndex <= index) return run.term;
    }
    return undefined;
  }

  /** Adds one entry behind the last. */
  append(index: LogIndex, entryTerm: Term): void {
    assert(index === this.#lastIndex + 1, 'An entry must follow the last one');
    const lastTerm = this.lastTerm;
    assert(entryTerm >= lastTerm && entryTerm > 0, 'Terms in a log never decrease');
    if (this.#runs.length === 0 || entryTerm !== lastTerm) this.#runs.push({ firstIndex: index, term: entryTerm });
    this.#lastIndex = index;
  }

  /** Drops all entries ≥ index. */
  truncateFrom(index: LogIndex): void {
    assert(index > this.#baseIndex && index <= this.#lastIndex, 'Only entries in the log can be truncated');
    const runs = this.#runs;
    while (runs.length > 0 && runs[runs.length - 1]!.firstIndex >= index) runs.pop();
    this.#lastIndex = logIndex(index - 1);
  }

  /** Moves the base to `index`, an entry of the log whose term stays known. Lower than the base: nothing to do. */
  compactTo(index: LogIndex): void {
    assert(index <= this.#lastIndex, 'A log cannot be compacted beyond its end');
    if (index <= this.#baseIndex) return;
    this.#baseTerm = this.termAt(index)!;
    this.#baseIndex = index;
    const runs = this.#runs;
    let covered = 0;
    while (
      covered < runs.length &&
      (covered + 1 < runs.length ? runs[covered + 1]!.firstIndex - 1 : this.#lastIndex) <= index
    )
      covered++;
    if (covered > 0) runs.splice(0, covered);
  }

  /** Forgets all entries: the log continues behind (index, term) of an installed checkpoint. */
  reset(index: LogIndex, indexTerm: Term): void {
    this.#baseIndex = index;
    this.#baseTerm = indexTerm;
    this.#lastIndex = index;
    this.#runs = [];
  }

  /**
   * Largest index ≤ `index` whose term is ≤ `maxTerm`: where two logs may agree at best (Raft paper, section 5.3, as in etcd: skips whole terms). One below the base if
   * everything known is newer.
   */
  lastIndexWithTermAtMost(index: LogIndex, maxTerm: Term): LogIndex {
    let end: number = Math.min(index, this.#lastIndex);
    const runs = this.#runs;
    for (let i = runs.length - 1; i >= 0 && end > this.#baseIndex; i--) {
      const run = runs[i]!;
      if (run.firstIndex > end) continue;
      if (run.term <= maxTerm) return logIndex(end);
      // Compaction cuts lazily: the first run may begin before the base.
      end = Math.max(run.firstIndex - 1, this.#baseIndex);
    }
    if (end === this.#baseIndex && this.#baseTerm > maxTerm) end--;
    return logIndex(Math.max(end, 0));
  }

  /** True if a log that ends at (lastTerm, lastIndex) is at least as up to date as this one (Raft paper, section 5.4.1). */
  isUpToDate(otherLastTerm: Term, otherLastIndex: LogIndex): boolean {
    const lastTerm = this.lastTerm;
    return otherLastTerm > lastTerm || (otherLastTerm === lastTerm && otherLastIndex >= this.#lastIndex);
  }
}

/** An empty log. */
export function emptyLog(): RaftLog {
  return new RaftLog(logIndex(0), term(0), logIndex(0), []);
}
