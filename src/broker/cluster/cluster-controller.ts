/**
 * The cluster as the handlers of one broker see it: reads come from the local image, changes go to the leader of the metadata group, wherever it is.
 *
 * Promises: an operation that answers without error is in effect and applied by every live broker, so whichever broker a client asks next knows it; topics created have leaders then. What could not be
 * confirmed in time is answered with REQUEST_TIMED_OUT (it may still happen) or NOT_CONTROLLER (nothing was written).
 */
import { ZERO_UUID } from '../../kafka-protocol/byte-reader.ts';
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import type { RaftGroups } from '../../raft/raft-group.ts';
import type { BrokerId, GroupId } from '../../std/brands.ts';
import type { Clock, Random, Timers } from '../../std/environment.ts';
import type { PartitionLog } from '../partition/partition-log.ts';
import { ChangeClient, type Executed, SERVICE } from './change-client.ts';
import { ChangeExecutor, type ClusterDefaults } from './change-executor.ts';
import type { Cluster, ConfigChange, NewTopic, NewTopicOutcome, Outcome } from './cluster.ts';
import { ConditionWaiters } from './condition-waiters.ts';
import { type ChangeKind, decodeMessage, encodeMessage, type NewPartitions } from './metadata-change.ts';
import type { MetadataImage } from './metadata-image.ts';
import type { MetadataState } from './metadata-state.ts';
import type { MetadataStateMachine } from './metadata-state-machine.ts';
import type { PartitionRegistry } from './partition-registry.ts';
import { ProducerIdAllocator } from './producer-id-allocator.ts';
import { newTopicId } from './topic-name.ts';

/** Longest wait for other brokers, whatever a client asks for. */
const TIMEOUT_MAX_MS = 300_000;
const REPEAT_PAUSE_MS = 50;

export interface ClusterControllerOptions {
  readonly brokerId: BrokerId;
  readonly groups: RaftGroups;
  readonly stateMachine: MetadataStateMachine;
  readonly registry: PartitionRegistry;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
  readonly defaults: ClusterDefaults;
}

interface AwaitRequest {
  readonly index: number;
  /** Topics whose partitions must have a leader that is ready. */
  readonly topicIds: readonly string[];
  readonly timeoutMs: number;
}

export class ClusterController implements Cluster {
  readonly brokerId: BrokerId;
  /** For what the brokers themselves change: registration, removals, reassignment, cluster time. */
  readonly changes: ChangeClient;
  readonly #options: ClusterControllerOptions;
  readonly #waiters: ConditionWaiters;
  readonly #producerIds: ProducerIdAllocator;
  #isStarted = false;

