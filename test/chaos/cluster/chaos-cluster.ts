/**
 * The brokers of a run: started, restarted and stopped by cluster.sh, as a user does it; killed and paused by signals to their processes, because a fault has to hit at its moment. Puts the
 * shim into them and proxies between them where a scenario asks for it.
 */
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Endpoint } from '../../../scripts/bench/raw-client.ts';
import { SeededRandom } from '../../../src/std/seeded-random.ts';
import { pause } from '../clients/network.ts';
import { Cable } from '../faults/cable.ts';
import { shimEnvironment } from '../faults/compile.ts';
import { FaultyLink, type LinkCounters, type LinkRule } from '../faults/faulty-link.ts';
import { losePower, type PowerLossReport } from '../faults/power-loss.ts';
import { ShimControl } from '../faults/shim-control.ts';

const COMMAND_TIMEOUT_MS = 180_000;
const RAFT_PORT_OFFSET = 100;
const HTTP_PORT_OFFSET = 200;
const END_TIMEOUT_MS = 5_000;

export interface ChaosClusterOptions {
  readonly directory: string;
  /** Control pages and journals; on a memory file system, so that keeping the journal is fast. */
  readonly chaosDirectory: string;
  readonly port: number;
  readonly nodes: number;
  readonly properties: Readonly<Record<string, string>>;
  readonly seed: number;
  /** Library to preload; undefined: without. */
  readonly shim: string | undefined;
  /** Keep the journal from which a loss of power is made. */
  readonly journal: boolean;
  /** Proxies on the links between brokers; needs the shim. */
  readonly brokerLinks: boolean;
  /** Proxies between clients and brokers. */
  readonly clientLinks: boolean;
  readonly heapMegabytes?: number;
  /** cluster.sh. */
  readonly program: string;
  /** Program that carries packets between brokers; needs the shim and a network of the run's own. */
  readonly cable?: string;
}

export interface BrokerFacts {
  readonly id: number;
  readonly pid: number | null;
  readonly alive: boolean;
  readonly rssBytes: number | null;
  readonly leaders: number | null;
}

export interface ScrubbedReplica {
  readonly name: string;
  readonly broker: number;
  readonly state: string;
  /** Damaged places. */
  readonly found: number;
  /** Ranges that replicas hold differently. */
  readonly mismatches: number;
  readonly repaired: number;
}

export class ChaosCluster {
  readonly options: ChaosClusterOptions;
  readonly controls = new Map<number, ShimControl>();
  /** `from/to` → proxy of the connections that `from` opens to `to`. */
  readonly #brokerLinks = new Map<string, FaultyLink>();
  readonly #clientLinks = new Map<number, FaultyLink>();
  readonly #closers: (() => void)[] = [];
  readonly #afterStop: (() => void)[] = [];
  #cable: Cable | undefined;
  /** Processes that were ended on purpose; any other that is gone ended by itself. */
  readonly #expectedDead = new Set<number>();
  /** How often each broker had killed itself by order of its shim when it was started last. */
  readonly #deathsAtStart = new Map<number, number>();

  private constructor(options: ChaosClusterOptions) {
    this.options = options;
  }

  static async create(options: ChaosClusterOptions): Promise<ChaosCluster> {
    const cluster = new ChaosCluster(options);
    const random = new SeededRandom(options.seed);
    rmSync(options.chaosDirectory, { recursive: true, force: true });
    mkdirSync(options.chaosDirectory, { recursive: true });
    for (const id of cluster.ids) {
      if (options.shim !== undefined) {
        const control = new ShimControl(join(options.chaosDirectory, `broker-${id}.control`));
        control.set('journal', options.journal ? 1 : 0);
        cluster.controls.set(id, control);
      }
      if (options.clientLinks)
        cluster.#clientLinks.set(id, await FaultyLink.open(cluster.kafkaPort(id), random.fork()));
    }
    if (options.brokerLinks) await cluster.#openBrokerLinks(random);
    if (options.cable !== undefined) await cluster.#openCable(options.cable);
    return cluster;
  }

