/**
 * How the leader of the metadata group turns a change that was asked for into a command: validation with Kafka's error codes, defaults, placement. Pure: it sees the newest state (changes go
 * through one at a time) and a seeded random.
 */

import { ZERO_UUID } from '../../kafka-protocol/byte-reader.ts';
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import type { Membership } from '../../raft/core/types.ts';
import { assert } from '../../std/assert.ts';
import { type BrokerId, brokerId } from '../../std/brands.ts';
import type { Random } from '../../std/environment.ts';
import { changeBrokerConfigs, changeTopicConfigs } from '../config/config-change.ts';
import type { ApplyResult, ItemOutcome } from './apply-metadata-command.ts';
import type { ConfigChange, NewTopic, NewTopicOutcome, Outcome } from './cluster.ts';
import type { ChangeKind, ChangeOf, ChangeResults, MetadataChange, NewPartitions } from './metadata-change.ts';
import type { MetadataCommand } from './metadata-command.ts';
import type { TopicImage } from './metadata-image.ts';
import type { MetadataState } from './metadata-state.ts';
import { loadOf, type PlacementBroker, type PlacementLoad, placePartitions } from './placement.ts';
import { collisionForm, isInternalTopic, topicNameProblem } from './topic-name.ts';

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

/** As many as Kafka takes in one request; a larger command would hold up everything behind it. */
const PARTITIONS_PER_REQUEST_MAX = 10_000;

const OK: Outcome = { errorCode: ErrorCode.NONE, errorMessage: null };

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
  clusterTime: (_, change) => ({ command: change, finish: () => OK }),
  featureLevel: (_, change) => ({ command: change, finish: () => OK }),
};

// ---------------------------------------------------------------- topics

type NamedTopic = NewTopic & { readonly topicId: string };
type PlacedTopic = Extract<MetadataCommand, { kind: 'createTopics' }>['topics'][number];

function planCreateTopics(context: PlanContext, change: ChangeOf<'createTopics'>): Plan<'createTopics'> {
  const planned: PlacedTopic[] = [];
  const answers: ({ kind: 'final'; outcome: NewTopicOutcome } | { kind: 'planned'; topic: PlacedTopic })[] = [];
  const load = loadOf(context.state);
  const collisions = new CollisionCheck(context.state);
  const budget = { partitionsLeft: PARTITIONS_PER_REQUEST_MAX };
  const timesNamed = countBy(change.topics, (topic) => topic.name);
  for (const topic of change.topics) {
    const existing = context.state.topics.get(topic.name);
    if (context.isRepeat && existing?.topicId === topic.topicId) {
      answers.push({ kind: 'final', outcome: createdOutcome(existing) });
      continue;
    }
    if (context.isRepeat && context.state.deletedTopicIds.includes(topic.topicId)) {
      // Created by the earlier attempt, and deleted by somebody since: it must not come back.
      const { name, topicId, partitionCount, replicationFactor } = topic;
      answers.push({ kind: 'final', outcome: { ...OK, name, topicId, partitionCount, replicationFactor } });
      continue;
    }
    const refusal =
      (timesNamed.get(topic.name) ?? 0) > 1
        ? refuse(ErrorCode.INVALID_REQUEST, `Topic ${topic.name} is in the request more than once`)
        : (nameRefusal(context.state, topic.name, change.isInternal, collisions) ??
          assignmentRefusal(context.state, topic));
    const placed = refusal ?? placeTopic(context, topic, load, budget);
    if ('errorCode' in placed) {
      answers.push({ kind: 'final', outcome: refusedTopic(topic, placed) });
      continue;
    }
    planned.push(placed);
    answers.push({ kind: 'planned', topic: placed });
  }
  const nothing = change.validateOnly || planned.length === 0;
  return {
    command: nothing ? undefined : { kind: 'createTopics', topics: planned },
    finish(applied) {
      const outcomes = applied === undefined ? planned.map((): ItemOutcome => 'done') : [...itemOutcomes(applied)];
      return answers.map((answer) => {
        if (answer.kind === 'final') return answer.outcome;
        const { topic } = answer;
        const outcome = toOutcome(outcomes.shift() ?? 'conflict');
        const ok = outcome.errorCode === ErrorCode.NONE;
        return {
          ...outcome,
          name: topic.name,
          topicId: ok && !change.validateOnly ? topic.topicId : ZERO_UUID,
          partitionCount: ok ? topic.partitions.length : -1,
          replicationFactor: ok ? (topic.partitions[0]?.length ?? -1) : -1,
        };
      });
    },
  };
}

