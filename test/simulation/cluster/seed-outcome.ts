/** How one seed ended, as plain data: what a process of its own can tell. */
import { type ClusterResult, ClusterSimulation, SimulationFailure } from './cluster-simulation.ts';
import type { PlanLimits } from './plan-limits.ts';

export type SeedOutcome = { readonly seed: number; readonly cpuMs: number } & (
  | { readonly kind: 'passed'; readonly result: ClusterResult }
  | { readonly kind: 'failed'; readonly message: string; readonly timeline: readonly string[] }
);

export interface SeedTask {
  readonly seed: number;
  readonly limits: PlanLimits;
  /** Runs it a second time, which must do exactly the same. */
  readonly twice: boolean;
}

export async function runSeed(task: SeedTask, trace?: (line: string) => void): Promise<SeedOutcome> {
  const { seed, limits } = task;
  const before = process.cpuUsage();
  const cpuMs = (): number => {
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1000;
  };
  try {
    const result = await new ClusterSimulation(seed, { limits, ...(trace === undefined ? {} : { trace }) }).run();
    if (task.twice) {
      const again = await new ClusterSimulation(seed, { limits }).run();
      if (again.hash !== result.hash) {
        return { kind: 'failed', seed, cpuMs: cpuMs(), message: 'Two runs of the seed differ', timeline: [] };
      }
    }
    return { kind: 'passed', seed, cpuMs: cpuMs(), result };
  } catch (error) {
    const timeline = error instanceof SimulationFailure ? error.timeline : [];
    const message = error instanceof Error ? error.message : String(error);
    return { kind: 'failed', seed, cpuMs: cpuMs(), message, timeline };
  }
}
