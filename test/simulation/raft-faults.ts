/** What is done to brokers, disks, links and groups while they work, and what an operator does about damage. */
import type { Channel } from '../../src/raft/transport.ts';
import type { BrokerId } from '../../src/std/brands.ts';
import { Violation } from './raft-oracle.ts';
import type { RaftStage } from './raft-stage.ts';
import type { RaftWorkload } from './raft-workload.ts';
import type { SimulatedBroker } from './simulated-broker.ts';
import type { SimulatedGroup, SimulatedGroups } from './simulated-groups.ts';

export const RAFT_FAULTS = [
  'kill',
  'powerLoss',
  'crashOnPromise',
  'gracefulStop',
  'pause',
  'breakLink',
  'isolate',
  'blockOneWay',
  'slowDisk',
  'stalledDisk',
  'allDown',
  'transfer',
  'changeMembers',
  'createGroup',
  'removeGroup',
  'damage',
  'lostAnswers',
] as const;
export type RaftFault = (typeof RAFT_FAULTS)[number];

export interface RaftFaultsOptions {
  readonly faults: readonly RaftFault[];
  /** Mean time between faults. */
  readonly faultEveryMs: number;
  /** One millisecond of the fastest network. */
  readonly latencyScale: number;
}

const GROUPS_MAX = 12;

export class RaftFaults {
  readonly #stage: RaftStage;
  readonly #groups: SimulatedGroups;
  readonly #workload: RaftWorkload;
  readonly #options: RaftFaultsOptions;
  readonly counts: Record<string, number> = {};
  /** Promises that brokers may still make before they crash. */
  readonly #armed = new Map<BrokerId, number>();
  #isActive = true;

  constructor(stage: RaftStage, groups: SimulatedGroups, workload: RaftWorkload, options: RaftFaultsOptions) {
    this.#stage = stage;
    this.#groups = groups;
    this.#workload = workload;
    this.#options = options;
  }

  start(): void {
    this.#schedule();
  }

  /** Heals everything. */
  stop(): void {
    const { network, brokers, log } = this.#stage;
    this.#isActive = false;
    log('heal');
    network.heal();
    for (const broker of brokers) {
      broker.slowDiskMs = 0;
      broker.stalledUntilMs = 0;
      broker.resume();
      this.startBroker(broker);
    }
  }

  startBroker(broker: SimulatedBroker): void {
    if (broker.state !== 'down') return;
    this.#stage.log(`start ${broker.brokerId}`);
    broker.start();
  }

  /** A message leaves a broker. One armed by `crashOnPromise` loses power in the moment in which it tells somebody of a vote or a flush. */
  sent(from: BrokerId, channel: Channel, bytes: Uint8Array): void {
    const { oracle, brokers, random, time, log } = this.#stage;
    if (!oracle.sent(channel, bytes)) return;
    const left = this.#armed.get(from);
    if (left === undefined) return;
    this.#armed.set(from, left - 1);
    if (left > 0) return;
    this.#armed.delete(from);
    const broker = brokers.find((other) => other.brokerId === from)!;
    // The message is under way; nothing that was not flushed before survives.
    time.soon(() => {
      if (!this.#isActive || broker.state === 'down') return;
      log(`crash on promise ${from}`);
      broker.crash(random, true, 'lose');
      time.after(random.next() * 200, () => this.startBroker(broker));
    });
  }

  /** A process is up; one whose store is damaged beyond use gets another. */
  started(broker: SimulatedBroker): void {
    const { victim, fail } = this.#stage;
    if (!broker.isCrippled) {
      this.#groups.reconcile(broker);
      return;
    }
    if (broker !== victim) fail(new Violation(`Broker ${broker.brokerId} calls a store damaged that nobody damaged`));
    this.#replaceStore(broker);
  }

  /** A process ended by itself: that of the damaged broker may. */
  brokerFailed(error: unknown, broker: SimulatedBroker): void {
    const { victim, random, time, log, fail } = this.#stage;
    if (broker !== victim || !(error instanceof Error) || !/damage/i.test(`${error.name} ${error.message}`)) {
      fail(error);
      return;
    }
    log(`broker ${broker.brokerId} stops: ${error.message}`);
    if (/needs an empty data directory/.test(error.message)) this.#replaceStore(broker);
    else {
      // Found while running: the next start deals with it.
      broker.crash(random, false);
      time.after(100, () => this.startBroker(broker));
    }
  }

  /** What an operator does with a store that may have lost votes: an empty one under a new id, whose replicas are new ones. */
  #replaceStore(broker: SimulatedBroker): void {
    const { random, time, log } = this.#stage;
    log(`broker ${broker.brokerId} gets a new store`);
    this.#count('newStore');
    broker.crash(random, false);
    broker.reformat();
    this.#groups.forgetStore(broker);
    time.after(100, () => this.startBroker(broker));
  }

  #schedule(): void {
    const { time, random } = this.#stage;
    const { faults, faultEveryMs } = this.#options;
    if (!this.#isActive || faults.length === 0) return;
    time.after(random.next() * 2 * faultEveryMs, () => {
      if (this.#isActive) this.#inject(random.pick(faults));
      this.#schedule();
    });
  }

  #count(what: string): void {
    this.counts[what] = (this.counts[what] ?? 0) + 1;
  }

