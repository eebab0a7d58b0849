/**
 * A coordinator whose clock is slow is cut off from the other brokers and takes itself for the leader while they have elected another one. An offset is committed there; who asks the old one afterwards must not be told
 * the offset from before.
 */
import { offsetCommitApi } from '../../../src/kafka-protocol/messages/offset-commit.ts';
import { offsetFetchApi } from '../../../src/kafka-protocol/messages/offset-fetch.ts';
import { brokerId } from '../../../src/std/brands.ts';
import type { SimulatedNode } from '../cluster/simulated-node.ts';
import type { VirtualConnection } from '../cluster/virtual-client.ts';
import { Violation } from '../raft-oracle.ts';
import { StoryCluster } from './story-cluster.ts';

const TOPIC = 'topic';
const GROUP = 'group';
const STEP_MS = 20_000;
const ANSWER_MS = 1_000;
/** Its heartbeats still come in time, and it misses its followers long after they missed it. */
const SLOW = 0.3;

export async function staleCoordinator(seed: number): Promise<void> {
  const slow = 1 + (seed % 3);
  const cluster = new StoryCluster(
    seed,
    [1, 2, 3].map((id) => (id === slow ? SLOW : 1)),
  );
  const { client, nodes } = cluster;
  await cluster.form();
  await cluster.createTopic(TOPIC);
  await cluster.retry(() => client.coordinatorOf(GROUP), STEP_MS, 'There is no coordinator');
  await cluster.until(() => cluster.leaderOf() !== undefined, STEP_MS, 'There is no coordinator');
  const old = nodes[slow - 1]!;
  const others = nodes.filter((node) => node !== old);
  await cluster.retry(
    async () => {
      const leader = cluster.leaderOf();
      if (leader === old) return true;
      if (leader !== undefined) await cluster.replicaOf(leader)?.transferLeadership(brokerId(old.brokerId));
      return undefined;
    },
    STEP_MS,
    'The coordinator does not move',
  );
  await commit(cluster, old, 1);
  const kept = await cluster.settle(client.connect(old.port), STEP_MS, 'A broker takes no connection');
  if ((await fetch(cluster, kept!)) !== 1) throw new Violation('An offset that is committed is not told');
  cluster.isolate(old);
  await cluster.until(
    () => cluster.leaderOf(undefined, others) !== undefined,
    STEP_MS,
    'Nobody takes over from a coordinator that is cut off',
  );
  await commit(cluster, cluster.leaderOf(undefined, others)!, 2);
  if (cluster.replicaOf(old)?.role !== 'leader') throw new Error('The old coordinator knows that it is none any more');
  const answer = await fetch(cluster, kept!);
  if (answer !== undefined && answer < 2) {
    throw new Violation(`Offset ${answer} is told by an old coordinator after 2 was committed`);
  }
  cluster.network.heal();
  await cluster.until(() => cluster.replicaOf(old)?.role === 'follower', STEP_MS, 'The old coordinator stays one');
}

async function commit(cluster: StoryCluster, { port }: SimulatedNode, offset: number): Promise<void> {
  const body = {
    groupId: GROUP,
    generationIdOrMemberEpoch: -1,
    memberId: '',
    topics: [{ name: TOPIC, partitions: [{ partitionIndex: 0, committedOffset: offset, committedMetadata: null }] }],
  };
  const attempt = async (): Promise<true | undefined> => {
    const connection = await cluster.client.connect(port);
    const answer = await connection?.request(offsetCommitApi, 6, body, ANSWER_MS);
    connection?.close();
    return answer?.topics[0]?.partitions[0]?.errorCode === 0 ? true : undefined;
  };
  await cluster.retry(attempt, STEP_MS, `Offset ${offset} is not committed`);
}

/** Undefined without an answer, or if it is a refusal. */
async function fetch(cluster: StoryCluster, connection: VirtualConnection): Promise<number | undefined> {
  const body = { groupId: GROUP, topics: [{ name: TOPIC, partitionIndexes: [0] }] };
  const asked = connection.request(offsetFetchApi, 5, body, ANSWER_MS).catch(() => undefined);
  const answer = await cluster.settle(asked, STEP_MS, 'A request does not end');
  const found = answer?.topics[0]?.partitions[0];
  return answer?.errorCode === 0 && found?.errorCode === 0 ? found.committedOffset : undefined;
}
