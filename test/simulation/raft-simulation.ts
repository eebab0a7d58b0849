/**
 * A whole cluster of brokers (cores, driver, WAL) in one process and on one seed: random commands, reads and membership changes under random faults, then everything heals and the
 * cluster must become quiet and complete. The seed also chooses which faults there are and how often (swarm testing), so that seeds differ in kind, not only in order.
 */

import { brokerId as toBrokerId } from '../../src/std/brands.ts';
import { crc32c } from '../../src/std/crc32c.ts';
import { SeededRandom } from '../../src/std/seeded-random.ts';
import { freshBufferPool } from './fresh-buffer-pool.ts';
import { RAFT_FAULTS, RaftFaults } from './raft-faults.ts';
import { RaftOracle, Violation } from './raft-oracle.ts';
import type { RaftStage } from './raft-stage.ts';
import { RaftWorkload } from './raft-workload.ts';
import { type MachineKind, SimulatedBroker } from './simulated-broker.ts';
import { SimulatedTime } from './simulated-clock.ts';
import { type SimulatedGroup, SimulatedGroups } from './simulated-groups.ts';
import { SimulatedNetwork } from './simulated-network.ts';

export interface SimulationResult {
  readonly hash: number;
  readonly events: number;
  readonly simulatedMs: number;
  readonly acked: number;
  readonly refused: number;
  readonly unknown: number;
  readonly reads: number;
  readonly faults: Readonly<Record<string, number>>;
  readonly segmentsReused: number;
  readonly catchUps: number;
  readonly checkpoints: number;
  readonly elections: number;
}

const CHAOS_MS = 12_000;
const CONVERGE_MS = 60_000;
const QUIET_MS = 4_000;
const STEP_MS = 50;
/** A command that is not answered is sent once more after this time. */
const ANSWER_MS = 2_000;

export class RaftSimulation {
  readonly #random: SeededRandom;
  readonly #time = new SimulatedTime();
  readonly #network: SimulatedNetwork;
  readonly #oracle = new RaftOracle();
  readonly #brokers: SimulatedBroker[];
  readonly #groups: SimulatedGroups;
  readonly #workload: RaftWorkload;
  readonly #faults: RaftFaults;
  readonly #trace: ((line: string) => void) | undefined;
  readonly #counters = { segmentsReused: 0, catchUps: 0, checkpoints: 0, elections: 0 };
  readonly #seen = new WeakMap<object, { commit: number; applied: number; term: number }>();
  #failure: { readonly error: unknown } | undefined;

