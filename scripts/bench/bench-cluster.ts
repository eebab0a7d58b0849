/** Three brokers as processes of this machine, for benchmarks that start and kill them. They belong to the benchmark: it ends them, and deletes their data. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Endpoint } from './raw-client.ts';

const HOST = '127.0.0.1';
/** Ticks a second of /proc (USER_HZ), the same on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;
const POLL_MS = 10;
const READY_TIMEOUT_MS = 120_000;
/** As cluster.sh starts them. */
const THREAD_POOL_SIZE = 24;

export interface BenchClusterOptions {
  readonly directory: string;
  /** Kafka ports from here on, Raft 100 above, HTTP 200 above. */
  readonly port: number;
  /** The broker's main file. */
  readonly main: string;
  /** Of Node, for profiles. */
  readonly nodeArguments: readonly string[];
}

export class BenchCluster {
  readonly ids: readonly number[] = [1, 2, 3];
  readonly #options: BenchClusterOptions;
  readonly #running = new Map<number, ChildProcess>();

  constructor(options: BenchClusterOptions) {
    this.#options = options;
    for (const id of this.ids) {
      mkdirSync(this.#brokerDirectory(id), { recursive: true });
      writeFileSync(this.#propertiesFile(id), this.#properties(id));
    }
  }

  get endpoints(): Endpoint[] {
    return this.ids.map((id) => ({ host: HOST, port: this.#options.port + id - 1 }));
  }

  startAll(): void {
    for (const id of this.ids) this.start(id);
  }

  start(id: number): void {
    const directory = this.#brokerDirectory(id);
    const log = openSync(join(directory, 'broker.log'), 'a');
    const child = spawn(
      process.execPath,
      [...this.#options.nodeArguments, this.#options.main, this.#propertiesFile(id)],
      {
        cwd: directory,
        // A session of its own: the scheduler divides the machine among sessions, as it would with brokers started one by one.
        detached: true,
        stdio: ['ignore', log, log],
        env: { ...process.env, UV_THREADPOOL_SIZE: `${THREAD_POOL_SIZE}`, NODE_ENV: 'production' },
      },
    );
    closeSync(log);
    this.#running.set(id, child);
  }

  async kill(ids: readonly number[]): Promise<void> {
    await this.#end(ids, 'SIGKILL');
  }

  async stopAll(): Promise<void> {
    await this.#end(this.ids, 'SIGTERM');
  }

  /** Resolves when one broker says that it is ready. */
  async firstReady(): Promise<void> {
    await Promise.race(this.ids.map((id) => this.readyMs(id, 0)));
  }

  /** Milliseconds from `sinceMs` until every broker was ready. */
  async allReadyMs(sinceMs: number): Promise<number> {
    return Math.max(...(await Promise.all(this.ids.map((id) => this.readyMs(id, sinceMs)))));
  }

  /** Milliseconds from `sinceMs` until the broker was ready. */
  async readyMs(id: number, sinceMs: number): Promise<number> {
    const url = `http://${HOST}:${this.#options.port + 200 + id - 1}/readyz`;
    const limitMs = performance.now() + READY_TIMEOUT_MS;
    for (;;) {
      const isReady = await fetch(url).then(
        async (response) => {
          await response.arrayBuffer();
          return response.ok;
        },
        () => false,
      );
      if (isReady) return performance.now() - sinceMs;
      if (performance.now() > limitMs) throw new Error(`Broker ${id} was not ready in ${READY_TIMEOUT_MS / 1000} s`);
      await sleep(POLL_MS);
    }
  }

  cpuSeconds(ids: readonly number[] = this.ids): number {
    let ticks = 0;
    for (const id of ids) {
      const stat = readFileSync(`/proc/${this.#pid(id)}/stat`, 'utf8');
      // The name of the program, in brackets, may contain spaces.
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      ticks += Number(fields[11]) + Number(fields[12]);
    }
    return ticks / TICKS_PER_SECOND;
  }

  rssMb(id: number): number {
    return this.#memoryMb(id, 'VmRSS');
  }

  /** The most that the running process ever had. */
  peakRssMb(id: number): number {
    return this.#memoryMb(id, 'VmHWM');
  }

  /** Size of the files of the WAL. */
  walMb(id: number): number {
    const directory = join(this.#brokerDirectory(id), 'data', 'wal');
    const files = readdirSync(directory).filter((name) => name.endsWith('.wal'));
    return files.reduce((sum, name) => sum + statSync(join(directory, name)).size, 0) / 1e6;
  }

  async #end(ids: readonly number[], signal: NodeJS.Signals): Promise<void> {
    await Promise.all(
      ids.map(async (id) => {
        const child = this.#running.get(id);
        if (child === undefined) return;
        this.#running.delete(id);
        if (child.exitCode !== null || child.signalCode !== null) return;
        const ended = new Promise((resolve) => child.once('exit', resolve));
        child.kill(signal);
        await ended;
      }),
    );
  }

  #memoryMb(id: number, field: string): number {
    const status = readFileSync(`/proc/${this.#pid(id)}/status`, 'utf8');
    return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) / 1024;
  }

  #pid(id: number): number {
    const pid = this.#running.get(id)?.pid;
    if (pid === undefined) throw new Error(`Broker ${id} does not run`);
    return pid;
  }

  #brokerDirectory(id: number): string {
    return join(this.#options.directory, `broker-${id}`);
  }

  #propertiesFile(id: number): string {
    return join(this.#brokerDirectory(id), 'broker.properties');
  }

  #properties(id: number): string {
    const { port } = this.#options;
    const voters = this.ids.map((voter) => `${voter}@${HOST}:${port + 100 + voter - 1}`);
    const lines = {
      'node.id': id,
      listeners: `PLAINTEXT://${HOST}:${port + id - 1}`,
      'advertised.listeners': `PLAINTEXT://${HOST}:${port + id - 1}`,
      'raft.listener': `${HOST}:${port + 100 + id - 1}`,
      'http.listener': `${HOST}:${port + 200 + id - 1}`,
      'controller.quorum.voters': voters.join(','),
      'log.dirs': join(this.#brokerDirectory(id), 'data'),
      'default.replication.factor': 3,
      'offsets.topic.replication.factor': 3,
    };
    return Object.entries(lines)
      .map(([key, value]) => `${key}=${value}\n`)
      .join('');
  }
}