  constructor(options: ClusterControllerOptions) {
    this.#options = options;
    this.brokerId = options.brokerId;
    const { brokerId, groups, stateMachine, registry, clock, timers, random, defaults } = options;
    this.#waiters = new ConditionWaiters(timers);
    const executor = new ChangeExecutor({
      groups,
      stateMachine,
      clock,
      random,
      defaults,
      liveBrokers: () =>
        this.liveBrokers().map((id) => ({ brokerId: id, rack: stateMachine.image.brokers.get(id)?.rack ?? null })),
    });
    this.changes = new ChangeClient({
      brokerId,
      groups,
      stateMachine,
      executor,
      waiters: this.#waiters,
      clock,
      timers,
    });
    this.#producerIds = new ProducerIdAllocator(this.changes);
    // In this order: whoever waits for the image finds the partitions that it places here.
    stateMachine.onImageChanged((image) => {
      if (this.#isStarted) registry.reconcile(image);
      this.#waiters.check();
    });
    stateMachine.leadershipChanged = () => this.#waiters.check();
    groups.onLeadersChanged(() => this.#waiters.check());
    groups.onBrokerLivenessChanged(() => this.#waiters.check());
    groups.serve(SERVICE.awaitApplied, async (_, payload) => {
      const { index, topicIds, timeoutMs } = decodeMessage<AwaitRequest>(payload);
      const isMet = await this.#awaitHere(index, topicIds, Math.min(timeoutMs, TIMEOUT_MAX_MS));
      return encodeMessage({ isMet });
    });
  }

  /** Opens the partitions that the image knows already; from then on they follow its changes. Called once the local replicas were recovered. */
  start(): void {
    this.#isStarted = true;
    this.#options.registry.reconcile(this.image);
  }

  get image(): MetadataState {
    return this.#options.stateMachine.image;
  }

  get controllerId(): BrokerId | undefined {
    return this.changes.leader;
  }

  liveBrokers(): readonly BrokerId[] {
    return [...this.image.brokers.keys()].filter((id) => this.#isLive(id)).sort((a, b) => a - b);
  }

  partition(topic: string, partition: number): PartitionLog | undefined {
    return this.#options.registry.get(topic, partition);
  }

  partitionByGroup(groupId: GroupId): PartitionLog | undefined {
    return this.#options.registry.byGroup(groupId);
  }

  partitions(): Iterable<PartitionLog> {
    return this.#options.registry.all();
  }

  onImageChanged(listener: (image: MetadataImage) => void): () => void {
    return this.#options.stateMachine.onImageChanged(listener);
  }

  async createTopics(
    topics: readonly NewTopic[],
    options: { validateOnly: boolean; timeoutMs: number; internal?: boolean },
  ): Promise<readonly NewTopicOutcome[]> {
    const endMs = this.#endMs(options.timeoutMs);
    // Chosen here, so that a repeated attempt recognizes what an earlier one created.
    const named = topics.map((topic) => ({ ...topic, topicId: newTopicId(this.#options.random) }));
    const executed = await this.changes.execute<'createTopics'>(
      {
        kind: 'createTopics',
        topics: named,
        validateOnly: options.validateOnly,
        isInternal: options.internal ?? false,
      },
      this.#leftMs(endMs),
    );
    if (executed.kind === 'timedOut') {
      const outcome = timedOutOutcome(executed);
      return topics.map(({ name }) => ({
        ...outcome,
        name,
        topicId: ZERO_UUID,
        partitionCount: -1,
        replicationFactor: -1,
      }));
    }
    const outcomes = executed.result;
    const created = outcomes.filter((outcome) => outcome.errorCode === ErrorCode.NONE).map(({ topicId }) => topicId);
    if (options.validateOnly || created.length === 0) return outcomes;
    if (await this.#awaitEverywhere(executed.index, created, endMs)) return outcomes;
    return outcomes.map((outcome) => notEverywhere(outcome));
  }

  async deleteTopics(
    topics: readonly { name: string | null; topicId: string }[],
    timeoutMs: number,
  ): Promise<readonly (Outcome & { name: string | null; topicId: string })[]> {
    const endMs = this.#endMs(timeoutMs);
    // By id from here on: an attempt that is repeated must not delete a topic of that name created since.
    if (topics.some(({ name }) => name !== null) && !(await this.refresh(this.#leftMs(endMs)))) {
      const outcome = timedOutOutcome({ kind: 'timedOut', maybe: false, reason: 'The metadata group has no leader' });
      return topics.map((topic) => ({ ...topic, ...outcome }));
    }
    const resolved = topics.map(({ name, topicId }) => {
      const topic = name === null ? this.image.topicById(topicId) : this.image.topics.get(name);
      if (topic !== undefined) return { name: topic.name, topicId: topic.topicId };
      return { name, topicId: name === null ? topicId : undefined };
    });
    const topicIds = resolved.flatMap(({ topicId }) => topicId ?? []);
    const unknownName: Outcome = {
      errorCode: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
      errorMessage: 'This server does not host this topic-partition.',
    };
    let outcomes: Outcome[] = [];
    if (topicIds.length > 0) {
      const executed = await this.changes.execute<'deleteTopics'>(
        { kind: 'deleteTopics', topicIds },
        this.#leftMs(endMs),
      );
      if (executed.kind === 'timedOut') outcomes = topicIds.map(() => timedOutOutcome(executed));
      else outcomes = [...(await this.#effectiveEverywhere(executed.result, executed.index, [], endMs))];
    }
    return resolved.map(({ name, topicId }, position) => {
      if (topicId === undefined) return { ...unknownName, name, topicId: ZERO_UUID };
      const outcome = outcomes.shift() ?? unknownName;
      // Deleted by somebody else in between.
      const isGone = outcome.errorCode === ErrorCode.UNKNOWN_TOPIC_ID && topics[position]?.name !== null;
      return { ...(isGone ? unknownName : outcome), name, topicId };
    });
  }

  async createPartitions(
    topics: readonly NewPartitions[],
    options: { validateOnly: boolean; timeoutMs: number },
  ): Promise<readonly (Outcome & { name: string })[]> {
    const endMs = this.#endMs(options.timeoutMs);
    const executed = await this.changes.execute<'createPartitions'>(
      { kind: 'createPartitions', topics, validateOnly: options.validateOnly },
      this.#leftMs(endMs),
    );
    let outcomes: readonly Outcome[];
    if (executed.kind === 'timedOut') outcomes = topics.map(() => timedOutOutcome(executed));
    else if (options.validateOnly) outcomes = executed.result;
    else {
      await this.#awaitHere(executed.index, [], this.#leftMs(endMs));
      const topicIds = topics.flatMap(({ name }, position) =>
        executed.result[position]?.errorCode === ErrorCode.NONE ? (this.image.topics.get(name)?.topicId ?? []) : [],
      );
      outcomes = await this.#effectiveEverywhere(executed.result, executed.index, topicIds, endMs);
    }
    return topics.map(({ name }, position) => ({ ...(outcomes[position] as Outcome), name }));
  }

  async alterConfigs(
    changes: readonly ConfigChange[],
    options: { validateOnly: boolean; timeoutMs: number },
  ): Promise<readonly Outcome[]> {
    const endMs = this.#endMs(options.timeoutMs);
    const executed = await this.changes.execute<'alterConfigs'>(
      { kind: 'alterConfigs', changes, validateOnly: options.validateOnly },
      this.#leftMs(endMs),
    );
    if (executed.kind === 'timedOut') return changes.map(() => timedOutOutcome(executed));
    if (options.validateOnly) return executed.result;
    return this.#effectiveEverywhere(executed.result, executed.index, [], endMs);
  }

  allocateProducerId(timeoutMs: number): Promise<{ errorCode: ErrorCode; producerId: number }> {
    return this.#producerIds.allocate(timeoutMs);
  }

  async refresh(timeoutMs: number): Promise<boolean> {
    const endMs = this.#endMs(timeoutMs);
    const index = await this.changes.readIndex(this.#leftMs(endMs));
    return index !== undefined && (await this.#awaitHere(index, [], this.#leftMs(endMs)));
  }

  /** Ends all waits. */
  close(): void {
    this.#waiters.close();
  }

  async #effectiveEverywhere(
    outcomes: readonly Outcome[],
    index: number,
    topicIds: readonly string[],
    endMs: number,
  ): Promise<readonly Outcome[]> {
    if (outcomes.every((outcome) => outcome.errorCode !== ErrorCode.NONE)) return outcomes;
    if (await this.#awaitEverywhere(index, topicIds, endMs)) return outcomes;
    return outcomes.map((outcome) => notEverywhere(outcome));
  }

  /** True once every live broker has applied `index` and knows a ready leader of each partition of the topics (DECISIONS C1). */
  async #awaitEverywhere(index: number, topicIds: readonly string[], endMs: number): Promise<boolean> {
    const others = this.liveBrokers().filter((id) => id !== this.brokerId);
    const answers = await Promise.all([
      this.#awaitHere(index, topicIds, this.#leftMs(endMs)),
      ...others.map((id) => this.#awaitAt(id, index, topicIds, endMs)),
    ]);
    return answers.every(Boolean);
  }

  /** True also if that broker died meanwhile: it will know before it serves again. */
  async #awaitAt(broker: BrokerId, index: number, topicIds: readonly string[], endMs: number): Promise<boolean> {
    for (;;) {
      const timeoutMs = this.#leftMs(endMs);
      let answer: boolean | undefined;
      this.#options.groups
        .request(broker, SERVICE.awaitApplied, encodeMessage({ index, topicIds, timeoutMs }), timeoutMs)
        .then(
          (payload) => {
            answer = decodeMessage<{ isMet: boolean }>(payload).isMet;
            this.#waiters.check();
          },
          // The link broke, or the time is up: looked at below.
          () => {
            answer = false;
            this.#waiters.check();
          },
        );
      await this.#waiters.until(() => answer !== undefined || !this.#isLive(broker), timeoutMs);
      if (answer === true || !this.#isLive(broker)) return true;
      if (this.#leftMs(endMs) <= 0) return false;
      await this.#waiters.until(() => !this.#isLive(broker), Math.min(REPEAT_PAUSE_MS, this.#leftMs(endMs)));
    }
  }

  #awaitHere(index: number, topicIds: readonly string[], timeoutMs: number): Promise<boolean> {
    let leaderless: GroupId[] | undefined;
    return this.#waiters.until(() => {
      if (this.image.appliedIndex < index) return false;
      leaderless ??= topicIds.flatMap(
        (topicId) => this.image.topicById(topicId)?.partitions.map((partition) => partition.groupId) ?? [],
      );
      leaderless = leaderless.filter((groupId) => !this.#hasReadyLeader(groupId));
      return leaderless.length === 0;
    }, timeoutMs);
  }

  #hasReadyLeader(groupId: GroupId): boolean {
    const { groups } = this.#options;
    const group = groups.get(groupId);
    if (group?.role === 'leader') return group.isReady;
    return groups.leaderOf(groupId)?.ready ?? false;
  }

  #isLive(broker: BrokerId): boolean {
    return broker === this.brokerId || this.#options.groups.isBrokerLive(broker);
  }

  #endMs(timeoutMs: number): number {
    return this.#options.clock.monotonicMs() + Math.min(Math.max(timeoutMs, 0), TIMEOUT_MAX_MS);
  }

  #leftMs(endMs: number): number {
    return Math.max(0, endMs - this.#options.clock.monotonicMs());
  }
}

function timedOutOutcome<Kind extends ChangeKind>(executed: Extract<Executed<Kind>, { kind: 'timedOut' }>): Outcome {
  const errorCode = executed.maybe ? ErrorCode.REQUEST_TIMED_OUT : ErrorCode.NOT_CONTROLLER;
  return { errorCode, errorMessage: executed.reason };
}

function notEverywhere<T extends Outcome>(outcome: T): T {
  if (outcome.errorCode !== ErrorCode.NONE) return outcome;
  return {
    ...outcome,
    errorCode: ErrorCode.REQUEST_TIMED_OUT,
    errorMessage: 'The change is committed, but not all brokers and partitions confirmed it in time.',
  };
}
