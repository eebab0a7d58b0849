import { describe, expect, it } from 'vitest';
import { AlignedMemory } from './aligned-memory.ts';

const KB = 1024;

describe('AlignedMemory', () => {
  it('gives aligned pieces of the length asked for, and knows them from others', () => {
    const memory = new AlignedMemory();
    for (const length of [4 * KB, 12 * KB, 252 * KB, 256 * KB, 20 * KB, 5 * KB * KB]) {
      const piece = memory.allocate(length);
      expect(piece.length).toBe(length);
      expect(piece.every((byte) => byte === 0)).toBe(true);
      expect(memory.isAligned(piece)).toBe(true);
      expect(memory.isAligned(piece.subarray(1))).toBe(false);
      piece.fill(1);
    }
    expect(memory.isAligned(new Uint8Array(4 * KB))).toBe(false);
  });

  it('lets no large piece hold the memory of another', () => {
    const memory = new AlignedMemory();
    const buffers = [256 * KB, 256 * KB, 4 * KB, 4 * KB].map((length) => memory.allocate(length).buffer);
    expect(new Set(buffers).size).toBe(3);
    expect(buffers[2]).toBe(buffers[3]);
  });

  it('lends what was given back, and of many large pieces keeps a few', () => {
    const memory = new AlignedMemory();
    for (const [length, kept] of [
      [100 * KB, 10],
      [1024 * KB, 4],
    ] as const) {
      const borrowed = Array.from({ length: 10 }, () => memory.borrow(length));
      expect(new Set(borrowed).size).toBe(10);
      for (const piece of borrowed) memory.giveBack(piece);
      const again = Array.from({ length: 10 }, () => memory.borrow(length));
      expect(again.filter((piece) => borrowed.includes(piece))).toHaveLength(kept);
    }
  });
});