  get ids(): number[] {
    return Array.from({ length: this.options.nodes }, (_, i) => i + 1);
  }

  get bootstrap(): Endpoint[] {
    return this.ids.map((id) => ({ host: '127.0.0.1', port: this.kafkaPort(id) }));
  }

  /** Where a client goes to reach the broker at `endpoint`. */
  route(endpoint: Endpoint): Endpoint {
    const link = this.#clientLinks.get(endpoint.port - this.options.port + 1);
    return link === undefined ? endpoint : { host: endpoint.host, port: link.port };
  }

  kafkaPort(id: number): number {
    return this.options.port + id - 1;
  }

  dataDirectory(id: number): string {
    return join(this.options.directory, `broker-${id}`, 'data');
  }

  logFile(id: number): string {
    return join(this.options.directory, `broker-${id}`, 'broker.log');
  }

  /** Makes the cluster; returns when all brokers serve. */
  async start(): Promise<void> {
    const { nodes, properties } = this.options;
    const pairs = Object.entries(properties).map(([key, value]) => `${key}=${value}`);
    await this.#command('start', '--nodes', `${nodes}`, ...pairs);
  }

  /** Starts one broker again, in the control group of `processesFile` if given; returns when it serves, or where there is no quorum, when it accepts connections. */
  async restart(id: number, processesFile?: string): Promise<void> {
    this.#deathsAtStart.set(id, this.#deathsByOrder(id));
    this.#expectedDead.add(id);
    await this.#run(['restart', `${id}`], processesFile === undefined ? {} : { processesFile });
    this.#expectedDead.delete(id);
  }

  /** From now on it may end by itself. */
  mayEnd(id: number): void {
    this.#expectedDead.add(id);
  }

  /** It was expected to end and did not, or runs again: from now on it must not end. */
  revive(id: number): void {
    this.#expectedDead.delete(id);
  }

  /** Runs `act` when all brokers have stopped at the end, before their files are looked at. */
  onStop(act: () => void): void {
    this.#afterStop.push(act);
  }

  /** Runs `close` when the cluster is deleted. */
  onDestroy(close: () => void): void {
    this.#closers.push(close);
  }

  async stop(id: number): Promise<void> {
    this.#expectedDead.add(id);
    await this.#command('stop', `${id}`);
  }

