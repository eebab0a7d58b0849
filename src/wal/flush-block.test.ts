import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SeededRandom } from '../std/seeded-random.ts';
import {
  decodeFlushHeader,
  FLUSH_PAYLOAD_OFFSET,
  FlushBuffer,
  flushExtent,
  flushPayloadHolds,
  flushPayloadMax,
  restoreFromMemory,
  restoreOriginals,
} from './flush-block.ts';
import { BLOCK_BYTES, SECTOR_BYTES, wordsOf } from './layout.ts';
import { SECTOR_STATE, Stamps } from './stamp.ts';

const STORE = new Uint8Array(16).fill(7);

function seal(payload: Uint8Array, position: number, segmentBytes: number) {
  const stamps = new Stamps(STORE);
  const buffer = new FlushBuffer(new Uint8Array(Math.max(BLOCK_BYTES, flushExtent(payload.length))));
  buffer.bytes.fill(0xee);
  buffer.open(9, position, 100, segmentBytes - position);
  buffer.bytes.set(payload, FLUSH_PAYLOAD_OFFSET);
  buffer.length += payload.length;
  buffer.frameCount = 3;
  const segment = new Uint8Array(segmentBytes);
  const originals = new Uint32Array((segmentBytes / SECTOR_BYTES) * 2);
  segment.set(buffer.seal(stamps, { knownFlushedLsn: 99, oldestSequence: 4 }, originals), position);
  return { stamps, segment, originals };
}

describe('FlushBuffer', () => {
  it('gives back any payload, from the flush itself and from originals in memory', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 90_000 }), fc.nat(), (length, seed) => {
        const payload = new SeededRandom(seed).bytes(length);
        const position = 2 * BLOCK_BYTES;
        const { stamps, segment, originals } = seal(payload, position, 128 * 1024);
        const header = decodeFlushHeader(segment, position, 9, stamps)!;
        expect(header).toMatchObject({
          payloadLength: length,
          frameCount: 3,
          firstLsn: 100,
          knownFlushedLsn: 99,
          oldestSequence: 4,
        });
        expect(flushPayloadHolds(segment, header, stamps)).toBe(true);
        const start = position + FLUSH_PAYLOAD_OFFSET;
        const copy = segment.slice(position);
        restoreFromMemory(copy, position, originals);
        expect(Buffer.compare(copy.subarray(FLUSH_PAYLOAD_OFFSET, FLUSH_PAYLOAD_OFFSET + length), payload)).toBe(0);
        const read = new Uint32Array(originals.length);
        restoreOriginals(segment, header, read);
        expect(Buffer.compare(segment.subarray(start, start + length), payload)).toBe(0);
        expect(read).toEqual(originals);
      }),
      { numRuns: 60 },
    );
  });

  it('stamps every sector of its extent', () => {
    const { stamps, segment } = seal(new SeededRandom(1).bytes(70_000), BLOCK_BYTES, 128 * 1024);
    const words = wordsOf(segment);
    for (let at = BLOCK_BYTES; at < BLOCK_BYTES + flushExtent(70_000); at += SECTOR_BYTES) {
      expect(stamps.classify(words, at / 4, 9, BLOCK_BYTES)).toBe(SECTOR_STATE.fresh);
    }
  });

  it('does not validate at another position, in another life or for another store', () => {
    const { stamps, segment } = seal(new Uint8Array(1000), BLOCK_BYTES, 64 * 1024);
    const moved = new Uint8Array(segment.length);
    moved.set(segment.subarray(BLOCK_BYTES, 2 * BLOCK_BYTES), 3 * BLOCK_BYTES);
    expect(decodeFlushHeader(moved, 3 * BLOCK_BYTES, 9, stamps)).toBeUndefined();
    expect(decodeFlushHeader(segment, BLOCK_BYTES, 10, stamps)).toBeUndefined();
    expect(decodeFlushHeader(segment, BLOCK_BYTES, 9, new Stamps(new Uint8Array(16)))).toBeUndefined();
  });

  it('flushPayloadMax() is the most that fits', () => {
    for (let blocks = 1; blocks < 70; blocks++) {
      const max = flushPayloadMax(blocks * BLOCK_BYTES);
      expect(flushExtent(max)).toBeLessThanOrEqual(blocks * BLOCK_BYTES);
      expect(flushExtent(max + 1)).toBeGreaterThan(blocks * BLOCK_BYTES);
    }
  });
});

describe('Stamps', () => {
  it('a flipped bit of a stamp is neither fresh nor unwritten', () => {
    const { stamps, segment } = seal(new Uint8Array(3000).fill(1), BLOCK_BYTES, 64 * 1024);
    for (let bit = 0; bit < 64; bit++) {
      const at = BLOCK_BYTES + 2 * SECTOR_BYTES - 8 + (bit >> 3);
      segment[at]! ^= 1 << (bit & 7);
      expect(stamps.classify(wordsOf(segment), (BLOCK_BYTES + SECTOR_BYTES) / 4, 9, BLOCK_BYTES)).toBe(
        SECTOR_STATE.damaged,
      );
      segment[at]! ^= 1 << (bit & 7);
    }
  });
});