function createdOutcome(topic: TopicImage): NewTopicOutcome {
  return {
    ...OK,
    name: topic.name,
    topicId: topic.topicId,
    partitionCount: topic.partitions.length,
    replicationFactor: topic.partitions[0]?.replicas.length ?? -1,
  };
}

function refusedTopic(topic: NewTopic, outcome: Outcome): NewTopicOutcome {
  return { ...outcome, name: topic.name, topicId: ZERO_UUID, partitionCount: -1, replicationFactor: -1 };
}

/** Finds a topic whose name differs only by '.' and '_'; looks at all names once, and only if it has to. */
class CollisionCheck {
  readonly #state: MetadataState;
  #forms: Map<string, string> | undefined;

  constructor(state: MetadataState) {
    this.#state = state;
  }

  /** The other topic's name; remembers `name` for the topics that follow. */
  find(name: string): string | undefined {
    const form = collisionForm(name);
    if (form === undefined) return undefined;
    if (this.#forms === undefined) {
      this.#forms = new Map();
      for (const other of this.#state.topics.keys()) {
        const otherForm = collisionForm(other);
        if (otherForm !== undefined) this.#forms.set(otherForm, other);
      }
    }
    const other = this.#forms.get(form);
    if (other === undefined) this.#forms.set(form, name);
    return other;
  }
}

function nameRefusal(
  state: MetadataState,
  name: string,
  isInternal: boolean,
  collisions: CollisionCheck,
): Outcome | undefined {
  const problem = topicNameProblem(name);
  if (problem !== undefined) return refuse(ErrorCode.INVALID_TOPIC_EXCEPTION, problem);
  if (state.topics.has(name)) return refuse(ErrorCode.TOPIC_ALREADY_EXISTS, `Topic '${name}' already exists.`);
  if (isInternalTopic(name) && !isInternal) {
    return refuse(ErrorCode.INVALID_TOPIC_EXCEPTION, `Topic ${name} is internal: brokers create it when they need it`);
  }
  const other = collisions.find(name);
  if (other === undefined) return undefined;
  return refuse(ErrorCode.INVALID_TOPIC_EXCEPTION, `Topic '${name}' collides with existing topic: ${other}`);
}

/** What is wrong with a manual assignment; undefined if nothing or if there is none. */
function assignmentRefusal(state: MetadataState, topic: NewTopic): Outcome | undefined {
  if (topic.assignments.length === 0) return undefined;
  if (topic.partitionCount !== -1 || topic.replicationFactor !== -1) {
    return refuse(
      ErrorCode.INVALID_REQUEST,
      'With a manual assignment, the number of partitions and the replication factor must be -1',
    );
  }
  const sorted = [...topic.assignments].sort((a, b) => a.partition - b.partition);
  if (sorted.some((assignment, index) => assignment.partition !== index)) {
    return refuse(
      ErrorCode.INVALID_REPLICA_ASSIGNMENT,
      'Partitions of a manual assignment must be 0, 1, 2 … without gaps',
    );
  }
  return brokersRefusal(
    state,
    sorted.map((assignment) => assignment.brokerIds),
    sorted[0]?.brokerIds.length ?? 0,
  );
}

