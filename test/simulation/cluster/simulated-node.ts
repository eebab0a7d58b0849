/** One machine of a simulated cluster: a disk and clocks that outlive its processes, and at most one process: the production {@link BrokerInstance}. */
import { type BrokerConfig, parseBrokerConfig } from '../../../src/broker/config/broker-config.ts';
import { BrokerInstance } from '../../../src/broker-instance.ts';
import type { RaftDriver } from '../../../src/raft/raft-driver.ts';
import type { RaftGroup } from '../../../src/raft/raft-group.ts';
import type { StateMachine } from '../../../src/raft/state-machine.ts';
import type { HttpServer } from '../../../src/std/http.ts';
import type { Log } from '../../../src/std/log.ts';
import type { MemoryPool } from '../../../src/std/memory-pool.ts';
import type { SeededRandom } from '../../../src/std/seeded-random.ts';
import type { SimulatedMachineTime, SimulatedTime } from '../simulated-clock.ts';
import { type DiskFault, type DiskOperation, SimulatedDisk } from '../simulated-disk.ts';
import { DurableTail } from './durable-tail.ts';
import type { SimulatedClientNetwork } from './simulated-client-network.ts';
import type { SimulatedPeerPorts } from './simulated-peer-network.ts';

export interface SimulatedNodeOptions {
  readonly time: SimulatedTime;
  readonly peers: SimulatedPeerPorts;
  readonly clients: SimulatedClientNetwork;
  readonly random: SeededRandom;
  readonly brokerId: number;
  /** Properties of the broker beside its addresses, and values below what a properties file may say. */
  readonly properties: Readonly<Record<string, string>>;
  readonly overrides: Partial<BrokerConfig>;
  readonly voters: readonly number[];
  /** How fast its clocks run; 1 is right. */
  readonly clockRate: number;
  readonly log: (brokerId: number, level: string, message: string, fields: object) => void;
  readonly watch: (node: SimulatedNode, group: RaftGroup, machine: StateMachine) => void;
  /** The broker says that its process must end. */
  readonly failed: (node: SimulatedNode, error: unknown) => void;
}

export const CLIENT_PORT_FIRST = 9_000;
const PEER_PORT_FIRST = 19_000;

const NO_HTTP: HttpServer = {
  listen: () => Promise.resolve({ port: 0, close: () => Promise.resolve() }),
};

export class SimulatedNode {
  readonly brokerId: number;
  readonly port: number;
  disk: SimulatedDisk;
  readonly #options: SimulatedNodeOptions;
  #machine: SimulatedMachineTime | undefined;
  #instance: BrokerInstance | undefined;
  #isServing = false;
  #wallOffsetMs: number;
  /** Starts of its process so far. */
  starts = 0;
  /** Time of a sync on a slow disk, in milliseconds. */
  slowDiskMs = 0;
  /** Syncs that begin before this time take until then. */
  stalledUntilMs = 0;
  /** Kind of operation of which the next one fails, which ends the process. */
  failNext: 'write' | 'sync' | 'read' | undefined;
  /** Ends the process in the middle of a disk operation: after so many more of them. */
  haltAfter: number | undefined;
  /** The same, in the next operation of this name ({@link operationName}). */
  haltAt: string | undefined;
  onHalt: (operation: string, isNamed: boolean) => void = () => undefined;
  /** What its disks flushed of the WAL last. */
  readonly durableWal = new DurableTail();

  constructor(options: SimulatedNodeOptions) {
    this.#options = options;
    this.brokerId = options.brokerId;
    this.port = CLIENT_PORT_FIRST + options.brokerId;
    this.#wallOffsetMs = options.random.between(-2_000, 2_000);
    this.disk = this.#newDisk();
  }

