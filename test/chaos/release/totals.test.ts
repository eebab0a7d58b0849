import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { addTotal, type RunTotal, readTotals, totalsTable } from './totals.ts';

const run = (more: Partial<RunTotal>): RunTotal => ({
  commit: 'abc',
  scenario: 'pause',
  seed: 1,
  seconds: 60,
  acknowledged: 1000,
  faults: 3,
  faultsEffective: 2,
  failures: [],
  invalid: [],
  longestGapMs: 500,
  recoveriesMs: [100, 300],
  harnessStallMs: 0,
  ...more,
});

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'flotilla-totals-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

describe('totals', () => {
  it('reads back the runs of one commit that were long enough', () => {
    const path = join(directory, 'totals.jsonl');
    expect(readTotals(path, 'abc', 60)).toEqual([]);
    const wanted = run({});
    for (const total of [wanted, run({ commit: 'other' }), run({ seconds: 20 })]) addTotal(path, total);
    expect(readTotals(path, 'abc', 60)).toEqual([wanted]);
  });

  it('adds up the runs of a scenario, and names what was not run', () => {
    const skipped = run({ scenario: 'packets', skipped: 'no root' });
    const table = totalsTable(
      [run({}), run({ seed: 2, longestGapMs: 900, recoveriesMs: [50] }), skipped],
      ['pause', 'packets'],
    );
    expect(table).toContain('| pause | 2 × 60 s | 4 of 6 | 2,000 | 0 | 900 ms | 100 ms / 300 ms |');
    expect(table).toContain('| packets | not run: no root |');
  });

  it('says which runs prove nothing, and when the machine was busy', () => {
    const table = totalsTable([run({ invalid: ['No fault took effect'], harnessStallMs: 1200 })], ['pause']);
    expect(table).toContain('pause 1: 1200 ms');
    expect(table).toContain('These runs prove nothing: pause 1: No fault took effect');
  });
});
