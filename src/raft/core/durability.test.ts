import fc from 'fast-check';
import { expect, test } from 'vitest';
import { logIndex } from '../../std/brands.ts';
import { Durability } from './durability.ts';

test('entries count as flushed when the write that holds them is', () => {
  const durability = new Durability(logIndex(3));
  expect(durability.persistedIndex).toBe(3);
  const first = durability.record(logIndex(5), false);
  const second = durability.record(logIndex(8), true);
  durability.flushed(first);
  expect(durability.persistedIndex).toBe(5);
  expect(durability.isFlushed(durability.hardStateWrite)).toBe(false);
  durability.flushed(second);
  expect(durability.persistedIndex).toBe(8);
  expect(durability.isFlushed(durability.hardStateWrite)).toBe(true);
});

test('one completion covers all writes before it, and an old one says nothing', () => {
  const durability = new Durability(logIndex(0));
  const [first, , third] = [1, 2, 3].map((index) => durability.record(logIndex(index), false));
  durability.flushed(third!);
  expect(durability.persistedIndex).toBe(3);
  durability.flushed(first!);
  expect(durability.persistedIndex).toBe(3);
});

test('a late completion does not speak for the entry that came in place of a truncated one, not even for the same entry (bug R7)', () => {
  const durability = new Durability(logIndex(4));
  const firstLife = durability.record(logIndex(5), false);
  durability.truncateFrom(logIndex(5));
  const replacement = durability.record(logIndex(5), false);
  durability.truncateFrom(logIndex(5));
  const secondLife = durability.record(logIndex(5), false);
  durability.flushed(firstLife);
  expect(durability.persistedIndex).toBe(4);
  durability.flushed(replacement);
  expect(durability.persistedIndex).toBe(4);
  durability.flushed(secondLife);
  expect(durability.persistedIndex).toBe(5);
});

test('truncation takes back what was flushed', () => {
  const durability = new Durability(logIndex(9));
  durability.truncateFrom(logIndex(6));
  expect(durability.persistedIndex).toBe(5);
});

test('an installed checkpoint is flushed, whatever older writes still complete', () => {
  const durability = new Durability(logIndex(2));
  const write = durability.record(logIndex(7), true);
  durability.reset(logIndex(20));
  expect(durability.persistedIndex).toBe(20);
  durability.flushed(write);
  expect(durability.persistedIndex).toBe(20);
});

test('a completion of what was never written is a broken invariant', () => {
  expect(() => new Durability(logIndex(0)).flushed(1)).toThrow(/was not written/);
});

test('persistedIndex never covers an entry whose own write is under way', () => {
  const action = fc.oneof(
    fc.record({ kind: fc.constant('append' as const), count: fc.integer({ min: 1, max: 3 }) }),
    fc.record({ kind: fc.constant('truncate' as const), back: fc.integer({ min: 1, max: 3 }) }),
    fc.record({ kind: fc.constant('flush' as const), share: fc.double({ min: 0, max: 1, noNaN: true }) }),
  );
  fc.assert(
    fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
      const durability = new Durability(logIndex(0));
      // writeOf[i]: the write that holds the entry at index i + 1 now.
      const writeOf: number[] = [];
      let flushed = 0;
      let written = 0;
      for (const next of actions) {
        if (next.kind === 'append') {
          written = durability.record(logIndex(writeOf.length + next.count), false);
          for (let i = 0; i < next.count; i++) writeOf.push(written);
        } else if (next.kind === 'truncate') {
          if (writeOf.length === 0) continue;
          writeOf.length = Math.max(writeOf.length - next.back, 0);
          durability.truncateFrom(logIndex(writeOf.length + 1));
        } else {
          flushed = flushed + Math.floor((written - flushed) * next.share);
          durability.flushed(flushed);
        }
        const expected = writeOf.findIndex((write) => write > flushed);
        expect(durability.persistedIndex).toBe(expected < 0 ? writeOf.length : expected);
      }
    }),
  );
});
