/** A few seeds of the Raft simulation with the production partition as its state machine; `npm run simulate -- --scenario partition` runs as many as wanted. */
import { describe, expect, it } from 'vitest';
import { RaftSimulation } from './raft-simulation.ts';

describe('partitions on driver and WAL', () => {
  for (const seed of [12, 14, 26, 31, 33]) {
    it(`lose nothing and agree on every byte: seed ${seed}`, { timeout: 60_000 }, async () => {
      const result = await new RaftSimulation(seed, { machines: 'partition' }).run();
      expect(result.acked).toBeGreaterThan(100);
    });
  }
});
