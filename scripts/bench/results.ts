/** What runs measured, as it is kept in JSON files, and what is made of several runs: medians and spread. */
import type { Environment } from './machine.ts';
import type { Figure } from './workload.ts';

/** One run of one cell on one system. */
export interface RunResult {
  readonly system: string;
  readonly round: number;
  /** Which of several files it is from. */
  readonly session?: number;
  readonly figures: readonly Figure[];
  /** Shares (0…1) of the CPU that others had meanwhile; undefined if the cell does not look. */
  readonly othersShare?: number;
  readonly stealShare?: number;
  /** By brokers of the systems that are up beside the one measured. */
  readonly restingShare?: number;
  readonly load: number;
  readonly remark?: string;
}

export interface CellResult {
  readonly workload: string;
  readonly cell: string;
  readonly label: string;
  readonly x?: number;
  readonly runs: RunResult[];
  /** Runs that ended with an error. */
  readonly failures?: Failure[];
}

export interface Failure {
  readonly system: string;
  readonly round: number;
  readonly error: string;
}

export interface Results {
  readonly environment: Environment;
  readonly command: string;
  readonly systems: readonly string[];
  readonly cells: CellResult[];
}

/** Above these shares the machine was not quiet, and the figures are no proof. */
const OTHERS_SHARE_MAX = 0.05;
const STEAL_SHARE_MAX = 0.02;
const RESTING_SHARE_MAX = 0.05;

export function isNoisy(run: RunResult): boolean {
  return describeNoise(run) !== undefined;
}

/** Who had too much of the CPU; undefined if nobody had. */
export function describeNoise(run: RunResult): string | undefined {
  const parts = [
    { share: run.othersShare ?? 0, max: OTHERS_SHARE_MAX, text: 'others' },
    { share: run.stealShare ?? 0, max: STEAL_SHARE_MAX, text: 'stolen by the hypervisor' },
    { share: run.restingShare ?? 0, max: RESTING_SHARE_MAX, text: 'idle systems beside it' },
  ].filter(({ share, max }) => share > max);
  if (parts.length === 0) return undefined;
  return parts.map(({ share, text }) => `${(share * 100).toFixed(0)} % ${text}`).join(', ');
}

/** Those that count: the quiet ones, or all if there are none. */
export function countedRuns(cell: CellResult, system: string): RunResult[] {
  const runs = cell.runs.filter((run) => run.system === system);
  const quiet = runs.filter((run) => !isNoisy(run));
  return quiet.length === 0 ? runs : quiet;
}

export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly runs: number;
}

export interface Summary extends Spread {
  readonly figure: Omit<Figure, 'value'>;
}

export function summarize(cell: CellResult, system: string, name: string): Summary | undefined {
  const figures = countedRuns(cell, system).flatMap((run) => run.figures.filter((figure) => figure.name === name));
  const [first] = figures;
  const spread = spreadOf(figures.map(({ value }) => value));
  if (first === undefined || spread === undefined) return undefined;
  return { figure: { name: first.name, unit: first.unit, better: first.better }, ...spread };
}

/**
 * One system's figure over another's: the median of the ratios of the rounds that both have, and their spread. What was measured apart, and so shares no round, has the ratio of the medians. Undefined
 * if there is nothing to divide (by).
 */
export function ratioOf(cell: CellResult, ours: string, theirs: string, name: string): Spread | undefined {
  const byRound = (system: string): Map<string, number> => {
    const values = new Map<string, number[]>();
    for (const { session, round, figures } of countedRuns(cell, system)) {
      const key = `${session ?? ''} ${round}`;
      const found = figures.filter((figure) => figure.name === name).map(({ value }) => value);
      values.set(key, [...(values.get(key) ?? []), ...found]);
    }
    return new Map(
      [...values].flatMap(([round, all]) => {
        const spread = spreadOf(all);
        return spread === undefined ? [] : [[round, spread.median] as const];
      }),
    );
  };
  const theirRounds = byRound(theirs);
  const ratios = [...byRound(ours)].flatMap(([round, value]) => {
    const other = theirRounds.get(round);
    return other === undefined ? [] : [value / other];
  });
  if (ratios.length > 0) return spreadOf(ratios);
  const [one, other] = [summarize(cell, ours, name), summarize(cell, theirs, name)];
  return one === undefined || other === undefined ? undefined : spreadOf([one.median / other.median]);
}

/** Of the finite ones among these values; undefined if there are none. */
export function spreadOf(values: readonly number[]): Spread | undefined {
  const sorted = values.filter(Number.isFinite).sort((a, b) => a - b);
  if (sorted.length === 0) return undefined;
  return { median: medianOf(sorted), min: sorted[0]!, max: sorted.at(-1)!, runs: sorted.length };
}

/** Of sorted values. */
function medianOf(values: readonly number[]): number {
  const middle = Math.floor(values.length / 2);
  return values.length % 2 === 1 ? values[middle]! : (values[middle - 1]! + values[middle]!) / 2;
}

/** Cells of several files; runs of the same cell are put together. */
export function mergeCells(all: readonly Results[]): CellResult[] {
  const merged = new Map<string, CellResult>();
  for (const [session, { cells }] of all.entries()) {
    for (const cell of cells) {
      // Rounds of different files are different rounds.
      const runs = cell.runs.map((run) => ({ ...run, session }));
      const failures = [...(cell.failures ?? [])];
      const known = merged.get(cell.cell);
      if (known === undefined) merged.set(cell.cell, { ...cell, runs, failures });
      else {
        known.runs.push(...runs);
        known.failures!.push(...failures);
      }
    }
  }
  return [...merged.values()];
}
