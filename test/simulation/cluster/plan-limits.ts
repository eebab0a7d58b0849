/** What a plan is cut down to, on the command line or by shrinking: the same seed with less going on. Another run than the whole plan's, and as repeatable. */
import type { ClusterPlan } from './cluster-plan.ts';

export interface PlanLimits {
  /** Only these of the faults that the seed drew. */
  readonly faults?: readonly string[];
  /** Length of the dense part, and of the calm stretch. */
  readonly chaosMs?: number;
  readonly calmMs?: number;
  readonly topics?: number;
  readonly partitions?: number;
  readonly groupMembers?: number;
}

export function limitPlan(plan: ClusterPlan, limits: PlanLimits): ClusterPlan {
  const { faults } = limits;
  const atMost = (value: number, limit: number | undefined): number => Math.min(value, limit ?? value);
  return {
    ...plan,
    faults: faults === undefined ? plan.faults : plan.faults.filter((fault) => faults.includes(fault)),
    chaosMs: atMost(plan.chaosMs, limits.chaosMs),
    calmMs: atMost(plan.calmMs, limits.calmMs),
    topics: atMost(plan.topics, limits.topics),
    partitions: atMost(plan.partitions, limits.partitions),
    groupMembers: atMost(plan.groupMembers, limits.groupMembers),
  };
}

/** The options of the command line that set these limits. */
export function optionsOf(limits: PlanLimits): string {
  const { faults, chaosMs, calmMs, topics, partitions, groupMembers } = limits;
  const seconds = (ms: number | undefined): number | undefined => (ms === undefined ? undefined : ms / 1000);
  const given: readonly (readonly [name: string, value: string | number | undefined])[] = [
    ['only-faults', faults === undefined ? undefined : faults.join(',') || 'none'],
    ['seconds', seconds(chaosMs)],
    ['calm-seconds', seconds(calmMs)],
    ['topics', topics],
    ['partitions', partitions],
    ['group-members', groupMembers],
  ];
  return given.flatMap(([name, value]) => (value === undefined ? [] : [` --${name} ${value}`])).join('');
}
