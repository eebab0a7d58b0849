/**
 * One segment of a partition's log: a run of record batches that is (or will be) one `.log` file in Kafka's format, with its sparse indexes.
 *
 * Holds what is known about the segment and no bytes of it: those are in the file up to {@link writtenBytes}, and in the hot tail from there on.
 */
import { assert } from '../../std/assert.ts';
import type { FileUse } from './file-pool.ts';
import { OffsetIndex, TimeIndex } from './sparse-index.ts';

export interface SegmentDescription {
  readonly baseOffset: number;
  /** Offset behind the last record. */
  readonly nextOffset: number;
  readonly sizeBytes: number;
  /** Entries in the index files. */
  readonly offsetIndexCount: number;
  readonly timeIndexCount: number;
  /** -1 if no record has one. */
  readonly maxTimestampMs: number;
  /** Last offset of the batch with the largest timestamp. */
  readonly maxTimestampOffset: number;
  /** Command time when the first batch was applied, -1 if unknown. */
  readonly createdTimeMs: number;
}

export class LogSegment {
  readonly baseOffset: number;
  readonly path: string;
  nextOffset: number;
  sizeBytes: number;
  maxTimestampMs: number;
  maxTimestampOffset: number;
  createdTimeMs: number;
  offsetIndex: OffsetIndex;
  timeIndex: TimeIndex;
  /** Prefix that is in the file. */
  writtenBytes: number;
  /** Whether there is a file. */
  hasFile: boolean;
  /** Held from the first write until the next sync: an error of the kernel's own writing is only reported to who had the file open (as PostgreSQL learned in 2018). */
  unsynced: FileUse | undefined;
  /** Written since then. */
  unsyncedBytes = 0;
  /** No batch is added any more. */
  isSealed = false;
  /** The log start moved past it; its files go when no checkpoint names them any more. */
  isDropped = false;
  /** The index files do not fit the log: lookups scan from the start until they are built anew. */
  isIndexDamaged = false;
  /** Where the batch with this base offset begins: the place where the last file read ended, so that a sequential reader looks nothing up. */
  readHint: { readonly baseOffset: number; readonly position: number } | undefined;
  #bytesSinceIndexEntry = 0;

  /** An existing segment as a checkpoint describes it, or a new one that starts at `baseOffset`. */
  constructor(directory: string, from: SegmentDescription | { baseOffset: number; createdTimeMs: number }) {
    this.baseOffset = from.baseOffset;
    this.path = `${directory}/${String(from.baseOffset).padStart(20, '0')}`;
    this.createdTimeMs = from.createdTimeMs;
    const known = 'sizeBytes' in from ? from : undefined;
    this.nextOffset = known?.nextOffset ?? from.baseOffset;
    this.sizeBytes = known?.sizeBytes ?? 0;
    this.writtenBytes = this.sizeBytes;
    this.hasFile = known !== undefined;
    this.maxTimestampMs = known?.maxTimestampMs ?? -1;
    this.maxTimestampOffset = known?.maxTimestampOffset ?? -1;
    this.offsetIndex = new OffsetIndex(known?.offsetIndexCount ?? 0);
    this.timeIndex = new TimeIndex(known?.timeIndexCount ?? 0, this.maxTimestampMs);
  }

  get logPath(): string {
    return `${this.path}.log`;
  }

  get offsetIndexPath(): string {
    return `${this.path}.index`;
  }

  get timeIndexPath(): string {
    return `${this.path}.timeindex`;
  }

  /** Adds a batch behind the last one. `nextOffset` is the offset behind its last record. */
  didAppend(sizeBytes: number, nextOffset: number, maxTimestampMs: number, indexIntervalBytes: number): void {
    assert(!this.isSealed, 'A sealed segment does not grow');
    if (maxTimestampMs > this.maxTimestampMs) {
      this.maxTimestampMs = maxTimestampMs;
      this.maxTimestampOffset = nextOffset - 1;
    }
    if (this.#bytesSinceIndexEntry > indexIntervalBytes) {
      this.offsetIndex.add(nextOffset - 1 - this.baseOffset, this.sizeBytes);
      this.#addTimeEntry();
      this.#bytesSinceIndexEntry = 0;
    }
    this.#bytesSinceIndexEntry += sizeBytes;
    this.sizeBytes += sizeBytes;
    this.nextOffset = nextOffset;
  }

  seal(): void {
    if (this.isSealed) return;
    this.#addTimeEntry();
    this.isSealed = true;
  }

  /** The segment as it is now, with all its index entries: a checkpoint names those of them that are in the files by then. */
  describe(): SegmentDescription {
    return {
      baseOffset: this.baseOffset,
      nextOffset: this.nextOffset,
      sizeBytes: this.sizeBytes,
      offsetIndexCount: this.offsetIndex.count,
      timeIndexCount: this.timeIndex.count,
      maxTimestampMs: this.maxTimestampMs,
      maxTimestampOffset: this.maxTimestampOffset,
      createdTimeMs: this.createdTimeMs,
    };
  }

  #addTimeEntry(): void {
    if (this.maxTimestampOffset >= 0) {
      this.timeIndex.add(this.maxTimestampMs, this.maxTimestampOffset - this.baseOffset);
    }
  }
}
