/** What can be measured: workloads made of cells, each of which is run on every system in turn and gives figures. */
import type { CpuSnapshot, CpuUsage } from './machine.ts';
import { createTopic, deleteTopic, type TopicLeaders } from './raw-client.ts';
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
  run(context: Context): Promise<Outcome>;
}

export interface Workload {
  readonly name: string;
  readonly about: string;
  /** Part of a short run that names no workloads. */
  readonly everyday: boolean;
  cells(scale: Scale): readonly Cell[];
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
    readonly takeSnapshot: () => CpuSnapshot;
  }) {
    this.system = options.system;
    this.scale = options.scale;
    this.seconds = options.seconds;
    this.warmupSeconds = options.warmupSeconds;
    this.replicationFactor = options.replicationFactor;
    this.directory = options.directory;
    this.toolScript = options.toolScript;
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

  /** A new topic that lives until the end of the cell; returns `serveMs` after its leaders are known. */
  async createTopic(
    partitions: number,
    { serveMs = SERVE_MS }: { readonly serveMs?: number } = {},
  ): Promise<TopicLeaders & { readonly topic: string }> {
    const topic = `bench-${process.pid}-${topicsMade++}`;
    const [bootstrap] = this.system.endpoints;
    this.#topics.push(topic);
    const { replicationFactor } = this;
    const leaders = await createTopic(bootstrap!, { name: topic, partitions, replicationFactor });
    await sleep(serveMs);
    return { ...leaders, topic };
  }

  async deleteTopics(): Promise<void> {
    for (const topic of this.#topics.splice(0)) await deleteTopic(this.system.endpoints[0]!, topic);
  }
}

/** Kafka's metadata names leaders a moment before they serve. */
const SERVE_MS = 1_000;

let topicsMade = 0;

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
