import { describe, expect, it } from 'vitest';
import { ThreadPoolGate } from './thread-pool-gate.ts';

describe('ThreadPoolGate', () => {
  it('lets the WAL in at once and leaves it two threads, whatever waits', () => {
    const gate = new ThreadPoolGate(4);
    const ends: (() => void)[] = [];
    for (let operation = 0; operation < 5; operation++) gate.enter('bulk', (ended) => ends.push(ended));
    expect([ends.length, gate.queued]).toEqual([2, 3]);
    let walStarted = false;
    gate.enter('wal', () => {
      walStarted = true;
    });
    expect(walStarted).toBe(true);
  });

  it('starts what waits in order, one for each that ends', () => {
    const gate = new ThreadPoolGate(3);
    const started: number[] = [];
    const ends: (() => void)[] = [];
    for (let operation = 0; operation < 3; operation++) {
      gate.enter('bulk', (ended) => {
        started.push(operation);
        ends.push(ended);
      });
    }
    expect(started).toEqual([0]);
    ends.shift()!();
    expect(started).toEqual([0, 1]);
    ends.shift()!();
    ends.shift()!();
    expect([started, gate.queued]).toEqual([[0, 1, 2], 0]);
  });
});
