/** The cluster part of several brokers on fake Raft groups and virtual time, without Raft, disk and network. */

import type { ClusterDefaults } from '../../src/broker/cluster/change-executor.ts';
import type { ClusterController } from '../../src/broker/cluster/cluster-controller.ts';
import { ClusterServices } from '../../src/broker/cluster/cluster-services.ts';
import type { BrokerEndpoints } from '../../src/broker/cluster/metadata-command.ts';
import { MetadataStateMachine } from '../../src/broker/cluster/metadata-state-machine.ts';
import type { PartitionRegistry } from '../../src/broker/cluster/partition-registry.ts';
import { decodeReplicaDescriptor, encodeReplicaDescriptor } from '../../src/broker/cluster/replica-descriptor.ts';
import type { DamagedReplica } from '../../src/broker/cluster/replica-replacement.ts';
import type { Member } from '../../src/raft/core/types.ts';
import { assert } from '../../src/std/assert.ts';
import { type BrokerId, brokerId, METADATA_GROUP_ID, replicaId } from '../../src/std/brands.ts';
import { SILENT_LOG } from '../../src/std/log.ts';
import { SeededRandom } from '../../src/std/seeded-random.ts';
import { type SimulatedMachineTime, SimulatedTime } from '../simulation/simulated-clock.ts';
import { SimulatedDisk } from '../simulation/simulated-disk.ts';
import { fakePartition, NullStateMachine } from './fake-partition.ts';
import { type FakeRaftGroups, FakeRaftNetwork } from './fake-raft-groups.ts';

export interface FakeBroker {
  readonly id: BrokerId;
  readonly endpoints: BrokerEndpoints;
  readonly machine: SimulatedMachineTime;
  readonly groups: FakeRaftGroups;
  readonly stateMachine: MetadataStateMachine;
  readonly services: ClusterServices;
  readonly registry: PartitionRegistry;
  readonly controller: ClusterController;
  /** Why the broker stopped. */
  readonly failures: unknown[];
}

export interface FakeClusterOptions {
  /** First voters of the metadata group. */
  readonly brokers?: number;
  readonly seed?: number;
  readonly racks?: readonly string[];
  /** Default: 1 partition, 3 replicas. */
  readonly defaults?: ClusterDefaults;
  /** Runs what brokers do beside requests; otherwise they are only registered. */
  readonly tasks?: boolean;
}

export class FakeMetadataCluster {
  readonly time = new SimulatedTime({ wallStartMs: 1_000_000 });
  readonly network: FakeRaftNetwork;
  readonly brokers: FakeBroker[] = [];
  readonly #options: FakeClusterOptions;
  readonly #random: SeededRandom;
  readonly #stateMachines = new Map<BrokerId, MetadataStateMachine>();

  private constructor(options: FakeClusterOptions) {
    this.#options = options;
    this.#random = new SeededRandom(options.seed ?? 1);
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
    const cluster = new FakeMetadataCluster(options);
    for (let i = 1; i <= (options.brokers ?? 3); i++) cluster.#add(i, `store-${i}`);
    const voters = cluster.brokers.map(
      ({ id, endpoints }): Member => ({ replicaId: replicaId(id), brokerId: id, storeId: endpoints.storeId }),
    );
    for (const { id, groups } of cluster.brokers) {
      groups.create({
        groupId: METADATA_GROUP_ID,
        replicaId: replicaId(id),
        membership: { voters, votersOutgoing: [], learners: [] },
        descriptor: encodeReplicaDescriptor({ kind: 'metadata' }),
      });
    }
    cluster.network.elect(METADATA_GROUP_ID, brokerId(1));
    for (const broker of cluster.brokers) {
      if (options.tasks === true) broker.services.start();
      else await cluster.register(broker);
    }
    await cluster.time.runFor(1000);
    for (const broker of cluster.brokers)
      assert(broker.controller.image.brokers.size === voters.length, 'All are registered');
    return cluster;
  }

  /** What the drivers report, by broker. */
  readonly damaged = new Map<number, readonly DamagedReplica[]>();

  broker(id: number): FakeBroker {
    const broker = this.brokers[id - 1];
    assert(broker !== undefined, `Broker ${id} exists`);
    return broker;
  }

  /** One more broker, with an empty store and no replica of the metadata group. */
  join(id: number): FakeBroker {
    const broker = this.#add(id, `store-${id}`);
    broker.services.start();
    return broker;
  }

  /** The broker's store is lost; it comes back with an empty one. */
  replaceStore(id: number, storeId: string): FakeBroker {
    this.broker(id).services.stop();
    this.network.setLive(brokerId(id), false);
    this.network.forget(brokerId(id));
    const broker = this.#add(id, storeId);
    this.network.setLive(brokerId(id), true);
    broker.services.start();
    return broker;
  }

  async register(broker: FakeBroker): Promise<void> {
    broker.controller.start();
    const executed = await this.time.settle(
      broker.controller.changes.execute<'registerBroker'>({ kind: 'registerBroker', broker: broker.endpoints }, 10_000),
    );
    assert(executed.kind === 'done', 'The registration is in effect');
  }

  #add(number: number, storeId: string): FakeBroker {
    const id = brokerId(number);
    const groups = this.network.addBroker(id);
    const machine = this.time.machine();
    const disk = new SimulatedDisk(this.time).mount();
    const stateMachine = new MetadataStateMachine({ clusterId: 'fake', disk, timers: this.time });
    this.#stateMachines.set(id, stateMachine);
    const failures: unknown[] = [];
    const endpoints: BrokerEndpoints = {
      brokerId: id,
      storeId,
      host: 'localhost',
      port: 9000 + id,
      raftHost: 'localhost',
      raftPort: 9100 + id,
      rack: this.#options.racks?.[id - 1] ?? null,
    };
    const services = new ClusterServices({
      broker: endpoints,
      groups,
      stateMachine,
      clock: machine,
      timers: this.time,
      random: this.#random.fork(),
      defaults: this.#options.defaults ?? { partitionCount: 1, replicationFactor: 3, allowsTopicDeletion: true },
      openPartition: (group, topic, partition) => fakePartition(group, topic.name, topic.topicId, partition),
      needsClusterTime: (image) => image.topics.size > 0,
      log: SILENT_LOG,
      damagedReplicas: () => this.damaged.get(id) ?? [],
      fail: (error) => failures.push(error),
    });
    const { registry, controller } = services;
    const broker = { id, endpoints, machine, groups, stateMachine, services, registry, controller, failures };
    this.brokers[number - 1] = broker;
    return broker;
  }
}
