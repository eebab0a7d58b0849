import { describe, expect, test } from 'vitest';
import { FakeMetadataCluster } from '../../../test/fakes/fake-metadata-cluster.ts';
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import { brokerId, METADATA_GROUP_ID } from '../../std/brands.ts';
import type { NewTopic, NewTopicOutcome } from './cluster.ts';

function newTopic(name: string, changes: Partial<NewTopic> = {}): NewTopic {
  return { name, partitionCount: 3, replicationFactor: 3, assignments: [], configs: [], ...changes };
}

const OPTIONS = { validateOnly: false, timeoutMs: 10_000 };

async function create(
  cluster: FakeMetadataCluster,
  topics: readonly NewTopic[],
  at = 2,
): Promise<readonly NewTopicOutcome[]> {
  return cluster.time.settle(cluster.broker(at).controller.createTopics(topics, OPTIONS));
}

async function codes(cluster: FakeMetadataCluster, topics: readonly NewTopic[]): Promise<number[]> {
  return (await create(cluster, topics)).map((outcome) => outcome.errorCode);
}

describe('ClusterController.createTopics()', () => {
  test('answers when every broker knows the topic and a ready leader of each partition', async () => {
    const cluster = await FakeMetadataCluster.start();
    const [outcome] = await create(cluster, [newTopic('orders')]);
    expect(outcome).toMatchObject({ errorCode: ErrorCode.NONE, partitionCount: 3, replicationFactor: 3 });
    for (const { controller, groups, registry } of cluster.brokers) {
      const topic = controller.image.topics.get('orders');
      expect(topic?.topicId).toBe(outcome?.topicId);
      expect(controller.image.topicById(topic!.topicId)).toBe(topic);
      for (const { groupId, partition, replicas } of topic!.partitions) {
        expect(groups.leaderOf(groupId)).toMatchObject({ ready: true, leader: replicas[0]?.brokerId });
        expect(registry.get('orders', partition)?.groupId).toBe(groupId);
      }
    }
  });

  test('of two concurrent creations of one name, exactly one succeeds', async () => {
    const cluster = await FakeMetadataCluster.start();
    const results = await cluster.time.settle(
      Promise.all([1, 2, 3].map((id) => cluster.broker(id).controller.createTopics([newTopic('orders')], OPTIONS))),
    );
    expect(results.map(([outcome]) => outcome!.errorCode).sort((a, b) => a - b)).toEqual([
      ErrorCode.NONE,
      ErrorCode.TOPIC_ALREADY_EXISTS,
      ErrorCode.TOPIC_ALREADY_EXISTS,
    ]);
  });

  test("refuses with Kafka's error codes", async () => {
    const cluster = await FakeMetadataCluster.start();
    await create(cluster, [newTopic('a.b')]);
    const assignments = (...partitions: number[][]) => ({
      partitionCount: -1,
      replicationFactor: -1,
      assignments: partitions.map((brokerIds, partition) => ({ partition, brokerIds })),
    });
    expect(await codes(cluster, [newTopic('a.b')])).toEqual([ErrorCode.TOPIC_ALREADY_EXISTS]);
    expect(await codes(cluster, [newTopic('a_b'), newTopic('c_d'), newTopic('c.d')])).toEqual([
      ErrorCode.INVALID_TOPIC_EXCEPTION,
      ErrorCode.NONE,
      ErrorCode.INVALID_TOPIC_EXCEPTION,
    ]);
    for (const name of ['', '.', '..', 'a b', 'ä', 'x'.repeat(250), '__consumer_offsets']) {
      expect(await codes(cluster, [newTopic(name)])).toEqual([ErrorCode.INVALID_TOPIC_EXCEPTION]);
    }
    expect(await codes(cluster, [newTopic('x'.repeat(249))])).toEqual([ErrorCode.NONE]);
    expect(await codes(cluster, [newTopic('twice'), newTopic('twice')])).toEqual([
      ErrorCode.INVALID_REQUEST,
      ErrorCode.INVALID_REQUEST,
    ]);
    expect(await codes(cluster, [newTopic('none', { partitionCount: 0 })])).toEqual([ErrorCode.INVALID_PARTITIONS]);
    expect(await codes(cluster, [newTopic('huge', { partitionCount: 10_001 })])).toEqual([ErrorCode.POLICY_VIOLATION]);
    for (const replicationFactor of [0, 4]) {
      expect(await codes(cluster, [newTopic('rf', { replicationFactor })])).toEqual([
        ErrorCode.INVALID_REPLICATION_FACTOR,
      ]);
    }
    for (const wrong of [assignments([1, 1]), assignments([1, 9]), assignments([1, 2], [3]), assignments([])]) {
      expect(await codes(cluster, [newTopic('manual', wrong)])).toEqual([ErrorCode.INVALID_REPLICA_ASSIGNMENT]);
    }
    expect(await codes(cluster, [newTopic('manual', { ...assignments([1]), partitionCount: 1 })])).toEqual([
      ErrorCode.INVALID_REQUEST,
    ]);
    expect(await codes(cluster, [newTopic('config', { configs: [{ name: 'retention.ms', value: 'x' }] })])).toEqual([
      ErrorCode.INVALID_CONFIG,
    ]);
    expect(await codes(cluster, [newTopic('manual', assignments([3, 1], [2, 3]))])).toEqual([ErrorCode.NONE]);
    const manual = cluster.broker(3).controller.image.topics.get('manual');
    expect(manual?.partitions.map(({ replicas }) => replicas.map((replica) => replica.brokerId))).toEqual([
      [3, 1],
      [2, 3],
    ]);
  });

  test('uses the defaults for -1 and creates nothing with validateOnly', async () => {
    const cluster = await FakeMetadataCluster.start({
      defaults: { partitionCount: 4, replicationFactor: 2, allowsTopicDeletion: true },
    });
    const topic = newTopic('orders', { partitionCount: -1, replicationFactor: -1 });
    const { controller } = cluster.broker(2);
    const [validated] = await cluster.time.settle(
      controller.createTopics([topic], { validateOnly: true, timeoutMs: 1000 }),
    );
    expect(validated).toMatchObject({ errorCode: ErrorCode.NONE, partitionCount: 4, replicationFactor: 2 });
    expect(controller.image.topics.size).toBe(0);
    const [created] = await create(cluster, [topic]);
    expect(created).toMatchObject({ errorCode: ErrorCode.NONE, partitionCount: 4, replicationFactor: 2 });
  });

  test('never creates fewer replicas than asked for while a broker is dead', async () => {
    const cluster = await FakeMetadataCluster.start();
    cluster.network.setLive(brokerId(3), false);
    expect(await codes(cluster, [newTopic('orders')])).toEqual([ErrorCode.INVALID_REPLICATION_FACTOR]);
    expect(await codes(cluster, [newTopic('orders', { replicationFactor: 2 })])).toEqual([ErrorCode.NONE]);
    const replicas = cluster
      .broker(1)
      .controller.image.topics.get('orders')!
      .partitions.flatMap((p) => p.replicas);
    expect(replicas.map((replica) => replica.brokerId)).not.toContain(3);
  });

  test('creates an internal topic with all its replicas while a quorum of them lives', async () => {
    const cluster = await FakeMetadataCluster.start();
    const internal = newTopic('__consumer_offsets', { partitionCount: 4, replicationFactor: 3 });
    const ensure = () =>
      cluster.time.settle(cluster.broker(1).controller.createTopics([internal], { ...OPTIONS, internal: true }));
    cluster.network.setLive(brokerId(3), false);
    expect(await ensure()).toMatchObject([{ errorCode: ErrorCode.NONE }]);
    const { partitions } = cluster.broker(1).controller.image.topics.get('__consumer_offsets')!;
    for (const { replicas } of partitions)
      expect(replicas.map((replica) => replica.brokerId).sort()).toEqual([1, 2, 3]);
  });

  test('survives a lost outcome, a lost answer and a change of leader, each time creating once', async () => {
    for (const fault of ['unknownButCommitted', 'unknownAndLost', 'refused'] as const) {
      const cluster = await FakeMetadataCluster.start();
      cluster.network.faults.push(fault);
      expect(await codes(cluster, [newTopic('orders')])).toEqual([ErrorCode.NONE]);
    }
    const cluster = await FakeMetadataCluster.start();
    let lost = 0;
    cluster.network.loses = (from, _, service) => from === 1 && service === 'metadata.change' && lost++ === 0;
    const creation = cluster.broker(2).controller.createTopics([newTopic('orders')], OPTIONS);
    await cluster.time.runFor(5);
    expect(lost).toBe(1);
    cluster.network.elect(METADATA_GROUP_ID, brokerId(3));
    const [outcome] = await cluster.time.settle(creation);
    expect(outcome?.errorCode).toBe(ErrorCode.NONE);
    expect(cluster.broker(2).controller.image.topicById(outcome!.topicId)?.name).toBe('orders');
  });

  test('answers NOT_CONTROLLER when nothing was written for want of a leader, REQUEST_TIMED_OUT when it may have been', async () => {
    const cluster = await FakeMetadataCluster.start();
    cluster.network.elect(METADATA_GROUP_ID, undefined);
    expect(await codes(cluster, [newTopic('orders')])).toEqual([ErrorCode.NOT_CONTROLLER]);
    cluster.network.elect(METADATA_GROUP_ID, brokerId(1));
    cluster.network.loses = (from, _, service) => from === 1 && service === 'metadata.change';
    expect(await codes(cluster, [newTopic('orders')])).toEqual([ErrorCode.REQUEST_TIMED_OUT]);
  });

  test('waits for a live broker that applies late, but not for one that died', async () => {
    const cluster = await FakeMetadataCluster.start();
    const slow = cluster.broker(3);
    slow.groups.isStuck = true;
    const isStuck = cluster.broker(2).controller.createTopics([newTopic('late')], { ...OPTIONS, timeoutMs: 500 });
    expect((await cluster.time.settle(isStuck))[0]?.errorCode).toBe(ErrorCode.REQUEST_TIMED_OUT);
    const onOthers = { partitionCount: -1, replicationFactor: -1, assignments: [{ partition: 0, brokerIds: [1, 2] }] };
    const creation = create(cluster, [newTopic('orders', onOthers)]);
    cluster.time.after(1000, () => cluster.network.setLive(brokerId(3), false));
    const [outcome] = await creation;
    expect(outcome?.errorCode).toBe(ErrorCode.NONE);
    expect(cluster.time.now).toBeLessThan(10_000);
  });
});

