/** What runs add up in, as a file: it belongs to one commit, knows which seeds of each range are done, and can be gone on with. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { type Coverage, mergeCoverage } from './coverage.ts';
import type { SeedOutcome } from './seed-outcome.ts';

export interface TotalsData {
  readonly commit: string;
  seeds: number;
  readonly failed: { readonly seed: number; readonly message: string }[];
  virtualHours: number;
  cpuSeconds: number;
  events: number;
  acknowledged: number;
  /** `first..` of a range → the last of its seeds that is done. */
  readonly done: Record<string, number>;
  readonly faults: Record<string, number>;
  readonly coverage: Coverage;
}

export class RunTotals {
  readonly data: TotalsData;
  readonly #path: string | undefined;
  readonly #range: string;

  constructor(path: string | undefined, commit: string | undefined, first: number) {
    const of = commit ?? commitHere();
    this.#path = path;
    this.#range = `${first}..`;
    this.data =
      path !== undefined && existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as TotalsData) : empty(of);
    if (this.data.commit !== of) {
      throw new Error(`${path} holds runs of ${this.data.commit}, this is ${of}: totals are of one commit`);
    }
  }

  /** The first seed that is still to do. */
  get next(): number {
    return (this.data.done[this.#range] ?? Number(this.#range.slice(0, -2)) - 1) + 1;
  }

  /** In the order of seeds. */
  add(outcome: SeedOutcome): void {
    const { data } = this;
    data.seeds++;
    data.cpuSeconds += outcome.cpuMs / 1000;
    data.done[this.#range] = outcome.seed;
    if (outcome.kind === 'failed') {
      data.failed.push({ seed: outcome.seed, message: outcome.message });
      return;
    }
    const { result } = outcome;
    data.virtualHours += result.simulatedMs / 3_600_000;
    data.events += result.events;
    data.acknowledged += result.verdict.acknowledgedRecords;
    mergeCoverage(data.faults, result.faults);
    mergeCoverage(data.coverage, result.coverage);
  }

  /** All of it or nothing. */
  write(): void {
    if (this.#path === undefined) return;
    writeFileSync(`${this.#path}.new`, `${JSON.stringify(this.data, null, 1)}\n`);
    renameSync(`${this.#path}.new`, this.#path);
  }
}

function empty(commit: string): TotalsData {
  return {
    commit,
    seeds: 0,
    failed: [],
    virtualHours: 0,
    cpuSeconds: 0,
    events: 0,
    acknowledged: 0,
    done: {},
    faults: {},
    coverage: {},
  };
}

function commitHere(): string {
  try {
    return execFileSync('git', ['rev-parse', '--short', 'HEAD'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    return 'unknown';
  }
}
