/**
 * Owns the bytes of a frame, the unit of meaning in the WAL:
 *
 *     u32 header checksum (of the 36 bytes behind it), u32 body CRC, u32 body length,
 *     u8 kind, u8 flags, u16 zero, u64 replica id, u64 index, u32 count, u32 zero, body
 *
 * Both checksums are seeded with store, segment sequence and position, so a frame holds nowhere else (DECISIONS W2).
 * The header says whose frame it is and which entries it carries even when the body is damaged (DECISIONS W6).
 */

import { assert } from '../std/assert.ts';
import { logIndex, replicaId, term } from '../std/brands.ts';
import { crc32c } from '../std/crc32c.ts';
import { crc32cShifted } from '../std/crc32c-combine.ts';
import { readU53, viewOf, writeU53 } from './layout.ts';
import type { Checkpoint, Entry, EntryKind, HardState } from './replica-storage.ts';

export const FRAME_HEADER_BYTES = 40;

export const FRAME_KIND = {
  createReplica: 1,
  removeReplica: 2,
  hardState: 3,
  /** New entries at the end of a replica's log. */
  entries: 4,
  truncate: 5,
  checkpoint: 6,
  /** Begins the table of all replicas; `count` rows follow. */
  tableBegin: 7,
  tableRow: 8,
  tableEnd: 9,
  /** Entries appended again so that the segment they are in can be reused; they change no log. */
  movedEntries: 10,
  /** The damage recovery found in a replica was repaired. */
  repaired: 11,
  /** The replica's state was lost to damage: its log and checkpoint are void, and it counts as damaged from its first entry on. The body says why. */
  lost: 12,
  /** Entries up to `index` are known committed, without an entry to say it with. */
  committed: 13,
} as const;
export type FrameKind = (typeof FRAME_KIND)[keyof typeof FRAME_KIND];

export const FRAME_KIND_MAX = FRAME_KIND.committed;

export const CHECKPOINT_FLAG = { resetLog: 1 } as const;

export interface FrameHeader {
  readonly kind: number;
  readonly flags: number;
  readonly replicaId: number;
  readonly index: number;
  readonly count: number;
  readonly bodyLength: number;
  readonly bodyChecksum: number;
}

/** What a frame's header says beside the body's length and the checksums. Plain numbers, not an object: this is the path of every entry. */
export function sealFrame(
  bytes: Uint8Array,
  view: DataView,
  at: number,
  bodyLength: number,
  frameSeed: number,
  kind: number,
  flags: number,
  replicaId: number,
  index: number,
  count: number,
  bodyChecksum?: number,
): void {
  const bodyStart = at + FRAME_HEADER_BYTES;
  const seededChecksum =
    bodyChecksum === undefined
      ? crc32c(bytes.subarray(bodyStart, bodyStart + bodyLength), frameSeed)
      : (crc32cShifted(frameSeed, bodyLength) ^ bodyChecksum) >>> 0;
  view.setUint32(at + 4, seededChecksum, true);
  view.setUint32(at + 8, bodyLength, true);
  view.setUint32(at + 12, kind | (flags << 8), true);
  writeU53(view, at + 16, replicaId);
  writeU53(view, at + 24, index);
  view.setUint32(at + 32, count, true);
  view.setUint32(at + 36, 0, true);
  view.setUint32(at, headerChecksum(view, at, frameSeed), true);
}

/**
 * Checksum of the nine words behind it. Each step is a bijection of the word and of what came before, so damage within
 * one word is always seen; the flush's CRC is over all of it anyway. No call into native code, no view.
 */
