/** Runs seeds of the whole-cluster simulation and says how far they got: progress, faults by kind, what the production code went through, and for a failure its story and how to see it again. */
import type { RunRange } from '../run-range.ts';
import { CLUSTER_FAULTS } from './cluster-plan.ts';
import { ClusterSimulation } from './cluster-simulation.ts';
import { CONFLICT, RECOVERY_LINES, ROLE_CHANGES } from './coverage.ts';
import { FAILPOINTS } from './failpoints.ts';
import { optionsOf, type PlanLimits } from './plan-limits.ts';
import { RunTotals, type TotalsData } from './run-totals.ts';
import { runSeed, type SeedOutcome, type SeedTask } from './seed-outcome.ts';
import { runInProcesses } from './seed-workers.ts';
import { shrinkPlan } from './shrink-plan.ts';

export interface ClusterRunOptions extends RunRange {
  /** A file in which runs add up, and from which they go on. */
  readonly totalsPath: string | undefined;
  /** Stands in the totals; the one that is checked out if not given. */
  readonly commit: string | undefined;
  readonly jobs: number;
  /** Prints the hash of each seed, to be compared with those of another machine or version of Node. */
  readonly hashes: boolean;
  /** Looks for a smaller plan under which a failing seed still fails. */
  readonly shrink: boolean;
  readonly limits: PlanLimits;
}

const REPORT_EVERY_MS = 30_000;

/** Gives the number of failed seeds. */
export async function runCluster(options: ClusterRunOptions): Promise<number> {
  const { first, last, limits } = options;
  const startedMs = performance.now();
  const untilMs = options.minutes === undefined ? Number.POSITIVE_INFINITY : startedMs + options.minutes * 60_000;
  const totals = new RunTotals(options.totalsPath, options.commit, first);
  const { data } = totals;
  const before = { ...data };
  let nextSeed = totals.next;
  if (nextSeed > first) console.log(`going on with seed ${nextSeed}`);
  let failed = 0;
  let reportedMs = startedMs;
  const next = (): SeedTask | undefined => {
    if (nextSeed > last || performance.now() >= untilMs) return undefined;
    const seed = nextSeed++;
    return { seed, limits, twice: options.repeatEvery > 0 && seed % options.repeatEvery === 0 };
  };
  const report = (seed: number | undefined): void => {
    progress(totals, before, performance.now() - startedMs, seed, failed);
    totals.write();
  };
  const done = (outcome: SeedOutcome): boolean => {
    totals.add(outcome);
    if (outcome.kind === 'failed') {
      failed++;
      for (const line of outcome.timeline) console.error(line.slice(0, 600));
      console.error(`seed ${outcome.seed} FAILED: ${outcome.message}`);
      console.error(`replay: npm run simulate -- --seed ${outcome.seed}${optionsOf(limits)} --trace`);
    } else {
      if (options.hashes) console.log(`${outcome.seed} ${outcome.result.hash.toString(16).padStart(8, '0')}`);
      if (first === last) console.log(outcome.result);
    }
    if (performance.now() - reportedMs > REPORT_EVERY_MS) {
      reportedMs = performance.now();
      report(outcome.seed);
    }
    if (outcome.kind === 'passed' || options.keepGoing) return true;
    nextSeed = Number.POSITIVE_INFINITY;
    return false;
  };
  if (options.jobs > 1) await runInProcesses(options.jobs, next, done);
  else {
    const trace = options.trace ? (line: string) => console.log(line) : undefined;
    for (let task = next(); task !== undefined; task = next()) if (!done(await runSeed(task, trace))) break;
  }
  report(undefined);
  if (!options.hashes) printCoverage(totals);
  const failure = data.failed.at(-1);
  if (options.shrink && failed > 0 && failure !== undefined) await shrink(failure.seed, failure.message, limits);
  return failed;
}

async function shrink(seed: number, message: string, given: PlanLimits): Promise<void> {
  const { plan } = new ClusterSimulation(seed, { limits: given });
  console.log(`shrinking seed ${seed}: ${message}`);
  const { limits: found, runs } = await shrinkPlan(plan, message, async (smaller) => {
    const outcome = await runSeed({ seed, limits: { ...given, ...smaller }, twice: false });
    return outcome.kind === 'failed' ? outcome.message : undefined;
  });
  const limits = { ...given, ...found };
  console.log(`smallest plan after ${runs} runs: ${JSON.stringify(new ClusterSimulation(seed, { limits }).plan)}`);
  console.log(`replay: npm run simulate -- --seed ${seed}${optionsOf(limits)} --trace`);
}

function progress(
  { data }: RunTotals,
  before: Pick<TotalsData, 'seeds' | 'virtualHours' | 'events' | 'cpuSeconds'>,
  tookMs: number,
  seed: number | undefined,
  failed: number,
): void {
  const hours = data.virtualHours - before.virtualHours;
  const events = data.events - before.events;
  const seeds = data.seeds - before.seeds;
  const cpuSeconds = data.cpuSeconds - before.cpuSeconds;
  const mebibytes = Math.round(process.memoryUsage.rss() / 2 ** 20);
  console.log(
    `${seed === undefined ? 'done' : `seed ${seed}`}: ${seeds} seeds, ${failed} failed, ${hours.toFixed(2)} virtual hours in ${(tookMs / 60_000).toFixed(1)} min (${((hours * 3_600_000) / tookMs).toFixed(1)}x), ${(events / tookMs).toFixed(1)}k events/s, ${((seeds * 60_000) / tookMs).toFixed(0)} seeds/min, ${(cpuSeconds / seeds).toFixed(2)} CPU s a seed, ${mebibytes} MiB; in all ${data.seeds} seeds, ${data.virtualHours.toFixed(2)} h, ${data.acknowledged} records acknowledged`,
  );
}

function printCoverage({ data }: RunTotals): void {
  const { faults, coverage } = data;
  const some = (names: readonly string[], counts: Record<string, number>): Record<string, number> =>
    Object.fromEntries(names.map((name) => [name, counts[name] ?? 0]));
  const counters = Object.fromEntries(Object.entries(coverage).filter(([name]) => /^[a-z]+\.\w+$/.test(name)));
  const tables = {
    'faults that took effect': some(CLUSTER_FAULTS, faults),
    'operations of disks in which a broker died': some(
      FAILPOINTS.map((name) => `kill at ${name}`),
      faults,
    ),
    'changes of roles, as far as they were seen': some(ROLE_CHANGES, coverage),
    'ways out of trouble': some([CONFLICT, ...RECOVERY_LINES], coverage),
    'what the brokers counted': counters,
  };
  const never: string[] = [];
  for (const [title, rows] of Object.entries(tables)) {
    console.log(`\n${title}:`);
    for (const [name, value] of Object.entries(rows)) {
      console.log(`  ${name.padEnd(40)} ${Math.round(value)}${value === 0 ? '   (never)' : ''}`);
      if (value === 0) never.push(name);
    }
  }
  console.log(never.length === 0 ? '\neverything was hit' : `\nnever hit: ${never.join('; ')}`);
}
