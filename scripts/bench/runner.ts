/**
 * Runs cells on systems in turn, round after round (A B, B A, A B, …), never two under load at a time.
 *
 * Cells that only put load on a cluster share one cluster for each system, which is started and warmed up once (a Java virtual machine needs that more than Node does); each cell has topics of its
 * own, deleted when it ends. Cells that start and kill brokers get clusters of their own, and then no other one is up.
 */
import { execFile } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { loadavg } from 'node:os';
import { promisify } from 'node:util';
import { takeSnapshot } from './machine.ts';
import { number } from './number-format.ts';
import { type CellResult, isNoisy, type Results, type RunResult } from './results.ts';
import type { System, SystemKind } from './system.ts';

import { type Cell, Context, type Scale, sleep, type Workload } from './workload.ts';
import { runConsume } from './workloads/consume.ts';
import { runProduce } from './workloads/produce.ts';

const run = promisify(execFile);
const NODES_DEFAULT = 3;
const SLOT_SHARED = 0;
const SLOT_OWN = 1;
/** What the brokers do after the last run (deletions, elections) shall not fall into the next. */
const SETTLE_MS = 1_000;

export interface RunnerOptions {
  readonly kinds: readonly SystemKind[];
  readonly rounds: number;
  readonly scale: Scale;
  readonly seconds: number;
  readonly warmupSeconds: number;
  /** Load on a cluster that was just started, before anything counts. */
  readonly heatSeconds: number;
  readonly replicationFactor: number;
  readonly directory: string;
  readonly toolScript: string | undefined;
  /** Called after each run. */
  readonly save: () => void;
}

export class Runner {
  readonly #options: RunnerOptions;
  readonly #shared = new Map<SystemKind, System>();
  /** Everything started and not wiped yet. */
  readonly #live = new Set<System>();
  #progress = '';

  constructor(options: RunnerOptions) {
    this.#options = options;
  }

  /** Adds to `results`; a run that fails is noted there, and the next one goes on. */
  async run(
    selection: readonly { readonly workload: Workload; readonly cells: readonly Cell[] }[],
    results: Results,
  ): Promise<void> {
    const { kinds, rounds } = this.#options;
    for (const [at, { workload, cells }] of selection.entries()) {
      const cellResults = cells.map(({ id, label, x }): CellResult => {
        return { workload: workload.name, cell: id, label, runs: [], ...(x === undefined ? {} : { x }) };
      });
      results.cells.push(...cellResults);
      for (let round = 0; round < rounds; round++) {
        for (const [i, cell] of cells.entries()) {
          if (round >= (cell.roundsMax ?? rounds)) continue;
          const order = cell.machineOnly === true ? kinds.slice(0, 1) : round % 2 === 0 ? kinds : [...kinds].reverse();
          for (const kind of order) {
            this.#progress = `${at + 1}/${selection.length} ${cell.id}, round ${round + 1}/${rounds}, ${kind.name}`;
            try {
              const result = await this.#runCell(cell, kind, round);
              cellResults[i]!.runs.push(result);
              this.#report(result);
            } catch (error) {
              results.failures.push(`${cell.id} on ${kind.name}, round ${round + 1}: ${(error as Error).message}`);
              this.#say(`FAILED: ${(error as Error).stack}`);
              // Whatever state it left behind is not what the next one shall be measured on.
              await this.wipe();
            }
            this.#options.save();
          }
        }
      }
    }
    await this.wipe();
  }

