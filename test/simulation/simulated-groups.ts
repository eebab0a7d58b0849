/** Which groups there are and who shall hold them, and what makes it so: what metadata is to partitions. Survives all brokers. */
import type { Member, Membership } from '../../src/raft/core/types.ts';
import { type BrokerId, type GroupId, groupId as toGroupId, replicaId as toReplicaId } from '../../src/std/brands.ts';
import type { RaftStage } from './raft-stage.ts';
import type { SimulatedBroker } from './simulated-broker.ts';

export interface SimulatedGroup {
  readonly groupId: GroupId;
  readonly initial: Membership;
  /** Voters wanted; reached when `changing` is false. */
  target: readonly Member[];
  changing: boolean;
  asking: boolean;
  /** Replicas that must exist. */
  placed: Map<BrokerId, Member>;
  /** Replicas that must go, and did not say yet that they are gone. */
  readonly tombstones: Map<BrokerId, Member[]>;
  deleted: boolean;
  /** Nobody sends it commands until this time. */
  quietUntilMs: number;
}

const RECONCILE_MS = 200;
/** The process that was asked for a change may die without an answer. */
const ANSWER_MS = 20_000;

export class SimulatedGroups {
  readonly #stage: RaftStage;
  readonly #groups = new Map<GroupId, SimulatedGroup>();
  #nextGroup = 1;
  #nextReplica = 1;

  constructor(stage: RaftStage) {
    this.#stage = stage;
  }

  get size(): number {
    return this.#groups.size;
  }

  all(): SimulatedGroup[] {
    return [...this.#groups.values()];
  }

  create(): void {
    const { brokers, log } = this.#stage;
    const groupId = toGroupId(this.#nextGroup++);
    const voters = this.#pickBrokers().map((broker) => this.#newMember(broker));
    this.#groups.set(groupId, {
      groupId,
      initial: { voters, votersOutgoing: [], learners: [] },
      target: voters,
      changing: false,
      asking: false,
      placed: new Map(voters.map((member) => [member.brokerId, member])),
      tombstones: new Map(),
      deleted: false,
      quietUntilMs: 0,
    });
    log(`create group ${groupId} on ${voters.map((member) => member.brokerId)}`);
    for (const broker of brokers) this.reconcile(broker);
  }

