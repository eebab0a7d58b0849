/**
 * What every nemesis works with: the cluster, who plays which role now, a seed, the time it has, and `fault`, which writes begin and end of a fault into the history together with the evidence
 * that it took effect. A run in which no fault took effect proves nothing and counts as not run.
 */
import type { SeededRandom } from '../../../src/std/seeded-random.ts';
import { type ClientNetwork, pause } from '../clients/network.ts';
import type { ChaosCluster } from '../cluster/chaos-cluster.ts';
import { Mark } from '../history/history.ts';
import type { Recorder } from '../history/recorder.ts';
import type { ShrinkingTopic } from '../workload/shrinking-topic.ts';
import type { TopicChurn } from '../workload/topic-churn.ts';
import { GROUP, TOPIC } from '../workload/workload.ts';

/** Leaders learn of a lost replica after a moment: all have to say it several times in a row. */
const WHOLE_LOOKS = 8;

export type Role = 'leader' | 'follower' | 'metadata-leader' | 'coordinator' | 'any';

export interface FaultRecord {
  readonly kind: string;
  readonly brokers: readonly number[];
  /** Nanoseconds since the run began. */
  readonly from: number;
  to: number;
  /** What shows that it took effect; undefined: nothing does. */
  evidence: string | undefined;
  /** From where recovery is measured: a fault that takes the quorum away can be recovered from only when that may come back, at the latest after the fault. */
  recoverFrom: 'begin' | 'end';
  /** When the quorum that it took away may have come back, because the first broker was started again: from then on recovery is measured. */
  quorumBackAt?: number;
}

export interface NemesisOptions {
  readonly cluster: ChaosCluster;
  /** Direct, not through proxies. */
  readonly network: ClientNetwork;
  readonly recorder: Recorder;
  readonly random: SeededRandom;
  readonly durationMs: number;
  /** What makes and deletes a topic, if the scenario has it. */
  readonly churn?: TopicChurn;
  /** What deletes records, if the scenario has it. */
  readonly shrinking?: ShrinkingTopic;
}

/** Who must not be chosen. */
export interface Exception {
  readonly but?: number;
}

export class NemesisContext {
  readonly cluster: ChaosCluster;
  readonly random: SeededRandom;
  readonly faults: FaultRecord[];
  /** Facts that the report shall show. */
  readonly notes: string[];
  /** What must not be: each makes the run fail. */
  readonly failures: string[];
  readonly #options: NemesisOptions;
  readonly #network: ClientNetwork;
  readonly #recorder: Recorder;
  readonly #deadlineMs: number;

  constructor(options: NemesisOptions, parent?: NemesisContext) {
    const { cluster, network, recorder, random, durationMs } = options;
    this.#options = options;
    this.faults = parent?.faults ?? [];
    this.notes = parent?.notes ?? [];
    this.failures = parent?.failures ?? [];
    this.cluster = cluster;
    this.random = random;
    this.#network = network;
    this.#recorder = recorder;
    this.#deadlineMs = performance.now() + durationMs;
  }

