/** What a range of seeds of the cluster must show in CI. Ranges are divided among files, which run side by side. */
import { expect } from 'vitest';
import { runBundledSeeds } from './bundled-seeds.ts';

/** Many short runs; the long ones are for `npm run simulate`. */
const OPTIONS = ['--seconds', '1.5', '--calm-seconds', '15', '--repeat-every', '25'];
/** A machine that does other things, too, takes its time. */
export const SEEDS_TIMEOUT_MS = 1_200_000;

export async function expectSeeds(first: number, last: number): Promise<void> {
  const totals = await runBundledSeeds(first, last, OPTIONS);
  const seeds = last - first + 1;
  expect(totals.failed).toEqual([]);
  expect(totals.seeds).toBe(seeds);
  // A run in which nothing happens proves nothing.
  expect(totals.acknowledged).toBeGreaterThan(100 * seeds);
  let faults = 0;
  for (const count of Object.values(totals.faults)) faults += count;
  expect(faults).toBeGreaterThan(2 * seeds);
}
