/**
 * Runs cells on systems in turn, round after round (A B, B A, A B, …), never two under load at a time.
 *
 * Cells that only put load on a cluster share one cluster for each system, which is started and warmed up once (a Java virtual machine needs that more than Node does); each cell has topics of its
 * own, deleted when it ends. Workloads that want to be alone have a cluster for each round and system, heated in their own way, with no other system up. Cells that start and kill brokers get
 * clusters of their own, started by themselves, and then no other one is up either.
 *
 * A cell that fails or takes too long is noted as failed, everything is wiped, and the next one goes on.
 */
import { mkdirSync, rmSync } from 'node:fs';
import { loadavg } from 'node:os';
import { ownedShare, takeSnapshot } from './machine.ts';
import { number } from './number-format.ts';
import { type CellResult, describeNoise, isNoisy, type Results, type RunResult } from './results.ts';
import type { System, SystemKind } from './system.ts';
import { type Cell, Context, type Scale, sleep, syncDisks, type Workload } from './workload.ts';
import { runConsume } from './workloads/consume.ts';
import { runProduce } from './workloads/produce.ts';

const NODES_DEFAULT = 3;
const SLOT_SHARED = 0;
const SLOT_OWN = 1;
/** What the brokers do after the last run (deletions, elections) shall not fall into the next. */
const SETTLE_MS = 1_000;
const CELL_LIMIT_SECONDS = 240;
const START_LIMIT_SECONDS = 180;
const WIPE_LIMIT_SECONDS = 60;
/** Of the time of a short busy loop, what it had of a core at least while the machine is ours. */
const OWNED_SHARE_MIN = 0.9;
const PATIENCE_STEP_MS = 3_000;
const PATIENCE_MS = 45_000;
/** Of all runs together. */
const PATIENCE_TOTAL_MS = 300_000;

export interface RunnerOptions {
  readonly kinds: readonly SystemKind[];
  readonly rounds: number;
  readonly scale: Scale;
  readonly seconds: number;
  readonly warmupSeconds: number;
  /** Length of each kind of load on a shared cluster that was just started, before anything counts. */
  readonly heatSeconds: number;
  readonly replicationFactor: number;
  readonly directory: string;
  readonly toolScript: string | undefined;
  /** So many runs in all that were not quiet are done once more. */
  readonly againMax: number;
  /** After so many no run begins. */
  readonly limitMinutes: number;
  /** Called after each run. */
  readonly save: () => void;
}

export class Runner {
  readonly #options: RunnerOptions;
  readonly #shared = new Map<SystemKind, System>();
  /** The cluster of a workload that is alone on the machine. */
  #alone: { readonly kind: SystemKind; readonly workload: Workload; readonly system: System } | undefined;
  /** Everything started and not wiped yet. */
  readonly #live = new Set<System>();
  #progress = '';
  #againLeft: number;
  #patienceMs = PATIENCE_TOTAL_MS;

  constructor(options: RunnerOptions) {
    this.#options = options;
    this.#againLeft = options.againMax;
  }

  /** Adds to `results`; a run that fails is noted there, and the next one goes on. */
  async run(
    selection: readonly { readonly workload: Workload; readonly cells: readonly Cell[] }[],
    results: Results,
  ): Promise<void> {
    const { kinds, rounds, limitMinutes } = this.#options;
    const limitMs = performance.now() + limitMinutes * 60_000;
    for (const [at, { workload, cells }] of selection.entries()) {
      const cellResults = new Map<Cell, CellResult>();
      for (const cell of cells) {
        const { id, label, x } = cell;
        const result = { workload: workload.name, cell: id, label, runs: [], failures: [] };
        cellResults.set(cell, { ...result, ...(x === undefined ? {} : { x }) });
      }
      results.cells.push(...cellResults.values());
      for (let round = 0; round < rounds; round++) {
        const order = round % 2 === 0 ? kinds : [...kinds].reverse();
        for (const { cell, kind } of turnsOf(workload, cells, order)) {
          if (round >= (cell.roundsMax ?? rounds)) continue;
          this.#progress = `${at + 1}/${selection.length} ${cell.id}, round ${round + 1}/${rounds}, ${kind.name}`;
          if (performance.now() > limitMs) {
            cellResults.get(cell)!.failures?.push({ system: kind.name, round, error: 'Not run: the time was up' });
            continue;
          }
          await this.#attempt(workload, cell, kind, round, cellResults.get(cell)!);
          this.#options.save();
        }
        if (workload.heatAlone !== undefined) await this.wipe();
      }
    }
    await this.wipe();
  }

