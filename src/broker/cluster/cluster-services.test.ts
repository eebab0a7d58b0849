import { describe, expect, test } from 'vitest';
import { type FakeBroker, FakeMetadataCluster } from '../../../test/fakes/fake-metadata-cluster.ts';
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import { brokerId, logIndex, METADATA_GROUP_ID } from '../../std/brands.ts';
import { StoreReplacedError } from './broker-registrar.ts';
import type { PartitionPlacement } from './metadata-image.ts';
import { encodeMetadataState } from './metadata-state-codec.ts';
import { encodeReplicaDescriptor } from './replica-descriptor.ts';
import { refuseStore } from './store-policy.ts';

const OPTIONS = { validateOnly: false, timeoutMs: 10_000 };

async function createTopic(cluster: FakeMetadataCluster, name: string, assignments: number[][]): Promise<string> {
  const topic = {
    name,
    partitionCount: -1,
    replicationFactor: -1,
    assignments: assignments.map((brokerIds, partition) => ({ partition, brokerIds })),
    configs: [],
  };
  const [outcome] = await cluster.time.settle(cluster.broker(1).controller.createTopics([topic], OPTIONS));
  expect(outcome?.errorCode).toBe(ErrorCode.NONE);
  return outcome!.topicId;
}

async function deleteTopic(cluster: FakeMetadataCluster, name: string): Promise<void> {
  const [outcome] = await cluster.time.settle(
    cluster.broker(1).controller.deleteTopics([{ name, topicId: '' }], 10_000),
  );
  expect(outcome?.errorCode).toBe(ErrorCode.NONE);
}

function placement(broker: FakeBroker, topic: string, partition = 0): PartitionPlacement {
  return broker.controller.image.topics.get(topic)!.partitions[partition]!;
}

function expectEqualImages(cluster: FakeMetadataCluster): void {
  const [first, ...others] = cluster.brokers.map(({ controller }) => encodeMetadataState(controller.image));
  for (const other of others) expect(other).toEqual(first);
}

function expectNoFailures(cluster: FakeMetadataCluster): void {
  for (const { failures } of cluster.brokers) expect(failures).toEqual([]);
}

