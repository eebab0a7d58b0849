/**
 * Owns the bytes of one flush: what one write and one sync carry to disk.
 *
 *     sector 0            header (64 bytes), the first 55 originals, stamp
 *     sectors 1 … d       frames, back to back, each sector's last 8 bytes replaced by the stamp
 *     sectors d+1 …       the other originals, 63 a sector, stamp
 *     up to a block       zeros, stamped
 *
 * An original is the 8 bytes that a stamp replaced in a frame sector. Frames are copied once, to where they are written
 * from; stamping touches 8 bytes a sector.
 */
import { assert } from '../std/assert.ts';
import { crc32c } from '../std/crc32c.ts';
import {
  BLOCK_BYTES,
  FORMAT_VERSION,
  readU53,
  roundUp,
  SECTOR_BYTES,
  SECTOR_WORDS,
  STAMP_OFFSET,
  STAMP_WORD,
  viewOf,
  wordsOf,
  writeU53,
} from './layout.ts';
import type { Stamps } from './stamp.ts';

const MAGIC = 0x53554c46; // "FLUS"
const HEADER_BYTES = 64;
const HEADER_ORIGINALS = (STAMP_OFFSET - HEADER_BYTES) / 8;
const SECTOR_ORIGINALS = STAMP_OFFSET / 8;

/** Frames begin here, counted from the start of the flush. */
export const FLUSH_PAYLOAD_OFFSET = SECTOR_BYTES;

export const FLUSH_FLAG = {
  /** The table that opens this segment is complete with this flush. */
  completesTable: 1,
} as const;

export interface FlushHeader {
  readonly sequence: number;
  /** Where the flush begins in its segment. */
  readonly position: number;
  readonly payloadLength: number;
  readonly payloadChecksum: number;
  readonly frameCount: number;
  /** LSN of the first frame; with no frames, of the next one to come. */
  readonly firstLsn: number;
  /** Everything up to this LSN was known to be flushed when this header was written. */
  readonly knownFlushedLsn: number;
  /** No segment before this one is needed any more. */
  readonly oldestSequence: number;
  readonly flags: number;
}

/** Bytes on disk of a flush with `payloadLength` bytes of frames. */
export function flushExtent(payloadLength: number): number {
  const dataSectors = Math.ceil(payloadLength / SECTOR_BYTES);
  const originalsSectors = Math.ceil(Math.max(0, dataSectors - HEADER_ORIGINALS) / SECTOR_ORIGINALS);
  return roundUp((1 + dataSectors + originalsSectors) * SECTOR_BYTES, BLOCK_BYTES);
}

/** Most bytes of frames that fit an extent of `extentBytes`. */
export function flushPayloadMax(extentBytes: number): number {
  const extent = extentBytes - (extentBytes % BLOCK_BYTES);
  const sectors = extent / SECTOR_BYTES - 1;
  let dataSectors = Math.floor((sectors * SECTOR_ORIGINALS + HEADER_ORIGINALS) / (SECTOR_ORIGINALS + 1)) + 1;
  while (dataSectors > 0 && flushExtent(dataSectors * SECTOR_BYTES) > extent) dataSectors--;
  return Math.max(0, dataSectors * SECTOR_BYTES);
}

/** A flush being filled. The owner writes frames at `length` and seals it once. */
export class FlushBuffer {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly #words: Uint32Array;
  /** Where in its segment this flush will begin. */
  position = 0;
  sequence = 0;
  firstLsn = 0;
  frameCount = 0;
  /** Bytes used, header sector included: where the next frame begins. */
  length = FLUSH_PAYLOAD_OFFSET;
  /** Bytes that may be used, header sector included; less than the memory when the segment ends before it. */
  limit = 0;
  flags = 0;

  /** `bytes` must be aligned memory, a multiple of blocks. */
  constructor(bytes: Uint8Array) {
    assert(bytes.length % BLOCK_BYTES === 0, 'A flush buffer must be a multiple of blocks');
    this.bytes = bytes;
    this.view = viewOf(bytes);
    this.#words = wordsOf(bytes);
  }

  /** Begins a flush at `position` of a segment life, at most `extentMax` bytes on disk. */
  open(sequence: number, position: number, firstLsn: number, extentMax: number): void {
    this.sequence = sequence;
    this.position = position;
    this.firstLsn = firstLsn;
    this.frameCount = 0;
    this.length = FLUSH_PAYLOAD_OFFSET;
    this.limit = FLUSH_PAYLOAD_OFFSET + flushPayloadMax(Math.min(extentMax, this.bytes.length));
    this.flags = 0;
  }

  get payloadLength(): number {
    return this.length - FLUSH_PAYLOAD_OFFSET;
  }

  get lastLsn(): number {
    return this.firstLsn + this.frameCount - 1;
  }