describe('ClusterController.deleteTopics()', () => {
  const byName = (name: string) => [{ name, topicId: '' }];

  test('deletes on every store by tombstone, and a topic of that name starts afresh', async () => {
    const cluster = await FakeMetadataCluster.start();
    const [created] = await create(cluster, [newTopic('orders')]);
    const before = cluster.broker(1).controller.image.topics.get('orders')!;
    const [deleted] = await cluster.time.settle(cluster.broker(3).controller.deleteTopics(byName('orders'), 10_000));
    expect(deleted).toMatchObject({ errorCode: ErrorCode.NONE, name: 'orders', topicId: created?.topicId });
    for (const broker of cluster.brokers) {
      expect(broker.controller.partition('orders', 0)).toBeUndefined();
      await cluster.time.runFor(10);
      expect([...broker.groups.removed].sort()).toEqual(
        before.partitions.map((p) => p.replicas.find((replica) => replica.brokerId === broker.id)!.replicaId).sort(),
      );
    }
    const [again] = await create(cluster, [newTopic('orders')]);
    expect(again?.errorCode).toBe(ErrorCode.NONE);
    expect(again?.topicId).not.toBe(created?.topicId);
    const after = cluster.broker(1).controller.image.topics.get('orders')!;
    const ids = [before, after].flatMap((topic) => topic.partitions.flatMap((p) => p.replicas.map((r) => r.replicaId)));
    expect(new Set(ids).size).toBe(18);
    expect(cluster.broker(1).controller.partition('orders', 0)?.topicId).toBe(again?.topicId);
  });

  test('refuses unknown names and ids, internal topics, and everything while deletion is disabled', async () => {
    const cluster = await FakeMetadataCluster.start();
    const { controller } = cluster.broker(2);
    await cluster.time.settle(
      controller.createTopics([newTopic('__consumer_offsets')], { ...OPTIONS, internal: true }),
    );
    const topicId = 'AAAAAAAAAAAAAAAAAAAAAQ';
    const outcomes = await cluster.time.settle(
      controller.deleteTopics(
        [
          { name: 'nowhere', topicId: '' },
          { name: null, topicId },
          { name: '__consumer_offsets', topicId: '' },
        ],
        10_000,
      ),
    );
    expect(outcomes.map((outcome) => outcome.errorCode)).toEqual([
      ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
      ErrorCode.UNKNOWN_TOPIC_ID,
      ErrorCode.INVALID_TOPIC_EXCEPTION,
    ]);
    const fixed = await FakeMetadataCluster.start({
      defaults: { partitionCount: 1, replicationFactor: 1, allowsTopicDeletion: false },
    });
    await create(fixed, [newTopic('orders')]);
    const [outcome] = await fixed.time.settle(fixed.broker(2).controller.deleteTopics(byName('orders'), 10_000));
    expect(outcome?.errorCode).toBe(ErrorCode.TOPIC_DELETION_DISABLED);
  });

  test('a repeated deletion does not touch a topic of that name created since', async () => {
    const cluster = await FakeMetadataCluster.start();
    await create(cluster, [newTopic('orders')]);
    // The first attempt takes effect, its outcome gets lost; before the second one somebody creates the topic again.
    let lost = 0;
    cluster.network.loses = (from, to, service) =>
      from === 1 && to === 2 && service === 'metadata.change' && lost++ === 0;
    const deletion = cluster.broker(2).controller.deleteTopics(byName('orders'), 10_000);
    await cluster.time.runFor(20);
    expect(lost).toBe(1);
    const [again] = await create(cluster, [newTopic('orders')], 3);
    expect(again?.errorCode).toBe(ErrorCode.NONE);
    const [deleted] = await cluster.time.settle(deletion);
    expect(deleted?.errorCode).toBe(ErrorCode.REQUEST_TIMED_OUT);
    expect(cluster.broker(1).controller.image.topics.get('orders')?.topicId).toBe(again?.topicId);
  });
});