  async #attempt(workload: Workload, cell: Cell, kind: SystemKind, round: number, into: CellResult): Promise<void> {
    try {
      const result = await this.#runCell(workload, cell, kind, round);
      this.#report(result);
      into.runs.push(result);
      if (!isNoisy(result) || this.#againLeft === 0) return;
      this.#againLeft -= 1;
      this.#say('once more, because the machine was not quiet');
      const again = await this.#runCell(workload, cell, kind, round);
      this.#report(again);
      into.runs.push(again);
    } catch (error) {
      into.failures?.push({ system: kind.name, round, error: (error as Error).message });
      this.#say(`FAILED: ${(error as Error).stack}`);
      // Whatever state it left behind is not what the next one shall be measured on.
      await this.wipe();
    }
  }

  /** Kills and deletes all clusters that were started; whatever cannot be done in order is killed. */
  async wipe(): Promise<void> {
    for (const system of this.#live) {
      await limited(system.wipe(), WIPE_LIMIT_SECONDS, 'Wiping the cluster').catch((error: Error) => {
        this.#say(`${error.message}; killed`);
        this.#destroy(system);
      });
    }
    this.#live.clear();
    this.#shared.clear();
    this.#alone = undefined;
  }

  /** The same without waiting for anything. */
  wipeNow(): void {
    for (const system of this.#live) this.#destroy(system);
    this.#live.clear();
  }

  #destroy(system: System): void {
    if (!system.managed) return;
    for (const pid of system.pids().values()) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It ended before.
      }
    }
    rmSync(system.dataDirectory!, { recursive: true, force: true });
  }

  async #runCell(workload: Workload, cell: Cell, kind: SystemKind, round: number): Promise<RunResult> {
    const system = await this.#systemFor(workload, cell, kind);
    try {
      await syncDisks();
      await sleep(SETTLE_MS);
      await this.#awaitCpu();
      const load = loadavg()[0]!;
      const { figures, usage, remark } = await this.#within(
        cell.limitSeconds ?? CELL_LIMIT_SECONDS,
        system,
        this.#options.seconds,
        async (context) => {
          const outcome = await cell.run(context);
          if (cell.ownCluster !== true && cell.machineOnly !== true) await context.deleteTopics();
          return outcome;
        },
      );
      return {
        system: cell.machineOnly === true ? 'machine' : kind.name,
        round,
        figures,
        load,
        ...(usage === undefined
          ? {}
          : { othersShare: usage.othersShare, stealShare: usage.stealShare, restingShare: usage.restingShare }),
        ...(remark === undefined ? {} : { remark }),
      };
    } finally {
      if (cell.ownCluster === true) await this.wipe();
    }
  }

  async #systemFor(workload: Workload, cell: Cell, kind: SystemKind): Promise<System> {
    if (cell.machineOnly === true) {
      await this.wipe();
      return NO_SYSTEM;
    }
    if (cell.ownCluster === true) {
      if (!kind.managed) throw new Error('This needs a cluster that can be started and killed');
      await this.wipe();
      return this.#create(kind, cell.nodes ?? NODES_DEFAULT, SLOT_OWN);
    }
    if (workload.heatAlone !== undefined) return this.#aloneFor(workload, workload.heatAlone, kind);
    if (this.#alone !== undefined) await this.wipe();
    const known = this.#shared.get(kind);
    if (known !== undefined) return known;
    const { heatSeconds } = this.#options;
    const system = await this.#startCluster(kind, SLOT_SHARED, heatSeconds, (context) => heatThroughput(context));
    this.#shared.set(kind, system);
    return system;
  }

  async #aloneFor(workload: Workload, heat: (context: Context) => Promise<void>, kind: SystemKind): Promise<System> {
    if (this.#alone?.kind === kind && this.#alone.workload === workload) return this.#alone.system;
    await this.wipe();
    const system = await this.#startCluster(kind, SLOT_OWN, this.#options.seconds, heat);
    this.#alone = { kind, workload, system };
    return system;
  }

  async #startCluster(
    kind: SystemKind,
    slot: number,
    heatSeconds: number,
    heat: (context: Context) => Promise<void>,
  ): Promise<System> {
    const system = this.#create(kind, NODES_DEFAULT, slot);
    this.#say('starting the cluster');
    const tookMs = await limited(system.start(), START_LIMIT_SECONDS, 'Starting the cluster');
    this.#say(`started in ${number(tookMs / 1000)} s; warming up`);
    await this.#within(CELL_LIMIT_SECONDS, system, heatSeconds, heat);
    return system;
  }

  #create(kind: SystemKind, nodes: number, slot: number): System {
    const system = kind.create({ nodes, slot });
    this.#live.add(system);
    return system;
  }

  /** Rejects when the time is up, and tells `work` so. */
  async #within<T>(
    limitSeconds: number,
    system: System,
    seconds: number,
    work: (context: Context) => Promise<T>,
  ): Promise<T> {
    const controller = new AbortController();
    const context = this.#contextOf(system, seconds, controller.signal);
    try {
      return await limited(work(context), limitSeconds, 'The run');
    } catch (error) {
      controller.abort(error);
      throw error;
    }
  }

  #contextOf(system: System, seconds: number, signal: AbortSignal): Context {
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
      signal,
      takeSnapshot: () => {
        const resting = [...this.#live].filter((other) => other !== system);
        return takeSnapshot(
          [...system.pids().values()],
          resting.flatMap((other) => [...other.pids().values()]),
        );
      },
    });
  }

  /** A virtual machine whose hypervisor gives the CPU to others just now is worth waiting for, but not for ever. */
  async #awaitCpu(): Promise<void> {
    const startedMs = performance.now();
    while (ownedShare() < OWNED_SHARE_MIN) {
      const waitedMs = performance.now() - startedMs;
      if (waitedMs > Math.min(PATIENCE_MS, this.#patienceMs)) {
        this.#say('the CPU is not ours, but time goes on');
        break;
      }
      await sleep(PATIENCE_STEP_MS);
    }
    const waitedMs = performance.now() - startedMs;
    if (waitedMs < PATIENCE_STEP_MS) return;
    this.#patienceMs -= waitedMs;
    this.#say(`waited ${(waitedMs / 1000).toFixed(0)} s for the CPU`);
  }

  #report(result: RunResult): void {
    const figures = result.figures.map(({ name, unit, value }) => `${name} ${number(value)} ${unit}`).join(', ');
    const noise = isNoisy(result) ? `; NOT QUIET: ${describeNoise(result)}` : '';
    const remark = result.remark === undefined ? '' : `; ${result.remark}`;
    this.#say(`${figures}${noise}${remark}`);
  }

  #say(text: string): void {
    console.error(`[${this.#progress}] ${text}`);
  }
}