  get churn(): TopicChurn {
    if (this.#options.churn === undefined) throw new Error('This scenario has no topic that comes and goes');
    return this.#options.churn;
  }

  get shrinking(): ShrinkingTopic {
    if (this.#options.shrinking === undefined) throw new Error('This scenario has no topic whose records are deleted');
    return this.#options.shrinking;
  }

  /** False when the time for faults is over. */
  get hasTime(): boolean {
    return performance.now() < this.#deadlineMs;
  }

  get remainingMs(): number {
    return Math.max(0, this.#deadlineMs - performance.now());
  }

  /** The same with less time, for one of several nemeses that take turns. */
  within(durationMs: number): NemesisContext {
    const options = { ...this.#options, random: this.random.fork() };
    return new NemesisContext({ ...options, durationMs: Math.min(durationMs, this.remainingMs) }, this);
  }

  sleep(ms: number): Promise<void> {
    return pause(ms);
  }

  /** Between `low` and `high` ms. */
  sleepBetween(low: number, high: number): Promise<void> {
    return pause(this.random.between(low, high));
  }

  /** Runs `act` as a fault of `brokers`; what it returns is the evidence that it took effect, undefined if it did not. */
  async fault(
    kind: string,
    brokers: readonly number[],
    act: () => Promise<string | undefined>,
    options: { recoverFrom?: 'begin' | 'end' } = {},
  ): Promise<void> {
    const recorder = this.#recorder;
    const record: FaultRecord = {
      kind,
      brokers,
      from: recorder.now(),
      to: Number.POSITIVE_INFINITY,
      evidence: undefined,
      recoverFrom: options.recoverFrom ?? 'begin',
    };
    this.faults.push(record);
    recorder.nemesis(Mark.faultBegins, { kind, brokers });
    try {
      record.evidence = await act();
    } finally {
      record.to = recorder.now();
      recorder.nemesis(Mark.faultEnds, { kind, brokers, evidence: record.evidence ?? null });
    }
  }

  /** From now on no majority can take part; what is acknowledged until `quorumBack` is a violation. Call when the fault has taken effect. */
  quorumLost(): void {
    this.#recorder.nemesis(Mark.quorumLost, null);
  }

  /** Call before anything is done that may bring a majority back. */
  quorumBack(): void {
    const fault = this.faults.at(-1);
    if (fault !== undefined) fault.quorumBackAt = this.#recorder.now();
    this.#recorder.nemesis(Mark.quorumBack, null);
  }

  /** A running broker that plays the role now; any running one if nobody is known to. */
  async who(role: Role, { but }: Exception = {}): Promise<number> {
    const running = this.cluster.alive.filter((id) => id !== but && !this.cluster.isPaused(id));
    const chosen = await this.#find(role, running);
    return chosen !== undefined && running.includes(chosen) ? chosen : this.random.pick(running);
  }

  async #find(role: Role, running: readonly number[]): Promise<number | undefined> {
    switch (role) {
      case 'any':
        return this.random.pick(running);
      case 'metadata-leader':
        return this.#network.controllerId();
      case 'coordinator':
        return (await this.#network.coordinatorOf(GROUP))?.id;
      case 'leader':
      case 'follower': {
        const leaders = await this.#network.leaderIds(TOPIC);
        if (leaders === undefined) return undefined;
        const partition = this.random.below(leaders.size);
        const leader = leaders.get(partition);
        if (role === 'leader') return leader;
        const others = running.filter((id) => id !== leader);
        return others.length === 0 ? undefined : this.random.pick(others);
      }
    }
  }

  /** Waits until every partition has all of its replicas again, so that the next one may be lost; false if that takes too long. */
  async awaitWhole(timeoutMs: number): Promise<boolean> {
    const deadlineMs = performance.now() + timeoutMs;
    for (let times = 0; times < WHOLE_LOOKS; ) {
      if (performance.now() > deadlineMs) return false;
      const missing = await Promise.all(this.cluster.ids.map((id) => this.#missingReplicas(id)));
      times = missing.every((count) => count === 0) ? times + 1 : 0;
      await pause(250);
    }
    return this.awaitReady(Math.max(0, deadlineMs - performance.now()));
  }

  async #missingReplicas(id: number): Promise<number> {
    const metrics = (await this.cluster.http(id, '/metrics'))?.body;
    if (metrics === undefined) return Number.POSITIVE_INFINITY;
    let sum = 0;
    for (const line of metrics.split('\n')) {
      const match = /^\w*partitions_(?:under_replicated|leaderless)(?:\{[^}]*\})? (\S+)$/.exec(line);
      if (match !== null) sum += Number(match[1]);
    }
    return sum;
  }

  /** A number of a broker's metrics, by the end of its name; the sum if it has several; undefined if the broker does not answer. */
  async metric(id: number, name: string): Promise<number | undefined> {
    const metrics = (await this.cluster.http(id, '/metrics'))?.body;
    if (metrics === undefined) return undefined;
    let sum = 0;
    for (const [, value] of metrics.matchAll(new RegExp(`^\\w*${name}(?:\\{[^}]*\\})? (\\S+)$`, 'gm')))
      sum += Number(value);
    return sum;
  }

  /** What brokers that are not ready say. */
  async reasonsNotReady(): Promise<string> {
    const reasons = await Promise.all(
      this.cluster.ids.map(async (id) => {
        const answer = await this.cluster.http(id, '/readyz');
        return answer?.status === 200 ? undefined : `broker ${id}: ${answer?.body.trim() ?? 'no answer'}`;
      }),
    );
    return reasons.filter((reason) => reason !== undefined).join('; ');
  }

  /** Waits until all running brokers are ready; false if that takes too long. */
  async awaitReady(timeoutMs: number): Promise<boolean> {
    const deadlineMs = performance.now() + timeoutMs;
    for (;;) {
      const ready = await Promise.all(this.cluster.alive.map((id) => this.cluster.isReady(id)));
      if (ready.every((isReady) => isReady)) return true;
      if (performance.now() > deadlineMs) return false;
      await pause(100);
    }
  }
}
