/** Runs add up in a file, one line each, so that a long test can go on where it ended; the table for people is made from it. */
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import type { RunResult } from '../run-scenario.ts';

/** What is kept of a run. */
export interface RunTotal {
  readonly commit: string;
  readonly scenario: string;
  readonly seed: number;
  readonly seconds: number;
  readonly acknowledged: number;
  readonly faults: number;
  readonly faultsEffective: number;
  /** Kinds of violations with counts, and sentences of what else broke. */
  readonly failures: readonly string[];
  readonly invalid: readonly string[];
  readonly longestGapMs: number;
  readonly recoveriesMs: readonly number[];
  /** The longest time for which the machine kept the harness itself from running. */
  readonly harnessStallMs: number;
  /** Why it was not run on this machine. */
  readonly skipped?: string;
}

export function totalOf(commit: string, result: RunResult): RunTotal {
  const { scenario, seed, seconds, verdict, faults, failures, invalid, longestGapMs, recoveriesMs, harnessStallMs } =
    result;
  return {
    commit,
    scenario,
    seed,
    seconds,
    acknowledged: verdict.statistics.acknowledgedRecords,
    faults: faults.length,
    faultsEffective: faults.filter(({ evidence }) => evidence !== undefined).length,
    failures,
    invalid,
    longestGapMs,
    recoveriesMs,
    harnessStallMs,
  };
}

/** Runs of this commit that were at least `seconds` long. */
export function readTotals(path: string, commit: string, seconds: number): RunTotal[] {
  if (!existsSync(path)) return [];
  return readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as RunTotal)
    .filter((total) => total.commit === commit && total.seconds >= seconds);
}

export function addTotal(path: string, total: RunTotal): void {
  appendFileSync(path, `${JSON.stringify(total)}\n`);
}

/** Markdown, in the order given by `names`. */
export function totalsTable(totals: readonly RunTotal[], names: readonly string[]): string {
  const lines = [
    '| scenario | runs | faults that took effect | acknowledged | violations | longest gap | recovery p50 / p99 |',
    '|---|---|---|---|---|---|---|',
  ];
  for (const name of names) {
    const all = totals.filter(({ scenario }) => scenario === name);
    const runs = all.filter(({ skipped }) => skipped === undefined);
    if (runs.length === 0) {
      if (all[0]?.skipped !== undefined) lines.push(`| ${name} | not run: ${all[0].skipped} | | | | | |`);
      continue;
    }
    const sum = (pick: (run: RunTotal) => number): number => runs.reduce((total, run) => total + pick(run), 0);
    const recoveries = runs.flatMap(({ recoveriesMs }) => recoveriesMs).sort((a, b) => a - b);
    const at = (q: number): string =>
      recoveries.length === 0 ? '–' : `${recoveries[Math.max(0, Math.ceil(q * recoveries.length) - 1)]} ms`;
    const cells = [
      name,
      `${runs.length} × ${Math.min(...runs.map(({ seconds }) => seconds))} s`,
      `${sum(({ faultsEffective }) => faultsEffective)} of ${sum(({ faults }) => faults)}`,
      sum(({ acknowledged }) => acknowledged).toLocaleString('en-US'),
      `${sum(({ failures }) => failures.length)}`,
      `${Math.max(...runs.map(({ longestGapMs }) => longestGapMs))} ms`,
      `${at(0.5)} / ${at(0.99)}`,
    ];
    lines.push(`| ${cells.join(' | ')} |`);
  }
  const stalled = totals.filter(({ harnessStallMs }) => harnessStallMs > 500);
  const proofless = totals.filter(({ invalid }) => invalid.length > 0);
  const named = (runs: readonly string[]): string => runs.join('; ');
  if (stalled.length > 0) {
    const runs = stalled.map(({ scenario, seed, harnessStallMs }) => `${scenario} ${seed}: ${harnessStallMs} ms`);
    lines.push('', `The machine kept the harness itself from running: ${named(runs)}.`);
  }
  if (proofless.length > 0) {
    const runs = proofless.map(({ scenario, seed, invalid }) => `${scenario} ${seed}: ${invalid.join(', ')}`);
    lines.push('', `These runs prove nothing: ${named(runs)}.`);
  }
  return `${lines.join('\n')}\n`;
}
