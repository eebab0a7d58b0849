/** Our brokers in their shipped configuration, driven by the program behind cluster.sh in a directory of its own. */
import { execFile } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Endpoint } from './raw-client.ts';
import type { System, SystemKind } from './system.ts';

const run = promisify(execFile);
const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url));
const HTTP_PORT_OFFSET = 200;
const PORTS_PER_SLOT = 10;
const SCRIPT_TIMEOUT_MS = 150_000;

/** Builds what is out of date, once, so that no start that is timed does it. */
export async function buildFlotilla(): Promise<void> {
  await run(join(REPOSITORY, 'cluster.sh'), ['help']);
}

export class FlotillaKind implements SystemKind {
  readonly name: string;
  readonly managed = true;
  readonly #directory: string;
  readonly #port: number;
  readonly #properties: readonly string[];

  constructor(options: {
    readonly name: string;
    readonly directory: string;
    readonly port: number;
    readonly properties: readonly string[];
  }) {
    this.name = options.name;
    this.#directory = options.directory;
    this.#port = options.port;
    this.#properties = options.properties;
  }

  create({ nodes, slot }: { readonly nodes: number; readonly slot: number }): System {
    const directory = join(this.#directory, `${this.name}-${slot}`);
    return new FlotillaSystem(this.name, directory, this.#port + slot * PORTS_PER_SLOT, nodes, this.#properties);
  }
}

class FlotillaSystem implements System {
  readonly name: string;
  readonly managed = true;
  readonly dataDirectory: string;
  readonly endpoints: readonly Endpoint[];
  readonly #port: number;
  readonly #nodes: number;
  readonly #properties: readonly string[];

  constructor(name: string, directory: string, port: number, nodes: number, properties: readonly string[]) {
    this.name = name;
    this.dataDirectory = directory;
    this.#port = port;
    this.#nodes = nodes;
    this.#properties = properties;
    this.endpoints = Array.from({ length: nodes }, (_, i) => ({ host: '127.0.0.1', port: port + i }));
  }

  pids(): ReadonlyMap<number, number> {
    const pids = new Map<number, number>();
    for (let id = 1; id <= this.#nodes; id++) {
      const file = join(this.dataDirectory, `broker-${id}`, 'broker.pid');
      if (existsSync(file)) pids.set(id, Number(readFileSync(file, 'utf8').split(' ')[0]));
    }
    return pids;
  }

  async metrics(broker: number): Promise<string> {
    const response = await fetch(`http://127.0.0.1:${this.#port + broker - 1 + HTTP_PORT_OFFSET}/metrics`);
    return response.text();
  }

  async start(): Promise<number> {
    const begin = performance.now();
    const properties = existsSync(join(this.dataDirectory, 'cluster.json')) ? [] : this.#properties;
    await this.#cluster('start', '--nodes', `${this.#nodes}`, ...properties);
    return performance.now() - begin;
  }

  async revive(broker: number): Promise<void> {
    await this.#cluster('restart', `${broker}`);
  }

  async stop(): Promise<void> {
    await this.#cluster('stop');
  }

  async wipe(): Promise<void> {
    if (!existsSync(join(this.dataDirectory, 'cluster.json'))) return;
    await this.#cluster('wipe');
    rmSync(this.dataDirectory, { recursive: true, force: true });
  }

  async #cluster(...args: string[]): Promise<void> {
    const env = { ...process.env, FLOTILLA_DIR: this.dataDirectory, FLOTILLA_PORT: `${this.#port}` };
    try {
      await run(process.execPath, [join(REPOSITORY, 'dist', 'scripts', 'cluster.js'), ...args], {
        env,
        timeout: SCRIPT_TIMEOUT_MS,
        killSignal: 'SIGKILL',
      });
    } catch (error) {
      const { stderr } = error as { stderr?: string };
      throw new Error(`cluster.sh ${args.join(' ')} failed: ${stderr || String(error)}`);
    }
  }
}
