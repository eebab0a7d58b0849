/** Planning of what creates, extends and deletes topics (see plan-change.ts): names, counts, assignments and placement. */
import { ZERO_UUID } from '../../kafka-protocol/byte-reader.ts';
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import { type BrokerId, brokerId } from '../../std/brands.ts';
import { changeTopicConfigs } from '../config/config-change.ts';
import type { ItemOutcome } from './apply-metadata-command.ts';
import { countBy, itemOutcomes, OK, refuse, toOutcome } from './change-outcomes.ts';
import type { NewTopic, NewTopicOutcome, Outcome } from './cluster.ts';
import type { ChangeOf, NewPartitions } from './metadata-change.ts';
import type { MetadataCommand } from './metadata-command.ts';
import type { TopicImage } from './metadata-image.ts';
import type { MetadataState } from './metadata-state.ts';
import { loadOf, type PlacementBroker, type PlacementLoad, placePartitions } from './placement.ts';
import type { Plan, PlanContext } from './plan-change.ts';
import { collisionForm, isInternalTopic, topicNameProblem } from './topic-name.ts';

/** As many as Kafka takes in one request; a larger command would hold up everything behind it. */
const PARTITIONS_PER_REQUEST_MAX = 10_000;

type NamedTopic = NewTopic & { readonly topicId: string };
type PlacedTopic = Extract<MetadataCommand, { kind: 'createTopics' }>['topics'][number];

export function planCreateTopics(context: PlanContext, change: ChangeOf<'createTopics'>): Plan<'createTopics'> {
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

/** What is wrong with the brokers that partitions were assigned to by hand; undefined if nothing. */
export function brokersRefusal(
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
    const brokers = isInternalTopic(topic.name) ? brokersWithDead(context, factor) : context.liveBrokers;
    const refusal = factorRefusal(brokers, factor);
    if (refusal !== undefined) return refusal;
    partitions = placePartitions(brokers, partitionCount, factor, load, context.random);
    // Who is there leads.
    const isDead = (id: BrokerId): boolean => !context.liveBrokers.some((broker) => broker.brokerId === id);
    partitions = partitions.map((ids) => [...ids.filter((id) => !isDead(id)), ...ids.filter(isDead)]);
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

/**
 * The live brokers and, where they are too few but most of what `factor` asks for, dead ones beside them. For topics that brokers need themselves: the first consumer group shall not have to wait for
 * a dead broker. Every partition then has all live brokers, so a quorum, and the dead ones take their replicas when they come back.
 */
function brokersWithDead(context: PlanContext, factor: number): readonly PlacementBroker[] {
  const { liveBrokers, state } = context;
  if (liveBrokers.length >= factor || liveBrokers.length <= factor / 2) return liveBrokers;
  const live = new Set(liveBrokers.map((broker) => broker.brokerId));
  const dead = [...state.brokers.values()].filter((broker) => !live.has(broker.brokerId));
  dead.sort((some, other) => some.brokerId - other.brokerId);
  return [...liveBrokers, ...dead.slice(0, factor - liveBrokers.length)];
}

function factorRefusal(brokers: readonly PlacementBroker[], factor: number): Outcome | undefined {
  if (factor <= 0) {
    return refuse(ErrorCode.INVALID_REPLICATION_FACTOR, 'Replication factor must be larger than 0.');
  }
  const live = brokers.length;
  if (factor <= live) return undefined;
  // Never fewer replicas than asked for (DECISIONS L7).
  return refuse(
    ErrorCode.INVALID_REPLICATION_FACTOR,
    `Unable to replicate the partition ${factor} time(s): ${live} broker(s) live.`,
  );
}

export function planDeleteTopics(context: PlanContext, change: ChangeOf<'deleteTopics'>): Plan<'deleteTopics'> {
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

export function planCreatePartitions(
  context: PlanContext,
  change: ChangeOf<'createPartitions'>,
): Plan<'createPartitions'> {
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
    const refusal = factorRefusal(context.liveBrokers, factor);
    if (refusal !== undefined) return refusal;
    partitions = placePartitions(context.liveBrokers, count, factor, load, context.random);
  }
  budget.partitionsLeft -= count;
  return { topicId: topic.topicId, firstPartition: current, partitions };
}

function tooManyPartitions(): Outcome {
  const message = `Excessively large number of partitions per request: at most ${PARTITIONS_PER_REQUEST_MAX}.`;
  return refuse(ErrorCode.POLICY_VIOLATION, message);
}
