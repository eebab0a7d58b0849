/** What the production code went through in a run, as counters: role transitions, recovery paths, reuse. What stays at zero over many seeds is a defect of the simulator. */
import type { RaftDriver } from '../../../src/raft/raft-driver.ts';

export type Coverage = Record<string, number>;

export function addCoverage(coverage: Coverage, driver: RaftDriver): void {
  const add = (name: string, value: number): void => {
    coverage[name] = (coverage[name] ?? 0) + value;
  };
  const numbers = (prefix: string, of: object): void => {
    for (const [name, value] of Object.entries(of)) if (typeof value === 'number') add(`${prefix}.${name}`, value);
  };
  numbers('driver', driver.metrics);
  numbers('wal', driver.storage.stats);
}

export function mergeCoverage(into: Coverage, from: Coverage): void {
  for (const [name, value] of Object.entries(from)) into[name] = (into[name] ?? 0) + value;
}
