/** Owns one broker's process as cluster.sh sees it: its pid file, its signals, whether it answers. */
import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { get } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ClusterError } from './cluster-error.ts';
import { type ClusterFiles, REPOSITORY } from './cluster-files.ts';
import { inspectProcess, type ProcessState } from './process-identity.ts';

/** Threads for disk operations, two of them for the WAL alone. The others mostly wait in fsyncs of partition files, which the file system completes together: the more wait, the more end at once. */
const THREAD_POOL_SIZE = 24;
const POLL_MS = 25;
const HTTP_TIMEOUT_MS = 1_000;
const COMMAND = join(REPOSITORY, 'dist', 'src', 'flotilla-broker.js');

export interface LiveBroker extends ProcessState {
  readonly pid: number;
}

/** What a broker says of itself (GET /status). */
export interface BrokerStatus {
  readonly nodeId: number;
  readonly clusterId: string;
  /** Groups that it leads. */
  readonly leaders: number;
  readonly ready: boolean;
  /** Why it is not ready. */
  readonly reason?: string;
}

/** Of pino. */
const ERROR_LEVEL = 50;

export class BrokerProcess {
  readonly id: number;
  readonly #files: ClusterFiles;
  #exit: string | undefined;
  #logOffset = 0;

  constructor(files: ClusterFiles, id: number) {
    this.id = id;
    this.#files = files;
  }

  /** The running process; undefined if it is dead. */
  live(): LiveBroker | undefined {
    const recorded = this.#recorded();
    if (recorded === undefined) return undefined;
    const pid = Number(recorded.split(' ')[0]);
    const state = inspectProcess(pid);
    return state?.identity === recorded ? { pid, ...state } : undefined;
  }

  /** True if the last process ended without being stopped by cluster.sh: killed, or failed. */
  endedUnasked(): boolean {
    return this.#recorded() !== undefined && this.live() === undefined;
  }

  /** Throws a sentence unless the broker runs; paused counts only if asked for. */
  require(options: { paused?: boolean } = {}): LiveBroker {
    const live = this.live();
    if (live === undefined) throw new ClusterError(`Broker ${this.id} is not running`);
    if (live.stopped && options.paused !== true) {
      throw new ClusterError(`Broker ${this.id} is paused; ./cluster.sh resume ${this.id} lets it go on`);
    }
    return live;
  }

  /** Starts the process, detached from this one. */
  spawn(): void {
    const log = openSync(this.#files.logFile(this.id), 'a');
    this.#logOffset = statSync(this.#files.logFile(this.id)).size;
    try {
      const child = spawn(process.execPath, [COMMAND, this.#files.propertiesFile(this.id)], {
        cwd: this.#files.brokerDirectory(this.id),
        detached: true,
        stdio: ['ignore', log, log],
        env: { UV_THREADPOOL_SIZE: `${THREAD_POOL_SIZE}`, NODE_ENV: 'production', ...process.env },
      });
      child.on('error', (error) => {
        this.#exit = error.message;
      });
      child.on('exit', (code, signal) => {
        this.#exit = signal === null ? `exit code ${code}` : signal;
      });
      child.unref();
      const identity = child.pid === undefined ? undefined : inspectProcess(child.pid)?.identity;
      if (identity !== undefined) writeFileSync(this.#files.pidFile(this.id), identity);
    } finally {
      closeSync(log);
    }
  }

  /** Whether the process that {@link spawn} started ended. */
  get failed(): boolean {
    return this.#exit !== undefined;
  }

  /** Throws if the process that {@link spawn} started ended, with the last line of its log. */
  checkAlive(): void {
    if (this.#exit === undefined) return;
    const line = this.#lastReason();
    const detail = line === undefined ? '' : `: ${line}`;
    throw new ClusterError(
      `Broker ${this.id} ended while starting (${this.#exit})${detail}\nIts log is ${this.#files.logFile(this.id)}`,
    );
  }

  signal(signal: NodeJS.Signals): void {
    const { pid } = this.require({ paused: true });
    process.kill(pid, signal);
  }

  /** Waits until the process is gone; false if that takes too long. */
  async waitForEnd(timeoutMs: number): Promise<boolean> {
    const end = performance.now() + timeoutMs;
    while (this.live() !== undefined) {
      if (performance.now() > end) return false;
      await sleep(POLL_MS);
    }
    return true;
  }

  /** Forgets the process, which ended because it was asked to. */
  forget(): void {
    rmSync(this.#files.pidFile(this.id), { force: true });
  }

  async isReady(): Promise<boolean> {
    return (await fetchText(this.#files.url(this.id, '/readyz')))?.status === 200;
  }

  /** Undefined if it does not answer in time. */
  async status(): Promise<BrokerStatus | undefined> {
    const answer = await fetchText(this.#files.url(this.id, '/status'));
    return answer?.status === 200 ? (JSON.parse(answer.body) as BrokerStatus) : undefined;
  }

  /** True if clients can connect. */
  acceptsConnections(): Promise<boolean> {
    return new Promise((resolve) => {
      const socket = connect(this.#files.ports(this.id).kafka, '127.0.0.1');
      const settle = (accepted: boolean) => () => {
        socket.destroy();
        resolve(accepted);
      };
      socket.setTimeout(HTTP_TIMEOUT_MS, settle(false));
      socket.once('connect', settle(true));
      socket.once('error', settle(false));
    });
  }

  /** Waits until `condition` holds; false if that takes too long. Throws if the process ends meanwhile. */
  async waitFor(condition: () => Promise<boolean>, timeoutMs: number): Promise<boolean> {
    const end = performance.now() + timeoutMs;
    for (;;) {
      this.checkAlive();
      if (await condition()) return true;
      if (performance.now() > end) return false;
      await sleep(POLL_MS);
    }
  }

  /** Identity of the process as noted at its start. */
  #recorded(): string | undefined {
    try {
      return readFileSync(this.#files.pidFile(this.id), 'utf8');
    } catch {
      // Never started, or stopped.
      return undefined;
    }
  }

  /** The last line that the process logged since {@link spawn}, readable. */
  #lastReason(): string | undefined {
    return lastReason(readFileSync(this.#files.logFile(this.id)).subarray(this.#logOffset).toString());
  }
}

/** What a broker's log says last of why it ended: an error, or plain text, as the sentence of one that does not start is; undefined if there is neither. */
export function lastReason(log: string): string | undefined {
  for (const line of log.split('\n').reverse()) {
    // Node writes its version below an error that nobody expected.
    if (line.trim() === '' || line.startsWith('Node.js v')) continue;
    try {
      const { level, msg } = JSON.parse(line) as { level?: number; msg?: string };
      if (level !== undefined && level >= ERROR_LEVEL && msg !== undefined) return msg;
    } catch {
      return line;
    }
  }
  return undefined;
}

function fetchText(url: string): Promise<{ status: number; body: string } | undefined> {
  return new Promise((resolve) => {
    const request = get(url, { timeout: HTTP_TIMEOUT_MS, agent: false }, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        body += chunk;
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body }));
      response.on('error', () => resolve(undefined));
    });
    request.on('timeout', () => request.destroy());
    request.on('error', () => resolve(undefined));
  });
}
