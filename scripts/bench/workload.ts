/** What can be measured: workloads made of cells, each of which is run on every system in turn and gives figures. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { CpuSnapshot, CpuUsage } from './machine.ts';
import { PartitionProbe } from './partition-probe.ts';
import { createTopic, deleteTopic, leadersOf, type TopicLeaders } from './raw-client.ts';
import type { System } from './system.ts';

/** short: what one wants to know every day, in few minutes. full: what is published. */
export type Scale = 'short' | 'full';

export interface Figure {
  readonly name: string;
  readonly unit: string;
  /** Which way is better; undefined where neither is. */
  readonly better: 'higher' | 'lower' | undefined;
  readonly value: number;
}

export interface Outcome {
  readonly figures: readonly Figure[];
  /** Who used the CPU while the figures were taken. */
  readonly usage?: CpuUsage | undefined;
  /** What a reader must know of this run, e.g. that requests were refused. */
  readonly remark?: string | undefined;
}

export interface Cell {
  /** Name of the workload, a hyphen, and what is special. */
  readonly id: string;
  readonly label: string;
  /** Position on the curve of the workload. */
  readonly x?: number;
  /** `true`: the cell gets a cluster that is not started yet, starts it itself, and nothing else runs meanwhile. */
  readonly ownCluster?: boolean;
  /** Brokers of the cluster; 3 unless given. */
  readonly nodes?: number;
  /** Runs once, without any cluster. */
  readonly machineOnly?: boolean;
  /** Runs at most so often, whatever was asked for: what takes long and hardly varies. */
  readonly roundsMax?: number;
  /** What takes longer has failed. */
  readonly limitSeconds?: number;
  run(context: Context): Promise<Outcome>;
}

export interface Workload {
  readonly name: string;
  readonly about: string;
  /** Part of a short run that names no workloads. */
  readonly everyday: boolean;
  cells(scale: Scale): readonly Cell[];
  /**
   * Its cells run on clusters of their own, one in each round, and no other system is up meanwhile: for what an idle neighbor or the load of other workloads would disturb. This is the load that makes
   * such a cluster hot after its start.
   */
  readonly heatAlone?: (context: Context) => Promise<void>;
  /** Pictures: one panel for each figure named, over `x`. */
  readonly curve?: { readonly xLabel: string; readonly figures: readonly string[]; readonly title: string };
}

export class Context {
  readonly system: System;
  readonly scale: Scale;
  /** Length of a measured stretch, and of the load before it that is not counted. */
  readonly seconds: number;
  readonly warmupSeconds: number;
  readonly replicationFactor: number;
  /** Directory for files of the cell, on the disk that the brokers use. */
  readonly directory: string;
  /** The script with another system's tools, if there is one. */
  readonly toolScript: string | undefined;
  /** Aborted when the cell's time is up. */
  readonly signal: AbortSignal;
  readonly #takeSnapshot: () => CpuSnapshot;
  readonly #topics: string[] = [];

  constructor(options: {
    readonly system: System;
    readonly scale: Scale;
    readonly seconds: number;
    readonly warmupSeconds: number;
    readonly replicationFactor: number;
    readonly directory: string;
    readonly toolScript: string | undefined;
    readonly signal: AbortSignal;
    readonly takeSnapshot: () => CpuSnapshot;
  }) {
    this.system = options.system;
    this.scale = options.scale;
    this.seconds = options.seconds;
    this.warmupSeconds = options.warmupSeconds;
    this.replicationFactor = options.replicationFactor;
    this.directory = options.directory;
    this.toolScript = options.toolScript;
    this.signal = options.signal;
    this.#takeSnapshot = options.takeSnapshot;
  }

  get bootstrap(): string {
    return this.system.endpoints.map(({ host, port }) => `${host}:${port}`).join(',');
  }

  get pids(): number[] {
    return [...this.system.pids().values()];
  }

  takeSnapshot(): CpuSnapshot {
    return this.#takeSnapshot();
  }

  /**
   * A new topic that lives until the end of the cell. Resolves when every partition acknowledged a record; or, if the topic shall stay empty, a second after all leaders are known; or as soon as they
   * are known. Metadata names leaders before they serve, Kafka's with 1,000 partitions by many seconds.
   */
  async createTopic(
    partitions: number,
    { ready = 'serving' }: { readonly ready?: 'serving' | 'empty' | 'led' } = {},
  ): Promise<TopicLeaders & { readonly topic: string }> {
    const topic = `bench-${process.pid}-${topicsMade++}`;
    const { endpoints } = this.system;
    const [bootstrap] = endpoints;
    this.#topics.push(topic);
    const { replicationFactor } = this;
    const created = await createTopic(bootstrap!, { name: topic, partitions, replicationFactor });
    if (ready === 'led') return { ...created, topic };
    if (ready === 'serving') {
      await new PartitionProbe(endpoints, topic, [...created.leaders.keys()], performance.now()).run();
    }
    await sleep(SERVE_MS);
    return { ...(await leadersOf(bootstrap!, topic)), topic };
  }

  async deleteTopics(): Promise<void> {
    for (const topic of this.#topics.splice(0)) await deleteTopic(this.system.endpoints[0]!, topic);
  }
}

/** What a broker does right after a topic came (files, elections, first fetches of followers) is not what is measured. */
const SERVE_MS = 1_000;

let topicsMade = 0;

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Everything written goes to the disk now, so that nobody pays for it later. */
export async function syncDisks(): Promise<void> {
  await promisify(execFile)('sync');
}
