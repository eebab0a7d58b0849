/** One simulated broker: a disk that outlives its processes, and at most one process with a WAL, a driver and list state machines. */

import type { ScrubTarget } from '../../src/broker/partition/partition-repair.ts';
import type { PartitionResources } from '../../src/broker/partition/partition-resources.ts';
import { Scrubber } from '../../src/broker/partition/scrubber.ts';
import { RaftDriver, type RaftDriverOptions } from '../../src/raft/raft-driver.ts';
import type { RaftGroup } from '../../src/raft/raft-group.ts';
import type { StateMachine } from '../../src/raft/state-machine.ts';
import type { BrokerId, GroupId, LogIndex, ReplicaId } from '../../src/std/brands.ts';
import { SILENT_LOG } from '../../src/std/log.ts';
import type { SeededRandom } from '../../src/std/seeded-random.ts';
import { Wal } from '../../src/wal/wal.ts';
import { type ListItem, type ListObserver, ListStateMachine } from './list-state-machine.ts';
import { ObservedPartition, observedPartitions } from './observed-partition.ts';
import type { RaftOracle } from './raft-oracle.ts';
import type { SimulatedMachineTime, SimulatedTime } from './simulated-clock.ts';
import { SimulatedDisk } from './simulated-disk.ts';
import type { LossMode } from './simulated-file.ts';
import type { SimulatedNetwork } from './simulated-network.ts';

export type MachineKind = 'list' | 'partition';

/** A state machine that shows what it holds. */
type ObservedMachine = StateMachine & {
  readonly items: readonly ListItem[];
  readonly index: LogIndex;
  /** What the files hold; undefined if they are found damaged, which is reported. */
  readLog?(endOffset: number): Promise<readonly ListItem[] | undefined>;
};

interface ObservedMachines {
  readonly resources?: PartitionResources;
  create(replicaId: ReplicaId, observer: ListObserver): ObservedMachine;
  destroyRemains(replicaId: ReplicaId): Promise<void>;
}

export interface SimulatedBrokerOptions {
  readonly time: SimulatedTime;
  readonly network: SimulatedNetwork;
  readonly oracle: RaftOracle;
  readonly random: SeededRandom;
  readonly brokerId: BrokerId;
  readonly peers: readonly BrokerId[];
  readonly wal: { readonly segmentBytes: number; readonly bytesLimit: number; readonly cacheBytes: number };
  readonly config: NonNullable<RaftDriverOptions['config']>;
  /** What the groups replicate: a list by default. */
  readonly machines?: MachineKind | undefined;
  /** Something broke that no injected fault explains. */
  readonly failed: (error: unknown, broker: SimulatedBroker) => void;
  /** The driver of a new process runs. */
  readonly started: (broker: SimulatedBroker) => void;
}

export class SimulatedBroker {
  readonly brokerId: BrokerId;
  #storeId: Uint8Array;
  #disk: SimulatedDisk;
  readonly #options: SimulatedBrokerOptions;
  #session = 0;
  #stopping = false;
  #machine: SimulatedMachineTime | undefined;
  #driver: RaftDriver | undefined;
  #scrubber: Scrubber | undefined;
  #machines = new Map<RaftGroup, ObservedMachine>();
  /** Somebody damaged its partition files; if nobody did, damage that is found is a failure. */
  expectsDamage = false;
  /** Lags the sync of a slow disk, in milliseconds. */
  slowDiskMs = 0;
  /** Syncs that begin before this time take until then: a stalled disk. */
  stalledUntilMs = 0;

  constructor(options: SimulatedBrokerOptions) {
    this.#options = options;
    this.brokerId = options.brokerId;
    this.#storeId = options.random.bytes(16);
    this.#disk = this.#newDisk();
  }

