/**
 * How the leader of the metadata group turns a change that was asked for into a command: validation with Kafka's error codes, defaults, placement. Pure: it sees the newest state (changes go
 * through one at a time) and a seeded random.
 */

import type { Membership } from '../../raft/core/types.ts';
import { assert } from '../../std/assert.ts';
import type { Random } from '../../std/environment.ts';
import type { ApplyResult } from './apply-metadata-command.ts';
import { itemOutcomes, OK, toOutcome } from './change-outcomes.ts';
import type { ChangeKind, ChangeOf, ChangeResults, MetadataChange } from './metadata-change.ts';
import type { MetadataCommand } from './metadata-command.ts';
import type { MetadataState } from './metadata-state.ts';
import type { PlacementBroker } from './placement.ts';
import { planAlterConfigs } from './plan-configs.ts';
import { brokersRefusal, planCreatePartitions, planCreateTopics, planDeleteTopics } from './plan-topics.ts';

export interface PlanContext {
  readonly state: MetadataState;
  /** Registered brokers with a live session. */
  readonly liveBrokers: readonly PlacementBroker[];
  /** The metadata group's own members, to recognize its first voters when they register. */
  readonly membership: Membership;
  readonly random: Random;
  readonly defaults: { readonly partitionCount: number; readonly replicationFactor: number };
  /** delete.topic.enable */
  readonly allowsTopicDeletion: boolean;
  /** An earlier attempt of the same change may have taken effect: then that is success. */
  readonly isRepeat: boolean;
}

export interface Plan<Kind extends ChangeKind> {
  /** Undefined: nothing to write. */
  readonly command: MetadataCommand | undefined;
  /** The answer, given what apply said; `applied` is undefined if there was no command. */
  finish(applied: ApplyResult | undefined): ChangeResults[Kind];
}

export function planChange<Kind extends ChangeKind>(context: PlanContext, change: ChangeOf<Kind>): Plan<Kind> {
  const planner = PLANNERS[change.kind] as (context: PlanContext, change: ChangeOf<Kind>) => Plan<Kind>;
  return planner(context, change);
}

const PLANNERS: { readonly [Kind in ChangeKind]: (context: PlanContext, change: ChangeOf<Kind>) => Plan<Kind> } = {
  createTopics: planCreateTopics,
  deleteTopics: planDeleteTopics,
  createPartitions: planCreatePartitions,
  alterConfigs: planAlterConfigs,
  allocateProducerIds: (_, change) => ({
    command: change,
    finish(applied) {
      assert(applied?.kind === 'producerIds', 'Producer ids were allocated');
      return { first: applied.first, count: applied.count };
    },
  }),
  registerBroker: planRegisterBroker,
  replicasRemoved: (_, change) => ({ command: change, finish: (applied) => itemOutcomes(applied).map(toOutcome) }),
  setReplicas: planSetReplicas,
  replicasFinal: (_, change) => ({ command: change, finish: (applied) => itemOutcomes(applied).map(toOutcome) }),
  replaceReplica: (_, change) => ({ command: change, finish: (applied) => toOutcome(itemOutcomes(applied)[0]!) }),
  buryReplicas: (_, change) => ({ command: change, finish: (applied) => itemOutcomes(applied).map(toOutcome) }),
  clusterTime: (_, change) => ({ command: change, finish: () => OK }),
  featureLevel: (_, change) => ({ command: change, finish: () => OK }),
};

function planRegisterBroker(context: PlanContext, change: ChangeOf<'registerBroker'>): Plan<'registerBroker'> {
  const { broker } = change;
  const { voters, votersOutgoing, learners } = context.membership;
  const member = [...voters, ...votersOutgoing, ...learners].find(
    (candidate) => candidate.brokerId === broker.brokerId && candidate.storeId === broker.storeId,
  );
  return {
    command: { kind: 'registerBroker', broker, metadataReplicaId: member?.replicaId ?? 0 },
    finish(applied) {
      return applied?.kind === 'registered' ? { metadataReplicaId: applied.metadataReplicaId } : {};
    },
  };
}

function planSetReplicas(context: PlanContext, change: ChangeOf<'setReplicas'>): Plan<'setReplicas'> {
  const { topicId, partition, version, brokerIds } = change;
  const refusal = brokersRefusal(context.state, [brokerIds], brokerIds.length);
  return {
    command:
      refusal === undefined
        ? { kind: 'setReplicas', partitions: [{ topicId, partition, version, brokerIds }] }
        : undefined,
    finish: (applied) => refusal ?? toOutcome(itemOutcomes(applied)[0] ?? 'conflict'),
  };
}

/** For callers that hold a change of any kind, e.g. one that came from another broker. */
export function planAnyChange(context: PlanContext, change: MetadataChange): Plan<ChangeKind> {
  return planChange(context, change as ChangeOf<ChangeKind>) as Plan<ChangeKind>;
}
