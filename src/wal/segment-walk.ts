/**
 * Owns the walk over one segment's bytes: which flushes are whole, and what the first extent that is not means. Pure: no
 * disk, no state of replicas.
 */

import { decodeFlushHeader, type FlushHeader, flushExtent, flushPayloadHolds } from './flush-block.ts';
import { classifyUnfinished, type FlushEvidence, type FlushVerdict } from './flush-classification.ts';
import { BLOCK_BYTES, SECTOR_BYTES, SEGMENT_DATA_POSITION, wordsOf } from './layout.ts';
import { SECTOR_STATE, type Stamps } from './stamp.ts';

/** A stretch of the segment that was walked over, in ascending order of position. */
export type WalkedExtent =
  | { readonly kind: 'flush'; readonly header: FlushHeader; readonly end: number }
  /** The header holds, the bytes behind it do not, and something follows. */
  | { readonly kind: 'damagedFlush'; readonly header: FlushHeader; readonly end: number }
  /** Even the header is gone; `end` is where the next valid flush begins. */
  | { readonly kind: 'lost'; readonly position: number; readonly end: number };

/** Where whole flushes end, and what is behind them. */
export interface WalkedTail {
  readonly position: number;
  readonly verdict: FlushVerdict;
  /** End of the extent in question, for `torn` and `damage`. */
  readonly end: number;
  readonly header: FlushHeader | undefined;
}

export interface SegmentWalk {
  readonly extents: readonly WalkedExtent[];
  readonly tail: WalkedTail;
}

/**
 * Walks the life `sequence` of a segment. `followed` says that a later segment was written to, which the writer does only
 * after all of this one was synced. Positions from `endPosition` on are not looked at.
 */
export function walkSegment(
  segment: Uint8Array,
  sequence: number,
  stamps: Stamps,
  options: { followed: boolean; endPosition?: number },
): SegmentWalk {
  const extents: WalkedExtent[] = [];
  const limit = options.endPosition ?? segment.length;
  let position = SEGMENT_DATA_POSITION;
  while (position < limit) {
    const header = decodeFlushHeader(segment, position, sequence, stamps);
    if (header !== undefined && flushPayloadHolds(segment, header, stamps)) {
      position += flushExtent(header.payloadLength);
      extents.push({ kind: 'flush', header, end: position });
      continue;
    }
    const end = header === undefined ? position + BLOCK_BYTES : position + flushExtent(header.payloadLength);
    const next = findFlush(segment, end, limit, sequence, stamps);
    if (next === undefined)
      return { extents, tail: judgeTail(segment, position, header, sequence, stamps, limit, options.followed) };
    if (header !== undefined) {
      extents.push({ kind: 'damagedFlush', header, end });
      if (next > end) extents.push({ kind: 'lost', position: end, end: next });
    } else extents.push({ kind: 'lost', position, end: next });
    position = next;
  }
  return { extents, tail: { position, verdict: 'nothing', end: position, header: undefined } };
}

/** Was any sector behind the header block written in this life? */
export function hasFreshSectors(segment: Uint8Array, sequence: number, stamps: Stamps): boolean {
  const words = wordsOf(segment);
  for (let at = SEGMENT_DATA_POSITION; at < segment.length; at += SECTOR_BYTES) {
    const state = stamps.classify(words, at / 4, sequence, SEGMENT_DATA_POSITION);
    if (state === SECTOR_STATE.fresh || state === SECTOR_STATE.other) return true;
  }
  return false;
}

function findFlush(
  segment: Uint8Array,
  from: number,
  limit: number,
  sequence: number,
  stamps: Stamps,
): number | undefined {
  for (let position = from; position < limit; position += BLOCK_BYTES) {
    if (decodeFlushHeader(segment, position, sequence, stamps) !== undefined) return position;
  }
  return undefined;
}

function judgeTail(
  segment: Uint8Array,
  position: number,
  header: FlushHeader | undefined,
  sequence: number,
  stamps: Stamps,
  limit: number,
  followedBySegment: boolean,
): WalkedTail {
  const words = wordsOf(segment);
  const stateAt = (at: number) => stamps.classify(words, at / 4, sequence, position);
  let end = header === undefined ? position + SECTOR_BYTES : position + flushExtent(header.payloadLength);
  let followed: FlushEvidence['followed'] = followedBySegment ? 'later' : 'no';
  // Sectors of this flush, and of flushes behind it, which exist only if this one was synced.
  for (let at = position + SECTOR_BYTES; at < limit; at += SECTOR_BYTES) {
    const state = stateAt(at);
    if (state === SECTOR_STATE.other) followed = 'here';
    else if (state === SECTOR_STATE.fresh) end = Math.max(end, at + SECTOR_BYTES);
  }
  let fresh = false;
  let unwritten = false;
  let damaged = false;
  for (let at = position + SECTOR_BYTES; at < end; at += SECTOR_BYTES) {
    const state = stateAt(at);
    if (state === SECTOR_STATE.fresh) fresh = true;
    else if (state === SECTOR_STATE.unwritten) unwritten = true;
    else if (state === SECTOR_STATE.damaged) damaged = true;
  }
  const headerState = stateAt(position);
  const headerEvidence: FlushEvidence['header'] =
    header !== undefined
      ? 'valid'
      : headerState === SECTOR_STATE.unwritten
        ? 'unwritten'
        : headerState === SECTOR_STATE.damaged
          ? 'damaged'
          : 'broken';
  const verdict = classifyUnfinished({ header: headerEvidence, fresh, unwritten, damaged, followed });
  return { position, verdict, end: verdict === 'nothing' ? position : end, header };
}
