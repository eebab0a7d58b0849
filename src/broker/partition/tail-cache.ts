/**
 * The hot tail of all partitions of a broker: pages of own memory, one budget (DECISIONS P9).
 *
 * Apply copies every batch into a page; consumers at the end of the log read from there, and the segment files are written from there. When the budget is used up the oldest pages go, but
 * never one whose bytes are not all in a file: then its partition is asked to write. A page that nobody was given a view of is used again, the others are left to the garbage collector, so
 * a view that a slow connection still holds always shows what it showed.
 */
import { assert } from '../../std/assert.ts';
import type { LogSegment } from './log-segment.ts';

const PAGE_BYTES_MIN = 4 * 1024;
const PAGE_BYTES_MAX = 256 * 1024;
/** Memory of pages kept for reuse. */
const FREE_BYTES_MAX = 8 * 1024 * 1024;
/** Pages that wait for the disk may take so many times the budget. */
const OVERFULL_FACTOR = 4;
/** Pages of a busy partition within its share of the budget. */
const PAGES_PER_OWNER = 4;
/** Oldest pages looked at for partitions to be asked to write, so that their disks work side by side. */
const WRITERS_MAX = 16;
/** Positions remembered in a page, so that finding an offset parses few headers. */
const MARK_INTERVAL_BYTES = 4 * 1024;

/** What the cache asks of a partition's log. */
export interface TailOwner {
  /** Forget the first chunk of your tail; all of it is in a file. */
  dropOldestChunk(chunk: TailChunk): void;
  /** Write what you have to your files soon. */
  writeOutSoon(): void;
}

/** Consecutive batches of one segment in one page. */
export class TailChunk {
  readonly page: Uint8Array;
  readonly segment: LogSegment;
  /** Position in the segment file of the page's first byte. */
  readonly filePosition: number;
  readonly firstOffset: number;
  /** Offset behind the last batch. */
  nextOffset: number;
  usedBytes = 0;
  /** Prefix that is in the segment file. */
  writtenBytes = 0;
  /** Prefix that the owner was asked to write because the budget is used up. */
  askedBytes = 0;
  /** Somebody outside got a view. */
  shared = false;
  released = false;
  readonly markOffsets: number[] = [];
  readonly markPositions: number[] = [];

  constructor(page: Uint8Array, segment: LogSegment) {
    this.page = page;
    this.segment = segment;
    this.filePosition = segment.sizeBytes;
    this.firstOffset = segment.nextOffset;
    this.nextOffset = segment.nextOffset;
  }

  get freeBytes(): number {
    return this.page.length - this.usedBytes;
  }

  /** Position in the page where the next batch of `sizeBytes` shall be put. */
  add(sizeBytes: number, baseOffset: number, nextOffset: number): number {
    assert(sizeBytes <= this.freeBytes, 'A batch does not fit into its page');
    assert(baseOffset === this.nextOffset, 'Batches of a page are contiguous');
    const at = this.usedBytes;
    if (at === 0 || at - this.markPositions.at(-1)! >= MARK_INTERVAL_BYTES) {
      this.markOffsets.push(baseOffset);
      this.markPositions.push(at);
    }
    this.usedBytes += sizeBytes;
    this.nextOffset = nextOffset;
    return at;
  }

  /** Last marked batch boundary at or before `offset`. */
  markBefore(offset: number): number {
    return this.markPositions[lastAtMost(this.markOffsets, offset)]!;
  }

  /** Last marked batch boundary at or before position `at`. */
  markAtMost(at: number): number {
    return this.markPositions[lastAtMost(this.markPositions, at)]!;
  }
}

export class TailCache {
  readonly budgetBytes: number;
  /** So that a small budget is not used up by few pages. */
  readonly #pageBytesMax: number;
  #usedBytes = 0;
  /** All chunks by age; released ones are skipped. */
  #queue: ({ chunk: TailChunk; owner: TailOwner } | undefined)[] = [];
  #queueHead = 0;
  readonly #free = new Map<number, Uint8Array[]>();
  #freeBytes = 0;
  /** Chunks of each owner. */
  readonly #owners = new Map<TailOwner, number>();
  #awaitingRoom: (() => void)[] = [];

  constructor(budgetBytes: number) {
    this.budgetBytes = budgetBytes;
    let pageBytes = PAGE_BYTES_MIN;
    while (pageBytes < PAGE_BYTES_MAX && pageBytes * 16 <= budgetBytes) pageBytes *= 2;
    this.#pageBytesMax = pageBytes;
  }

  /** Bytes of the pages in use; above the budget only while their partitions write. */
  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** Whether pages wait for the disk far beyond the budget: leaders then let new batches wait rather than let memory grow. */
  get isOverfull(): boolean {
    return this.#usedBytes > this.budgetBytes * OVERFULL_FACTOR;
  }