  /** Kills and deletes all clusters that were started. */
  async wipe(): Promise<void> {
    for (const system of this.#live) await system.wipe();
    this.#live.clear();
    this.#shared.clear();
  }

  /** The same without waiting for anything. */
  wipeNow(): void {
    for (const system of this.#live) {
      for (const pid of system.pids().values()) {
        try {
          process.kill(pid, 'SIGKILL');
        } catch {
          // It ended before.
        }
      }
      if (system.managed) rmSync(system.dataDirectory!, { recursive: true, force: true });
    }
    this.#live.clear();
  }

  async #runCell(cell: Cell, kind: SystemKind, round: number): Promise<RunResult> {
    const system = await this.#systemFor(cell, kind);
    const context = this.#contextOf(cell.machineOnly === true ? NO_SYSTEM : system);
    try {
      await run('sync');
      await sleep(SETTLE_MS);
      const load = loadavg()[0]!;
      const { figures, usage, remark } = await cell.run(context);
      if (cell.ownCluster !== true && cell.machineOnly !== true) await context.deleteTopics();
      return {
        system: cell.machineOnly === true ? 'machine' : kind.name,
        round,
        figures,
        load,
        ...(usage === undefined ? {} : { othersShare: usage.othersShare, stealShare: usage.stealShare }),
        ...(remark === undefined ? {} : { remark }),
      };
    } finally {
      if (cell.ownCluster === true) {
        await system.wipe();
        this.#live.delete(system);
      }
    }
  }

  async #systemFor(cell: Cell, kind: SystemKind): Promise<System> {
    if (cell.machineOnly === true) {
      await this.wipe();
      return NO_SYSTEM;
    }
    if (cell.ownCluster === true) {
      if (!kind.managed) throw new Error('This needs a cluster that can be started and killed');
      await this.wipe();
      const system = kind.create({ nodes: cell.nodes ?? NODES_DEFAULT, slot: SLOT_OWN });
      this.#live.add(system);
      return system;
    }
    const known = this.#shared.get(kind);
    if (known !== undefined) return known;
    const system = kind.create({ nodes: NODES_DEFAULT, slot: SLOT_SHARED });
    this.#live.add(system);
    this.#say('starting the cluster');
    const tookMs = await system.start();
    this.#say(`started in ${number(tookMs / 1000)} s; warming up for ${this.#options.heatSeconds} s`);
    await this.#heat(system);
    this.#shared.set(kind, system);
    return system;
  }

  async #heat(system: System): Promise<void> {
    const context = this.#contextOf(system, this.#options.heatSeconds / 2);
    await runProduce(context, { partitions: 12, recordBytes: 1024, batchBytes: 65_536 });
    await context.deleteTopics();
    await runConsume(context, { megabytes: 48, seconds: this.#options.heatSeconds / 4, evict: false });
    await runProduce(context, { partitions: 12, recordBytes: 1024, batchBytes: 4096, partitionsPerRequest: 12 });
    await context.deleteTopics();
  }

  #contextOf(system: System, seconds = this.#options.seconds): Context {
    const { scale, replicationFactor, directory, toolScript, warmupSeconds } = this.#options;
    mkdirSync(directory, { recursive: true });
    return new Context({
      system,
      scale,
      seconds,
      warmupSeconds: Math.min(seconds, warmupSeconds),
      replicationFactor,
      directory,
      toolScript,
      takeSnapshot: () => {
        const resting = [...this.#live].filter((other) => other !== system);
        return takeSnapshot(
          [...system.pids().values()],
          resting.flatMap((other) => [...other.pids().values()]),
        );
      },
    });
  }

  #report(result: RunResult): void {
    const figures = result.figures.map(({ name, unit, value }) => `${name} ${number(value)} ${unit}`).join(', ');
    const others =
      result.othersShare === undefined ? '' : `; others had ${(result.othersShare * 100).toFixed(1)} % of the CPU`;
    const remark = result.remark === undefined ? '' : `; ${result.remark}`;
    this.#say(`${figures}${others}${isNoisy(result) ? ' (NOT QUIET)' : ''}${remark}`);
  }

  #say(text: string): void {
    console.error(`[${this.#progress}] ${text}`);
  }
}

/** Stands for a cluster where none is needed. */
const NO_SYSTEM: System = {
  name: 'machine',
  endpoints: [],
  managed: false,
  dataDirectory: undefined,
  pids: () => new Map(),
  metrics: async () => undefined,
  start: async () => 0,
  revive: async () => {},
  stop: async () => {},
  wipe: async () => {},
};
