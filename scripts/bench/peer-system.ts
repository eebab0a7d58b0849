/**
 * Another system to compare with, driven by a script that is not part of this project. It is called as
 *
 *     SCRIPT install | start [KEY=VALUE ...] | restart N | stop | wipe | produce ARGS | consume ARGS
 *
 * with KAFKA_PEER_HOME (its data: node1, node2, … with a file `pid` each; everything else in there is installed software), KAFKA_PEER_NODES, and KAFKA_PEER_PORT (broker N listens on it + N).
 */
import { execFile, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import type { Endpoint } from './raw-client.ts';
import type { System, SystemKind } from './system.ts';

const run = promisify(execFile);
const PORTS_PER_SLOT = 10;
const OUTPUT_BYTES_MAX = 16 * 1024 * 1024;
/** The slowest call is the start of many brokers. */
const SCRIPT_TIMEOUT_MS = 150_000;

export class PeerKind implements SystemKind {
  readonly name: string;
  readonly managed = true;
  readonly #options: PeerOptions;

  constructor(options: PeerOptions) {
    this.name = options.name;
    this.#options = options;
  }

  create({ nodes, slot }: { readonly nodes: number; readonly slot: number }): System {
    return new PeerSystem(this.#options, nodes, slot);
  }
}

export interface PeerOptions {
  readonly name: string;
  readonly script: string;
  readonly directory: string;
  readonly port: number;
  /** KEY=VALUE of this variant. */
  readonly properties: readonly string[];
}

/** Where the script keeps what it installed. */
export function peerHome(): string {
  return process.env.KAFKA_PEER_HOME ?? join(tmpdir(), 'kafka-peer');
}

/** Runs the script's tools; resolves with their output. */
export async function runPeerTool(script: string, args: readonly string[]): Promise<string> {
  const { stdout } = await run(script, [...args], {
    env: { ...process.env, KAFKA_PEER_HOME: peerHome() },
    maxBuffer: OUTPUT_BYTES_MAX,
    timeout: SCRIPT_TIMEOUT_MS,
    killSignal: 'SIGKILL',
  });
  return stdout;
}

/** Runs one of the script's tools, which must become the script's own process, until `onLine` returns true for a line of its output; then kills it. Rejects if it ends before, or after `timeoutMs`. */
export function watchPeerTool(
  script: string,
  args: readonly string[],
  { onLine, timeoutMs }: { readonly onLine: (line: string) => boolean; readonly timeoutMs: number },
): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(script, args, {
      env: { ...process.env, KAFKA_PEER_HOME: peerHome() },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let isDone = false;
    let lastLine = '';
    const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs);
    const lines = createInterface({ input: child.stdout });
    lines.on('line', (line) => {
      lastLine = line;
      if (isDone || !onLine(line)) return;
      isDone = true;
      child.kill('SIGKILL');
    });
    child.stderr.on('data', (data: Buffer) => {
      lastLine = data.toString().trim();
    });
    child.on('error', reject);
    // Not before its CPU time can be seen.
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      if (isDone) resolve();
      else reject(new Error(`${script} ${args[0]} ended (${signal ?? code}) before it was done: ${lastLine}`));
    });
  });
}

class PeerSystem implements System {
  readonly name: string;
  readonly managed = true;
  readonly dataDirectory: string;
  readonly endpoints: readonly Endpoint[];
  readonly #options: PeerOptions;
  readonly #nodes: number;
  readonly #port: number;

  constructor(options: PeerOptions, nodes: number, slot: number) {
    this.name = options.name;
    this.#options = options;
    this.#nodes = nodes;
    this.#port = options.port + slot * PORTS_PER_SLOT;
    this.dataDirectory = join(options.directory, `${options.name}-${slot}`);
    this.endpoints = Array.from({ length: nodes }, (_, i) => ({ host: '127.0.0.1', port: this.#port + i + 1 }));
  }

  pids(): ReadonlyMap<number, number> {
    const pids = new Map<number, number>();
    for (let id = 1; id <= this.#nodes; id++) {
      const file = join(this.dataDirectory, `node${id}`, 'pid');
      if (existsSync(file)) pids.set(id, Number(readFileSync(file, 'utf8')));
    }
    return pids;
  }

  async metrics(): Promise<undefined> {
    return undefined;
  }

  async start(): Promise<number> {
    this.#prepareHome();
    const begin = performance.now();
    await this.#script('start', ...this.#options.properties);
    return performance.now() - begin;
  }

  async revive(broker: number): Promise<void> {
    await this.#script('restart', `${broker}`);
  }

  async stop(): Promise<void> {
    await this.#script('stop');
  }

  async wipe(): Promise<void> {
    if (!existsSync(this.dataDirectory)) return;
    // Nothing of theirs is kept, so nothing needs to be finished.
    for (const pid of this.pids().values()) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It ended before.
      }
    }
    await this.#script('wipe');
    rmSync(this.dataDirectory, { recursive: true, force: true });
  }

  /** A home whose data are its own and whose software is the installed one. */
  #prepareHome(): void {
    mkdirSync(this.dataDirectory, { recursive: true });
    for (const entry of readdirSync(peerHome())) {
      const link = join(this.dataDirectory, entry);
      if (!/^node\d+$/.test(entry) && !existsSync(link)) symlinkSync(join(peerHome(), entry), link);
    }
  }

  async #script(...args: string[]): Promise<void> {
    const env = {
      ...process.env,
      KAFKA_PEER_HOME: this.dataDirectory,
      KAFKA_PEER_NODES: `${this.#nodes}`,
      KAFKA_PEER_PORT: `${this.#port}`,
    };
    try {
      await run(this.#options.script, args, { env, timeout: SCRIPT_TIMEOUT_MS, killSignal: 'SIGKILL' });
    } catch (error) {
      const { stderr } = error as { stderr?: string };
      throw new Error(`${this.#options.script} ${args.join(' ')} failed: ${stderr || String(error)}`);
    }
  }
}