describe('ClusterServices', () => {
  test('register every broker, once, with the replica ids of the first voters', async () => {
    const cluster = await FakeMetadataCluster.start({ tasks: true });
    await cluster.time.runFor(20_000);
    expectEqualImages(cluster);
    for (const { endpoints, id } of cluster.brokers) {
      expect(cluster.broker(2).controller.image.brokers.get(id)).toEqual({ ...endpoints, metadataReplicaId: id });
    }
    const { entries } = cluster.network.sharedGroup(METADATA_GROUP_ID);
    expect(entries.filter((entry) => entry.payload !== undefined)).toHaveLength(3);
    expectNoFailures(cluster);
  });

  test('take a deleted topic off every store, then forget its tombstones', async () => {
    const cluster = await FakeMetadataCluster.start({ tasks: true });
    await createTopic(cluster, 'orders', [
      [1, 2, 3],
      [2, 3, 1],
    ]);
    await deleteTopic(cluster, 'orders');
    await cluster.time.runFor(5000);
    for (const { controller, groups } of cluster.brokers) {
      expect(controller.image.tombstones.size).toBe(0);
      expect(groups.removed).toHaveLength(2);
      expect([...groups.all()]).toHaveLength(1);
    }
    expectNoFailures(cluster);
  });

  test('keep the tombstone of a broker that is away until it is back and has deleted its data', async () => {
    const cluster = await FakeMetadataCluster.start({ tasks: true });
    await createTopic(cluster, 'orders', [[1, 2, 3]]);
    cluster.network.setLive(brokerId(3), false);
    await deleteTopic(cluster, 'orders');
    await cluster.time.runFor(30_000);
    const { controller } = cluster.broker(1);
    expect([...controller.image.tombstones.values()].map((tombstone) => tombstone.brokerId)).toEqual([3]);
    expect(cluster.broker(3).groups.removed).toHaveLength(0);
    cluster.network.setLive(brokerId(3), true);
    await cluster.time.runFor(5000);
    expect(cluster.broker(3).groups.removed).toHaveLength(1);
    expect(controller.image.tombstones.size).toBe(0);
    expectNoFailures(cluster);
  });

  test('report a removal until the metadata group has taken note', async () => {
    const cluster = await FakeMetadataCluster.start({ tasks: true });
    await createTopic(cluster, 'orders', [[1, 2, 3]]);
    cluster.network.loses = (from, _, service) => from === 3 && service === 'metadata.change';
    await deleteTopic(cluster, 'orders');
    await cluster.time.runFor(30_000);
    const { controller, groups } = cluster.broker(3);
    expect(groups.removed).toHaveLength(1);
    expect(controller.image.tombstones.size).toBe(1);
    cluster.network.loses = () => false;
    await cluster.time.runFor(30_000);
    expect(controller.image.tombstones.size).toBe(0);
  });

  test('a replica that is merely absent from the image is never deleted', async () => {
    const cluster = await FakeMetadataCluster.start({ tasks: true });
    const { groups } = cluster.broker(2);
    await createTopic(cluster, 'orders', [[1, 2, 3]]);
    const stranger = placement(cluster.broker(1), 'orders');
    groups.create({
      groupId: (stranger.groupId + 1000) as typeof stranger.groupId,
      replicaId: (stranger.replicas[0]!.replicaId + 1000) as (typeof stranger.replicas)[0]['replicaId'],
      membership: { voters: [], votersOutgoing: [], learners: [] },
      descriptor: groups.get(stranger.groupId)!.descriptor,
    });
    await deleteTopic(cluster, 'orders');
    await cluster.time.runFor(5000);
    expect(groups.removed).toHaveLength(1);
    expect([...groups.all()]).toHaveLength(2);
  });

  test('make a broker beyond the first voters a learner that can hold partitions', async () => {
    const cluster = await FakeMetadataCluster.start({ tasks: true });
    const joined = cluster.join(4);
    await cluster.time.runFor(5000);
    expectEqualImages(cluster);
    const { membership } = joined.groups.get(METADATA_GROUP_ID)!;
    expect(membership.voters.map((voter) => voter.brokerId)).toEqual([1, 2, 3]);
    expect(membership.learners).toEqual([
      {
        brokerId: 4,
        storeId: 'store-4',
        replicaId: joined.controller.image.brokers.get(brokerId(4))?.metadataReplicaId,
      },
    ]);
    expect(membership.learners[0]!.replicaId).toBeGreaterThanOrEqual(1000);
    await createTopic(cluster, 'orders', [[4, 1, 2]]);
    expect(joined.registry.get('orders', 0)?.isLeader).toBe(true);
    expectNoFailures(cluster);
  });

  test('move a partition: the leader changes the voters, then the old replica is deleted', async () => {
    const cluster = await FakeMetadataCluster.start({ brokers: 4, tasks: true });
    const topicId = await createTopic(cluster, 'orders', [[1, 2, 3]]);
    const before = placement(cluster.broker(1), 'orders');
    const executed = await cluster.time.settle(
      cluster
        .broker(2)
        .controller.changes.execute<'setReplicas'>(
          { kind: 'setReplicas', topicId, partition: 0, version: 0, brokerIds: [1, 2, 4].map(brokerId) },
          10_000,
        ),
    );
    expect(executed).toMatchObject({ kind: 'done', result: { errorCode: ErrorCode.NONE } });
    await cluster.time.runFor(10_000);
    const after = placement(cluster.broker(3), 'orders');
    expect(after.replicas.map((replica) => replica.brokerId)).toEqual([1, 2, 4]);
    expect(after.removing).toEqual([]);
    const { membership } = cluster.network.sharedGroup(before.groupId);
    expect(membership).toEqual({ voters: after.replicas, votersOutgoing: [], learners: [] });
    expect(cluster.broker(3).groups.removed).toEqual([before.replicas[2]!.replicaId]);
    expect(cluster.broker(3).registry.get('orders', 0)).toBeUndefined();
    expect(cluster.broker(4).registry.get('orders', 0)).toBeDefined();
    expect(cluster.broker(1).controller.image.tombstones.size).toBe(0);
    expectNoFailures(cluster);
  });

  test('replace a lost store: new replicas on the new one, for partitions and for the metadata group', async () => {
    const cluster = await FakeMetadataCluster.start({ tasks: true });
    await createTopic(cluster, 'orders', [
      [1, 2, 3],
      [2, 1, 3],
    ]);
    const lost = [0, 1].map((partition) => placement(cluster.broker(1), 'orders', partition).replicas[2]!.replicaId);
    const replaced = cluster.replaceStore(3, 'new-store');
    await cluster.time.runFor(20_000);
    expectEqualImages(cluster);
    for (const partition of [0, 1]) {
      const { groupId, replicas, removing } = placement(cluster.broker(1), 'orders', partition);
      expect(removing).toEqual([]);
      expect(replicas[2]).toMatchObject({ brokerId: 3, storeId: 'new-store' });
      expect(lost).not.toContain(replicas[2]!.replicaId);
      expect(cluster.network.sharedGroup(groupId).membership.voters).toEqual(replicas);
      // It starts as a learner: an empty replica must not take part in an election.
      expect(replaced.groups.get(groupId)!.createdWith.voters.map((voter) => voter.brokerId)).not.toContain(3);
    }
    const { voters } = cluster.network.sharedGroup(METADATA_GROUP_ID).membership;
    expect(voters.map((voter) => voter.storeId)).toEqual(['store-1', 'store-2', 'new-store']);
    expect(cluster.broker(1).controller.image.tombstones.size).toBe(0);
    expectNoFailures(cluster);

    // The old store is found again: it stays out.
    const { image } = cluster.broker(1).controller;
    const live = (): string => 'new-store';
    expect(refuseStore(image, { brokerId: brokerId(3), storeId: 'store-3' }, live)).toContain('was replaced');
    expect(refuseStore(image, { brokerId: brokerId(3), storeId: 'third' }, live)).toContain('same node.id');
    expect(refuseStore(image, { brokerId: brokerId(3), storeId: 'new-store' }, live)).toBeUndefined();
    const old = cluster.replaceStore(3, 'store-3');
    await cluster.time.runFor(1000);
    expect(old.failures[0]).toBeInstanceOf(StoreReplacedError);
  });

  test('create nothing from an image older than what their store acted on before', async () => {
    const cluster = await FakeMetadataCluster.start({ tasks: true });
    await createTopic(cluster, 'orders', [[1, 2, 3]]);
    const { groups, registry, controller } = cluster.broker(3);
    groups.get(METADATA_GROUP_ID)!.commitIndexAtStart = logIndex(controller.image.appliedIndex + 3);
    await createTopic(cluster, 'placed', [[1, 2, 3]]);
    await createTopic(cluster, 'removed', [[1, 2, 3]]);
    const { groupId } = placement(cluster.broker(1), 'removed');
    await cluster.time.runFor(1_000);
    expect(controller.image.topics.has('removed')).toBe(true);
    expect(registry.get('removed', 0)).toBeUndefined();
    await deleteTopic(cluster, 'removed');
    await cluster.time.runFor(10_000);
    expect(registry.get('placed', 0)).toBeDefined();
    expect(groups.get(groupId)).toBeUndefined();
    expect(controller.image.tombstones.size).toBe(0);
    expectEqualImages(cluster);
  });

  test('remove a damaged replica again that metadata had removed, and leave one alone that is placed', async () => {
    const cluster = await FakeMetadataCluster.start({ tasks: true });
    await createTopic(cluster, 'orders', [[1, 2, 3]]);
    const topicId = await createTopic(cluster, 'gone', [[1, 2, 3]]);
    const { groupId, replicas } = placement(cluster.broker(1), 'gone', 0);
    const { replicaId } = replicas[2]!;
    await deleteTopic(cluster, 'gone');
    await cluster.time.runFor(5_000);
    const { groups } = cluster.broker(3);
    expect(groups.removed).toEqual([replicaId]);
    // What a WAL shows that lost the frame of the removal.
    const membership = { voters: replicas, votersOutgoing: [], learners: [] };
    const descriptor = encodeReplicaDescriptor({
      kind: 'partition',
      topic: 'gone',
      topicId,
      partition: 0,
      isInternal: false,
    });
    groups.create({ groupId, replicaId, membership, descriptor });
    const whole = placement(cluster.broker(1), 'orders', 0);
    const placed = { groupId: whole.groupId, replicaId: whole.replicas[2]!.replicaId };
    cluster.damaged.set(3, [
      { groupId, replicaId, kind: 'entries' },
      { ...placed, kind: 'entries' },
    ]);
    await cluster.time.runUntilTrue(() => groups.removed.length === 2, 20_000);
    cluster.damaged.delete(3);
    await cluster.time.runFor(5_000);
    expect(groups.removed).toEqual([replicaId, replicaId]);
    expectEqualImages(cluster);
    expect(cluster.broker(1).controller.image.tombstones.size).toBe(0);
  });

  test('replace a replica that may have forgotten a vote by a successor in the same store, one at a time', async () => {
    const cluster = await FakeMetadataCluster.start({ tasks: true });
    await createTopic(cluster, 'orders', [
      [1, 2, 3],
      [2, 1, 3],
      [1, 2, 3],
    ]);
    const before = [0, 1, 2].map((partition) => placement(cluster.broker(1), 'orders', partition));
    const damaged = before.slice(0, 2).map(({ groupId, replicas }) => ({
      groupId,
      replicaId: replicas[2]!.replicaId,
      kind: 'identity' as const,
    }));
    // Who only lost entries is repaired by its leader.
    const entries = { groupId: before[2]!.groupId, replicaId: before[2]!.replicas[2]!.replicaId };
    cluster.damaged.set(3, [...damaged, { ...entries, kind: 'entries' }]);
    const { services, groups, registry } = cluster.broker(3);
    await cluster.time.runUntilTrue(() => services.replacement.replaced === 1, 20_000);
    await cluster.time.runFor(1_000);
    expect(groups.removed).toEqual([damaged[0]!.replicaId]);
    cluster.damaged.set(3, damaged.slice(1));
    await cluster.time.runFor(30_000);
    expectEqualImages(cluster);
    expect(services.replacement.replaced).toBe(2);
    expect(groups.removed).toEqual(damaged.map(({ replicaId }) => replicaId));
    for (const [partition, { replicas: lost, groupId }] of before.entries()) {
      const { replicas, removing } = placement(cluster.broker(1), 'orders', partition);
      expect(removing).toEqual([]);
      expect(replicas[2]).toMatchObject({ brokerId: 3, storeId: 'store-3' });
      expect(replicas[2]!.replicaId === lost[2]!.replicaId).toBe(partition === 2);
      expect(cluster.network.sharedGroup(groupId).membership.voters).toEqual(replicas);
      expect(registry.get('orders', partition)).toBeDefined();
      expect(groups.get(groupId)!.replicaId).toBe(replicas[2]!.replicaId);
    }
    expect(cluster.broker(1).controller.image.tombstones.size).toBe(0);
    expectNoFailures(cluster);
  });

  test('replace two of five replicas that may both have forgotten a vote: neither waits for the other', async () => {
    const cluster = await FakeMetadataCluster.start({ brokers: 5, tasks: true });
    await createTopic(cluster, 'orders', [[1, 2, 3, 4, 5]]);
    const before = placement(cluster.broker(1), 'orders');
    const lost = before.replicas.slice(3);
    for (const { brokerId: id, replicaId } of lost) {
      cluster.damaged.set(id, [{ groupId: before.groupId, replicaId, kind: 'identity' }]);
      cluster.network.sharedGroup(before.groupId).outOfSync.add(replicaId);
    }
    await cluster.time.runFor(30_000);
    expectEqualImages(cluster);
    const { replicas } = placement(cluster.broker(1), 'orders');
    expect(replicas.map(({ brokerId }) => brokerId)).toEqual([1, 2, 3, 4, 5]);
    expect(replicas.slice(0, 3)).toEqual(before.replicas.slice(0, 3));
    for (const { brokerId: id, replicaId } of lost) {
      expect(cluster.broker(id).groups.removed).toEqual([replicaId]);
      expect(cluster.broker(id).services.replacement.replaced).toBe(1);
    }
    expectNoFailures(cluster);
  });

  test('bring leadership back to the preferred replica once its broker has lived for a while', async () => {
    const cluster = await FakeMetadataCluster.start({ tasks: true });
    await createTopic(cluster, 'orders', [[3, 1, 2]]);
    const { groupId } = placement(cluster.broker(1), 'orders');
    const leader = () => cluster.network.sharedGroup(groupId).leader;
    expect(leader()).toBe(3);
    cluster.network.setLive(brokerId(3), false);
    cluster.network.elect(groupId, brokerId(2));
    await cluster.time.runFor(60_000);
    cluster.network.setLive(brokerId(3), true);
    await cluster.time.runFor(9_000);
    expect(leader()).toBe(2);
    await cluster.time.runFor(10_000);
    expect(leader()).toBe(3);
  });

  test('give a new group its first leader although other brokers create their replicas late', async () => {
    const cluster = await FakeMetadataCluster.start({ tasks: true });
    for (const id of [2, 3]) cluster.broker(id).groups.isStuck = true;
    const creation = createTopic(cluster, 'orders', [[1, 2, 3]]);
    cluster.time.after(100, () => {
      for (const id of [2, 3]) cluster.broker(id).groups.isStuck = false;
      cluster.network.applyEverywhere(cluster.network.sharedGroup(METADATA_GROUP_ID));
    });
    await creation;
    expect(cluster.time.now).toBeLessThan(1500);
    const { groupId } = placement(cluster.broker(1), 'orders');
    expect(cluster.network.sharedGroup(groupId).leader).toBe(1);
  });
});