  /** Calls back once, when {@link isOverfull} does not hold any more. */
  whenRoom(callback: () => void): void {
    this.#awaitingRoom.push(callback);
  }

  /**
   * A chunk at the end of `segment` for a batch of `sizeBytes`, with a page about twice as large as the owner's previous one: idle partitions have small pages, busy ones few. Where many are busy, none gets
   * so large a page that few of them use up the budget.
   */
  allocate(owner: TailOwner, segment: LogSegment, sizeBytes: number, previousPageBytes: number): TailChunk {
    this.#owners.set(owner, (this.#owners.get(owner) ?? 0) + 1);
    const page = this.#page(sizeBytes, previousPageBytes);
    const chunk = new TailChunk(page, segment);
    this.#usedBytes += page.length;
    this.#queue.push({ chunk, owner });
    return chunk;
  }

  /** The owner has no use for the chunk any more. */
  release(owner: TailOwner, chunk: TailChunk): void {
    assert(!chunk.released, 'A chunk is released once');
    chunk.released = true;
    const { page } = chunk;
    this.#usedBytes -= page.length;
    if (this.#awaitingRoom.length > 0 && !this.isOverfull) this.#wake();
    const count = this.#owners.get(owner);
    assert(count !== undefined, 'A chunk is released by who allocated it');
    if (count === 1) this.#owners.delete(owner);
    else this.#owners.set(owner, count - 1);
    if (chunk.shared || chunk.writtenBytes < chunk.usedBytes) return;
    const free = this.#free.get(page.length);
    if (free === undefined || this.#freeBytes + page.length > FREE_BYTES_MAX) return;
    free.push(page);
    this.#freeBytes += page.length;
  }

  /** Lets the oldest pages go until the budget holds. Called after a page was added and after pages were written. */
  reclaim(): void {
    while (this.#queueHead < this.#queue.length) {
      const { chunk, owner } = this.#queue[this.#queueHead]!;
      if (!chunk.released) {
        // An empty chunk was just made for a batch that is about to come.
        if (this.#usedBytes <= this.budgetBytes || chunk.usedBytes === 0) break;
        if (chunk.writtenBytes < chunk.usedBytes) {
          this.#askForWrites();
          break;
        }
        owner.dropOldestChunk(chunk);
        assert(chunk.released, 'A chunk that was dropped is released');
      }
      this.#queue[this.#queueHead++] = undefined;
    }
    if (this.#queueHead > 1024 && this.#queueHead * 2 > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#queueHead);
      this.#queueHead = 0;
    }
  }

  #wake(): void {
    const waiting = this.#awaitingRoom;
    this.#awaitingRoom = [];
    for (const wake of waiting) wake();
  }

  /** Asks the partitions of the oldest unwritten pages, several at a time: with many partitions one after the other would be slower than what comes in. */
  #askForWrites(): void {
    const end = Math.min(this.#queue.length, this.#queueHead + WRITERS_MAX);
    for (let at = this.#queueHead; at < end; at++) {
      const { chunk, owner } = this.#queue[at]!;
      if (chunk.released || chunk.writtenBytes === chunk.usedBytes || chunk.askedBytes === chunk.usedBytes) continue;
      chunk.askedBytes = chunk.usedBytes;
      owner.writeOutSoon();
    }
  }

  #page(sizeBytes: number, previousPageBytes: number): Uint8Array {
    if (sizeBytes > PAGE_BYTES_MAX) return Buffer.allocUnsafeSlow(sizeBytes);
    const shareBytes = this.budgetBytes / this.#owners.size / PAGES_PER_OWNER;
    const wantedBytes = Math.min(this.#pageBytesMax, previousPageBytes * 2, shareBytes);
    const pageBytes = pageClassOf(Math.max(PAGE_BYTES_MIN, sizeBytes, wantedBytes));
    let free = this.#free.get(pageBytes);
    if (free === undefined) {
      free = [];
      this.#free.set(pageBytes, free);
    }
    const page = free.pop();
    if (page === undefined) return Buffer.allocUnsafeSlow(pageBytes);
    this.#freeBytes -= pageBytes;
    return page;
  }
}

/** The next size of pages: four for each power of two, so that a batch of 65 KiB does not take 128. */
function pageClassOf(bytes: number): number {
  let step = PAGE_BYTES_MIN / 4;
  while (step * 8 < bytes) step *= 2;
  return Math.ceil(bytes / step) * step;
}

/** Index of the last of ascending `values` that is ≤ `limit`; the first one is. */
function lastAtMost(values: readonly number[], limit: number): number {
  let low = 0;
  let high = values.length;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (values[middle]! <= limit) low = middle;
    else high = middle;
  }
  return low;
}
