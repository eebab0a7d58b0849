/**
 * Owns one life of a segment: a file of fixed size under a sequence number that is used once. A file has many lives; its
 * header, written and synced before any flush of that life, says which one it is in.
 *
 *     u32 checksum, u32 magic, u16 version, u16 kind, u32 sequence, 16 bytes store id,
 *     u32 size in blocks, u32 continues sequence, u32 continues position
 *
 * The last two are set only in a segment that a recovery began: everything in the segment named, from that position
 * on, may be unflushed and stands again in this one (DECISIONS W4).
 */

import { crc32c } from '../std/crc32c.ts';
import type { DiskFile } from '../std/disk.ts';
import { BLOCK_BYTES, FORMAT_VERSION, SECTOR_BYTES, viewOf } from './layout.ts';
import type { LiveBytes, ReplicaLog } from './replica-log.ts';

const MAGIC = 0x53574c46; // "FLWS"
const STORE_ID_AT = 16;
export const STORE_ID_BYTES = 16;

export interface SegmentHeader {
  readonly storeId: Uint8Array;
  readonly sequence: number;
  readonly sizeBytes: number;
  /** Set in a segment that a recovery began, see above. */
  readonly continues: { readonly sequence: number; readonly position: number } | undefined;
}

/** Fills the first block of a segment. */
export function encodeSegmentHeader(block: Uint8Array, header: SegmentHeader): void {
  const view = viewOf(block);
  block.fill(0, 0, BLOCK_BYTES);
  view.setUint32(4, MAGIC, true);
  view.setUint16(8, FORMAT_VERSION, true);
  view.setUint16(10, header.continues === undefined ? 0 : 1, true);
  view.setUint32(12, header.sequence, true);
  block.set(header.storeId, STORE_ID_AT);
  view.setUint32(32, header.sizeBytes / BLOCK_BYTES, true);
  view.setUint32(36, header.continues?.sequence ?? 0, true);
  view.setUint32(40, header.continues?.position ?? 0, true);
  view.setUint32(0, crc32c(block.subarray(4, SECTOR_BYTES)), true);
}

/** What the first sector of a segment file says: a header, nothing yet (zeros), or neither. */
export function decodeSegmentHeader(block: Uint8Array): SegmentHeader | 'blank' | 'damaged' {
  const sector = block.subarray(0, SECTOR_BYTES);
  if (sector.length < SECTOR_BYTES) return 'damaged';
  if (sector.every((byte) => byte === 0)) return 'blank';
  const view = viewOf(sector);
  if (view.getUint32(4, true) !== MAGIC || crc32c(sector.subarray(4)) !== view.getUint32(0, true)) return 'damaged';
  const version = view.getUint16(8, true);
  if (version !== FORMAT_VERSION)
    throw new Error(`The WAL was written in format ${version}, this broker knows ${FORMAT_VERSION}`);
  return {
    storeId: sector.slice(STORE_ID_AT, STORE_ID_AT + STORE_ID_BYTES),
    sequence: view.getUint32(12, true),
    sizeBytes: view.getUint32(32, true) * BLOCK_BYTES,
    continues:
      view.getUint16(10, true) === 1
        ? { sequence: view.getUint32(36, true), position: view.getUint32(40, true) }
        : undefined,
  };
}

/** A segment life that is in use. */
export class Segment {
  readonly sequence: number;
  readonly sizeBytes: number;
  /** Resolves with the file once its header for this life is durable; the first flush waits for it. */
  readonly ready: Promise<DiskFile>;
  file: DiskFile | undefined;
  /** Bytes that stamps replaced, by sector (see flush-block.ts): lets a read fetch one frame instead of its whole flush. */
  readonly originals: Uint32Array;
  /** Payload and overhead of the live entries in it. */
  liveBytes = 0;
  /** Index ranges of each replica that may have live entries here: a superset. */
  readonly ranges = new Map<ReplicaLog, { first: number; last: number }>();
  /** Reads in progress; the file is not reused before they end. */
  readers = 0;
  /** Recovery found damage in it: its file is kept aside instead of being reused. */
  damaged = false;

  /** LSN with which the table that opens this segment is complete; recovery may begin here once it is flushed. */
  tableEndLsn = 0;

  constructor(sequence: number, sizeBytes: number, file: DiskFile | Promise<DiskFile>) {
    this.sequence = sequence;
    this.sizeBytes = sizeBytes;
    this.originals = new Uint32Array((sizeBytes / SECTOR_BYTES) * 2);
    if (!(file instanceof Promise)) this.file = file;
    this.ready = Promise.resolve(file).then((opened) => {
      this.file = opened;
      return opened;
    });
    // The flush that needs the segment reports the failure.
    this.ready.catch(() => undefined);
  }
}

/** The segments in use, oldest first, and what lives in them. */
export class SegmentChain implements LiveBytes {
  readonly #segments = new Map<number, Segment>();

  get all(): Segment[] {
    return [...this.#segments.values()];
  }

  get count(): number {
    return this.#segments.size;
  }

  get oldest(): Segment | undefined {
    for (const segment of this.#segments.values()) return segment;
    return undefined;
  }

  /** The one that follows `segment`; undefined for the newest. */
  after(segment: Segment): Segment | undefined {
    let found = false;
    for (const candidate of this.#segments.values()) {
      if (found) return candidate;
      found = candidate === segment;
    }
    return undefined;
  }

  get liveBytes(): number {
    let sum = 0;
    for (const segment of this.#segments.values()) sum += segment.liveBytes;
    return sum;
  }

  get(sequence: number): Segment | undefined {
    return this.#segments.get(sequence);
  }

  /** Segments join in ascending order of their sequence. */
  push(segment: Segment): void {
    this.#segments.set(segment.sequence, segment);
  }

  remove(segment: Segment): void {
    this.#segments.delete(segment.sequence);
  }

  add(sequence: number, log: ReplicaLog, index: number, bytes: number): void {
    const segment = this.#segments.get(sequence)!;
    segment.liveBytes += bytes;
    const range = segment.ranges.get(log);
    if (range === undefined) segment.ranges.set(log, { first: index, last: index });
    else if (index > range.last) range.last = index;
    else if (index < range.first) range.first = index;
  }

  removeBytes(sequence: number, bytes: number): void {
    const segment = this.#segments.get(sequence);
    if (segment !== undefined) segment.liveBytes -= bytes;
  }
}
