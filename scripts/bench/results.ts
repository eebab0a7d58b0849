/** What runs measured, as it is kept in JSON files, and what is made of several runs: medians and spread. */
import type { Environment } from './machine.ts';
import type { Figure } from './workload.ts';

/** One run of one cell on one system. */
export interface RunResult {
  readonly system: string;
  readonly round: number;
  readonly figures: readonly Figure[];
  /** Shares (0…1) of the CPU that others had meanwhile; undefined if the cell does not look. */
  readonly othersShare?: number;
  readonly stealShare?: number;
  readonly load: number;
  readonly remark?: string;
}

export interface CellResult {
  readonly workload: string;
  readonly cell: string;
  readonly label: string;
  readonly x?: number;
  readonly runs: RunResult[];
}

export interface Results {
  readonly environment: Environment;
  readonly command: string;
  readonly systems: readonly string[];
  readonly cells: CellResult[];
  /** Runs that ended with an error. */
  readonly failures: string[];
}

/** Above these shares of others the machine was not quiet, and the figures are no proof. */
const OTHERS_SHARE_MAX = 0.05;
const STEAL_SHARE_MAX = 0.02;

export function isNoisy(run: RunResult): boolean {
  return (run.othersShare ?? 0) > OTHERS_SHARE_MAX || (run.stealShare ?? 0) > STEAL_SHARE_MAX;
}

export interface Summary {
  readonly figure: Omit<Figure, 'value'>;
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly runs: number;
}

export function summarize(cell: CellResult, system: string, name: string): Summary | undefined {
  const figures = cell.runs
    .filter((run) => run.system === system)
    .flatMap((run) => run.figures.filter((figure) => figure.name === name));
  const [first] = figures;
  if (first === undefined) return undefined;
  const values = figures.map(({ value }) => value).sort((a, b) => a - b);
  return {
    figure: { name: first.name, unit: first.unit, better: first.better },
    median: medianOf(values),
    min: values[0]!,
    max: values.at(-1)!,
    runs: values.length,
  };
}

/** Of sorted values. */
function medianOf(values: readonly number[]): number {
  const middle = Math.floor(values.length / 2);
  return values.length % 2 === 1 ? values[middle]! : (values[middle - 1]! + values[middle]!) / 2;
}

/** Cells of several files; runs of the same cell are put together. */
export function mergeCells(all: readonly Results[]): CellResult[] {
  const merged = new Map<string, CellResult>();
  for (const cell of all.flatMap(({ cells }) => cells)) {
    const known = merged.get(cell.cell);
    if (known === undefined) merged.set(cell.cell, { ...cell, runs: [...cell.runs] });
    else known.runs.push(...cell.runs);
  }
  return [...merged.values()];
}