  /**
   * Stamps and checksums what was filled and returns the extent to write. `originals`, if given, gets the replaced bytes
   * at the words of each sector's number in the segment, for reads that do not want the whole flush.
   */
  seal(
    stamps: Stamps,
    facts: { knownFlushedLsn: number; oldestSequence: number },
    originals?: Uint32Array,
  ): Uint8Array {
    const { bytes, view } = this;
    const words = this.#words;
    const dataSectors = Math.ceil(this.payloadLength / SECTOR_BYTES);
    const extent = flushExtent(this.payloadLength);
    assert(extent <= bytes.length, 'A flush must fit its buffer');
    bytes.fill(0, this.length, extent);
    bytes.fill(0, 0, FLUSH_PAYLOAD_OFFSET);
    const second = stamps.secondWord(this.sequence, this.position / BLOCK_BYTES);
    const firstSector = this.position / SECTOR_BYTES;
    for (let i = 0; i < dataSectors; i++) {
      const from = (i + 1) * SECTOR_WORDS + STAMP_WORD;
      const to = originalWord(i, dataSectors);
      words[to] = words[from]!;
      words[to + 1] = words[from + 1]!;
      if (originals !== undefined) {
        const slot = (firstSector + 1 + i) * 2;
        originals[slot] = words[from]!;
        originals[slot + 1] = words[from + 1]!;
      }
    }
    for (let at = STAMP_WORD; at < extent / 4; at += SECTOR_WORDS) {
      words[at] = this.sequence;
      words[at + 1] = second;
    }
    const seed = stamps.seed(this.sequence, this.position);
    view.setUint32(4, MAGIC, true);
    view.setUint16(8, FORMAT_VERSION, true);
    view.setUint16(10, this.flags, true);
    view.setUint32(12, this.sequence, true);
    view.setUint32(16, this.position, true);
    view.setUint32(20, this.payloadLength, true);
    view.setUint32(24, crc32c(bytes.subarray(SECTOR_BYTES, extent), seed), true);
    view.setUint32(28, this.frameCount, true);
    writeU53(view, 32, this.firstLsn);
    writeU53(view, 40, facts.knownFlushedLsn);
    view.setUint32(48, facts.oldestSequence, true);
    view.setUint32(0, crc32c(bytes.subarray(4, SECTOR_BYTES), seed), true);
    return bytes.subarray(0, extent);
  }
}

/** Reads the header of the flush at `position` of a segment life; undefined if its checksum does not hold there. `segment` is the whole segment. */
export function decodeFlushHeader(
  segment: Uint8Array,
  position: number,
  sequence: number,
  stamps: Stamps,
): FlushHeader | undefined {
  if (position + BLOCK_BYTES > segment.length) return undefined;
  const view = new DataView(segment.buffer, segment.byteOffset + position, SECTOR_BYTES);
  if (view.getUint32(4, true) !== MAGIC || view.getUint32(12, true) !== sequence) return undefined;
  const seed = stamps.seed(sequence, position);
  if (crc32c(segment.subarray(position + 4, position + SECTOR_BYTES), seed) !== view.getUint32(0, true))
    return undefined;
  const version = view.getUint16(8, true);
  if (version !== FORMAT_VERSION)
    throw new Error(`The WAL was written in format ${version}, this broker knows ${FORMAT_VERSION}`);
  const header: FlushHeader = {
    sequence,
    position: view.getUint32(16, true),
    flags: view.getUint16(10, true),
    payloadLength: view.getUint32(20, true),
    payloadChecksum: view.getUint32(24, true),
    frameCount: view.getUint32(28, true),
    firstLsn: readU53(view, 32),
    knownFlushedLsn: readU53(view, 40),
    oldestSequence: view.getUint32(48, true),
  };
  if (header.position !== position || position + flushExtent(header.payloadLength) > segment.length) return undefined;
  return header;
}

/** Do the bytes behind the header match its checksum? */
export function flushPayloadHolds(segment: Uint8Array, header: FlushHeader, stamps: Stamps): boolean {
  const end = header.position + flushExtent(header.payloadLength);
  const seed = stamps.seed(header.sequence, header.position);
  return crc32c(segment.subarray(header.position + SECTOR_BYTES, end), seed) === header.payloadChecksum;
}

/** Puts the originals back in place of the stamps, in place, and into `originals` (see {@link FlushBuffer.seal}). */
export function restoreOriginals(segment: Uint8Array, header: FlushHeader, originals: Uint32Array): void {
  const words = wordsOf(segment);
  const start = header.position / 4;
  const firstSector = header.position / SECTOR_BYTES;
  const dataSectors = Math.ceil(header.payloadLength / SECTOR_BYTES);
  for (let i = 0; i < dataSectors; i++) {
    const from = start + originalWord(i, dataSectors);
    const to = start + (i + 1) * SECTOR_WORDS + STAMP_WORD;
    words[to] = words[from]!;
    words[to + 1] = words[from + 1]!;
    const slot = (firstSector + 1 + i) * 2;
    originals[slot] = words[from]!;
    originals[slot + 1] = words[from + 1]!;
  }
}

/** Puts originals kept in memory back into `bytes`, which begin at the sector-aligned `position` of the segment. Sectors outside any flush's frames must not be used afterwards. */
export function restoreFromMemory(bytes: Uint8Array, position: number, originals: Uint32Array): void {
  const view = viewOf(bytes);
  for (let at = STAMP_OFFSET; at + 8 <= bytes.length; at += SECTOR_BYTES) {
    const slot = ((position + at - STAMP_OFFSET) / SECTOR_BYTES) * 2;
    view.setUint32(at, originals[slot]!, true);
    view.setUint32(at + 4, originals[slot + 1]!, true);
  }
}

/** Word, from the start of the flush, of the original of frame sector `i` of `dataSectors`. */
function originalWord(i: number, dataSectors: number): number {
  if (i < HEADER_ORIGINALS) return HEADER_BYTES / 4 + 2 * i;
  const rest = i - HEADER_ORIGINALS;
  const sector = 1 + dataSectors + Math.floor(rest / SECTOR_ORIGINALS);
  return sector * SECTOR_WORDS + 2 * (rest % SECTOR_ORIGINALS);
}