function brokersRefusal(
  state: MetadataState,
  partitions: readonly (readonly number[])[],
  replicationFactor: number,
): Outcome | undefined {
  for (const brokers of partitions) {
    let problem: string | undefined;
    const stranger = brokers.find((id) => !state.brokers.has(brokerId(id)));
    if (brokers.length === 0) problem = 'The manual assignment has a partition without replicas';
    else if (new Set(brokers).size !== brokers.length)
      problem = 'The manual assignment has a broker twice in one partition';
    else if (brokers.length !== replicationFactor) problem = 'All partitions must have the same number of replicas';
    else if (stranger !== undefined) problem = `The manual assignment has broker ${stranger}, which is not registered`;
    if (problem !== undefined) return refuse(ErrorCode.INVALID_REPLICA_ASSIGNMENT, problem);
  }
  return undefined;
}

function placeTopic(
  context: PlanContext,
  topic: NamedTopic,
  load: PlacementLoad,
  budget: { partitionsLeft: number },
): PlacedTopic | Outcome {
  const isManual = topic.assignments.length > 0;
  const partitionCount = isManual
    ? topic.assignments.length
    : topic.partitionCount === -1
      ? context.defaults.partitionCount
      : topic.partitionCount;
  if (partitionCount <= 0) {
    return refuse(ErrorCode.INVALID_PARTITIONS, 'Number of partitions was set to an invalid non-positive value.');
  }
  if (partitionCount > budget.partitionsLeft) return tooManyPartitions();
  const configs = changeTopicConfigs(
    new Map(),
    topic.configs.map(({ name, value }) => ({ name, operation: 'set' as const, value })),
  );
  if (configs.kind === 'refused') return refuse(ErrorCode.INVALID_CONFIG, configs.message);

  let partitions: readonly (readonly BrokerId[])[];
  if (isManual) {
    partitions = [...topic.assignments]
      .sort((a, b) => a.partition - b.partition)
      .map((assignment) => assignment.brokerIds.map(brokerId));
  } else {
    const factor = topic.replicationFactor === -1 ? context.defaults.replicationFactor : topic.replicationFactor;
    const refusal = factorRefusal(context, factor);
    if (refusal !== undefined) return refusal;
    partitions = placePartitions(context.liveBrokers, partitionCount, factor, load, context.random);
  }
  budget.partitionsLeft -= partitionCount;
  return {
    name: topic.name,
    topicId: topic.topicId,
    isInternal: isInternalTopic(topic.name),
    partitions,
    configs: [...configs.configs],
  };
}

function factorRefusal(context: PlanContext, factor: number): Outcome | undefined {
  if (factor <= 0) {
    return refuse(ErrorCode.INVALID_REPLICATION_FACTOR, 'Replication factor must be larger than 0.');
  }
  const live = context.liveBrokers.length;
  if (factor <= live) return undefined;
  // Never fewer replicas than asked for (DECISIONS L7).
  return refuse(
    ErrorCode.INVALID_REPLICATION_FACTOR,
    `Unable to replicate the partition ${factor} time(s): ${live} broker(s) live.`,
  );
}

function planDeleteTopics(context: PlanContext, change: ChangeOf<'deleteTopics'>): Plan<'deleteTopics'> {
  const { state } = context;
  const timesNamed = countBy(change.topicIds, (topicId) => topicId);
  const refusals = change.topicIds.map((topicId): Outcome | undefined => {
    const topic = state.topicById(topicId);
    if ((timesNamed.get(topicId) ?? 0) > 1) {
      return refuse(ErrorCode.INVALID_REQUEST, `Topic ${topic?.name ?? topicId} is in the request more than once`);
    }
    if (topic === undefined)
      return context.isRepeat ? OK : refuse(ErrorCode.UNKNOWN_TOPIC_ID, 'This topic id is not known.');
    if (!context.allowsTopicDeletion) return refuse(ErrorCode.TOPIC_DELETION_DISABLED, 'delete.topic.enable is false');
    if (!topic.isInternal) return undefined;
    return refuse(
      ErrorCode.INVALID_TOPIC_EXCEPTION,
      `Topic ${topic.name} is internal: groups would lose their offsets`,
    );
  });
  const topicIds = change.topicIds.filter((_, index) => refusals[index] === undefined);
  return {
    command: topicIds.length === 0 ? undefined : { kind: 'deleteTopics', topicIds },
    finish(applied) {
      const outcomes = [...itemOutcomes(applied)];
      return refusals.map((refusal) => {
        if (refusal !== undefined) return refusal;
        return outcomes.shift() === 'done' ? OK : refuse(ErrorCode.UNKNOWN_TOPIC_ID, 'This topic id is not known.');
      });
    },
  };
}

