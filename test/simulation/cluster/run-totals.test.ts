import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RunTotals } from './run-totals.ts';
import type { SeedOutcome } from './seed-outcome.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'flotilla-totals-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

function passed(seed: number): SeedOutcome {
  const verdict = { acknowledgedRecords: 10 } as Extract<SeedOutcome, { kind: 'passed' }>['result']['verdict'];
  const result = { hash: 1, events: 5, simulatedMs: 1_800_000, verdict, faults: { kill: 2 }, coverage: { x: 1 } };
  return { kind: 'passed', seed, cpuMs: 500, result };
}

describe('RunTotals', () => {
  it('adds up runs and goes on where a range ended', () => {
    const path = join(directory, 'totals.json');
    const first = new RunTotals(path, 'abc', 1);
    expect(first.next).toBe(1);
    first.add(passed(1));
    first.add({ kind: 'failed', seed: 2, cpuMs: 500, message: 'lost', timeline: [] });
    first.write();

    const again = new RunTotals(path, 'abc', 1);
    expect(again.next).toBe(3);
    again.add(passed(3));
    again.write();
    const other = new RunTotals(path, 'abc', 100);
    expect(other.next).toBe(100);
    other.add(passed(100));
    other.write();

    expect(JSON.parse(readFileSync(path, 'utf8'))).toEqual({
      commit: 'abc',
      seeds: 4,
      failed: [{ seed: 2, message: 'lost' }],
      virtualHours: 1.5,
      cpuSeconds: 2,
      events: 15,
      acknowledged: 30,
      done: { '1..': 3, '100..': 100 },
      faults: { kill: 6 },
      coverage: { x: 3 },
    });
  });

  it('does not mix commits', () => {
    const path = join(directory, 'totals.json');
    new RunTotals(path, 'abc', 1).write();
    expect(() => new RunTotals(path, 'def', 1)).toThrow(/of one commit/);
  });
});
