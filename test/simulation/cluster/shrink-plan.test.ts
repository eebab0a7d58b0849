import { describe, expect, it } from 'vitest';
import { SeededRandom } from '../../../src/std/seeded-random.ts';
import { CLUSTER_FAULTS, type ClusterPlan, drawPlan } from './cluster-plan.ts';
import { limitPlan, optionsOf, type PlanLimits } from './plan-limits.ts';
import { invariantOf, shrinkPlan } from './shrink-plan.ts';

const plan: ClusterPlan = {
  ...drawPlan(new SeededRandom(1)),
  faults: CLUSTER_FAULTS,
  chaosMs: 8_000,
  calmMs: 300_000,
  topics: 2,
  partitions: 3,
  groupMembers: 2,
};

describe('shrinkPlan', () => {
  it('leaves the faults that it takes, in the shortest run', async () => {
    const needed = ['kill', 'wipe'];
    const { limits, runs } = await shrinkPlan(plan, 'Entry 7 is lost', (smaller: PlanLimits) => {
      const { faults, chaosMs, partitions } = limitPlan(plan, smaller);
      const fails = needed.every((fault) => (faults as readonly string[]).includes(fault));
      return Promise.resolve(fails && chaosMs >= 2_000 && partitions === 3 ? 'Entry 12 is lost' : undefined);
    });
    expect(limits).toEqual({ faults: needed, chaosMs: 2_000, calmMs: 0, topics: 1, groupMembers: 0 });
    expect(runs).toBeLessThan(40);
    expect(optionsOf(limits)).toBe(
      ' --only-faults kill,wipe --seconds 2 --calm-seconds 0 --topics 1 --group-members 0',
    );
  });

  it('does not take another failure for the same', async () => {
    const { limits } = await shrinkPlan(plan, 'Entry 7 is lost', () => Promise.resolve('The cluster did not form'));
    expect(limits).toEqual({});
  });

  it('ends with no faults at all if none is needed', async () => {
    const { limits } = await shrinkPlan(plan, 'x', () => Promise.resolve('x'));
    expect(limits.faults).toEqual([]);
    expect(optionsOf(limits)).toContain('--only-faults none');
    expect(limitPlan(plan, { faults: ['none'] }).faults).toEqual([]);
  });
});

describe('invariantOf', () => {
  it('leaves out who and when', () => {
    const of = (id: string, at: number): string => `lost: Topic ${id} at ${at} {"lost":${at}}`;
    expect(invariantOf(of('5f3c6a1e-0c57-4c5b-9f2e-6c1a2b3c4d5e', 7))).toBe(
      invariantOf(of('00000000-1111-2222-3333-444444444444', 12_345)),
    );
    expect(invariantOf('lost: a')).not.toBe(invariantOf('duplicate: a'));
  });
});