  get state(): 'down' | 'starting' | 'running' | 'paused' {
    if (this.#machine === undefined) return 'down';
    if (this.#machine.state === 'paused') return 'paused';
    return this.#isServing ? 'running' : 'starting';
  }

  /** Undefined unless its process runs. */
  get driver(): RaftDriver | undefined {
    return this.state === 'running' ? this.#instance?.driver : undefined;
  }

  /** Memory that its process holds for others; none unless it runs. */
  memoryPools(): readonly MemoryPool[] {
    return this.state === 'running' ? this.#instance!.memoryPools() : [];
  }

  start(): void {
    const { time, random, clients, peers, clockRate, log, watch, failed } = this.#options;
    this.starts++;
    const machine = time.machine({
      wallOffsetMs: this.#wallOffsetMs,
      monotonicOffsetMs: random.below(100_000),
      rate: clockRate,
    });
    this.#machine = machine;
    const isCurrent = (): boolean => this.#machine === machine;
    const guarded = (error: unknown): void => {
      if (isCurrent()) failed(this, error);
    };
    const say =
      (level: string): Log['info'] =>
      (fields, message) => {
        if (isCurrent()) log(this.brokerId, level, message, fields);
      };
    const instance = new BrokerInstance(
      this.#config(),
      {
        clock: machine,
        timers: machine,
        random: random.fork(),
        disk: this.disk.mount(machine),
        network: clients.process(this.brokerId, machine),
        peers: peers.process(this.brokerId, machine),
        http: NO_HTTP,
        log: { debug: say('debug'), info: say('info'), warn: say('warn'), error: say('error') },
        watchStateMachine: (group, stateMachine) => watch(this, group, stateMachine),
        processFacts: () => ({ residentBytes: 0, heapUsedBytes: 0, externalBytes: 0, cpuSeconds: 0 }),
      },
      guarded,
    );
    this.#instance = instance;
    instance.start().then(() => {
      if (isCurrent()) this.#isServing = true;
    }, guarded);
  }

  /** Ends the process: kill -9, or with the power for its disk. */
  crash(random: SeededRandom, power: boolean): void {
    const machine = this.#machine;
    if (machine === undefined) return;
    machine.kill();
    this.#options.peers.kill(this.brokerId);
    this.#options.clients.kill(this.brokerId);
    if (power) this.disk.crash(random);
    else this.disk.kill(random);
    this.#forget();
  }

  /** The process is dead and the disk is another one, empty. */
  wipe(random: SeededRandom): void {
    this.crash(random, true);
    this.disk = this.#newDisk();
  }

  /** A graceful stop. Resolves when the process has ended, by itself or otherwise. */
  async stop(): Promise<void> {
    const instance = this.#instance;
    const machine = this.#machine;
    if (instance === undefined || machine === undefined || !this.#isServing) return;
    await instance.stop();
    if (this.#machine === machine) this.crash(this.#options.random, false);
  }

  pause(): void {
    this.#machine?.pause();
  }

  resume(): void {
    this.#machine?.resume();
  }

  /** The wall clock jumps; monotonic time does not. */
  jumpClock(byMs: number): void {
    this.#wallOffsetMs += byMs;
    if (this.#machine !== undefined) this.#machine.wallOffsetMs = this.#wallOffsetMs;
  }

  #forget(): void {
    this.#machine = undefined;
    this.#instance = undefined;
    this.#isServing = false;
    this.failNext = undefined;
    this.haltAfter = undefined;
    this.haltAt = undefined;
  }

  #newDisk(): SimulatedDisk {
    const { time, random } = this.#options;
    const disk = new SimulatedDisk(time, { seed: random.uint32() });
    disk.onOperation = (operation) => this.#faultOf(operation, disk);
    disk.watchSyncs = (path) => (path.startsWith('wal/') ? (pages) => this.durableWal.add(time.now, pages) : undefined);
    return disk;
  }

  #faultOf(operation: DiskOperation, disk: SimulatedDisk): DiskFault | undefined {
    const { kind } = operation;
    const isNamed = this.haltAt !== undefined && this.haltAt === operationName(operation);
    if (isNamed || (this.haltAfter !== undefined && this.haltAfter-- <= 0)) {
      this.haltAt = undefined;
      this.haltAfter = undefined;
      this.#options.time.soon(() => this.onHalt(operationName(operation), isNamed));
      return { halt: true };
    }
    if (this.failNext === kind) {
      this.failNext = undefined;
      return { error: 'EIO' };
    }
    if (kind !== 'sync') return undefined;
    const stallMs = this.stalledUntilMs - this.#options.time.now;
    if (stallMs > 0) return { delayMs: stallMs };
    return this.slowDiskMs > 0 ? { delayMs: this.slowDiskMs * (0.5 + disk.random.next()) } : undefined;
  }

  #config(): BrokerConfig {
    const { brokerId, properties, overrides, voters } = this.#options;
    const all: Record<string, string> = {
      'node.id': `${brokerId}`,
      listeners: `PLAINTEXT://broker-${brokerId}:${this.port}`,
      'raft.listener': `127.0.0.1:${PEER_PORT_FIRST + brokerId}`,
      'http.listener': '127.0.0.1:0',
      'controller.quorum.voters': voters.map((id) => `${id}@127.0.0.1:${PEER_PORT_FIRST + id}`).join(','),
      'log.dirs': 'data',
      ...properties,
    };
    const text = Object.entries(all).map(([name, value]) => `${name}=${value}`);
    return { ...parseBrokerConfig(text.join('\n')).config, ...overrides };
  }
}

/** What a process does to its disk, by kind of file: `wal.sync`, `log.write`, `state.rename` … */
export function operationName({ kind, path }: Pick<DiskOperation, 'kind' | 'path'>): string {
  const [directory = '', name] = path.split('/');
  if (directory !== 'topics') return `${directory.replace(/[^a-z].*$/, '') || 'data'}.${kind}`;
  const area = name === undefined ? 'topics' : path.endsWith('.log') ? 'log' : /index$/.test(path) ? 'index' : 'state';
  return `${area}.${kind}`;
}
