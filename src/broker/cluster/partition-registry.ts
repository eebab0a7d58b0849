/**
 * The partitions of this broker: brings local replicas in line with the metadata image and finds them by topic or group.
 *
 * Promises: a replica is created once the image places it on this store; it is deleted only when the image has its tombstone (never because it is absent, DECISIONS I3), and the metadata group
 * learns when it is gone. Between the two a deleted topic is not found any more, from the loop turn in which its deletion was applied.
 */

import type { Member, Membership } from '../../raft/core/types.ts';
import type { RaftGroup, RaftGroups } from '../../raft/raft-group.ts';
import { type BrokerId, type GroupId, METADATA_GROUP_ID, type ReplicaId } from '../../std/brands.ts';
import type { Timers } from '../../std/environment.ts';
import type { PartitionLog } from '../partition/partition-log.ts';
import { FirstElections } from './first-elections.ts';
import type { PartitionPlacement, ReplicaPlacement, Tombstone, TopicImage } from './metadata-image.ts';
import { MetadataState } from './metadata-state.ts';
import { encodeReplicaDescriptor } from './replica-descriptor.ts';

export interface PartitionRegistryOptions {
  readonly brokerId: BrokerId;
  /** Hex. */
  readonly storeId: string;
  readonly groups: RaftGroups;
  readonly timers: Timers;
  /** The partition that runs on a group of this broker; its state machine was made from the descriptor. */
  openPartition(group: RaftGroup, topic: TopicImage, partition: number): PartitionLog;
  /** The configs that hold for a local partition may have changed (also called once after it was opened). */
  configure?(partition: PartitionLog, topic: TopicImage): void;
  /** The partition is not found any more: its topic was deleted or its replica left the group. Its replica is removed afterwards. */
  closePartition?(partition: PartitionLog): void;
  /** Replicas whose deletion took effect on this store's disk; called again with the same ones is harmless. */
  onRemoved(replicaIds: readonly ReplicaId[]): void;
  /** Deleting files failed: the broker stops. */
  fail(error: unknown): void;
}

export class PartitionRegistry {
  readonly #options: PartitionRegistryOptions;
  /** By name, then by partition number. */
  readonly #byTopic = new Map<string, (PartitionLog | undefined)[]>();
  readonly #byGroup = new Map<GroupId, PartitionLog>();
  readonly #removing = new Set<ReplicaId>();
  /** Replicas whose successors on this store wait until they are gone. */
  readonly #successors = new Map<ReplicaId, { readonly topic: string; readonly partition: number }>();
  readonly #elections: FirstElections;
  #reconciled: MetadataState | undefined;

  constructor(options: PartitionRegistryOptions) {
    this.#options = options;
    this.#elections = new FirstElections(options.groups, options.timers);
  }

  get(topic: string, partition: number): PartitionLog | undefined {
    return this.#byTopic.get(topic)?.[partition];
  }

  byGroup(groupId: GroupId): PartitionLog | undefined {
    return this.#byGroup.get(groupId);
  }

  all(): Iterable<PartitionLog> {
    return this.#byGroup.values();
  }

