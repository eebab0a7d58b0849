import { describe, expect, it } from 'vitest';
import { RaftSimulation } from './raft-simulation.ts';

/** `SEEDS=1..2000 npx vitest run test/simulation/raft-simulation` runs more; a failure is replayed with `npm run simulate -- --scenario raft --seed N --trace`. */
const [first, last] = (process.env.SEEDS ?? '1..14').split('..').map(Number) as [number, number];

async function run(seed: number): Promise<Awaited<ReturnType<RaftSimulation['run']>>> {
  try {
    return await new RaftSimulation(seed).run();
  } catch (error) {
    throw new Error(`Seed ${seed} failed; repeat it with: npm run simulate -- --scenario raft --seed ${seed} --trace`, {
      cause: error,
    });
  }
}

describe('RaftSimulation', () => {
  it(`keeps every promise under faults and settles afterwards (seeds ${first} to ${last})`, async () => {
    let acked = 0;
    let faults = 0;
    let segmentsReused = 0;
    for (let seed = first; seed <= last; seed++) {
      const result = await run(seed);
      acked += result.acked;
      segmentsReused += result.segmentsReused;
      for (const count of Object.values(result.faults)) faults += count;
    }
    // A run in which nothing happens proves nothing.
    const seeds = last - first + 1;
    expect(acked).toBeGreaterThan(300 * seeds);
    expect(faults).toBeGreaterThan(5 * seeds);
    if (seeds >= 14) expect(segmentsReused).toBeGreaterThan(0);
  }, 600_000);

  it('does exactly the same for the same seed', async () => {
    const [some, other] = [await run(3), await run(3)];
    expect(other).toEqual(some);
  }, 120_000);
});
