/**
 * Finds a smaller plan under which a seed still breaks the same invariant: shorter, with fewer clients, with fewer kinds of faults. Greedy: each step that still fails stays. A smaller plan takes other
 * paths through the same seed, so that some failures can not be shrunk at all.
 */
import type { ClusterPlan } from './cluster-plan.ts';
import { limitPlan, type PlanLimits } from './plan-limits.ts';

export interface Shrunk {
  readonly limits: PlanLimits;
  /** Runs that it took. */
  readonly runs: number;
}

const CHAOS_MS_MIN = 250;

/** `failureOf` runs the seed under limits and says how it fails, undefined if it does not. */
export async function shrinkPlan(
  plan: ClusterPlan,
  failure: string,
  failureOf: (limits: PlanLimits) => Promise<string | undefined>,
): Promise<Shrunk> {
  const invariant = invariantOf(failure);
  let limits: PlanLimits = {};
  let runs = 0;
  const keep = async (smaller: PlanLimits): Promise<boolean> => {
    runs++;
    const found = await failureOf({ ...limits, ...smaller });
    if (found === undefined || invariantOf(found) !== invariant) return false;
    limits = { ...limits, ...smaller };
    return true;
  };
  const now = (): ClusterPlan => limitPlan(plan, limits);
  if (plan.calmMs > 0) await keep({ calmMs: 0 });
  while (now().chaosMs / 2 >= CHAOS_MS_MIN && (await keep({ chaosMs: now().chaosMs / 2 })));
  if (plan.topics > 1) await keep({ topics: 1 });
  if (plan.partitions > 1) await keep({ partitions: 1 });
  if (plan.groupMembers > 0) await keep({ groupMembers: 0 });
  // Without half of the kinds at a time, then without a quarter, down to single ones.
  for (let size = Math.ceil(now().faults.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < now().faults.length; ) {
      const { faults } = now();
      const isSmaller = await keep({ faults: faults.filter((_, index) => index < at || index >= at + size) });
      if (!isSmaller) at += size;
    }
  }
  while (now().chaosMs / 2 >= CHAOS_MS_MIN && (await keep({ chaosMs: now().chaosMs / 2 })));
  return { limits, runs };
}

/** What was broken, without who and when. */
export function invariantOf(message: string): string {
  const [line = ''] = message.split('\n');
  return line
    .replace(/\s*[({].*$/, '')
    .replace(/[0-9a-f]{8}-[0-9a-f-]{27}/g, '#')
    .replace(/\d+/g, '#')
    .slice(0, 80);
}