  /** Makes local replicas follow `image`; looks only at what changed since the last call. An image older than what this store acted on before, which damage can leave behind, waits for the rest. */
  reconcile(image: MetadataState): void {
    // It may place replicas that were removed since: they would come back empty, under ids that have voted (DECISIONS I3).
    if (image.appliedIndex < (this.#options.groups.get(METADATA_GROUP_ID)?.commitIndexAtStart ?? 0)) return;
    const previous = this.#reconciled ?? MetadataState.initial(image.clusterId);
    this.#reconciled = image;
    for (const name of image.topics.changedSince(previous.topics)) {
      this.#reconcileTopic(name, previous.topics.get(name), image.topics.get(name));
    }
    if (previous.brokerConfigs !== image.brokerConfigs) this.#configureAll(image);
    for (const id of image.tombstones.changedSince(previous.tombstones)) {
      const tombstone = image.tombstones.get(id);
      if (tombstone !== undefined) this.#bury(tombstone);
    }
  }

  close(): void {
    this.#elections.close();
  }

  #reconcileTopic(name: string, before: TopicImage | undefined, topic: TopicImage | undefined): void {
    if (before !== undefined && before.topicId !== topic?.topicId) {
      for (const partition of this.#byTopic.get(name) ?? []) {
        if (partition === undefined) continue;
        this.#byGroup.delete(partition.groupId);
        this.#options.closePartition?.(partition);
      }
      this.#byTopic.delete(name);
      before = undefined;
    }
    if (topic === undefined) return;
    for (const placement of topic.partitions) {
      const old = before?.partitions[placement.partition];
      if (old !== placement) this.#reconcilePartition(topic, placement);
    }
    if (before !== undefined && before.configs !== topic.configs) this.#configure(topic);
  }

  #reconcilePartition(topic: TopicImage, placement: PartitionPlacement): void {
    const before = this.#options.groups.get(placement.groupId);
    const own = this.#ownOf(placement);
    if (before !== undefined && own !== undefined && before.replicaId !== own.replicaId) {
      // A store has one replica of a group at a time.
      this.#successors.set(before.replicaId, { topic: topic.name, partition: placement.partition });
      return;
    }
    if (this.#byGroup.has(placement.groupId)) return;
    const group = this.#options.groups.get(placement.groupId) ?? this.#create(topic, placement);
    if (group === undefined) return;
    // A replica that is on its way out is served too: until the final configuration it may even lead.
    const partition = this.#options.openPartition(group, topic, placement.partition);
    let partitions = this.#byTopic.get(topic.name);
    if (partitions === undefined) {
      partitions = [];
      this.#byTopic.set(topic.name, partitions);
    }
    partitions[placement.partition] = partition;
    this.#byGroup.set(placement.groupId, partition);
    this.#options.configure?.(partition, topic);
  }

  /** Creates the replica that `placement` has on this store; undefined if it has none. */
  #create(topic: TopicImage, placement: PartitionPlacement): RaftGroup | undefined {
    const own = this.#ownOf(placement);
    if (own === undefined) return undefined;
    const group = this.#options.groups.create({
      groupId: placement.groupId,
      replicaId: own.replicaId,
      membership: initialMembership(placement, own),
      descriptor: encodeReplicaDescriptor({
        kind: 'partition',
        topic: topic.name,
        topicId: topic.topicId,
        partition: placement.partition,
        isInternal: topic.isInternal,
      }),
    });
    if (placement.version === 0 && placement.replicas[0] === own) this.#elections.begin(placement.groupId);
    return group;
  }

  #ownOf({ replicas }: PartitionPlacement): ReplicaPlacement | undefined {
    const { brokerId, storeId } = this.#options;
    return replicas.find((replica) => replica.brokerId === brokerId && replica.storeId === storeId);
  }

  /** A replica of this store is gone: its successor can begin, if there still is to be one. */
  #succeed(removed: ReplicaId): void {
    const successor = this.#successors.get(removed);
    this.#successors.delete(removed);
    const topic = successor === undefined ? undefined : this.#reconciled?.topics.get(successor.topic);
    const placement = topic?.partitions[successor?.partition ?? 0];
    if (topic !== undefined && placement !== undefined) this.#reconcilePartition(topic, placement);
  }

  #configureAll(image: MetadataState): void {
    for (const name of this.#byTopic.keys()) {
      const topic = image.topics.get(name);
      if (topic !== undefined) this.#configure(topic);
    }
  }

  #configure(topic: TopicImage): void {
    for (const partition of this.#byTopic.get(topic.name) ?? []) {
      if (partition !== undefined) this.#options.configure?.(partition, topic);
    }
  }

  #bury(tombstone: Tombstone): void {
    const { brokerId, storeId, groups, onRemoved, fail } = this.#options;
    const { groupId, replicaId } = tombstone;
    if (tombstone.brokerId !== brokerId || tombstone.storeId !== storeId || this.#removing.has(replicaId)) return;
    if (groups.get(groupId)?.replicaId !== replicaId) {
      // Never created here, or deleted before a crash: the image will not place this id again.
      onRemoved([replicaId]);
      return;
    }
    this.#forget(groupId);
    this.#removing.add(replicaId);
    groups.remove(groupId, replicaId).then(() => {
      this.#removing.delete(replicaId);
      onRemoved([replicaId]);
      this.#succeed(replicaId);
    }, fail);
  }

  /** A replica that left its group while the topic lives on. */
  #forget(groupId: GroupId): void {
    const partition = this.#byGroup.get(groupId);
    if (partition === undefined) return;
    this.#byGroup.delete(groupId);
    const partitions = this.#byTopic.get(partition.topic);
    if (partitions?.[partition.partition] === partition) partitions[partition.partition] = undefined;
    this.#options.closePartition?.(partition);
  }
}

/**
 * Who a new replica believes to vote before its log says so. The first replicas of a group must all start from the same voters. One that joins later starts as a learner that never campaigns: the
 * group's own log tells it the rest (DECISIONS C3).
 */
function initialMembership(placement: PartitionPlacement, own: ReplicaPlacement): Membership {
  if (placement.version === 0) {
    return { voters: placement.replicas.map(member), votersOutgoing: [], learners: [] };
  }
  // Without the replica that was lost with this broker's old store.
  const others = [...placement.replicas, ...placement.removing].filter(({ brokerId }) => brokerId !== own.brokerId);
  return { voters: others.map(member), votersOutgoing: [], learners: [member(own)] };
}

function member({ replicaId, brokerId, storeId }: ReplicaPlacement): Member {
  return { replicaId, brokerId, storeId };
}
