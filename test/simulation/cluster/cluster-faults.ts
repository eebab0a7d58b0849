/** What is done to a simulated cluster while its clients work, and how it ends. Counts what took effect, not what was tried. */

import { CONSUMER_OFFSETS_TOPIC } from '../../../src/broker/groups/group-coordinator.ts';
import type { RaftGroup } from '../../../src/raft/raft-group.ts';
import { CHANNEL } from '../../../src/raft/transport.ts';
import { type BrokerId, type GroupId, METADATA_GROUP_ID, brokerId as toBrokerId } from '../../../src/std/brands.ts';
import { DiskError } from '../../../src/std/disk.ts';
import type { SeededRandom } from '../../../src/std/seeded-random.ts';
import type { SimulatedTime } from '../simulated-clock.ts';
import type { SimulatedNetwork } from '../simulated-network.ts';
import type { ClusterFault, ClusterPlan } from './cluster-plan.ts';
import type { ClusterWorkload } from './cluster-workload.ts';
import {
  type Damage,
  flipBitsInPartitions,
  flipBitsInWal,
  loseFiles,
  misdirectedWrite,
  staleSectors,
} from './disk-damage.ts';
import { FAILPOINTS, FIRST_START_FAILPOINTS, RARE_FAILPOINTS } from './failpoints.ts';
import { imageOf } from './node-image.ts';
import { reassign } from './reassignments.ts';
import type { SimulatedClientNetwork } from './simulated-client-network.ts';
import type { SimulatedNode } from './simulated-node.ts';
import { StoreLosses } from './store-losses.ts';
import type { Tempo } from './tempo.ts';
import { WireCorruption } from './wire-corruption.ts';

export interface ClusterFaultsOptions {
  readonly time: SimulatedTime;
  readonly random: SeededRandom;
  readonly plan: ClusterPlan;
  readonly nodes: readonly SimulatedNode[];
  readonly network: SimulatedNetwork;
  readonly clients: SimulatedClientNetwork;
  readonly workload: ClusterWorkload;
  readonly tempo: Tempo;
  /** Whether the cluster ever came to be. */
  readonly isFormed: () => boolean;
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
  readonly #haveFailed = new Set<number>();
  /** Nodes without room on their disk: what they write may fail. */
  readonly #full = new Set<SimulatedNode>();
  #isActive = false;
  readonly #losses: StoreLosses;
  /** The next leader that is the first to apply something dies of it. */
  #armed: 'killOnCommit' | 'killOnGeneration' | undefined;
  readonly #wire: WireCorruption;
  /** The only node whose wall clock may be far off: a majority agrees on the time. */
  readonly #liar: SimulatedNode;

  constructor(options: ClusterFaultsOptions) {
    this.#options = options;
    this.#liar = options.random.pick(options.nodes);
    for (const node of options.nodes) node.onHalt = (operation, isNamed) => this.#halted(node, operation, isNamed);
    this.#losses = new StoreLosses(options);
    this.#wire = new WireCorruption(options, () => this.#count('corruptWire'));
    if (options.plan.clockRates.some((rate) => rate !== 1)) this.effects.clockDrift = 1;
  }

  /** Its disk gave back other bytes than it was given. */
  isDamaged(node: SimulatedNode): boolean {
    return this.#losses.isDamaged(node);
  }

