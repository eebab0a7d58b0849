/**
 * Walks over the stored batches of one segment, checks each of them and hands them on in runs: for the scrubber, for digests, and to see whether a repair took.
 *
 * Reads past the page cache where a segment is closed, so that what is checked is what the disk has, and what consumers read stays cached. A flaw is a value here, not an exception: who walks decides
 * what becomes of it, and can go on at the same place after a repair.
 */
import { type Disk, DiskError, type DiskFile } from '../../std/disk.ts';
import type { EpochTable } from './epoch-table.ts';
import type { LogSegment } from './log-segment.ts';
import { type BatchStart, batchFlaw } from './segment-reader.ts';
import { BATCH_HEADER_BYTES, storedNextOffset, storedSizeBytes } from './stored-batch.ts';

/** Read at a time. */
const WINDOW_BYTES = 256 * 1024;
/** Direct reads are aligned to this. */
const BLOCK_BYTES = 4096;
/** No batch is larger; a length above it is damage, not something to make room for. */
const BATCH_BYTES_MAX = 256 * 1024 * 1024;
const FILE_MISSING = 'the file is missing';

/** The first batch that is not what it should be, where it begins. */
export interface SegmentFlaw {
  readonly offset: number;
  readonly position: number;
  readonly flaw: string;
  /** There is no file, so that what was read before is gone, too. */
  readonly isFileMissing: boolean;
}

export type ScanStep =
  /** Whole, intact batches. */
  | { readonly kind: 'run'; readonly bytes: Uint8Array }
  | ({ readonly kind: 'flaw' } & SegmentFlaw)
  /** The limit was reached, or the segment left the log. */
  | { readonly kind: 'end' };

export class SegmentScan {
  readonly #disk: Disk;
  readonly #segment: LogSegment;
  readonly #epochs: () => EpochTable;
  /** Of the file. */
  readonly #limitBytes: number;
  readonly #toOffset: number;
  #position: number;
  #offset: number;
  #file: DiskFile | undefined;
  /** The last read met the end of the file. */
  #isAtEnd = false;

  /** From the batch at `start` on, up to what is in the file now, and to the batch that begins at `toOffset`. */
  constructor(
    disk: Disk,
    segment: LogSegment,
    epochs: () => EpochTable,
    start: BatchStart = { position: 0, baseOffset: segment.baseOffset },
    toOffset = Number.POSITIVE_INFINITY,
  ) {
    this.#disk = disk;
    this.#segment = segment;
    this.#epochs = epochs;
    this.#limitBytes = segment.writtenBytes;
    this.#toOffset = toOffset;
    this.#position = start.position;
    this.#offset = start.baseOffset;
  }

  /** Offset of the next batch. */
  get offset(): number {
    return this.#offset;
  }

  /** Where the next batch begins in the file. */
  get position(): number {
    return this.#position;
  }

  /** The next run; after a flaw the same place is read again. Rejects if the disk fails other than by damage. */
  async next(): Promise<ScanStep> {
    if (this.#position >= this.#limitBytes || this.#offset >= this.#toOffset) return { kind: 'end' };
    let wanted = WINDOW_BYTES;
    for (;;) {
      const bytes = await this.#read(wanted);
      if (this.#segment.isDropped) return { kind: 'end' };
      if (typeof bytes === 'string') return this.#flaw(bytes);
      const checked = this.#check(bytes);
      if (checked.end > 0) {
        this.#position += checked.end;
        this.#offset = checked.nextOffset;
        return { kind: 'run', bytes: bytes.subarray(0, checked.end) };
      }
      if (checked.flaw !== undefined) return this.#flaw(checked.flaw);
      wanted = checked.wanted;
    }
  }

  async close(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.close();
  }

  /** How far `bytes`, which begin at the position, are intact batches; why not further, if that is not the end of the window; how many bytes the first one needs. */
  #check(bytes: Uint8Array): { end: number; nextOffset: number; flaw: string | undefined; wanted: number } {
    const left = this.#limitBytes - this.#position;
    let end = 0;
    let nextOffset = this.#offset;
    while (nextOffset < this.#toOffset && end < left) {
      const isWhole = end + BATCH_HEADER_BYTES <= bytes.length;
      const sizeBytes = isWhole ? storedSizeBytes(bytes, end) : BATCH_HEADER_BYTES;
      if (sizeBytes < BATCH_HEADER_BYTES || sizeBytes > BATCH_BYTES_MAX || end + sizeBytes > left) {
        return { end, nextOffset, flaw: `batch length ${sizeBytes} does not fit`, wanted: 0 };
      }
      if (!isWhole || end + sizeBytes > bytes.length) {
        return { end, nextOffset, flaw: this.#isAtEnd ? 'the file ends early' : undefined, wanted: sizeBytes };
      }
      const flaw = batchFlaw(bytes, end, nextOffset, this.#epochs());
      if (flaw !== undefined) return { end, nextOffset, flaw, wanted: 0 };
      nextOffset = storedNextOffset(bytes, end);
      end += sizeBytes;
    }
    return { end, nextOffset, flaw: undefined, wanted: 0 };
  }

  /** `wanted` bytes from the position on, fewer at the limit or the end of the file; or why there are none. */
  async #read(wanted: number): Promise<Uint8Array | string> {
    const from = this.#position - (this.#position % BLOCK_BYTES);
    const to = Math.min(this.#limitBytes, this.#position + wanted);
    const length = Math.ceil((to - from) / BLOCK_BYTES) * BLOCK_BYTES;
    try {
      this.#file ??= await this.#disk.openFile(this.#segment.logPath, { direct: this.#segment.isSealed });
      const bytes = await this.#file.read(from, length);
      this.#isAtEnd = from + bytes.length < to;
      return bytes.subarray(this.#position - from, to - from);
    } catch (error) {
      if (!(error instanceof DiskError)) throw error;
      if (error.code === 'ENOENT') return FILE_MISSING;
      if (error.code === 'EIO') return 'the disk cannot read it';
      throw error;
    }
  }

  async #flaw(flaw: string): Promise<ScanStep> {
    // What repairs it may make a new file.
    await this.close();
    const at = { offset: this.#offset, position: this.#position };
    return { kind: 'flaw', ...at, flaw, isFileMissing: flaw === FILE_MISSING };
  }
}