function planCreatePartitions(context: PlanContext, change: ChangeOf<'createPartitions'>): Plan<'createPartitions'> {
  type Placed = Extract<MetadataCommand, { kind: 'createPartitions' }>['topics'][number];
  const load = loadOf(context.state);
  const budget = { partitionsLeft: PARTITIONS_PER_REQUEST_MAX };
  const timesNamed = countBy(change.topics, (topic) => topic.name);
  const planned: Placed[] = [];
  const refusals = change.topics.map((topic): Outcome | undefined => {
    if ((timesNamed.get(topic.name) ?? 0) > 1) {
      return refuse(ErrorCode.INVALID_REQUEST, `Topic ${topic.name} is in the request more than once`);
    }
    const placed = placeMorePartitions(context, topic, load, budget);
    if ('errorCode' in placed) return placed;
    planned.push(placed);
    return undefined;
  });
  const nothing = change.validateOnly || planned.length === 0;
  return {
    command: nothing ? undefined : { kind: 'createPartitions', topics: planned },
    finish(applied) {
      const outcomes = applied === undefined ? planned.map((): ItemOutcome => 'done') : [...itemOutcomes(applied)];
      return refusals.map((refusal) => refusal ?? toOutcome(outcomes.shift() ?? 'conflict'));
    },
  };
}

function placeMorePartitions(
  context: PlanContext,
  request: NewPartitions,
  load: PlacementLoad,
  budget: { partitionsLeft: number },
): Extract<MetadataCommand, { kind: 'createPartitions' }>['topics'][number] | Outcome {
  const topic = context.state.topics.get(request.name);
  if (topic === undefined) return refuse(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, 'This topic is not known.');
  if (topic.isInternal) {
    return refuse(ErrorCode.INVALID_TOPIC_EXCEPTION, `Topic ${topic.name} is internal: its keys would move`);
  }
  const current = topic.partitions.length;
  if (context.isRepeat && request.count === current) return OK;
  if (request.count <= current) {
    const relation = request.count === current ? `already has ${current}` : `currently has ${current}`;
    const message = `Topic ${relation} partition(s), the number can only grow; ${request.count} was asked for.`;
    return refuse(ErrorCode.INVALID_PARTITIONS, message);
  }
  const count = request.count - current;
  if (count > budget.partitionsLeft) return tooManyPartitions();
  const factor = topic.partitions[0]?.replicas.length ?? 1;
  let partitions: readonly (readonly BrokerId[])[];
  if (request.assignments !== null) {
    if (request.assignments.length !== count) {
      const message = `Attempted to add ${count} partition(s), but ${request.assignments.length} assignment(s) were given.`;
      return refuse(ErrorCode.INVALID_REPLICA_ASSIGNMENT, message);
    }
    const refusal = brokersRefusal(context.state, request.assignments, factor);
    if (refusal !== undefined) return refusal;
    partitions = request.assignments.map((brokers) => brokers.map(brokerId));
  } else {
    const refusal = factorRefusal(context, factor);
    if (refusal !== undefined) return refusal;
    partitions = placePartitions(context.liveBrokers, count, factor, load, context.random);
  }
  budget.partitionsLeft -= count;
  return { topicId: topic.topicId, firstPartition: current, partitions };
}

// ---------------------------------------------------------------- configs

