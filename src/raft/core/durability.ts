/**
 * What of this replica's log, term and vote is flushed, while several writes are under way.
 *
 * Promise: persistedIndex never covers an entry whose bytes could be lost in a crash. Each step that writes gets a number; a flush completes numbers. An entry that is
 * truncated lowers what the writes before it can complete, so a late completion never speaks for the entry that came in its place (bug R7, also when the very same entry comes back).
 */

import { assert } from '../../std/assert.ts';
import { type LogIndex, logIndex } from '../../std/brands.ts';

export class Durability {
  #persistedIndex: LogIndex;
  #lastWrite = 0;
  #flushedWrite = 0;
  #hardStateWrite = 0;
  /** Writes under way, oldest first: number, and the last index that is durable once it is flushed. */
  readonly #writes: number[] = [];
  readonly #indexes: LogIndex[] = [];

  constructor(persistedIndex: LogIndex) {
    this.#persistedIndex = persistedIndex;
  }

  /** Entries up to here are flushed. */
  get persistedIndex(): LogIndex {
    return this.#persistedIndex;
  }

  /** Number that the next step with something to write gets. */
  get nextWrite(): number {
    return this.#lastWrite + 1;
  }

  /** Number of the last step that wrote term or vote. */
  get hardStateWrite(): number {
    return this.#hardStateWrite;
  }

  isFlushed(write: number): boolean {
    return write <= this.#flushedWrite;
  }

  /** A step wrote; its log ends at `lastIndex` then. Returns its number. */
  record(lastIndex: LogIndex, hardState: boolean): number {
    const write = ++this.#lastWrite;
    if (hardState) this.#hardStateWrite = write;
    this.#writes.push(write);
    this.#indexes.push(lastIndex);
    return write;
  }

  /** Entries ≥ index are gone: neither what is flushed nor what is under way covers them. */
  truncateFrom(index: LogIndex): void {
    const end = logIndex(index - 1);
    if (this.#persistedIndex > end) this.#persistedIndex = end;
    const indexes = this.#indexes;
    for (let i = 0; i < indexes.length; i++) if (indexes[i]! > end) indexes[i] = end;
  }

  /** A checkpoint at `index` was installed and flushed, the log before it is void. */
  reset(index: LogIndex): void {
    this.#persistedIndex = index;
    this.#indexes.fill(index);
  }

  /** A flush completed everything up to `write`. */
  flushed(write: number): void {
    assert(write <= this.#lastWrite, 'A flush cannot complete what was not written');
    if (write <= this.#flushedWrite) return;
    this.#flushedWrite = write;
    let done = 0;
    while (done < this.#writes.length && this.#writes[done]! <= write) {
      if (this.#indexes[done]! > this.#persistedIndex) this.#persistedIndex = this.#indexes[done]!;
      done++;
    }
    this.#writes.splice(0, done);
    this.#indexes.splice(0, done);
  }
}