describe('ClusterClock', () => {
  const clusterTime = (cluster: FakeMetadataCluster): number | undefined =>
    cluster.broker(1).controller.image.clusterTimeMs;

  test('agrees on the median, so one wrong clock moves nothing', async () => {
    const cluster = await FakeMetadataCluster.start({ tasks: true });
    expect(clusterTime(cluster)).toBeUndefined();
    await createTopic(cluster, 'orders', [[1, 2, 3]]);
    cluster.broker(2).machine.wallOffsetMs = 365 * 86_400_000;
    await cluster.time.runFor(60_000);
    const agreed = clusterTime(cluster)!;
    expect(agreed).toBeGreaterThan(cluster.time.wallMs() - 11_000);
    expect(agreed).toBeLessThanOrEqual(cluster.time.wallMs());
  });

  test('advances no faster than the monotonic clock when all clocks jump, also under a new leader', async () => {
    const cluster = await FakeMetadataCluster.start({ tasks: true });
    await createTopic(cluster, 'orders', [[1, 2, 3]]);
    await cluster.time.runFor(30_000);
    const agreed = clusterTime(cluster)!;
    const atMs = cluster.time.now;
    for (const { machine } of cluster.brokers) machine.wallOffsetMs = 365 * 86_400_000;
    await cluster.time.runFor(60_000);
    cluster.network.elect(METADATA_GROUP_ID, brokerId(2));
    await cluster.time.runFor(60_000);
    const advanced = clusterTime(cluster)! - agreed;
    const elapsed = cluster.time.now - atMs;
    expect(advanced).toBeGreaterThan(elapsed - 30_000);
    expect(advanced).toBeLessThanOrEqual(elapsed + 11_000);
  });

  test('stands still when clocks go back, and without a majority of the brokers', async () => {
    const cluster = await FakeMetadataCluster.start({ tasks: true });
    await createTopic(cluster, 'orders', [[1, 2, 3]]);
    await cluster.time.runFor(30_000);
    const agreed = clusterTime(cluster)!;
    for (const { machine } of cluster.brokers) machine.wallOffsetMs = -100_000;
    await cluster.time.runFor(30_000);
    expect(clusterTime(cluster)).toBe(agreed);
    for (const { machine } of cluster.brokers) machine.wallOffsetMs = 0;
    cluster.network.loses = (_, __, service) => service === 'metadata.wallClock';
    await cluster.time.runFor(30_000);
    expect(clusterTime(cluster)).toBe(agreed);
    cluster.network.loses = () => false;
    await cluster.time.runFor(30_000);
    expect(clusterTime(cluster)).toBeGreaterThan(agreed);
  });
});