  #newDisk(): SimulatedDisk {
    const { time, random } = this.#options;
    const disk = new SimulatedDisk(time, { seed: random.uint32() });
    disk.onOperation = ({ kind }) => {
      if (kind !== 'sync') return undefined;
      const stallMs = this.stalledUntilMs - time.now;
      if (stallMs > 0) return { delayMs: stallMs };
      return this.slowDiskMs > 0 ? { delayMs: this.slowDiskMs * (0.5 + disk.random.next()) } : undefined;
    };
    return disk;
  }

  get disk(): SimulatedDisk {
    return this.#disk;
  }

  /** Hex. */
  get storeIdText(): string {
    return Buffer.from(this.#storeId).toString('hex');
  }

  /** An operator gives a broker that is down an empty store: a new identity (DECISIONS I1). */
  reformat(): void {
    if (this.#machine !== undefined) throw new Error('A running broker cannot be formatted');
    this.#disk = this.#newDisk();
    this.#storeId = this.#options.random.bytes(16);
  }

  /** Flips bits of a WAL that nobody has open, or does worse to partition files. */
  damage(random: SeededRandom): void {
    const stored = this.#disk.paths().filter((path) => path.startsWith('topics/'));
    if (stored.length > 0 && random.chance(0.6)) {
      this.expectsDamage = true;
      for (let faults = random.pick([1, 1, 3]); faults > 0; faults--) this.#damageStored(random.pick(stored), random);
      return;
    }
    const files = this.#disk.paths().filter((path) => /^wal\/[^/]*\.wal$/.test(path));
    if (files.length === 0) return;
    for (let flips = random.pick([1, 1, 5, 30]); flips > 0; flips--) {
      const path = random.pick(files);
      const { length } = this.#disk.readBytes(path);
      if (length > 0) this.#disk.flipBit(path, random.below(length), random.below(8));
    }
  }

  #damageStored(path: string, random: SeededRandom): void {
    if (!this.#disk.paths().includes(path)) return;
    const { length } = this.#disk.readBytes(path);
    if (length > 0 && random.chance(0.7)) this.#disk.flipBit(path, random.below(length), random.below(8));
    else this.#disk.loseFile(path);
  }

  /** Replicas that lost so much to damage that they may not act under their ids any more. */
  get isCrippled(): boolean {
    return [...(this.driver?.replicas.values() ?? [])].some((replica) => replica.damage?.kind === 'identity');
  }

  get state(): 'down' | 'starting' | 'running' | 'paused' | 'stopping' {
    if (this.#machine === undefined) return 'down';
    if (this.#stopping) return 'stopping';
    if (this.#machine.state === 'paused') return 'paused';
    return this.#driver === undefined ? 'starting' : 'running';
  }

  /** Undefined unless its process runs. */
  get driver(): RaftDriver | undefined {
    return this.state === 'running' ? this.#driver : undefined;
  }

  listOf(groupId: GroupId): ObservedMachine | undefined {
    const group = this.driver?.get(groupId);
    return group === undefined ? undefined : this.#machines.get(group);
  }

  start(): void {
    const { time, network, random, failed } = this.#options;
    const machine = time.machine({
      wallOffsetMs: random.between(-1000, 1000),
      monotonicOffsetMs: random.below(100_000),
    });
    this.#machine = machine;
    this.#machines = new Map();
    const guarded = (error: unknown): void => {
      if (this.#machine === machine) failed(error, this);
    };
    this.#boot(machine, network, guarded).catch(guarded);
  }

  async #boot(
    machine: SimulatedMachineTime,
    network: SimulatedNetwork,
    failed: (error: unknown) => void,
  ): Promise<void> {
    const { peers, wal, config, random, started } = this.#options;
    const { brokerId, storeIdText } = this;
    const mount = this.disk.mount(machine);
    const info = { brokerId, storeId: storeIdText, session: ++this.#session };
    const transport = network.process(machine, info);
    const driverRandom = random.fork();
    const machines: ObservedMachines =
      this.#options.machines === 'partition'
        ? observedPartitions(mount, machine, failed, (replicaId, error) => {
            if (!this.expectsDamage) failed(new Error(`Replica ${replicaId} is damaged by nobody: ${error.message}`));
            for (const target of this.#targets()) {
              if (target.group.replicaId === replicaId) this.#scrubber?.damageMet(target, error);
            }
          })
        : {
            create: (replicaId, observer) => new ListStateMachine(mount, replicaId, observer),
            destroyRemains: (replicaId) => mount.removeDirectory(`list-${replicaId}`),
          };
    const storage = await Wal.open({
      disk: mount,
      clock: machine,
      timers: machine,
      directory: 'wal',
      storeId: this.#storeId,
      ...wal,
    });
    const driver: RaftDriver = new RaftDriver({
      brokerId,
      storeId: storeIdText,
      clock: machine,
      timers: machine,
      random: driverRandom,
      log: SILENT_LOG,
      storage,
      transport,
      createStateMachine: (group) => this.#createStateMachine(machines, group, failed),
      destroyRemains: (_groupId, replicaId) => machines.destroyRemains(replicaId),
      fatal: failed,
      config,
    });
    if (machines.resources !== undefined) {
      this.#scrubber = new Scrubber({
        brokerId,
        groups: driver,
        resources: machines.resources,
        clock: machine,
        timers: machine,
        log: SILENT_LOG,
        bytesPerSecond: 1_000_000,
        intervalMs: 20_000,
        targets: () => this.#targets(),
        targetOf: (group) => [...this.#targets()].find((target) => target.group.groupId === group),
        checkpointAgain: (group) => driver.checkpointAgain(group),
        fail: failed,
      });
    }
    driver.setPeers(peers.map((peer) => ({ brokerId: peer, host: 'simulated', port: peer })));
    await driver.start();
    this.#driver = driver;
    this.#scrubber?.start();
    started(this);
  }

  *#targets(): Iterable<ScrubTarget> {
    for (const [group, machine] of this.#machines) {
      if (!(machine instanceof ObservedPartition) || this.#driver?.get(group.groupId) !== group) continue;
      yield { group, name: `simulated-${group.groupId}`, log: machine.log, stateFlaw: () => machine.stateFlaw() };
    }
  }

  /** Looks for damage in partition files; undefined unless its process runs and has partitions. */
  get scrubber(): Scrubber | undefined {
    return this.state === 'running' ? this.#scrubber : undefined;
  }

  #createStateMachine(machines: ObservedMachines, group: RaftGroup, failed: (error: unknown) => void): ObservedMachine {
    const { oracle } = this.#options;
    const { groupId, replicaId } = group;
    const guard = (check: () => void): void => {
      try {
        check();
      } catch (error) {
        failed(error);
        throw error;
      }
    };
    const machine = machines.create(replicaId, {
      applied: (index, term, id) => guard(() => oracle.applied(groupId, replicaId, index, term, id)),
      jumped: (index, items) => guard(() => oracle.jumped(groupId, replicaId, index, items)),
      leadershipChanged: () => {
        if (group.role === 'leader') guard(() => oracle.leads(groupId, group.currentTerm, replicaId));
      },
    });
    this.#machines.set(group, machine);
    return machine;
  }

  /** Ends the process: kill -9, or with the power for the disk. */
  crash(random: SeededRandom, power: boolean, loss?: LossMode): void {
    const machine = this.#machine;
    if (machine === undefined) return;
    machine.kill();
    this.#options.network.kill(this.brokerId);
    if (power) this.disk.crash(random, loss);
    else this.disk.kill(random);
    this.#forget();
  }

  #forget(): void {
    this.#stopping = false;
    this.#machine = undefined;
    this.#driver = undefined;
    this.#scrubber = undefined;
    this.#machines = new Map();
  }

  /** A graceful stop: leaders move, checkpoints are made. */
  async stop(): Promise<void> {
    const driver = this.driver;
    const machine = this.#machine;
    if (driver === undefined || machine === undefined) return;
    await driver.transferAll(1_000);
    if (this.#machine !== machine) return;
    this.#stopping = true;
    this.#scrubber?.stop();
    await driver.close();
    await driver.storage.close();
    if (this.#machine !== machine) return;
    machine.kill();
    this.disk.kill(this.#options.random);
    this.#forget();
  }

  pause(): void {
    this.#machine?.pause();
  }

  resume(): void {
    this.#machine?.resume();
  }
}
