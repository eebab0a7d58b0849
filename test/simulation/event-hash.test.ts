import { describe, expect, it } from 'vitest';
import { EventHash } from './event-hash.ts';

describe('EventHash', () => {
  it('depends on every value, where it ends, and the order', () => {
    const hashes = [
      new EventHash(),
      new EventHash().number(0),
      new EventHash().number(1),
      new EventHash().number(1 + Number.EPSILON),
      new EventHash().number(1).number(2),
      new EventHash().number(2).number(1),
      new EventHash().text(''),
      new EventHash().text('ab').text('c'),
      new EventHash().text('a').text('bc'),
      new EventHash().bytes(Uint8Array.of(0)),
      new EventHash().bytes(Uint8Array.of(0, 0)),
      new EventHash().bytes(Uint8Array.of(1, 2)),
    ].map(({ value }) => value);
    expect(new Set(hashes).size).toBe(hashes.length);
    expect(new EventHash().text('a').number(0.1).bytes(Uint8Array.of(7)).value).toBe(
      new EventHash().text('a').number(0.1).bytes(Uint8Array.of(7)).value,
    );
  });
});
