/** Thousands of seeds of {@link RandomCluster}. `SEED=n` repeats one, `SEEDS=n` runs more. */
import { expect, test } from 'vitest';
import { RandomCluster, type RunReport } from './random-cluster.ts';

const STEPS = 800;
const SEEDS = Number(process.env.SEEDS ?? 1500);
const ONLY = process.env.SEED;

function run(seed: number): RunReport {
  try {
    return new RandomCluster(seed).run(STEPS);
  } catch (error) {
    throw new Error(`Seed ${seed} failed; repeat: SEED=${seed} npx vitest run test/scenarios/random-cluster`, {
      cause: error,
    });
  }
}

test('cores keep every Raft invariant under random faults, and get well when they end', () => {
  const seeds = ONLY === undefined ? Array.from({ length: SEEDS }, (_, i) => i + 1) : [Number(ONLY)];
  const sum = { events: 0, committed: 0, terms: 0, configurations: 0, reads: 0, snapshots: 0 };
  for (const seed of seeds) {
    const report = run(seed);
    for (const key of Object.keys(sum) as (keyof RunReport)[]) sum[key] += report[key];
  }
  if (ONLY !== undefined) return;
  // A run in which nothing happens proves nothing: each kind of thing must have occurred often.
  expect(sum.committed / SEEDS).toBeGreaterThan(20);
  expect(sum.terms / SEEDS).toBeGreaterThan(3);
  expect(sum.configurations / SEEDS).toBeGreaterThan(2);
  expect(sum.reads / SEEDS).toBeGreaterThan(0.5);
  expect(sum.snapshots / SEEDS).toBeGreaterThan(0.2);
});

test('the same seed gives the same run', () => {
  expect(run(7)).toEqual(run(7));
});