  /** Within `maxMs`, unless everything is healed before. */
  #later(callback: () => void, maxMs: number): void {
    const { time, random } = this.#stage;
    time.after(random.next() * maxMs, () => {
      if (this.#isActive) callback();
    });
  }

  #inject(fault: RaftFault): void {
    const { random, time, network, brokers, victim, log, fail } = this.#stage;
    const groups = this.#groups;
    const broker = random.pick(brokers);
    const other = random.pick(brokers);
    this.#count(fault);
    log(`fault ${fault} ${broker.brokerId} ${other.brokerId}`);
    switch (fault) {
      case 'kill':
      case 'powerLoss':
        if (broker.state === 'down') return;
        broker.crash(random, fault === 'powerLoss');
        this.#later(() => this.startBroker(broker), 3_000);
        return;
      case 'crashOnPromise':
        this.#armed.set(broker.brokerId, random.pick([0, 0, 3, 20]));
        return;
      case 'gracefulStop':
        if (broker.state !== 'running') return;
        broker.stop().then(() => this.#later(() => this.startBroker(broker), 2_000), fail);
        return;
      case 'allDown': {
        const power = random.chance(0.5);
        for (const each of brokers) {
          each.crash(random, power);
          this.#later(() => this.startBroker(each), 2_000);
        }
        return;
      }
      case 'pause':
        if (broker.state !== 'running') return;
        broker.pause();
        this.#later(() => broker.resume(), 4_000);
        return;
      case 'breakLink':
        if (broker !== other) network.breakLink(broker.brokerId, other.brokerId);
        return;
      case 'isolate':
        for (const each of brokers) {
          if (each === broker) continue;
          network.block(broker.brokerId, each.brokerId);
          network.block(each.brokerId, broker.brokerId);
        }
        this.#later(() => network.heal(), 4_000);
        return;
      case 'blockOneWay':
        if (broker === other) return;
        network.block(broker.brokerId, other.brokerId);
        this.#later(() => network.unblock(broker.brokerId, other.brokerId), 4_000);
        return;
      case 'slowDisk':
        broker.slowDiskMs = random.pick([5, 50, 300]);
        this.#later(() => {
          broker.slowDiskMs = 0;
        }, 3_000);
        return;
      case 'stalledDisk':
        broker.stalledUntilMs = time.now + random.next() * 6_000;
        return;
      case 'transfer': {
        const { groupId } = random.pick(groups.all());
        groups.leaderOf(groupId)?.driver?.get(groupId)?.transferLeadership().catch(fail);
        return;
      }
      case 'changeMembers':
        groups.changeMembers(random.pick(groups.all()));
        return;
      case 'createGroup':
        if (groups.size < GROUPS_MAX) groups.create();
        return;
      case 'damage':
        if (victim === undefined || victim.state === 'starting') return;
        if (victim.state !== 'down') victim.crash(random, random.chance(0.5));
        victim.damage(random);
        this.#later(() => this.startBroker(victim), 1_000);
        return;
      case 'lostAnswers':
        this.#loseAnswers(random.pick(groups.all()));
        return;
      case 'removeGroup': {
        const group = random.pick(groups.all());
        if (!group.deleted && groups.size >= 2) groups.remove(group);
        return;
      }
    }
  }

  /**
   * A follower flushes a group's last entries, but its answers are lost, and so is what the leader says of their commit. Then the leader has them in a checkpoint only and believes that the follower
   * needs a catch-up: one whose checkpoint is in the follower's log.
   */
  #loseAnswers(group: SimulatedGroup): void {
    const { random, time, network } = this.#stage;
    const { latencyScale } = this.#options;
    const leader = this.#groups.leaderOf(group.groupId);
    const followers = [...group.placed.keys()].filter((brokerId) => brokerId !== leader?.brokerId);
    if (leader === undefined || followers.length < 2) return;
    const { brokerId } = leader;
    const follower = random.pick(followers);
    const giveUpMs = time.now + 5_000;
    group.quietUntilMs = giveUpMs + 1_000;
    network.block(follower, brokerId);
    for (let left = random.between(1, 3); left > 0; left--) this.#workload.propose(leader, group.groupId);
    // Entries arrive within this time, a commit does not.
    time.after(0.95 * latencyScale, () => network.block(brokerId, follower));
    const meetAgain = (): void => {
      const replica = leader.driver?.get(group.groupId);
      leader.driver?.checkpoint(group.groupId);
      // Until other groups need the room, the log reaches back behind its checkpoint.
      const hasLog =
        replica !== undefined && leader.driver!.storage.firstIndex(replica.replicaId) <= replica.appliedIndex;
      if (this.#isActive && hasLog && time.now < giveUpMs) {
        time.after(50, meetAgain);
        return;
      }
      group.quietUntilMs = Math.min(group.quietUntilMs, time.now + 500);
      network.breakLink(brokerId, follower);
      network.unblock(brokerId, follower);
      network.unblock(follower, brokerId);
    };
    time.after(6 * latencyScale, meetAgain);
  }
}