  remove(group: SimulatedGroup): void {
    group.deleted = true;
    for (const member of [...group.placed.values()]) bury(group, member);
    for (const broker of this.#stage.brokers) this.reconcile(broker);
  }

  /** Gives the group other voters, some of which may be the same. */
  changeMembers(group: SimulatedGroup): void {
    if (group.changing || group.deleted) return;
    group.changing = true;
    group.target = this.#pickBrokers().map((broker) => group.placed.get(broker.brokerId) ?? this.#newMember(broker));
    // A broker has one replica of a group: the old one must be gone before a new one comes.
    group.target = group.target.filter((member) => (group.tombstones.get(member.brokerId) ?? []).length === 0);
    if (group.target.length === 0) group.target = [...group.placed.values()];
    for (const member of group.target) group.placed.set(member.brokerId, member);
    this.#stage.log(`group ${group.groupId} moves to ${group.target.map((member) => member.brokerId)}`);
    for (const broker of this.#stage.brokers) this.reconcile(broker);
  }

  /** The broker's store is another one: nothing that was placed on it is there, or comes back. */
  forgetStore(broker: SimulatedBroker): void {
    for (const group of this.#groups.values()) {
      group.tombstones.delete(broker.brokerId);
      const member = group.placed.get(broker.brokerId);
      if (group.deleted || member === undefined) continue;
      group.placed.delete(broker.brokerId);
      group.target = group.target.filter((other) => other !== member);
      group.changing = true;
      group.asking = false;
    }
  }

  /** Makes a running broker's replicas what they should be, as metadata would. */
  reconcile({ driver, brokerId }: SimulatedBroker): void {
    if (driver === undefined) return;
    for (const group of this.#groups.values()) {
      for (const member of group.tombstones.get(brokerId) ?? []) {
        driver.remove(group.groupId, member.replicaId).then(() => {
          const left = (group.tombstones.get(brokerId) ?? []).filter((other) => other !== member);
          group.tombstones.set(brokerId, left);
        }, this.#stage.fail);
      }
      const member = group.placed.get(brokerId);
      const existing = driver.get(group.groupId);
      if (member === undefined || existing !== undefined) continue;
      driver.create({
        groupId: group.groupId,
        replicaId: member.replicaId,
        membership: group.initial,
        descriptor: Buffer.from('list'),
      });
    }
  }

  /** Asks the leaders again and again, as metadata would. */
  keepReconciling(): void {
    const { time, brokers } = this.#stage;
    time.after(RECONCILE_MS, () => {
      for (const broker of brokers) this.reconcile(broker);
      for (const group of this.#groups.values()) {
        if (group.changing && !group.asking && !group.deleted) this.#askForChange(group);
      }
      this.keepReconciling();
    });
  }

  #askForChange(group: SimulatedGroup): void {
    const { time, log, fail } = this.#stage;
    const leader = this.leaderOf(group.groupId);
    if (leader === undefined) return;
    group.asking = true;
    const { target } = group;
    const answered = (changed: boolean): void => {
      group.asking = false;
      if (!changed || group.deleted || group.target !== target) return;
      group.changing = false;
      log(`group ${group.groupId} moved`);
      for (const member of [...group.placed.values()]) if (!group.target.includes(member)) bury(group, member);
    };
    leader.driver!.get(group.groupId)!.changeVoters(group.target).then(answered, fail);
    time.after(ANSWER_MS, () => {
      group.asking = false;
    });
  }

  /** Any of those that think that they lead. */
  leaderOf(groupId: GroupId): SimulatedBroker | undefined {
    const { brokers, random } = this.#stage;
    const leaders = brokers.filter((broker) => broker.driver?.get(groupId)?.role === 'leader');
    return leaders.length === 0 ? undefined : random.pick(leaders);
  }

  /** Why the groups are not as they shall be on all brokers, undefined if they are. */
  problem(): string | undefined {
    for (const group of this.#groups.values()) {
      const problem = this.#problemOf(group);
      if (problem !== undefined) return problem;
    }
    return undefined;
  }

  #problemOf(group: SimulatedGroup): string | undefined {
    const { groupId, target } = group;
    for (const [brokerId, members] of group.tombstones) {
      if (members.length > 0) return `group ${groupId} still has removed replicas on ${brokerId}`;
    }
    if (group.deleted) return undefined;
    if (group.changing) return `group ${groupId} still changes its members`;
    const leader = this.leaderOf(groupId)?.driver?.get(groupId);
    if (leader === undefined) return `group ${groupId} has no leader`;
    if (!leader.isReady) return `the leader of group ${groupId} is not ready`;
    for (const { brokerId, replicaId } of target) {
      const driver = this.#stage.brokers.find((broker) => broker.brokerId === brokerId)?.driver;
      const replica = driver?.get(groupId);
      if (replica?.replicaId !== replicaId) return `replica ${replicaId} of group ${groupId} is missing`;
      if (replica.appliedIndex !== leader.lastIndex) {
        return `replica ${replicaId} of group ${groupId} is at ${replica.appliedIndex} of ${leader.lastIndex}`;
      }
      const announced = driver?.leaderOf(groupId);
      if (announced?.term !== leader.currentTerm || !announced.ready) {
        return `broker ${brokerId} does not know who leads group ${groupId}`;
      }
      if (announced.inSync.length !== target.length) {
        return `group ${groupId} has ${announced.inSync.length} of ${target.length} replicas in sync`;
      }
    }
    return undefined;
  }

  #pickBrokers(): SimulatedBroker[] {
    const { brokers, random, victim } = this.#stage;
    const sizes = [1, 2, 3, 3, 3, 5].filter((size) => size <= brokers.length && (victim === undefined || size >= 3));
    return random.shuffle(brokers).slice(0, random.pick(sizes));
  }

  #newMember(broker: SimulatedBroker): Member {
    return { replicaId: toReplicaId(this.#nextReplica++), brokerId: broker.brokerId, storeId: broker.storeIdText };
  }
}

function bury(group: SimulatedGroup, member: Member): void {
  if (group.placed.get(member.brokerId) === member) group.placed.delete(member.brokerId);
  const list = group.tombstones.get(member.brokerId) ?? [];
  group.tombstones.set(member.brokerId, [...list, member]);
}