  /** Its disk gave back other bytes than it was given, or failed. */
  hasLied(brokerId: number): boolean {
    return this.isDamaged(this.#options.nodes[brokerId - 1]!) || this.#haveFailed.has(brokerId);
  }

  /** A leader is the first to apply an entry. */
  committed(brokerId: number, isGeneration: boolean): void {
    const { nodes, random, time, log } = this.#options;
    const armed = this.#armed;
    if (armed === undefined || !this.#isActive || (armed === 'killOnGeneration' && !isGeneration)) return;
    const node = nodes[brokerId - 1]!;
    this.#armed = undefined;
    const how = random.pick(['kill', 'powerLoss', 'isolateFromPeers'] as const);
    // Sometimes before anybody is told, sometimes when the client knows and the followers do not.
    time.after(random.pick([0, 1, 10, 40]) * random.next(), () => {
      if (!this.#isActive || node.state !== 'running') return;
      log(`fault ${armed}: ${how} of broker ${brokerId}`);
      if (!this.#takesEffect(how, node, node)) return;
      this.#count(armed);
      if (armed === 'killOnGeneration' || random.chance(0.5)) this.#slowDownOthers(node);
    });
  }

  /** So that who leads next knows for long what is in its log, and not yet that it is committed. */
  #slowDownOthers(node: SimulatedNode): void {
    const { nodes, random } = this.#options;
    const others = nodes.filter((each) => each !== node);
    for (const other of others) other.slowDiskMs = random.pick([100, 300]);
    this.#later(4_000, () => {
      for (const other of others) other.slowDiskMs = 0;
    });
  }

  start(): void {
    const { plan, time, random } = this.#options;
    this.#isActive = true;
    this.#losses.noticeRecovery();
    // Later hardly ever everything is settled.
    if (plan.faults.includes('amnesia') && random.chance(0.5)) time.after(100, () => this.#inject('amnesia'));
    this.#schedule();
  }

  /** Heals everything, or all but one node. Gives those that are healed. */
  stop(): SimulatedNode[] {
    const { nodes, network, clients, random, plan, log, isFormed } = this.#options;
    this.#isActive = false;
    this.#wire.stop();
    // While the replicas of a lost store are not back, losing one more broker is losing a majority.
    const isWhole = this.#losses.isWhole();
    // A new cluster forms when all of its voters are there.
    const mayLeave = plan.leavesMinorityBroken && isWhole && isFormed();
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
      node.haltAt = undefined;
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
    if (this.isDamaged(node) && node.state === 'starting') {
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
    const { time, random, plan, tempo } = this.#options;
    if (!this.#isActive || plan.faults.length === 0) return;
    time.after(random.next() * 2 * plan.faultEveryMs * tempo.scale, () => {
      if (this.#isActive) this.#inject(random.pick(plan.faults));
      this.#schedule();
    });
  }

  #inject(fault: ClusterFault): void {
    const { nodes, random, log } = this.#options;
    const node = (random.chance(0.4) ? this.#aLeader() : undefined) ?? random.pick(nodes);
    const other = random.pick(nodes);
    this.#losses.noticeRecovery();
    log(`fault ${fault} on ${node.brokerId} (${node.state}), ${other.brokerId}`);
    if (this.#takesEffect(fault, node, other)) this.#count(fault);
  }

  #count(fault: ClusterFault): void {
    this.effects[fault] = (this.effects[fault] ?? 0) + 1;
  }

  #takesEffect(fault: ClusterFault, node: SimulatedNode, other: SimulatedNode): boolean {
    const { nodes, random, network, clients, workload, time, fail, log } = this.#options;
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
        this.#haveFailed.add(node.brokerId);
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
        if (!workload.recreateTopic()) return false;
        // Its old replica is then still being removed when the new one comes.
        if (random.chance(0.5)) {
          other.slowDiskMs = random.pick([100, 300]);
          this.#later(4_000, () => {
            other.slowDiskMs = 0;
          });
        }
        return true;
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
        return this.#damage(node, flipBitsInWal);
      case 'damageFiles':
        return this.#damage(node, flipBitsInPartitions);
      case 'staleSectors':
        return this.#damage(node, staleSectors);
      case 'misdirectedWrites':
        return this.#damage(node, misdirectedWrite);
      case 'loseFiles':
        return this.#damage(node, loseFiles);
      case 'wipe':
        return this.#wipe(node);
      case 'amnesia':
        return this.#amnesia();
      case 'killAtFailpoint':
        if (node.state === 'paused') return false;
        // Of a node that is down: in its next start.
        node.haltAt = random.pick(random.chance(0.5) ? RARE_FAILPOINTS : FAILPOINTS);
        return false;
      case 'killOnCommit':
      case 'killOnGeneration':
        this.#armed = fault;
        return false;
      case 'cutLeader': {
        const leader = this.#aLeader();
        if (leader === undefined) return false;
        const isMute = random.chance(0.5);
        for (const { brokerId } of nodes) {
          if (brokerId === leader.brokerId) continue;
          const [from, to] = isMute ? [leader.brokerId, brokerId] : [brokerId, leader.brokerId];
          network.block(toBrokerId(from), toBrokerId(to));
        }
        this.#later(4_000, () => this.#setPeersBlocked(leader, false));
        return true;
      }
      case 'reassign':
        return reassign(nodes, random, log);
      case 'corruptWire':
        this.#wire.corruptNext(some);
        return false;
      case 'muteChannel':
        return node !== other && network.muteChannel(some, another, random.pick([CHANNEL.append, CHANNEL.bulk]));
      case 'longSlowDisk':
        node.slowDiskMs = random.pick([20, 100]);
        this.#later(20_000, () => {
          node.slowDiskMs = 0;
        });
        return true;
      case 'recreateIsolated': {
        const leader = this.#leaderOf(this.#groupsOf(random.pick(['metadata', 'offsets'])));
        if (leader === undefined || leader === other || !workload.recreateTopic()) return false;
        const [from, to] = random.shuffle([toBrokerId(leader.brokerId), another]) as [BrokerId, BrokerId];
        network.block(from, to);
        this.#later(5_000, () => network.unblock(from, to));
        return true;
      }
      case 'deleteRecords':
        return workload.deleteRecords();
    }
  }

  // -------------------------------------------------------------- who is who

  /** A node that leads something: a metadata leader, a coordinator or the leader of any partition. */
  #aLeader(): SimulatedNode | undefined {
    return this.#leaderOf(this.#groupsOf(this.#options.random.pick(['metadata', 'offsets', 'any'])));
  }

  #leaderOf(groups: readonly GroupId[] | undefined): SimulatedNode | undefined {
    const { nodes, random } = this.#options;
    const leads = ({ role, groupId }: RaftGroup): boolean =>
      role === 'leader' && (groups === undefined || groups.includes(groupId));
    const leaders = nodes.filter(({ driver }) => [...(driver?.all() ?? [])].some(leads));
    return leaders.length === 0 ? undefined : random.pick(leaders);
  }

  /** Undefined: all. */
  #groupsOf(kind: 'metadata' | 'offsets' | 'any'): readonly GroupId[] | undefined {
    if (kind === 'any') return undefined;
    if (kind === 'metadata') return [METADATA_GROUP_ID];
    for (const node of this.#options.nodes) {
      const topic = imageOf(node)?.topics.get(CONSUMER_OFFSETS_TOPIC);
      if (topic !== undefined) return topic.partitions.map(({ groupId }) => groupId);
    }
    return [];
  }

  // -------------------------------------------------------------- lost and damaged stores

  #wipe(node: SimulatedNode, restarts = true): boolean {
    const { plan, random, willEnd } = this.#options;
    if (!this.#losses.mayLose(node)) return false;
    willEnd(node);
    node.wipe(random);
    this.#losses.lost(node);
    if (plan.faults.includes('killAtFailpoint') && random.chance(0.5))
      node.haltAt = random.pick(FIRST_START_FAILPOINTS);
    this.#failing.delete(node);
    if (restarts) this.#restartLater(node);
    return true;
  }

  /** One broker is behind, one loses its store, and the one that has everything can not be reached: the other two must not go on without it. */
  #amnesia(): boolean {
    const { nodes, random, time, network, clients } = this.#options;
    const leader = this.#leaderOf(this.#groupsOf(random.pick(['metadata', 'any'])));
    if (!this.#losses.mayLoseAny() || leader === undefined) return false;
    const [behind, lost] = random.shuffle(nodes.filter((node) => node !== leader)) as [SimulatedNode, SimulatedNode];
    this.#setPeersBlocked(behind, true);
    time.after(random.between(50, 500), () => {
      // What is still blocked after the healing shall be.
      if (!this.#isActive) return;
      if (leader.state !== 'running' || !this.#wipe(lost, false)) {
        this.#setPeersBlocked(behind, false);
        return;
      }
      this.#count('amnesia');
      this.#setPeersBlocked(leader, true);
      clients.block(leader.brokerId);
      for (const node of nodes) {
        if (node !== leader && node !== behind) {
          network.unblock(toBrokerId(node.brokerId), toBrokerId(behind.brokerId));
          network.unblock(toBrokerId(behind.brokerId), toBrokerId(node.brokerId));
        }
      }
      this.#startNode(lost);
      time.after(random.between(1_500, 4_000), () => {
        if (!this.#isActive) return;
        this.#setPeersBlocked(leader, false);
        clients.unblock(leader.brokerId);
      });
    });
    return false;
  }

  #damage(node: SimulatedNode, damage: Damage): boolean {
    const { random, log } = this.#options;
    const damaged = this.#losses.victim(node);
    if (damaged === undefined) return false;
    // Files of partitions go bad while they are in use; what happens to a running WAL, its next start finds.
    if (damage !== flipBitsInPartitions && damaged.state !== 'down') this.#crash(damaged, random.chance(0.5));
    const what = damage(damaged.disk, random);
    if (what === undefined) return false;
    log(`broker ${damaged.brokerId}: ${what}`);
    return true;
  }

  // -------------------------------------------------------------- nodes and links

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

  #halted(node: SimulatedNode, operation: string, isNamed: boolean): void {
    const { random, log } = this.#options;
    if (node.state === 'down') return;
    log(`broker ${node.brokerId} dies in a disk operation: ${operation}`);
    this.#count(isNamed ? 'killAtFailpoint' : 'killInDiskOperation');
    this.effects[`kill at ${operation}`] = (this.effects[`kill at ${operation}`] ?? 0) + 1;
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
    const { time, random, tempo } = this.#options;
    time.after(random.next() * maxMs * tempo.faultScale, () => {
      if (this.#isActive) callback();
    });
  }
}

function isDiskError(error: unknown): boolean {
  for (let at: unknown = error; at instanceof Error; at = at.cause) if (at instanceof DiskError) return true;
  return false;
}
