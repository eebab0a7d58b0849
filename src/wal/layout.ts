/**
 * Owns the sizes and small integers of the WAL's bytes (see docs/wal-format.md). All numbers are little-endian; 64-bit
 * fields hold safe integers.
 */
import { assert } from '../std/assert.ts';

/** The unit of atomic persistence that the format relies on: a sector is on disk in its old or its new form. */
export const SECTOR_BYTES = 512;
/** The unit of writing: a flush begins and ends on a block. */
export const BLOCK_BYTES = 4096;
/** The last bytes of each sector of a flush hold a stamp, see stamp.ts. */
export const STAMP_BYTES = 8;
export const STAMP_OFFSET = SECTOR_BYTES - STAMP_BYTES;
/** Words of 32 bits in a sector, and where the stamp begins among them. */
export const SECTOR_WORDS = SECTOR_BYTES / 4;
export const STAMP_WORD = STAMP_OFFSET / 4;
/** The first block of a segment holds its header; flushes follow. */
export const SEGMENT_DATA_POSITION = BLOCK_BYTES;
/** Block numbers take 16 bits of a stamp. */
export const SEGMENT_BYTES_MAX = BLOCK_BYTES * 2 ** 16;
/** Written into segment and flush headers; another one is refused (DECISIONS I4). */
export const FORMAT_VERSION = 1;

const U32 = 2 ** 32;

export function writeU53(view: DataView, at: number, value: number): void {
  assert(Number.isSafeInteger(value) && value >= 0, 'A stored number must be a non-negative safe integer');
  view.setUint32(at, value >>> 0, true);
  view.setUint32(at + 4, Math.floor(value / U32), true);
}

export function readU53(view: DataView, at: number): number {
  return view.getUint32(at + 4, true) * U32 + view.getUint32(at, true);
}

export function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}

/** A view for numbers over the same memory. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** The same memory as 32-bit words; `bytes` must be 4-byte aligned and a multiple of 4 long. The machine is little-endian, which is asserted at start. */
export function wordsOf(bytes: Uint8Array): Uint32Array {
  return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
}

assert(new Uint8Array(Uint32Array.of(1).buffer)[0] === 1, 'The WAL needs a little-endian machine');
