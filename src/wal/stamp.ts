/**
 * Owns sector stamps (DECISIONS W3): what tells a sector that was never written in this life of a segment from one that
 * was written and then damaged. Every sector of a flush ends with
 *
 *     u32 sequence of the segment, u16 check, u16 block in which the flush begins
 *
 * where `check` binds both numbers to the store. A damaged stamp is therefore neither fresh nor stale, and a fresh one
 * names the flush it belongs to.
 */
import { crc32c } from '../std/crc32c.ts';
import { BLOCK_BYTES, SECTOR_WORDS, STAMP_WORD } from './layout.ts';

/** What a stamp says about its sector, seen from the flush at a given position of a given segment life. */
export const SECTOR_STATE = {
  /** Written by this very flush. */
  fresh: 0,
  /** Written by a flush that begins elsewhere in this life of the segment. */
  other: 1,
  /** Zero from creation, or left from an earlier life: not written in this one. */
  unwritten: 2,
  /** Anything else: the stamp itself is damaged. */
  damaged: 3,
} as const;
export type SectorState = (typeof SECTOR_STATE)[keyof typeof SECTOR_STATE];

/** A store's stamps. */
export class Stamps {
  readonly #storeSeed: number;
  readonly #scratch = new Uint8Array(6);

  constructor(storeId: Uint8Array) {
    this.#storeSeed = crc32c(storeId);
  }

  /** Seed of all checksums in one life of a segment; with the position mixed in, old bytes never validate (DECISIONS W2). */
  seed(sequence: number, position: number): number {
    return (this.#crc(sequence, 0xffff) ^ position) >>> 0;
  }

  /** The second word of the stamp; the first is the sequence. */
  secondWord(sequence: number, block: number): number {
    const crc = this.#crc(sequence, block);
    return ((block << 16) | ((crc ^ (crc >>> 16)) & 0xffff)) >>> 0;
  }

  /** Classifies the sector that begins at word `at` of `words`, for the flush at `position` of segment life `sequence`. */
  classify(words: Uint32Array, at: number, sequence: number, position: number): SectorState {
    const first = words[at + STAMP_WORD]!;
    const second = words[at + STAMP_WORD + 1]!;
    if (first === 0 && second === 0) return isZero(words, at) ? SECTOR_STATE.unwritten : SECTOR_STATE.damaged;
    const block = second >>> 16;
    if (first === 0 || first > sequence || second !== this.secondWord(first, block)) return SECTOR_STATE.damaged;
    if (first < sequence) return SECTOR_STATE.unwritten;
    return block * BLOCK_BYTES === position ? SECTOR_STATE.fresh : SECTOR_STATE.other;
  }

  #crc(sequence: number, block: number): number {
    const scratch = this.#scratch;
    scratch[0] = sequence;
    scratch[1] = sequence >>> 8;
    scratch[2] = sequence >>> 16;
    scratch[3] = sequence >>> 24;
    scratch[4] = block;
    scratch[5] = block >>> 8;
    return crc32c(scratch, this.#storeSeed);
  }
}

function isZero(words: Uint32Array, at: number): boolean {
  for (let i = at; i < at + SECTOR_WORDS; i++) if (words[i] !== 0) return false;
  return true;
}