/** Cells in turn on all systems; or, where clusters are alone, all cells on one system before the next. */
function turnsOf(
  workload: Workload,
  cells: readonly Cell[],
  kinds: readonly SystemKind[],
): { readonly cell: Cell; readonly kind: SystemKind }[] {
  if (workload.heatAlone !== undefined) return kinds.flatMap((kind) => cells.map((cell) => ({ cell, kind })));
  return cells.flatMap((cell) => {
    const used = cell.machineOnly === true ? kinds.slice(0, 1) : kinds;
    return used.map((kind) => ({ cell, kind }));
  });
}

/** Stretches of load of each shape while a cluster gets faster: what V8 and the JVM compile takes longer the fewer cores there are. */
const HEAT_STRETCHES_MAX = 4;
const FASTER = 1.07;

/** Large and small batches over partitions of all brokers, and reading; no stretch counts. */
async function heatThroughput(context: Context): Promise<void> {
  const stretches = context.scale === 'short' ? { min: 1, max: 1 } : { min: 2, max: HEAT_STRETCHES_MAX };
  for (const load of [{ batchBytes: 65_536 }, { batchBytes: 4096, partitionsPerRequest: 12 }]) {
    let best = 0;
    for (let stretch = 1; stretch <= stretches.max; stretch++) {
      const { figures } = await runProduce(context, { partitions: 12, recordBytes: 1024, ...load });
      await context.deleteTopics();
      const { value } = figures.find(({ name }) => name === 'throughput')!;
      if (stretch >= stretches.min && value < best * FASTER) break;
      best = Math.max(best, value);
    }
    await runConsume(context, { megabytes: 48, seconds: context.seconds / 4, evict: false });
    await context.deleteTopics();
  }
}

async function limited<T>(work: Promise<T>, seconds: number, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} took more than ${seconds} s`)), seconds * 1000);
  });
  // Whatever it still ends with, nobody waits for it any more.
  work.catch(() => undefined);
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
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
