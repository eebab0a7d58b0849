import { expect, it } from 'vitest';
import { expectSeeds, SEEDS_TIMEOUT_MS } from './expect-seeds.ts';

it(
  'keeps every promise to its clients under faults, and becomes available and quiet (seeds 101 to 200)',
  async () => {
    await expect(expectSeeds(101, 200)).resolves.toBeUndefined();
  },
  SEEDS_TIMEOUT_MS,
);
