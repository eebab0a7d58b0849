/**
 * One sparse index of one segment, in Kafka's bytes: `.index` (relative offset int32, file position int32) or `.timeindex` (timestamp int64, relative offset int32).
 *
 * The entries added since the file was last written stay in memory, in chunks of file bytes; the older ones are only in the file and are loaded when a lookup needs them. An index is
 * derived from the log: it may lack entries (lookups then scan a little further), and a reader checks what it finds at the position it is given, so a damaged index costs time and
 * never a wrong answer.
 */
import { assert } from '../../std/assert.ts';
import { readInt32, readInt64, writeInt32, writeInt64 } from './stored-batch.ts';

const FIRST_CHUNK_BYTES = 512;
const CHUNK_BYTES = 4096;

export const OFFSET_ENTRY_BYTES = 8;
export const TIME_ENTRY_BYTES = 12;

export interface OffsetEntry {
  readonly relativeOffset: number;
  readonly position: number;
}

export interface TimeEntry {
  readonly timestampMs: number;
  readonly relativeOffset: number;
}

/** Entries of fixed size with ascending keys; the subclasses know what is in them. */
class SparseIndex {
  readonly entryBytes: number;
  /** Entries that are in the file and not in memory. */
  #fileCount: number;
  #chunks: Uint8Array[] = [];
  /** Entries in each chunk, summed up before it. */
  #chunkStarts: number[] = [];
  #memoryCount = 0;
  #lastChunkUsed = 0;

  constructor(entryBytes: number, fileCount: number) {
    this.entryBytes = entryBytes;
    this.#fileCount = fileCount;
  }

  get count(): number {
    return this.#fileCount + this.#memoryCount;
  }

  /** Entries that a lookup finds only in the file. */
  get fileCount(): number {
    return this.#fileCount;
  }

  /** Entries that the file does not have yet. */
  get memoryCount(): number {
    return this.#memoryCount;
  }

