/** Runs seeds of the whole-cluster simulation and says how far they got: progress, faults by kind, what the production code went through, and for a failure its story and how to see it again. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { CLUSTER_FAULTS, LATER_FAULTS } from './cluster-plan.ts';
import { type ClusterResult, ClusterSimulation, SimulationFailure } from './cluster-simulation.ts';
import { type Coverage, mergeCoverage } from './coverage.ts';

export interface ClusterRunOptions {
  readonly first: number;
  /** Infinity with `minutes`. */
  readonly last: number;
  readonly minutes: number | undefined;
  readonly trace: boolean;
  /** Every so many seeds one is run a second time and must do exactly the same. */
  readonly repeatEvery: number;
  readonly keepGoing: boolean;
  /** A file in which runs add up. */
  readonly totalsPath: string | undefined;
}

interface Totals {
  seeds: number;
  failedSeeds: number[];
  virtualMs: number;
  events: number;
  acknowledged: number;
  faults: Record<string, number>;
  coverage: Coverage;
}

const REPORT_EVERY_MS = 30_000;

/** Gives the number of failed seeds. */
export async function runCluster(options: ClusterRunOptions): Promise<number> {
  const startedMs = performance.now();
  const untilMs = options.minutes === undefined ? Number.POSITIVE_INFINITY : startedMs + options.minutes * 60_000;
  const totals = readTotals(options.totalsPath);
  const before = { seeds: totals.seeds, virtualMs: totals.virtualMs, events: totals.events };
  let failed = 0;
  let reportedMs = startedMs;
  for (let seed = options.first; seed <= options.last && performance.now() < untilMs; seed++) {
    totals.seeds++;
    try {
      const result = await runSeed(seed, options.trace);
      if (options.repeatEvery > 0 && seed % options.repeatEvery === 0) {
        const again = await runSeed(seed, false);
        if (again.hash !== result.hash) throw new SimulationFailure('Two runs of the seed differ', [], undefined);
      }
      add(totals, result);
      if (options.first === options.last) console.log(result);
    } catch (error) {
      failed++;
      totals.failedSeeds.push(seed);
      if (error instanceof SimulationFailure) for (const line of error.timeline) console.error(line.slice(0, 600));
      console.error(`seed ${seed} FAILED: ${error instanceof Error ? error.message : String(error)}`);
      console.error(`replay: npm run simulate -- --cluster --seed ${seed} --trace`);
      if (!options.keepGoing) break;
    }
    if (performance.now() - reportedMs > REPORT_EVERY_MS) {
      reportedMs = performance.now();
      progress(totals, before, reportedMs - startedMs, seed, failed);
      writeTotals(options.totalsPath, totals);
    }
  }
  progress(totals, before, performance.now() - startedMs, undefined, failed);
  table(
    'faults that took effect',
    Object.fromEntries([...CLUSTER_FAULTS, ...LATER_FAULTS].map((fault) => [fault, totals.faults[fault] ?? 0])),
  );
  table('what the brokers went through', totals.coverage);
  writeTotals(options.totalsPath, totals);
  return failed;
}

function runSeed(seed: number, trace: boolean): Promise<ClusterResult> {
  return new ClusterSimulation(seed, trace ? { trace: (line) => console.log(line) } : {}).run();
}

function add(totals: Totals, result: ClusterResult): void {
  totals.virtualMs += result.simulatedMs;
  totals.events += result.events;
  totals.acknowledged += result.verdict.acknowledgedRecords;
  mergeCoverage(totals.faults, result.faults);
  mergeCoverage(totals.coverage, result.coverage);
}

function progress(
  totals: Totals,
  before: { readonly seeds: number; readonly virtualMs: number; readonly events: number },
  tookMs: number,
  seed: number | undefined,
  failed: number,
): void {
  const virtualMs = totals.virtualMs - before.virtualMs;
  const events = totals.events - before.events;
  const seeds = totals.seeds - before.seeds;
  console.log(
    `${seed === undefined ? 'done' : `seed ${seed}`}: ${seeds} seeds, ${failed} failed, ${(virtualMs / 3_600_000).toFixed(2)} virtual hours in ${(tookMs / 60_000).toFixed(1)} min (${(virtualMs / tookMs).toFixed(1)}x), ${(events / tookMs).toFixed(1)}k events/s, ${totals.acknowledged} records acknowledged in all`,
  );
}

function table(title: string, rows: Record<string, number>): void {
  console.log(`\n${title}:`);
  for (const [name, value] of Object.entries(rows)) {
    console.log(`  ${name.padEnd(32)} ${Math.round(value)}${value === 0 ? '   (never)' : ''}`);
  }
}

function readTotals(path: string | undefined): Totals {
  if (path !== undefined && existsSync(path)) return JSON.parse(readFileSync(path, 'utf8')) as Totals;
  return { seeds: 0, failedSeeds: [], virtualMs: 0, events: 0, acknowledged: 0, faults: {}, coverage: {} };
}

function writeTotals(path: string | undefined, totals: Totals): void {
  if (path !== undefined) writeFileSync(path, `${JSON.stringify(totals, null, 1)}\n`);
}