  constructor(seed: number, options: { trace?: ((line: string) => void) | undefined; machines?: MachineKind } = {}) {
    this.#trace = options.trace;
    const random = new SeededRandom(seed);
    this.#random = random;
    const latencyScale = random.pick([1, 1, 4, 20]);
    this.#network = new SimulatedNetwork(this.#time, random.fork(), {
      latencyMs: (source) => latencyScale * (0.2 + source.next() * 0.6),
      budgetBytes: random.pick([32 * 1024, 2 * 2 ** 20]),
    });
    this.#network.onSend = (from, _to, channel, bytes) => this.#guard(() => this.#faults.sent(from, channel, bytes));
    const faults = RAFT_FAULTS.filter(() => random.chance(0.45));
    const faultEveryMs = random.pick([150, 400, 1_000]);
    const commandEveryMs = random.pick([1, 3, 10]);
    const commandBytesMax = random.pick([64, 512, 2_048]);
    const size = random.pick([1, 3, 3, 3, 4, 5]);
    this.#brokers = this.#makeBrokers(size, options.machines);
    const hasVictim = size >= 3 && faults.includes('damage');
    const stage: RaftStage = {
      time: this.#time,
      random,
      network: this.#network,
      oracle: this.#oracle,
      brokers: this.#brokers,
      victim: hasVictim ? this.#brokers[0] : undefined,
      fail: (error) => this.#fail(error),
      log: (line) => this.#log(line),
    };
    this.#groups = new SimulatedGroups(stage);
    this.#workload = new RaftWorkload(stage, this.#groups, { commandEveryMs, commandBytesMax });
    this.#faults = new RaftFaults(stage, this.#groups, this.#workload, {
      faults: hasVictim ? faults : faults.filter((fault) => fault !== 'damage'),
      faultEveryMs,
      latencyScale,
    });
  }

  #makeBrokers(size: number, machines: MachineKind | undefined): SimulatedBroker[] {
    const random = this.#random;
    const ids = Array.from({ length: size }, (_, at) => toBrokerId(at + 1));
    const wal = {
      segmentBytes: 128 * 1024,
      bytesLimit: 128 * 1024 * random.pick([8, 16]),
      cacheBytes: random.pick([8, 64, 512]) * 1024,
    };
    const config = {
      checkpointBytes: random.pick([16, 64, 1_000_000]) * 1024,
      groupInFlightBytesMax: random.pick([8 * 1024, 4 * 2 ** 20]),
      appendMessageBytes: random.pick([4 * 1024, 512 * 1024]),
      groupProposedBytesMax: random.pick([16 * 1024, 16 * 2 ** 20]),
      brokerReceivedBytesMax: random.pick([32 * 1024, 64 * 2 ** 20]),
      applyEntriesPerPass: random.pick([3, 4_096]),
      catchUpWindowBytes: random.pick([512, 4 * 2 ** 20]),
      catchUpsReceivingMax: random.pick([1, 4]),
      catchUpStallMs: 5_000,
    };
    return ids.map(
      (brokerId) =>
        new SimulatedBroker({
          time: this.#time,
          network: this.#network,
          oracle: this.#oracle,
          random: random.fork(),
          brokerId,
          peers: ids.filter((other) => other !== brokerId),
          wal,
          config,
          machines,
          failed: (error, broker) => this.#faults.brokerFailed(error, broker),
          started: (broker) => this.#started(broker),
        }),
    );
  }

  /** Runs the seed to its end. Rejects with what went wrong. */
  async run(): Promise<SimulationResult> {
    freshBufferPool();
    try {
      return await this.#run();
    } catch (error) {
      for (const line of this.#describe()) this.#log(line);
      throw error;
    }
  }

  async #run(): Promise<SimulationResult> {
    for (const broker of this.#brokers) broker.start();
    const groups = this.#random.between(1, 6);
    for (let at = 0; at < groups; at++) this.#groups.create();
    this.#workload.start();
    this.#faults.start();
    this.#groups.keepReconciling();
    await this.#runUntil(CHAOS_MS);
    this.#workload.stop();
    this.#faults.stop();
    await this.#converge();
    const terms = this.#terms();
    await this.#runUntil(this.#time.now + QUIET_MS);
    this.#checkQuiet(terms);
    this.#checkComplete();
    this.#collect();
    let hash = this.#network.hash;
    for (const { disk } of this.#brokers) hash = crc32c(Buffer.from(`${disk.hash}`), hash);
    hash = crc32c(Buffer.from(`${this.#time.eventsRun} ${this.#oracle.ackedTotal}`), hash);
    return {
      hash,
      events: this.#time.eventsRun,
      simulatedMs: this.#time.now,
      acked: this.#oracle.ackedTotal,
      ...this.#workload.counts,
      faults: this.#faults.counts,
      ...this.#counters,
    };
  }

  async #runUntil(untilMs: number, done: () => boolean = () => false): Promise<boolean> {
    while (this.#time.now < untilMs) {
      await this.#time.runUntil(Math.min(untilMs, this.#time.now + STEP_MS));
      if (this.#failure !== undefined) throw this.#failure.error;
      this.#checkMonotone();
      if (done()) return true;
    }
    return done();
  }

  #fail(error: unknown): void {
    this.#failure ??= { error };
  }

  #guard(check: () => void): void {
    try {
      check();
    } catch (error) {
      this.#fail(error);
    }
  }

  #log(line: string): void {
    this.#trace?.(`${this.#time.now.toFixed(2)} ${line}`);
  }

  #started(broker: SimulatedBroker): void {
    this.#guard(() => {
      for (const { core, replicaId, damage } of broker.driver?.replicas.values() ?? []) {
        if (core !== undefined && damage === undefined) this.#oracle.restarted(replicaId, core.term, core.votedFor);
      }
    });
    this.#faults.started(broker);
  }

  // -------------------------------------------------------------- the end

  /** Every group gets a leader, finishes what was begun and takes commands; all replicas end at the same place. */
  async #converge(): Promise<void> {
    // A stop that was under way ends first.
    const started = await this.#runUntil(this.#time.now + CONVERGE_MS, () => {
      for (const broker of this.#brokers) this.#faults.startBroker(broker);
      return this.#brokers.every((broker) => broker.state === 'running') && this.#problem() === undefined;
    });
    if (!started) throw new Violation(`Not settled ${CONVERGE_MS} ms after everything healed: ${this.#problem()}`);
    for (const group of this.#groups.all()) {
      if (!group.deleted && !(await this.#takesCommand(group))) {
        throw new Violation(`Group ${group.groupId} takes no command after everything healed`);
      }
    }
    const even = await this.#runUntil(this.#time.now + CONVERGE_MS, () => this.#problem() === undefined);
    if (!even) throw new Violation(`Replicas do not converge: ${this.#problem()}`);
  }

  #takesCommand({ groupId }: SimulatedGroup): Promise<boolean> {
    let acked = false;
    let waiting = false;
    return this.#runUntil(this.#time.now + CONVERGE_MS, () => {
      if (acked || waiting) return acked;
      const leader = this.#groups.leaderOf(groupId);
      if (leader?.driver?.get(groupId)?.isReady !== true) return false;
      waiting = true;
      this.#workload.propose(leader, groupId, () => {
        acked = true;
      });
      this.#time.after(ANSWER_MS, () => {
        waiting = false;
      });
      return false;
    });
  }

  /** Why the cluster is not settled, undefined if it is. */
  #problem(): string | undefined {
    for (const { brokerId, state } of this.#brokers) if (state !== 'running') return `broker ${brokerId} is ${state}`;
    return this.#groups.problem();
  }

  /** What the brokers look like, for a failure's story. */
  #describe(): string[] {
    const lines: string[] = [];
    for (const { brokerId, state, driver } of this.#brokers) {
      lines.push(`broker ${brokerId} ${state} ${driver === undefined ? '' : JSON.stringify(driver.storage.stats)}`);
      for (const group of driver?.all() ?? []) {
        const { groupId, replicaId, role, currentTerm, leader, commitIndex, appliedIndex, lastIndex, isReady } = group;
        const pinned = driver?.storage.pinnedBytes(replicaId);
        lines.push(
          `  group ${groupId} replica ${replicaId} ${role} term ${currentTerm} leader ${leader} ready ${isReady} commit ${commitIndex} applied ${appliedIndex} last ${lastIndex} pinned ${pinned}`,
        );
      }
    }
    return lines;
  }

  #terms(): Map<string, number> {
    const terms = new Map<string, number>();
    for (const broker of this.#brokers) {
      for (const group of broker.driver?.all() ?? [])
        terms.set(`${broker.brokerId} ${group.groupId}`, group.currentTerm);
    }
    return terms;
  }

  #checkQuiet(before: ReadonlyMap<string, number>): void {
    for (const [key, term] of this.#terms()) {
      if (before.get(key) !== term) throw new Violation(`Terms still grow after everything healed: ${key}`);
    }
  }

  #checkComplete(): void {
    for (const group of this.#groups.all()) {
      if (group.deleted) continue;
      for (const member of group.target) {
        const list = this.#brokers.find((broker) => broker.brokerId === member.brokerId)?.listOf(group.groupId);
        if (list === undefined) throw new Violation(`Replica ${member.replicaId} has no state`);
        this.#oracle.checkComplete(group.groupId, list.items, list.index);
      }
    }
  }

  #checkMonotone(): void {
    for (const broker of this.#brokers) {
      for (const group of broker.driver?.all() ?? []) {
        const { commitIndex: commit, appliedIndex: applied, currentTerm: term } = group;
        const seen = this.#seen.get(group) ?? { commit: 0, applied: 0, term: 0 };
        if (commit < seen.commit || applied < seen.applied || term < seen.term) {
          throw new Violation(`Replica ${group.replicaId} of group ${group.groupId} goes back`);
        }
        if (applied > commit) throw new Violation(`Replica ${group.replicaId} applied what is not committed`);
        this.#seen.set(group, { commit, applied, term });
      }
    }
  }

  #collect(): void {
    for (const { driver } of this.#brokers) {
      if (driver === undefined) continue;
      this.#counters.segmentsReused += driver.storage.stats.segmentsReused;
      this.#counters.catchUps += driver.metrics.catchUpsInstalled;
      this.#counters.checkpoints += driver.metrics.checkpoints;
      this.#counters.elections += driver.metrics.electionsStarted;
    }
  }
}