  /** Room for one more entry: the chunk and the position in it. */
  protected addEntry(): { chunk: Uint8Array; at: number } {
    let chunk = this.#chunks.at(-1);
    if (chunk === undefined || this.#lastChunkUsed + this.entryBytes > chunk.length) {
      chunk = Buffer.alloc(this.#chunks.length === 0 ? FIRST_CHUNK_BYTES : CHUNK_BYTES);
      this.#chunks.push(chunk);
      this.#chunkStarts.push(this.#memoryCount);
      this.#lastChunkUsed = 0;
    }
    const at = this.#lastChunkUsed;
    this.#lastChunkUsed += this.entryBytes;
    this.#memoryCount++;
    return { chunk, at };
  }

  /** Last entry in memory for which `matches` holds (it holds for a prefix of all entries); undefined if none in memory does. */
  protected floorInMemory(
    matches: (bytes: Uint8Array, at: number) => boolean,
  ): { bytes: Uint8Array; at: number } | undefined {
    let chunkIndex = this.#chunks.length - 1;
    while (chunkIndex >= 0 && !matches(this.#chunks[chunkIndex]!, 0)) chunkIndex--;
    if (chunkIndex < 0) return undefined;
    const bytes = this.#chunks[chunkIndex]!;
    const end = (this.#chunkStarts[chunkIndex + 1] ?? this.#memoryCount) - this.#chunkStarts[chunkIndex]!;
    return { bytes, at: this.entryBytes * floor(end, (entry) => matches(bytes, entry * this.entryBytes)) };
  }

  /** The same among the entries of the file, whose bytes are given. Entries that were written since these were read are newer than all that anybody asks the file for: then they were in memory. */
  protected floorInFile(
    file: Uint8Array,
    matches: (bytes: Uint8Array, at: number) => boolean,
  ): { bytes: Uint8Array; at: number } | undefined {
    const count = Math.min(this.#fileCount, Math.floor(file.length / this.entryBytes));
    const index = floor(count, (entry) => matches(file, entry * this.entryBytes));
    return index < 0 ? undefined : { bytes: file, at: index * this.entryBytes };
  }

  /** Calls `visit` for each entry in memory, oldest first. */
  protected forEachInMemory(visit: (bytes: Uint8Array, at: number) => void): void {
    for (const piece of this.memoryPieces().pieces) {
      for (let at = 0; at < piece.length; at += this.entryBytes) visit(piece, at);
    }
  }

  /** Bytes of the entries in memory, to be written at {@link fileCount} × {@link entryBytes}. They do not change, but {@link didWrite} says how many there were. */
  memoryPieces(): { pieces: Uint8Array[]; count: number } {
    const pieces = this.#chunks.map((chunk, index) => {
      const end = (this.#chunkStarts[index + 1] ?? this.#memoryCount) - this.#chunkStarts[index]!;
      return chunk.subarray(0, end * this.entryBytes);
    });
    return { pieces, count: this.#memoryCount };
  }

  /** The first `count` entries of memory are in the file now and need no memory any more. */
  didWrite(count: number): void {
    assert(count <= this.#memoryCount, 'More index entries were written than there are');
    const { pieces } = this.memoryPieces();
    this.#fileCount += count;
    this.#memoryCount = 0;
    this.#chunks = [];
    this.#chunkStarts = [];
    this.#lastChunkUsed = 0;
    // What was added while the file was being written: at most a few entries.
    const rest = Buffer.concat(pieces).subarray(count * this.entryBytes);
    for (let from = 0; from < rest.length; from += this.entryBytes) {
      const { chunk, at } = this.addEntry();
      chunk.set(rest.subarray(from, from + this.entryBytes), at);
    }
  }
}

export class OffsetIndex extends SparseIndex {
  #lastRelativeOffset = -1;

  constructor(fileCount = 0) {
    super(OFFSET_ENTRY_BYTES, fileCount);
  }

  /** Kafka's convention: last offset of a batch, position of its first byte. */
  add(relativeOffset: number, position: number): void {
    assert(relativeOffset > this.#lastRelativeOffset, 'Index entries must ascend');
    this.#lastRelativeOffset = relativeOffset;
    const { chunk, at } = this.addEntry();
    writeInt32(chunk, at, relativeOffset);
    writeInt32(chunk, at + 4, position);
  }

  /** Adds the entries that `other` has in memory, from `relativeOffset` on. */
  addFrom(other: OffsetIndex, relativeOffset: number): void {
    other.forEachInMemory((bytes, at) => {
      if (readInt32(bytes, at) >= relativeOffset) this.add(readInt32(bytes, at), readInt32(bytes, at + 4));
    });
  }

  /** Largest entry ≤ `relativeOffset`; 'file' if the index file has to be asked, undefined if the scan has to begin at the segment's start. */
  find(relativeOffset: number): OffsetEntry | 'file' | undefined {
    const found = this.floorInMemory((bytes, at) => readInt32(bytes, at) <= relativeOffset);
    if (found !== undefined) return offsetEntry(found);
    return this.fileCount > 0 ? 'file' : undefined;
  }

  findInFile(file: Uint8Array, relativeOffset: number): OffsetEntry | undefined {
    const found = this.floorInFile(file, (bytes, at) => readInt32(bytes, at) <= relativeOffset);
    return found === undefined ? undefined : offsetEntry(found);
  }
}

export class TimeIndex extends SparseIndex {
  #lastTimestampMs: number;

  /** `maxTimestampMs`: the largest one of the batches that `fileCount` entries stand for. */
  constructor(fileCount = 0, maxTimestampMs = -1) {
    super(TIME_ENTRY_BYTES, fileCount);
    this.#lastTimestampMs = maxTimestampMs;
  }

  /** Largest timestamp so far and the last offset of its batch; ignored unless the timestamp grew. */
  add(timestampMs: number, relativeOffset: number): void {
    if (timestampMs <= this.#lastTimestampMs) return;
    this.#lastTimestampMs = timestampMs;
    const { chunk, at } = this.addEntry();
    writeInt64(chunk, at, timestampMs);
    writeInt32(chunk, at + 8, relativeOffset);
  }

  /** Adds the entries that `other` has in memory, from `relativeOffset` on. */
  addFrom(other: TimeIndex, relativeOffset: number): void {
    other.forEachInMemory((bytes, at) => {
      if (readInt32(bytes, at + 8) >= relativeOffset) this.add(readInt64(bytes, at), readInt32(bytes, at + 8));
    });
  }

  /** Largest entry with a timestamp below `timestampMs`: everything before it in the segment is older, too. */
  findBelow(timestampMs: number): TimeEntry | 'file' | undefined {
    const found = this.floorInMemory((bytes, at) => readInt64(bytes, at) < timestampMs);
    if (found !== undefined) return timeEntry(found);
    return this.fileCount > 0 ? 'file' : undefined;
  }

  findBelowInFile(file: Uint8Array, timestampMs: number): TimeEntry | undefined {
    const found = this.floorInFile(file, (bytes, at) => readInt64(bytes, at) < timestampMs);
    return found === undefined ? undefined : timeEntry(found);
  }
}

/** Largest index in 0 … count − 1 for which `matches` holds, -1 if it holds for none; `matches` holds for a prefix. */
function floor(count: number, matches: (index: number) => boolean): number {
  let low = -1;
  let high = count;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (matches(middle)) low = middle;
    else high = middle;
  }
  return low;
}

function offsetEntry({ bytes, at }: { bytes: Uint8Array; at: number }): OffsetEntry {
  return { relativeOffset: readInt32(bytes, at), position: readInt32(bytes, at + 4) };
}

function timeEntry({ bytes, at }: { bytes: Uint8Array; at: number }): TimeEntry {
  return { timestampMs: readInt64(bytes, at), relativeOffset: readInt32(bytes, at + 8) };
}