function headerChecksum(view: DataView, at: number, frameSeed: number): number {
  let hash = frameSeed | 0;
  for (let word = at + 4; word < at + FRAME_HEADER_BYTES; word += 4) {
    hash = Math.imul(hash ^ view.getInt32(word, true), 0x85ebca6b);
    hash ^= hash >>> 15;
  }
  hash = Math.imul(hash, 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** The seed of one frame's checksums. */
export function frameSeedAt(seed: number, position: number): number {
  return (seed ^ position) >>> 0;
}

/** Reads the header at `at`; undefined if it does not hold or its body would pass `end`. */
export function decodeFrameHeader(
  view: DataView,
  at: number,
  end: number,
  seed: number,
  position: number,
): FrameHeader | undefined {
  if (at + FRAME_HEADER_BYTES > end) return undefined;
  if (headerChecksum(view, at, frameSeedAt(seed, position)) !== view.getUint32(at, true)) return undefined;
  const bodyLength = view.getUint32(at + 8, true);
  if (at + FRAME_HEADER_BYTES + bodyLength > end) return undefined;
  return readHeader(view, at, bodyLength);
}

/** Reads the header at `at` of a flush whose checksum held: no need to check it again. */
export function readTrustedHeader(view: DataView, at: number): FrameHeader {
  return readHeader(view, at, view.getUint32(at + 8, true));
}

function readHeader(view: DataView, at: number, bodyLength: number): FrameHeader {
  return {
    kind: view.getUint8(at + 12),
    flags: view.getUint8(at + 13),
    replicaId: readU53(view, at + 16),
    index: readU53(view, at + 24),
    count: view.getUint32(at + 32, true),
    bodyLength,
    bodyChecksum: view.getUint32(at + 4, true),
  };
}

export function frameBodyHolds(body: Uint8Array, header: FrameHeader, seed: number, position: number): boolean {
  return crc32c(body, frameSeedAt(seed, position)) === header.bodyChecksum;
}

// Entries: u64 commit hint, then per entry 24 bytes (u64 term, u32 payload length, u32 checksum, u8 kind, 7 zeros), then the payloads.

export const ENTRIES_PREFIX_BYTES = 8;
export const ENTRY_HEADER_BYTES = 24;

export function entriesBodyBytes(count: number, payloadBytes: number): number {
  return ENTRIES_PREFIX_BYTES + count * ENTRY_HEADER_BYTES + payloadBytes;
}

export function readCommitHint(view: DataView, bodyAt: number): number {
  return readU53(view, bodyAt);
}

/** What a frame of entries at `at` says of each, without an object for any: recovery looks at all of them. */
export function forEachEntry(
  view: DataView,
  frame: FrameHeader,
  at: number,
  visit: (index: number, term: number, kind: number, payloadBytes: number) => void,
): void {
  const bodyAt = at + FRAME_HEADER_BYTES;
  let payloadEnd = bodyAt + entriesBodyBytes(frame.count, 0);
  for (let i = 0; i < frame.count; i++) {
    const headerAt = bodyAt + ENTRIES_PREFIX_BYTES + i * ENTRY_HEADER_BYTES;
    const payloadBytes = view.getUint32(headerAt + 8, true);
    payloadEnd += payloadBytes;
    visit(frame.index + i, readU53(view, headerAt), view.getUint8(headerAt + 16), payloadBytes);
  }
  assert(payloadEnd === bodyAt + frame.bodyLength, 'The entries of a frame fill its body');
}

/** The entries of a frame at `at` of `bytes`, their payloads views of it. Undefined if the lengths disagree. */
export function decodeEntries(bytes: Uint8Array, view: DataView, frame: FrameHeader, at: number): Entry[] | undefined {
  const bodyAt = at + FRAME_HEADER_BYTES;
  const end = bodyAt + frame.bodyLength;
  let payloadAt = bodyAt + entriesBodyBytes(frame.count, 0);
  if (payloadAt > end) return undefined;
  const entries: Entry[] = [];
  for (let i = 0; i < frame.count; i++) {
    const headerAt = bodyAt + ENTRIES_PREFIX_BYTES + i * ENTRY_HEADER_BYTES;
    const payloadEnd = payloadAt + view.getUint32(headerAt + 8, true);
    if (payloadEnd > end) return undefined;
    entries.push({
      index: logIndex(frame.index + i),
      term: term(readU53(view, headerAt)),
      kind: view.getUint8(headerAt + 16) as EntryKind,
      payload: [bytes.subarray(payloadAt, payloadEnd)],
      checksum: view.getUint32(headerAt + 12, true),
    });
    payloadAt = payloadEnd;
  }
  return payloadAt === end ? entries : undefined;
}

export const HARD_STATE_BYTES = 16;

export function writeHardState(view: DataView, at: number, hardState: HardState): void {
  writeU53(view, at, hardState.currentTerm);
  writeU53(view, at + 8, hardState.votedFor);
}

export function readHardState(view: DataView, at: number): HardState {
  const votedFor = readU53(view, at + 8);
  return { currentTerm: term(readU53(view, at)), votedFor: votedFor === 0 ? 0 : replicaId(votedFor) };
}

/** The body of a checkpoint frame: u64 term, payload; the index is in the frame header. */
export function decodeCheckpoint(body: Uint8Array, index: number): Checkpoint {
  return { index: logIndex(index), term: term(readU53(viewOf(body), 0)), payload: body.slice(8) };
}
