/** What is done to a simulated cluster while its clients work, and how it ends. Counts what took effect, not what was tried. */

import { brokerId as toBrokerId } from '../../../src/std/brands.ts';
import { DiskError } from '../../../src/std/disk.ts';
import type { SeededRandom } from '../../../src/std/seeded-random.ts';
import type { SimulatedTime } from '../simulated-clock.ts';
import type { SimulatedNetwork } from '../simulated-network.ts';
import type { ClusterFault, ClusterPlan } from './cluster-plan.ts';
import type { ClusterWorkload } from './cluster-workload.ts';
import type { SimulatedClientNetwork } from './simulated-client-network.ts';
import type { SimulatedNode } from './simulated-node.ts';

export interface ClusterFaultsOptions {
  readonly time: SimulatedTime;
  readonly random: SeededRandom;
  readonly plan: ClusterPlan;
  readonly nodes: readonly SimulatedNode[];
  readonly network: SimulatedNetwork;
  readonly clients: SimulatedClientNetwork;
  readonly workload: ClusterWorkload;
  /** All replicas of everything are whole: only then a store may be lost. */
  readonly isSettled: () => boolean;
  /** The process of this node ends now. */
  readonly willEnd: (node: SimulatedNode) => void;
  readonly fail: (error: unknown) => void;
  readonly log: (line: string) => void;
}

const DAY_MS = 86_400_000;
const ROOMY_BYTES = 2 ** 40;

export class ClusterFaults {
  readonly #options: ClusterFaultsOptions;
  readonly effects: Record<string, number> = {};
  /** Nodes with an injected disk error: they may fail. */
  readonly #failing = new Set<SimulatedNode>();
  /** Nodes without room on their disk: what they write may fail. */
  readonly #full = new Set<SimulatedNode>();
  #isActive = false;
  #wiped = false;
  /** The one node whose disk lied. If it refuses to start, somebody gives it an empty one. */
  #damaged: SimulatedNode | undefined;
  /** The only node whose wall clock may be far off: a majority agrees on the time. */
  readonly #liar: SimulatedNode;

  constructor(options: ClusterFaultsOptions) {
    this.#options = options;
    this.#liar = options.random.pick(options.nodes);
    for (const node of options.nodes) node.onHalt = () => this.#halted(node);
  }

  start(): void {
    this.#isActive = true;
    this.#schedule();
  }

  /** Heals everything, or all but one node. Gives those that are healed. */
  stop(): SimulatedNode[] {
    const { nodes, network, clients, random, plan, log, isSettled } = this.#options;
    this.#isActive = false;
    // While the replicas of a lost store are not back, losing one more broker is losing a majority.
    const isWhole = this.#damaged === undefined && (!this.#wiped || isSettled());
    const mayLeave = plan.leavesMinorityBroken && isWhole;
    const left = mayLeave ? random.pick(nodes) : undefined;
    const core = nodes.filter((node) => node !== left);
    if (left !== undefined) this.#leaveBroken(left, core);
    for (const some of nodes) {
      for (const other of nodes) {
        if (some !== left && other !== left) network.unblock(toBrokerId(some.brokerId), toBrokerId(other.brokerId));
      }
    }
    for (const node of core) {
      this.#makeRoom(node);
      clients.unblock(node.brokerId);
      node.slowDiskMs = 0;
      node.stalledUntilMs = 0;
      node.failNext = undefined;
      node.haltAfter = undefined;
      node.resume();
      if (node.state === 'down') this.#startNode(node);
    }
    log(`heal ${left === undefined ? 'everything' : `all but broker ${left.brokerId}, which is ${left.state}`}`);
    this.#keepCoreUp(core);
    return core;
  }

  /** Nobody waited for an operation of a disk that failed; a real process ends then. */
  unhandled(error: unknown): void {
    const failing = [...this.#failing].find((node) => node.failNext === undefined) ?? [...this.#full][0];
    if (failing === undefined) this.#options.fail(error);
    else this.brokerFailed(failing, error);
  }

  /** A node that fails after an injected error of its disk is as dead as one that lost its power. */
  brokerFailed(node: SimulatedNode, error: unknown): void {
    const { random, fail, log } = this.#options;
    if (node === this.#damaged && node.state === 'starting') {
      log(
        `broker ${node.brokerId} refuses its damaged disk: ${error instanceof Error ? error.message : String(error)}`,
      );
      node.wipe(random);
      this.#startNode(node);
      return;
    }
    if (this.#full.has(node) && isDiskError(error)) {
      log(`broker ${node.brokerId} stops on its full disk: ${(error as Error).message}`);
      this.#crash(node, false);
      return;
    }
    if (!this.#failing.has(node) || !isDiskError(error)) {
      fail(error instanceof Error ? error : new Error(String(error)));
      return;
    }
    log(`broker ${node.brokerId} stops: ${(error as Error).message}`);
    this.#count('failedDisk');
    this.#failing.delete(node);
    this.#crash(node, random.chance(0.7));
  }

  #leaveBroken(node: SimulatedNode, core: readonly SimulatedNode[]): void {
    const { random, network, clients } = this.#options;
    const how = random.pick(['down', 'paused', 'isolated', 'deaf']);
    if (how === 'down') this.#crash(node, true, false);
    else if (how === 'paused' && node.state === 'running') node.pause();
    else {
      clients.block(node.brokerId);
      for (const other of core) {
        network.block(toBrokerId(other.brokerId), toBrokerId(node.brokerId));
        if (how === 'isolated') network.block(toBrokerId(node.brokerId), toBrokerId(other.brokerId));
      }
    }
  }

