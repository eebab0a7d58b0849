import { describe, expect, it } from 'vitest';
import { makeEntries } from '../../test/simulation/wal-fixture.ts';
import { EntryCache } from './entry-cache.ts';

const indexes = (entries: readonly { index: number }[] | undefined) => entries?.map((entry) => entry.index);

describe('EntryCache', () => {
  it('answers for a contiguous tail, cut by index and bytes, at least one entry', () => {
    const cache = new EntryCache(1e9);
    cache.append(1, makeEntries(5, 10, { bytes: 100 }), 1);
    expect(indexes(cache.read(1, 7, 9, 1e9))).toEqual([7, 8, 9]);
    expect(indexes(cache.read(1, 7, 100, 250))).toEqual([7, 8]);
    expect(indexes(cache.read(1, 14, 14, 0))).toEqual([14]);
    expect(cache.read(1, 4, 9, 1e9)).toBeUndefined();
    expect(cache.read(1, 15, 15, 1e9)).toBeUndefined();
    expect(cache.read(2, 5, 5, 1e9)).toBeUndefined();
  });

  it('evicts the oldest flushed entries of any replica first, never an unflushed one', () => {
    const cache = new EntryCache(3000);
    for (let i = 0; i < 5; i++) {
      cache.append(1, makeEntries(1 + i, 1, { bytes: 1000 }), 2 * i + 1);
      cache.append(2, makeEntries(1 + i, 1, { bytes: 1000 }), 2 * i + 2);
    }
    cache.trim(4);
    expect([cache.firstIndex(1), cache.firstIndex(2)]).toEqual([3, 3]);
    cache.trim(100);
    expect(cache.bytes).toBeLessThanOrEqual(3000);
    expect([cache.firstIndex(1), cache.firstIndex(2)]).toEqual([5, 5]);
  });

  it('keeps unflushed entries that stand where older flushed ones were truncated', () => {
    const cache = new EntryCache(0);
    cache.append(1, makeEntries(1, 10), 1);
    cache.truncate(1, 4);
    cache.append(1, makeEntries(4, 3, { term: 2 }), 9);
    cache.trim(5);
    expect(indexes(cache.read(1, 4, 6, 1e9))).toEqual([4, 5, 6]);
    expect(cache.firstIndex(1)).toBe(4);
  });

  it('counts a pinned buffer once and whole, and copies what would pin too much', () => {
    const cache = new EntryCache(1e9);
    const socketBuffer = new Uint8Array(64 * 1024).fill(7);
    const slice = (at: number, length: number) => [socketBuffer.subarray(at, at + length)];
    const [first, second, tiny] = makeEntries(1, 3) as [
      ReturnType<typeof makeEntries>[0],
      ReturnType<typeof makeEntries>[0],
      ReturnType<typeof makeEntries>[0],
    ];
    cache.append(
      1,
      [
        { ...first, payload: slice(0, 8192) },
        { ...second, payload: slice(8192, 8192) },
      ],
      1,
    );
    expect(cache.bytes).toBeLessThan(66 * 1024);
    expect(cache.bytes).toBeGreaterThanOrEqual(64 * 1024);
    expect(cache.read(1, 1, 1, 1e9)![0]!.payload[0]!.buffer).toBe(socketBuffer.buffer);
    cache.append(1, [{ ...tiny, payload: slice(20_000, 50) }], 2);
    const copy = cache.read(1, 3, 3, 1e9)![0]!;
    expect(copy.payload[0]!.buffer).not.toBe(socketBuffer.buffer);
    expect(copy.payload[0]).toEqual(socketBuffer.slice(20_000, 20_050));
    cache.forget(1);
    expect(cache.bytes).toBe(0);
  });
});