  /** Stops all gracefully. */
  async stopAll(): Promise<void> {
    for (const id of this.ids) this.#expectedDead.add(id);
    await this.#command('stop');
    for (const act of this.#afterStop.splice(0)) act();
  }

  async wipe(): Promise<void> {
    for (const id of this.ids) if (this.isPaused(id)) this.resume(id);
    await this.#command('wipe');
  }

  /** SIGKILL; resolves when the processes are gone. */
  async kill(...ids: number[]): Promise<void> {
    for (const id of ids) {
      this.#expectedDead.add(id);
      const pid = this.pid(id);
      if (pid !== undefined) process.kill(pid, 'SIGKILL');
    }
    for (const id of ids) await this.awaitEnd(id);
  }

  /** Waits for a broker that is going to end by itself. Throws if it does not. */
  async awaitEnd(id: number, timeoutMs = END_TIMEOUT_MS): Promise<void> {
    this.#expectedDead.add(id);
    const deadlineMs = performance.now() + timeoutMs;
    while (this.pid(id) !== undefined) {
      if (performance.now() > deadlineMs) throw new Error(`Broker ${id} still runs`);
      await pause(5);
    }
  }

  pause(id: number): void {
    process.kill(this.#requirePid(id), 'SIGSTOP');
  }

  resume(id: number): void {
    process.kill(this.#requirePid(id), 'SIGCONT');
  }

  isPaused(id: number): boolean {
    const pid = this.pid(id);
    return pid !== undefined && processState(pid) === 'T';
  }

  /** Undefined if it is dead. */
  pid(id: number): number | undefined {
    try {
      const pid = Number(
        readFileSync(join(this.options.directory, `broker-${id}`, 'broker.pid'), 'utf8').split(' ')[0],
      );
      const state = processState(pid);
      return state === undefined || state === 'Z' ? undefined : pid;
    } catch {
      // Never started, or stopped.
      return undefined;
    }
  }

  /** Brokers that run. */
  get alive(): number[] {
    return this.ids.filter((id) => this.pid(id) !== undefined);
  }

  /** Brokers that ended although nobody ended them. */
  get diedUnasked(): number[] {
    return this.ids.filter(
      (id) =>
        this.pid(id) === undefined &&
        !this.#expectedDead.has(id) &&
        // It may have reached the point at which it was to die after its start was reported.
        this.#deathsByOrder(id) === (this.#deathsAtStart.get(id) ?? 0),
    );
  }

  #deathsByOrder(id: number): number {
    return this.controls.get(id)?.count('deaths') ?? 0;
  }

  async status(): Promise<BrokerFacts[]> {
    return JSON.parse(await this.#command('status', '--json')) as BrokerFacts[];
  }

  /** Has all partition files read and compared; what was found is repaired. */
  async scrub(): Promise<ScrubbedReplica[]> {
    // It ends with an error code if it found anything.
    return JSON.parse(await this.#run(['scrub', '--json'], { mayFail: true })) as ScrubbedReplica[];
  }

  /** GET of a broker's HTTP port; undefined if it does not answer. */
  async http(id: number, path: string): Promise<{ status: number; body: string } | undefined> {
    try {
      const response = await fetch(`http://127.0.0.1:${this.kafkaPort(id) + HTTP_PORT_OFFSET}${path}`, {
        signal: AbortSignal.timeout(1_000),
      });
      return { status: response.status, body: await response.text() };
    } catch {
      // Dead, paused or starting.
      return undefined;
    }
  }

  async isReady(id: number): Promise<boolean> {
    return (await this.http(id, '/readyz'))?.status === 200;
  }

  /** Takes from a dead broker's disk what it had not flushed. */
  losePower(id: number, tear?: SeededRandom): PowerLossReport {
    if (this.pid(id) !== undefined) throw new Error(`Broker ${id} runs and can not lose power`);
    return losePower({
      journal: join(this.options.chaosDirectory, `broker-${id}.journal`),
      directory: this.dataDirectory(id),
      ...(tear === undefined ? {} : { tear }),
    });
  }

  control(id: number): ShimControl {
    const control = this.controls.get(id);
    if (control === undefined) throw new Error('This scenario runs without the shim');
    return control;
  }

  /** Sets what happens to bytes from one broker to another, on all their connections. */
  setLink(from: number, to: number, rule: LinkRule): void {
    this.#link(from, to).setRules({ up: rule });
    this.#link(to, from).setRules({ down: rule });
  }

  /** Nothing passes between the two, in both directions. */
  cut(a: number, b: number): void {
    this.setLink(a, b, { held: true });
    this.setLink(b, a, { held: true });
  }

  resetLink(a: number, b: number): void {
    this.#link(a, b).reset();
    this.#link(b, a).reset();
  }

  get cable(): Cable {
    if (this.#cable === undefined) throw new Error('This scenario has no cable for packets');
    return this.#cable;
  }

  clientLink(id: number): FaultyLink {
    const link = this.#clientLinks.get(id);
    if (link === undefined) throw new Error('This scenario has no proxies for clients');
    return link;
  }

  /** Sums over all links. */
  get linkCounters(): LinkCounters {
    const sum: LinkCounters = { delayedChunks: 0, heldChunks: 0, corruptedChunks: 0, resets: 0, refused: 0 };
    for (const { counters } of [...this.#brokerLinks.values(), ...this.#clientLinks.values()]) {
      for (const name of Object.keys(sum) as (keyof LinkCounters)[]) sum[name] += counters[name];
    }
    return sum;
  }

  healLinks(): void {
    this.#cable?.heal();
    for (const link of [...this.#brokerLinks.values(), ...this.#clientLinks.values()]) link.heal();
  }

  /** Ends every fault and starts what is dead; returns when all serve. */
  async heal(): Promise<void> {
    this.healLinks();
    for (const control of this.controls.values()) control.heal();
    for (const id of this.ids) if (this.isPaused(id)) this.resume(id);
    await this.#command('start');
    this.#expectedDead.clear();
  }

  async destroy(): Promise<void> {
    await this.kill(...this.ids);
    for (const act of this.#afterStop.splice(0)) act();
    await this.wipe();
    for (const link of [...this.#brokerLinks.values(), ...this.#clientLinks.values()]) link.close();
    for (const control of this.controls.values()) control.close();
    this.#cable?.close();
    for (const close of this.#closers) close();
    rmSync(this.options.directory, { recursive: true, force: true });
    rmSync(this.options.chaosDirectory, { recursive: true, force: true });
  }

  #link(from: number, to: number): FaultyLink {
    const link = this.#brokerLinks.get(`${from}/${to}`);
    if (link === undefined) throw new Error(`There is no proxy from broker ${from} to ${to}`);
    return link;
  }

  async #openBrokerLinks(random: SeededRandom): Promise<void> {
    for (const from of this.ids) {
      const redirections = new Map<number, { port: number }>();
      for (const to of this.ids) {
        if (to === from) continue;
        const port = this.kafkaPort(to) + RAFT_PORT_OFFSET;
        const link = await FaultyLink.open(port, random.fork());
        this.#brokerLinks.set(`${from}/${to}`, link);
        redirections.set(port, { port: link.port });
      }
      this.control(from).redirect(redirections);
    }
  }

  async #openCable(program: string): Promise<void> {
    this.#cable = await Cable.open(program, join(this.options.chaosDirectory, 'cable'));
    for (const from of this.ids) {
      const raftPort = (id: number): number => this.kafkaPort(id) + RAFT_PORT_OFFSET;
      const others = this.ids.filter((to) => to !== from);
      this.control(from).set('bindAny', raftPort(from));
      this.control(from).redirect(
        new Map(others.map((to) => [raftPort(to), { port: raftPort(to), host: Cable.address(from, to) }])),
      );
    }
  }

  #requirePid(id: number): number {
    const pid = this.pid(id);
    if (pid === undefined) throw new Error(`Broker ${id} is not running`);
    return pid;
  }

  #command(...args: string[]): Promise<string> {
    return this.#run(args);
  }

  #run(
    args: readonly string[],
    { processesFile, mayFail = false }: { processesFile?: string; mayFail?: boolean } = {},
  ): Promise<string> {
    const { directory, chaosDirectory, port, shim, heapMegabytes, program } = this.options;
    const env: NodeJS.ProcessEnv = {
      ...process.env,
      FLOTILLA_DIR: directory,
      FLOTILLA_PORT: `${port}`,
      ...(shim === undefined ? {} : shimEnvironment(shim, chaosDirectory, directory)),
      ...(heapMegabytes === undefined ? {} : { NODE_OPTIONS: `--max-old-space-size=${heapMegabytes}` }),
    };
    const [file, all] =
      processesFile === undefined
        ? [program, args]
        : ['sh', ['-c', 'echo $$ > "$0" && exec "$@"', processesFile, program, ...args]];
    return new Promise((resolve, reject) => {
      execFile(file, all, { env, timeout: COMMAND_TIMEOUT_MS, maxBuffer: 1 << 24 }, (error, stdout, stderr) => {
        if (error === null || (mayFail && stdout !== '')) resolve(stdout);
        else reject(new Error(`cluster.sh ${args.join(' ')} failed: ${stderr || stdout || error.message}`));
      });
    });
  }
}

/** The letter of /proc/PID/stat; undefined if there is no such process. */
function processState(pid: number): string | undefined {
  const path = `/proc/${pid}/stat`;
  if (!existsSync(path)) return undefined;
  try {
    const text = readFileSync(path, 'utf8');
    return text.slice(text.lastIndexOf(')') + 2)[0];
  } catch {
    // It ended between the two looks.
    return undefined;
  }
}