function planAlterConfigs(context: PlanContext, change: ChangeOf<'alterConfigs'>): Plan<'alterConfigs'> {
  type Resource = Extract<MetadataCommand, { kind: 'alterConfigs' }>['resources'][number];
  const timesNamed = countBy(change.changes, ({ resource, resourceName }) => `${resource} ${resourceName}`);
  const resources: Resource[] = [];
  const refusals = change.changes.map((item): Outcome | undefined => {
    if ((timesNamed.get(`${item.resource} ${item.resourceName}`) ?? 0) > 1) {
      return refuse(
        ErrorCode.INVALID_REQUEST,
        `The ${item.resource} ${item.resourceName} is in the request more than once`,
      );
    }
    const next = nextConfigs(context.state, item);
    if ('errorCode' in next) return next;
    resources.push(next);
    return undefined;
  });
  const nothing = change.validateOnly || resources.length === 0;
  return {
    command: nothing ? undefined : { kind: 'alterConfigs', resources },
    finish(applied) {
      const outcomes = applied === undefined ? resources.map((): ItemOutcome => 'done') : [...itemOutcomes(applied)];
      return refusals.map((refusal) => refusal ?? toOutcome(outcomes.shift() ?? 'conflict'));
    },
  };
}

function nextConfigs(
  state: MetadataState,
  change: ConfigChange,
): Extract<MetadataCommand, { kind: 'alterConfigs' }>['resources'][number] | Outcome {
  if (change.resource === 'topic') {
    const topic = state.topics.get(change.resourceName);
    if (topic === undefined) return refuse(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, 'This topic is not known.');
    const next = changeTopicConfigs(topic.configs, change.operations);
    if (next.kind === 'refused') return refuse(ErrorCode.INVALID_CONFIG, next.message);
    return { resource: 'topic', name: topic.topicId, configs: [...next.configs] };
  }
  if (change.resourceName !== '') {
    return refuse(
      ErrorCode.INVALID_REQUEST,
      'Configs of a single broker can not be changed at run time, only the default of the cluster (empty name) or its properties file',
    );
  }
  const next = changeBrokerConfigs(state.brokerConfigs.get('') ?? new Map(), change.operations);
  if (next.kind === 'refused') return refuse(ErrorCode.INVALID_CONFIG, next.message);
  return { resource: 'broker', name: '', configs: [...next.configs] };
}

// ---------------------------------------------------------------- brokers and replicas

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

// ---------------------------------------------------------------- outcomes

function refuse(errorCode: ErrorCode, errorMessage: string): Outcome {
  return { errorCode, errorMessage };
}

function tooManyPartitions(): Outcome {
  const message = `Excessively large number of partitions per request: at most ${PARTITIONS_PER_REQUEST_MAX}.`;
  return refuse(ErrorCode.POLICY_VIOLATION, message);
}

function itemOutcomes(applied: ApplyResult | undefined): readonly ItemOutcome[] {
  return applied?.kind === 'items' ? applied.outcomes : [];
}

/** What apply refused although the leader had found it right: another leader's command came in between. */
function toOutcome(item: ItemOutcome): Outcome {
  switch (item) {
    case 'done':
      return OK;
    case 'topicExists':
      return refuse(ErrorCode.TOPIC_ALREADY_EXISTS, 'The topic already exists.');
    case 'unknownTopic':
      return refuse(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, 'This topic is not known.');
    case 'unknownBroker':
      return refuse(ErrorCode.INVALID_REPLICA_ASSIGNMENT, 'A broker of the assignment is not registered.');
    case 'conflict':
      return refuse(ErrorCode.INVALID_REQUEST, 'Another change came in between; ask again.');
  }
}

/** For callers that hold a change of any kind, e.g. one that came from another broker. */
export function planAnyChange(context: PlanContext, change: MetadataChange): Plan<ChangeKind> {
  return planChange(context, change as ChangeOf<ChangeKind>) as Plan<ChangeKind>;
}

function countBy<T>(items: readonly T[], key: (item: T) => string): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const item of items) counts.set(key(item), (counts.get(key(item)) ?? 0) + 1);
  return counts;
}