describe('ClusterController', () => {
  test('a repeated creation does not bring back what somebody deleted since', async () => {
    const cluster = await FakeMetadataCluster.start();
    let lost = 0;
    cluster.network.loses = (from, to, service) =>
      from === 1 && to === 2 && service === 'metadata.change' && lost++ === 0;
    const creation = cluster.broker(2).controller.createTopics([newTopic('orders')], OPTIONS);
    await cluster.time.runFor(20);
    expect(lost).toBe(1);
    const { topicId } = cluster.broker(3).controller.image.topics.get('orders')!;
    await cluster.time.settle(cluster.broker(3).controller.deleteTopics([{ name: 'orders', topicId: '' }], 10_000));
    // The one that created it asks again, because another broker leads now.
    cluster.network.elect(METADATA_GROUP_ID, brokerId(3));
    const [outcome] = await cluster.time.settle(creation);
    expect(outcome).toMatchObject({ errorCode: ErrorCode.NONE, topicId });
    await cluster.time.runFor(1000);
    for (const { controller } of cluster.brokers) expect(controller.image.topics.size).toBe(0);
  });

  test('concurrent changes of different configs of one topic all hold', async () => {
    const cluster = await FakeMetadataCluster.start();
    await create(cluster, [newTopic('orders')]);
    const names = ['retention.ms', 'segment.ms', 'max.message.bytes'];
    const changes = names.map((name, index) =>
      cluster
        .broker(index + 1)
        .controller.alterConfigs(
          [{ resource: 'topic', resourceName: 'orders', operations: [{ name, operation: 'set', value: '1000' }] }],
          OPTIONS,
        ),
    );
    await cluster.time.settle(Promise.all(changes));
    expect([...cluster.broker(1).controller.image.topics.get('orders')!.configs.keys()].sort()).toEqual(names.sort());
  });

  test('a leader decides nothing before it has applied what earlier leaders committed', async () => {
    const cluster = await FakeMetadataCluster.start();
    const late = cluster.broker(2);
    late.groups.isStuck = true;
    await cluster.time.settle(
      cluster.broker(1).controller.createTopics([newTopic('orders')], { ...OPTIONS, timeoutMs: 100 }),
    );
    cluster.network.elect(METADATA_GROUP_ID, brokerId(2));
    const validation = late.controller.createTopics([newTopic('orders')], { validateOnly: true, timeoutMs: 10_000 });
    cluster.time.after(300, () => {
      late.groups.isStuck = false;
      cluster.network.applyEverywhere(cluster.network.sharedGroup(METADATA_GROUP_ID));
    });
    expect((await cluster.time.settle(validation))[0]?.errorCode).toBe(ErrorCode.TOPIC_ALREADY_EXISTS);
  });

  test('createPartitions() adds partitions and refuses to shrink', async () => {
    const cluster = await FakeMetadataCluster.start();
    await create(cluster, [newTopic('orders')]);
    const { controller } = cluster.broker(2);
    const grow = (name: string, count: number, assignments: number[][] | null = null) =>
      cluster.time.settle(controller.createPartitions([{ name, count, assignments }], OPTIONS));
    expect(await grow('orders', 5)).toEqual([{ name: 'orders', errorCode: ErrorCode.NONE, errorMessage: null }]);
    for (const { registry } of cluster.brokers) expect(registry.get('orders', 4)?.partition).toBe(4);
    for (const count of [5, 2]) expect((await grow('orders', count))[0]?.errorCode).toBe(ErrorCode.INVALID_PARTITIONS);
    expect((await grow('nowhere', 5))[0]?.errorCode).toBe(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION);
    expect((await grow('orders', 6, [[1, 2]]))[0]?.errorCode).toBe(ErrorCode.INVALID_REPLICA_ASSIGNMENT);
    expect((await grow('orders', 6, [[3, 1, 2]]))[0]?.errorCode).toBe(ErrorCode.NONE);
    expect(controller.image.topics.get('orders')?.partitions[5]?.replicas[0]?.brokerId).toBe(3);
  });

  test('alterConfigs() changes topics and the default of all brokers, all or nothing per resource', async () => {
    const cluster = await FakeMetadataCluster.start();
    await create(cluster, [newTopic('orders', { configs: [{ name: 'retention.ms', value: '5' }] })]);
    const alter = (resource: 'topic' | 'broker', resourceName: string, name: string, value: string | null) =>
      cluster.time.settle(
        cluster
          .broker(3)
          .controller.alterConfigs(
            [{ resource, resourceName, operations: [{ name, operation: value === null ? 'delete' : 'set', value }] }],
            OPTIONS,
          ),
      );
    expect(await alter('topic', 'orders', 'max.message.bytes', '77')).toEqual([
      { errorCode: ErrorCode.NONE, errorMessage: null },
    ]);
    for (const { controller } of cluster.brokers) {
      expect([...controller.image.topics.get('orders')!.configs]).toEqual([
        ['max.message.bytes', '77'],
        ['retention.ms', '5'],
      ]);
    }
    await alter('topic', 'orders', 'retention.ms', null);
    expect(cluster.broker(1).controller.image.topics.get('orders')!.configs.has('retention.ms')).toBe(false);
    expect((await alter('topic', 'nowhere', 'retention.ms', '1'))[0]?.errorCode).toBe(
      ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    );
    expect((await alter('topic', 'orders', 'retention.ms', 'soon'))[0]?.errorCode).toBe(ErrorCode.INVALID_CONFIG);
    expect((await alter('broker', '', 'message.max.bytes', '99'))[0]?.errorCode).toBe(ErrorCode.NONE);
    expect(cluster.broker(2).controller.image.brokerConfigs.get('')?.get('message.max.bytes')).toBe('99');
    expect((await alter('broker', '1', 'message.max.bytes', '99'))[0]?.errorCode).toBe(ErrorCode.INVALID_REQUEST);
  });

  test('allocateProducerId() never gives an id twice, over all brokers and lost outcomes', async () => {
    const cluster = await FakeMetadataCluster.start();
    cluster.network.faults.push('unknownButCommitted', 'unknownAndLost');
    const answers = await cluster.time.settle(
      Promise.all(
        cluster.brokers.flatMap(({ controller }) =>
          Array.from({ length: 1500 }, () => controller.allocateProducerId(10_000)),
        ),
      ),
    );
    expect(answers.every(({ errorCode }) => errorCode === ErrorCode.NONE)).toBe(true);
    expect(new Set(answers.map(({ producerId }) => producerId)).size).toBe(4500);
  });

  test('refresh() brings the local image up to what was committed before', async () => {
    const cluster = await FakeMetadataCluster.start();
    const late = cluster.broker(3);
    late.groups.isStuck = true;
    const creation = cluster.broker(2).controller.createTopics([newTopic('orders')], { ...OPTIONS, timeoutMs: 100 });
    await cluster.time.settle(creation);
    const refreshed = late.controller.refresh(10_000);
    cluster.time.after(300, () => {
      late.groups.isStuck = false;
      cluster.network.applyEverywhere(cluster.network.sharedGroup(METADATA_GROUP_ID));
    });
    expect(await cluster.time.settle(refreshed)).toBe(true);
    expect(late.controller.image.topics.has('orders')).toBe(true);
    cluster.network.elect(METADATA_GROUP_ID, undefined);
    expect(await cluster.time.settle(late.controller.refresh(1000))).toBe(false);
  });
});
