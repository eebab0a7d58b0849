/** Several brokers' cluster controllers on fake Raft groups and virtual time: the metadata part of a cluster, without Raft, disk and network. */
import { ClusterController } from '../../src/broker/cluster/cluster-controller.ts';
import { FIRST_REPLICA_ID } from '../../src/broker/cluster/metadata-state.ts';
import { MetadataStateMachine } from '../../src/broker/cluster/metadata-state-machine.ts';
import { PartitionRegistry } from '../../src/broker/cluster/partition-registry.ts';
import { decodeReplicaDescriptor, encodeReplicaDescriptor } from '../../src/broker/cluster/replica-descriptor.ts';
import type { Member } from '../../src/raft/core/types.ts';
import { assert } from '../../src/std/assert.ts';
import { type BrokerId, brokerId, METADATA_GROUP_ID, type ReplicaId, replicaId } from '../../src/std/brands.ts';
import { SeededRandom } from '../../src/std/seeded-random.ts';
import { SimulatedTime } from '../simulation/simulated-clock.ts';
import { SimulatedDisk } from '../simulation/simulated-disk.ts';
import { fakePartition, NullStateMachine } from './fake-partition.ts';
import { type FakeRaftGroups, FakeRaftNetwork } from './fake-raft-groups.ts';

export interface FakeBroker {
  readonly id: BrokerId;
  readonly storeId: string;
  readonly groups: FakeRaftGroups;
  readonly stateMachine: MetadataStateMachine;
  readonly registry: PartitionRegistry;
  readonly controller: ClusterController;
  /** Removals that the registry reported. */
  readonly removed: ReplicaId[];
}

export interface FakeClusterOptions {
  readonly brokers?: number;
  readonly seed?: number;
  readonly racks?: readonly string[];
  readonly defaults?: { partitionCount: number; replicationFactor: number; allowsTopicDeletion: boolean };
}

export class FakeMetadataCluster {
  readonly time = new SimulatedTime();
  readonly network: FakeRaftNetwork;
  readonly brokers: FakeBroker[] = [];
  readonly #stateMachines = new Map<BrokerId, MetadataStateMachine>();

  private constructor() {
    this.network = new FakeRaftNetwork({
      timers: this.time,
      makeStateMachine: (broker, group) => {
        if (decodeReplicaDescriptor(group.descriptor).kind === 'partition') return new NullStateMachine();
        const stateMachine = this.#stateMachines.get(broker);
        assert(stateMachine !== undefined, 'The metadata state machine is made first');
        return stateMachine;
      },
    });
  }

  /** A cluster whose broker 1 leads the metadata group and in which all brokers are registered. */
  static async start(options: FakeClusterOptions = {}): Promise<FakeMetadataCluster> {
    const cluster = new FakeMetadataCluster();
    const count = options.brokers ?? 3;
    const random = new SeededRandom(options.seed ?? 1);
    for (let i = 1; i <= count; i++) cluster.#addBroker(brokerId(i), random.fork(), options);
    const voters = cluster.brokers.map(
      (broker, index): Member => ({ replicaId: replicaId(index + 1), brokerId: broker.id, storeId: broker.storeId }),
    );
    assert(voters.length < FIRST_REPLICA_ID, 'First replica ids are reserved');
    for (const [index, broker] of cluster.brokers.entries()) {
      broker.groups.create({
        groupId: METADATA_GROUP_ID,
        replicaId: replicaId(index + 1),
        membership: { voters, votersOutgoing: [], learners: [] },
        descriptor: encodeReplicaDescriptor({ kind: 'metadata' }),
      });
    }
    cluster.network.elect(METADATA_GROUP_ID, brokerId(1));
    for (const [index, broker] of cluster.brokers.entries()) {
      await cluster.register(broker, broker.storeId, options.racks?.[index] ?? null);
    }
    await cluster.time.runFor(100);
    return cluster;
  }

  broker(id: number): FakeBroker {
    const broker = this.brokers[id - 1];
    assert(broker !== undefined, `Broker ${id} exists`);
    return broker;
  }

  async register(broker: FakeBroker, storeId: string, rack: string | null = null): Promise<void> {
    const executed = await this.time.settle(
      broker.controller.changes.execute<'registerBroker'>(
        {
          kind: 'registerBroker',
          broker: {
            brokerId: broker.id,
            storeId,
            host: 'localhost',
            port: 9000 + broker.id,
            raftHost: 'localhost',
            raftPort: 9100 + broker.id,
            rack,
          },
        },
        10_000,
      ),
    );
    assert(executed.kind === 'done', 'The registration is in effect');
  }

  #addBroker(id: BrokerId, random: SeededRandom, options: FakeClusterOptions): void {
    const groups = this.network.addBroker(id);
    const storeId = `store-${id}`;
    const disk = new SimulatedDisk(this.time).mount();
    const stateMachine = new MetadataStateMachine({ clusterId: 'fake', disk, timers: this.time });
    this.#stateMachines.set(id, stateMachine);
    const removed: ReplicaId[] = [];
    const registry = new PartitionRegistry({
      brokerId: id,
      storeId,
      groups,
      timers: this.time,
      openPartition: (group, topic, partition) => fakePartition(group, topic.name, topic.topicId, partition),
      onRemoved: (ids) => removed.push(...ids),
      fail(error) {
        throw error;
      },
    });
    const controller = new ClusterController({
      brokerId: id,
      groups,
      stateMachine,
      registry,
      clock: this.time,
      timers: this.time,
      random,
      defaults: options.defaults ?? { partitionCount: 1, replicationFactor: 3, allowsTopicDeletion: true },
    });
    controller.start();
    this.brokers.push({ id, storeId, groups, stateMachine, registry, controller, removed });
  }
}
