/** Runs seeds of a scenario that is smaller than a cluster, one after the other in this process, and says how far they got. */
import type { PlainResult, PlainScenario } from './plain-scenarios.ts';
import type { RunRange } from './run-range.ts';

export interface PlainRunOptions extends RunRange {
  readonly scenario: PlainScenario;
  /** How the scenario is chosen on the command line. */
  readonly name: string;
}

const REPORT_EVERY_MS = 30_000;

/** Gives the number of failed seeds. */
export async function runPlain(options: PlainRunOptions): Promise<number> {
  const { scenario, name, first, last, repeatEvery } = options;
  const startedMs = performance.now();
  const untilMs = options.minutes === undefined ? Number.POSITIVE_INFINITY : startedMs + options.minutes * 60_000;
  const trace = options.trace ? (line: string) => console.log(line) : undefined;
  const totals: Record<string, number> = {};
  let seeds = 0;
  let failed = 0;
  let reportedMs = startedMs;
  const report = (title: string): void => {
    const tookMs = performance.now() - startedMs;
    const { simulatedMs = 0, events = 0, ...counts } = totals;
    const speed =
      events > 0 ? `, ${(simulatedMs / tookMs).toFixed(1)}x real time, ${(events / tookMs).toFixed(1)}k events/s` : '';
    const perMinute = ((seeds * 60_000) / tookMs).toFixed(0);
    console.log(`${title}: ${seeds} seeds, ${failed} failed, ${perMinute} seeds/min${speed}`, counts);
  };
  for (let seed = first; seed <= last && performance.now() < untilMs; seed++) {
    seeds++;
    try {
      const result = await scenario(seed, trace);
      if (repeatEvery > 0 && seed % repeatEvery === 0) await repeat(scenario, seed, result);
      for (const [count, value] of Object.entries(result.counts)) totals[count] = (totals[count] ?? 0) + value;
    } catch (error) {
      failed++;
      console.error(`seed ${seed} failed:`, error);
      console.error(`replay: npm run simulate -- --scenario ${name} --seed ${seed} --trace`);
      if (!options.keepGoing) break;
    }
    if (performance.now() - reportedMs > REPORT_EVERY_MS) {
      reportedMs = performance.now();
      report(`seed ${seed}`);
    }
  }
  report('done');
  return failed;
}

async function repeat(scenario: PlainScenario, seed: number, result: PlainResult): Promise<void> {
  const again = await scenario(seed, undefined);
  if (again.hash !== result.hash) throw new Error('Two runs of the seed differ');
}