  /** A graceful stop that was under way at the healing ends in a start. */
  #keepCoreUp(core: readonly SimulatedNode[]): void {
    this.#options.time.after(500, () => {
      for (const node of core) if (node.state === 'down') this.#startNode(node);
      this.#keepCoreUp(core);
    });
  }

  #schedule(): void {
    const { time, random, plan } = this.#options;
    if (!this.#isActive || plan.faults.length === 0) return;
    time.after(random.next() * 2 * plan.faultEveryMs, () => {
      if (this.#isActive) this.#inject(random.pick(plan.faults));
      this.#schedule();
    });
  }

  #inject(fault: ClusterFault): void {
    const { nodes, random, log } = this.#options;
    const node = random.pick(nodes);
    const other = random.pick(nodes);
    log(`fault ${fault} on ${node.brokerId} (${node.state}), ${other.brokerId}`);
    if (this.#takesEffect(fault, node, other)) this.#count(fault);
  }

  #count(fault: ClusterFault): void {
    this.effects[fault] = (this.effects[fault] ?? 0) + 1;
  }

  #takesEffect(fault: ClusterFault, node: SimulatedNode, other: SimulatedNode): boolean {
    const { nodes, random, network, clients, workload, time, fail } = this.#options;
    const some = toBrokerId(node.brokerId);
    const another = toBrokerId(other.brokerId);
    switch (fault) {
      case 'kill':
      case 'powerLoss':
        if (node.state === 'down') return false;
        this.#crash(node, fault === 'powerLoss');
        return true;
      case 'killInDiskOperation':
        if (node.state === 'down' || node.state === 'paused') return false;
        node.haltAfter = random.below(random.pick([3, 50, 400]));
        return false;
      case 'gracefulRestart':
        if (node.state !== 'running') return false;
        node.stop().then(() => this.#restartLater(node), fail);
        return true;
      case 'allDown': {
        const power = random.chance(0.7);
        for (const each of nodes) this.#crash(each, power);
        return true;
      }
      case 'pause':
        if (node.state !== 'running') return false;
        node.pause();
        this.#later(random.pick([300, 4_000]), () => node.resume());
        return true;
      case 'breakLink':
        if (node === other) return false;
        network.breakLink(some, another);
        return true;
      case 'isolate':
      case 'isolateFromPeers':
        if (nodes.length === 1) return false;
        this.#setPeersBlocked(node, true);
        if (fault === 'isolate') clients.block(node.brokerId);
        this.#later(5_000, () => {
          this.#setPeersBlocked(node, false);
          clients.unblock(node.brokerId);
        });
        return true;
      case 'pauseIsolated': {
        // It goes on as the leader that it was, while others lead, and nobody but its clients can reach it.
        if (nodes.length === 1 || node.state !== 'running') return false;
        this.#setPeersBlocked(node, true);
        node.pause();
        const pauseMs = random.between(500, 1_500);
        time.after(pauseMs, () => node.resume());
        time.after(pauseMs + 1_000, () => {
          if (this.#isActive) this.#setPeersBlocked(node, false);
        });
        return true;
      }
      case 'blockOneWay':
        if (node === other) return false;
        network.block(some, another);
        this.#later(5_000, () => network.unblock(some, another));
        return true;
      case 'blockClients':
        clients.block(node.brokerId);
        this.#later(4_000, () => clients.unblock(node.brokerId));
        return true;
      case 'breakConnections':
        return clients.breakSome(random, random.pick([0.1, 0.5, 1])) > 0;
      case 'slowDisk':
        node.slowDiskMs = random.pick([5, 50, 300]);
        this.#later(3_000, () => {
          node.slowDiskMs = 0;
        });
        return true;
      case 'stalledDisk':
        node.stalledUntilMs = time.now + random.next() * 6_000;
        return true;
      case 'failedDisk':
        if (node.state !== 'running') return false;
        node.failNext = random.pick(['write', 'sync', 'sync', 'read']);
        this.#failing.add(node);
        return false;
      case 'clockJump': {
        const byMs = node === this.#liar && nodes.length > 1 ? random.pick([-40 * DAY_MS, 40 * DAY_MS]) : 2_000;
        node.jumpClock(random.chance(0.5) ? byMs : -byMs);
        return true;
      }
      case 'transferLeadership': {
        const led = [...(node.driver?.all() ?? [])].filter(({ role }) => role === 'leader');
        if (led.length === 0) return false;
        random.pick(led).transferLeadership().catch(fail);
        return true;
      }
      case 'recreateTopic':
        return workload.recreateTopic();
      case 'addPartitions':
        return workload.addPartitions();
      case 'groupChurn':
        return workload.churnGroup();
      case 'fullDisk':
        if (this.#full.has(node)) return false;
        this.#full.add(node);
        node.disk.capacityBytes = node.disk.usedBytes + random.pick([0, 20_000, 100_000, 600_000]);
        this.#later(4_000, () => this.#makeRoom(node));
        return true;
      case 'damageWal':
        if (nodes.length >= 3) this.#damageWhenSettled(node);
        return false;
      case 'wipe':
        // A second store must not be lost before the first one's replicas are back.
        if (nodes.length < 3 || this.#damaged !== undefined || !this.#options.isSettled()) return false;
        this.#options.willEnd(node);
        node.wipe(random);
        this.#wiped = true;
        this.#failing.delete(node);
        this.#restartLater(node);
        return true;
    }
  }

  #makeRoom(node: SimulatedNode): void {
    node.disk.capacityBytes = ROOMY_BYTES;
    this.#full.delete(node);
  }

  #setPeersBlocked(node: SimulatedNode, isBlocked: boolean): void {
    const { nodes, network } = this.#options;
    const own = toBrokerId(node.brokerId);
    for (const { brokerId } of nodes) {
      const peer = toBrokerId(brokerId);
      if (peer === own) continue;
      if (isBlocked) {
        network.block(own, peer);
        network.block(peer, own);
      } else {
        network.unblock(own, peer);
        network.unblock(peer, own);
      }
    }
  }

  /** Waits for a moment at which all replicas are whole, so that it is a minority that is damaged. */
  #damageWhenSettled(node: SimulatedNode): void {
    if (!this.#isActive || this.#wiped) return;
    const { isSettled, random, time } = this.#options;
    if (!isSettled()) {
      time.after(100, () => this.#damageWhenSettled(node));
      return;
    }
    this.#wiped = true;
    this.#damaged = node;
    this.#crash(node, random.chance(0.5));
    if (this.#damageWal(node)) this.#count('damageWal');
  }

  /** Flips bits in what a dead broker left. */
  #damageWal({ disk }: SimulatedNode): boolean {
    const { random } = this.#options;
    const path = random.pick(disk.paths().filter((name) => name.startsWith('wal/')));
    const used = disk.readBytes(path).findLastIndex((byte) => byte !== 0) + 1;
    if (used === 0) return false;
    const flips = random.pick([1, 1, 20]);
    for (let flip = 0; flip < flips; flip++) disk.flipBit(path, random.below(used), random.below(8));
    this.#options.log(`${flips} bits of ${path} flip`);
    return true;
  }

  #halted(node: SimulatedNode): void {
    const { random, log } = this.#options;
    if (node.state === 'down') return;
    log(`broker ${node.brokerId} dies in a disk operation`);
    this.#count('killInDiskOperation');
    this.#crash(node, random.chance(0.5));
  }

  #crash(node: SimulatedNode, power: boolean, restarts = true): void {
    if (node.state === 'down') return;
    this.#options.willEnd(node);
    node.crash(this.#options.random, power);
    this.#failing.delete(node);
    if (restarts) this.#restartLater(node);
  }

  #restartLater(node: SimulatedNode): void {
    const { random } = this.#options;
    this.#later(random.pick([200, 1_000, 4_000]), () => {
      if (node.state === 'down') this.#startNode(node);
    });
  }

  #startNode(node: SimulatedNode): void {
    this.#options.log(`start broker ${node.brokerId}`);
    node.start();
  }

  /** Within `maxMs`, unless everything is healed before. */
  #later(maxMs: number, callback: () => void): void {
    const { time, random } = this.#options;
    time.after(random.next() * maxMs, () => {
      if (this.#isActive) callback();
    });
  }
}

function isDiskError(error: unknown): boolean {
  for (let at: unknown = error; at instanceof Error; at = at.cause) if (at instanceof DiskError) return true;
  return false;
}
