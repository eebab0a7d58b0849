/** What seeds can be run of beside whole clusters: drivers and WALs alone, with lists or production partitions as state machines, and stories. */
import { RaftSimulation } from './raft-simulation.ts';
import type { MachineKind } from './simulated-broker.ts';
import { STORIES } from './stories/stories.ts';

export interface PlainResult {
  /** Of all that was done; undefined where it is not computed. */
  readonly hash: number | undefined;
  readonly counts: Readonly<Record<string, number>>;
}

/** Rejects with what went wrong. `trace` is told what happens, where the scenario can say it. */
export type PlainScenario = (seed: number, trace: ((line: string) => void) | undefined) => Promise<PlainResult>;

function drivers(machines: MachineKind): PlainScenario {
  return async (seed, trace) => {
    const { hash, faults, ...counts } = await new RaftSimulation(seed, { trace, machines }).run();
    return { hash, counts: { ...counts, ...faults } };
  };
}

function story(tell: (seed: number) => Promise<void>): PlainScenario {
  return async (seed) => {
    await tell(seed);
    return { hash: undefined, counts: {} };
  };
}

export const PLAIN_SCENARIOS: Readonly<Record<string, PlainScenario>> = {
  raft: drivers('list'),
  partition: drivers('partition'),
  ...Object.fromEntries(Object.entries(STORIES).map(([name, tell]) => [name, story(tell)])),
};
