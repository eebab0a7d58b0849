/**
 * A topic is deleted and created again under its name while one broker's disk is slow with a checkpoint of the old replica, whose files can only go when that is over. By then the new replica has files of its own: nobody
 * but itself may touch them, and a restart finds them.
 */
import { produceApi } from '../../../src/kafka-protocol/messages/produce.ts';
import { encodeRecordBatch } from '../../../src/kafka-protocol/records.ts';
import type { SimulatedNode } from '../cluster/simulated-node.ts';
import { StoryCluster } from './story-cluster.ts';

const TOPIC = 'topic';
const STEP_MS = 20_000;
const ANSWER_MS = 2_000;
const SLOW_MS = 3_000;
const BATCHES = 20;
const RECORD_BYTES = 1_000;

export async function recreatedTopic(seed: number): Promise<void> {
  const cluster = new StoryCluster(seed);
  const { nodes, random, time } = cluster;
  await cluster.form();
  await cluster.createTopic(TOPIC);
  await produce(cluster);
  const slow = random.pick(nodes);
  await even(cluster, slow);
  const oldGroup = cluster.groupIdOf(TOPIC)!;
  let syncs = 0;
  const { onOperation } = slow.disk;
  slow.disk.onOperation = (operation) => {
    const fault = onOperation(operation);
    if (operation.kind !== 'sync' || !operation.path.endsWith('.log')) return fault;
    syncs++;
    return { delayMs: SLOW_MS };
  };
  slow.driver!.checkpoint(oldGroup);
  await cluster.until(() => syncs > 0, STEP_MS, 'No checkpoint is made');
  slow.disk.onOperation = onOperation;
  const slowUntilMs = time.now + SLOW_MS;
  await cluster.deleteTopic(TOPIC);
  await cluster.createTopic(TOPIC);
  await produce(cluster);
  await even(cluster, slow);
  if (time.now > slowUntilMs) throw new Error('The old replica was gone before the new one came');
  await time.runUntil(slowUntilMs + 1_000);
  await produce(cluster);
  await even(cluster, slow);
  slow.driver!.checkpoint(cluster.groupIdOf(TOPIC)!);
  await time.runFor(1_000);
  slow.crash(random, false);
  slow.start();
  await even(cluster, slow);
  await time.runFor(1_000);
}

async function produce(cluster: StoryCluster): Promise<void> {
  for (let left = BATCHES; left > 0; left--) {
    const value = Buffer.alloc(RECORD_BYTES, left);
    const records = encodeRecordBatch([{ timestamp: cluster.time.wallMs(), value }]);
    const body = {
      acks: -1,
      timeoutMs: ANSWER_MS,
      topicData: [{ name: TOPIC, partitionData: [{ index: 0, records }] }],
    };
    const attempt = async (): Promise<true | undefined> => {
      const leader = cluster.leaderOf(TOPIC);
      const connection = leader === undefined ? undefined : await cluster.client.connect(leader.port);
      const answer = await connection?.request(produceApi, 7, body, ANSWER_MS);
      connection?.close();
      return answer?.responses[0]?.partitionResponses[0]?.errorCode === 0 ? true : undefined;
    };
    await cluster.retry(attempt, STEP_MS, 'A batch is not acknowledged');
  }
}

/** Resolves when `node` applied what the leader has. */
function even(cluster: StoryCluster, node: SimulatedNode): Promise<void> {
  const isEven = (): boolean => {
    const leader = cluster.leaderOf(TOPIC);
    const end = leader === undefined ? undefined : cluster.replicaOf(leader, TOPIC)?.lastIndex;
    return end !== undefined && cluster.replicaOf(node, TOPIC)?.appliedIndex === end;
  };
  return cluster.until(isEven, STEP_MS, `Broker ${node.brokerId} does not catch up`);
}
