/**
 * Owns the recent tail of every replica's log in memory, under one budget for the broker. It holds the very entries that
 * were appended (bytes are immutable from propose on, DECISIONS W7), so it copies nothing, except small payloads that
 * would pin a much larger buffer. What is not flushed yet is never evicted: no other place can answer for it.
 */
import type { LogIndex, Term } from '../std/brands.ts';
import { ENTRY_KIND, type Entry } from './replica-storage.ts';

/** A piece smaller than its buffer by this factor is copied rather than pin it; a pinned buffer costs its whole length. */
const PIN_FACTOR = 64;
/** Copies share buffers of this size. */
const SLAB_BYTES = 64 * 1024;
/** Rough cost of an entry object beside its bytes. */
const ENTRY_BYTES = 250;

const EVICTED: Entry = { index: 0 as LogIndex, term: 0 as Term, kind: ENTRY_KIND.noop, payload: [], checksum: 0 };

interface Tail {
  /** Index of the first entry held. */
  first: number;
  /** Entries from `skip` on are held; the places before are those of evicted ones, removed in one go when that is cheap. */
  entries: Entry[];
  /** LSN of each entry's frame. */
  lsns: number[];
  skip: number;
}

interface Batch {
  readonly tail: Tail;
  readonly lastIndex: number;
  readonly lsn: number;
}

export class EntryCache {
  /** May be changed at any time; {@link trim} applies it. */
  budgetBytes: number;
  #bytes = 0;
  readonly #tails = new Map<number, Tail>();
  /** Appends in order, oldest from `#oldest` on. */
  #batches: Batch[] = [];
  #oldest = 0;
  /** How many held pieces view each buffer: a buffer costs its whole length once. */
  readonly #buffers = new Map<ArrayBufferLike, number>();
  /** Where small payloads are copied to. */
  #slab = new Uint8Array(0);
  #slabUsed = 0;

  constructor(budgetBytes: number) {
    this.budgetBytes = budgetBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Adds entries that follow the last one held of this replica; others replace what is held. */
  append(replicaId: number, entries: readonly Entry[], lsn: number): void {
    const first = entries[0]!.index;
    let tail = this.#tails.get(replicaId);
    if (tail === undefined || tail.first + tail.entries.length - tail.skip !== first) {
      if (tail !== undefined) this.#dropFront(tail, tail.entries.length);
      tail = { first, entries: [], lsns: [], skip: 0 };
      this.#tails.set(replicaId, tail);
    }
    for (const entry of entries) {
      const kept = this.#unpinned(entry);
      tail.entries.push(kept);
      tail.lsns.push(lsn);
      this.#account(kept);
    }
    this.#batches.push({ tail, lastIndex: entries[entries.length - 1]!.index, lsn });
  }

  /** Entries from `from` on, at least one, up to `to` and `maxBytes` of payload; undefined if `from` is not held. */
  read(replicaId: number, from: number, to: number, maxBytes: number): Entry[] | undefined {
    const tail = this.#tails.get(replicaId);
    if (tail === undefined || from < tail.first) return undefined;
    const start = tail.skip + from - tail.first;
    const result: Entry[] = [];
    let bytes = 0;
    for (let i = start; i < tail.entries.length && i <= start + to - from; i++) {
      const entry = tail.entries[i]!;
      bytes += payloadBytes(entry);
      if (bytes > maxBytes && result.length > 0) break;
      result.push(entry);
    }
    return result.length === 0 ? undefined : result;
  }

  /** The first entry held of a replica; undefined if none is. */
  firstIndex(replicaId: number): number | undefined {
    const tail = this.#tails.get(replicaId);
    return tail === undefined || tail.entries.length === tail.skip ? undefined : tail.first;
  }

  /** Forgets entries from `index` on. */
  truncate(replicaId: number, index: number): void {
    const tail = this.#tails.get(replicaId);
    if (tail === undefined) return;
    while (tail.entries.length > tail.skip && tail.first + tail.entries.length - tail.skip > index) {
      this.#release(tail.entries.pop()!);
      tail.lsns.pop();
    }
  }

  forget(replicaId: number): void {
    const tail = this.#tails.get(replicaId);
    if (tail === undefined) return;
    this.#dropFront(tail, tail.entries.length - tail.skip);
    this.#tails.delete(replicaId);
  }

  /** Evicts the oldest flushed entries until the budget holds. */
  trim(flushedLsn: number): void {
    while (this.#bytes > this.budgetBytes && this.#oldest < this.#batches.length) {
      const batch = this.#batches[this.#oldest]!;
      if (batch.lsn > flushedLsn) break;
      this.#oldest++;
      this.#dropFront(
        batch.tail,
        Math.min(batch.lastIndex + 1 - batch.tail.first, batch.tail.entries.length - batch.tail.skip),
        flushedLsn,
      );
    }
    if (this.#oldest > 1024 && this.#oldest * 2 > this.#batches.length) {
      this.#batches = this.#batches.slice(this.#oldest);
      this.#oldest = 0;
    }
  }

  /** Drops the first `count` entries, up to one that is not flushed: behind a truncation, newer entries have the indexes of older ones. */
  #dropFront(tail: Tail, count: number, flushedLsn = Number.POSITIVE_INFINITY): void {
    for (let i = 0; i < count; i++) {
      const entry = tail.entries[tail.skip];
      if (entry === undefined || tail.lsns[tail.skip]! > flushedLsn) break;
      // The place stays for a while, but must not keep the bytes: there are thousands of tails.
      tail.entries[tail.skip] = EVICTED;
      tail.skip++;
      tail.first++;
      this.#release(entry);
    }
    if (tail.skip > 32 && tail.skip * 2 > tail.entries.length) {
      tail.entries = tail.entries.slice(tail.skip);
      tail.lsns = tail.lsns.slice(tail.skip);
      tail.skip = 0;
    }
  }

  /** The entry, or a copy if its payload is a small part of a large buffer. */
  #unpinned(entry: Entry): Entry {
    let pins = false;
    for (const piece of entry.payload) if (piece.length * PIN_FACTOR < piece.buffer.byteLength) pins = true;
    if (!pins) return entry;
    const length = payloadBytes(entry);
    if (this.#slabUsed + length > this.#slab.length) {
      this.#slab = new Uint8Array(Math.max(SLAB_BYTES, length));
      this.#slabUsed = 0;
    }
    const start = this.#slabUsed;
    for (const piece of entry.payload) {
      this.#slab.set(piece, this.#slabUsed);
      this.#slabUsed += piece.length;
    }
    return { ...entry, payload: [this.#slab.subarray(start, this.#slabUsed)] };
  }

  #account(entry: Entry): void {
    this.#bytes += ENTRY_BYTES;
    for (const { buffer } of entry.payload) {
      const references = this.#buffers.get(buffer) ?? 0;
      if (references === 0) this.#bytes += buffer.byteLength;
      this.#buffers.set(buffer, references + 1);
    }
  }

  #release(entry: Entry): void {
    this.#bytes -= ENTRY_BYTES;
    for (const { buffer } of entry.payload) {
      const references = this.#buffers.get(buffer)! - 1;
      if (references > 0) this.#buffers.set(buffer, references);
      else {
        this.#buffers.delete(buffer);
        this.#bytes -= buffer.byteLength;
      }
    }
  }
}

/** Bytes of an entry's payload. */
export function payloadBytes(entry: Entry): number {
  let bytes = 0;
  for (const piece of entry.payload) bytes += piece.length;
  return bytes;
}
