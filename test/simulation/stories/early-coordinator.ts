/**
 * A coordinator dies when it is the first and only one to know that a generation of a group is committed, and has told its member. Who leads next has that generation in its log, not applied; while the disks stall it stays
 * so. Members that come in that time must wait, or be given a later generation: the group's state as applied there is the one from before.
 */
import { ErrorCode } from '../../../src/kafka-protocol/error-codes.ts';
import { joinGroupApi } from '../../../src/kafka-protocol/messages/join-group.ts';
import { syncGroupApi } from '../../../src/kafka-protocol/messages/sync-group.ts';
import { brokerId } from '../../../src/std/brands.ts';
import type { SimulatedNode } from '../cluster/simulated-node.ts';
import { Violation } from '../raft-oracle.ts';
import { StoryCluster } from './story-cluster.ts';

const GROUP = 'group';
const STEP_MS = 20_000;
const ANSWER_MS = 5_000;
const SESSION_MS = 600;
const STALL_MS = 1_500;

export async function earlyCoordinator(seed: number): Promise<void> {
  const cluster = new StoryCluster(seed);
  const { client, nodes, network, oracle, random, time } = cluster;
  await cluster.form();
  await cluster.retry(() => client.coordinatorOf(GROUP), STEP_MS, 'There is no coordinator');
  await cluster.until(() => cluster.leaderOf() !== undefined, STEP_MS, 'There is no coordinator');
  const old = cluster.leaderOf()!;
  const others = nodes.filter((node) => node !== old);
  oracle.onCommitted = (_brokerId, _group, isGeneration) => {
    if (!isGeneration) return;
    for (const { brokerId: other } of others) network.block(brokerId(old.brokerId), brokerId(other));
  };
  const told = await join(cluster, old);
  oracle.onCommitted = () => undefined;
  old.crash(random, false);
  network.heal();
  const isLed = (node: SimulatedNode): boolean => cluster.replicaOf(node)?.role === 'leader';
  await cluster.until(() => others.some(isLed), STEP_MS, 'Nobody takes over from a coordinator that died');
  const next = others.find(isLed)!;
  for (const node of others) node.stalledUntilMs = time.now + STALL_MS;
  const generation = await join(cluster, next);
  if (generation <= told) {
    throw new Violation(`Generation ${generation} is given to another member after a member was told ${told}`);
  }
  old.start();
  const isEven = (): boolean => cluster.replicaOf(old)?.appliedIndex === cluster.replicaOf(next)?.appliedIndex;
  await cluster.until(isEven, STEP_MS, 'A broker is not caught up');
}

/** The generation that a new member is in, once it has its assignment. */
function join(cluster: StoryCluster, { port }: SimulatedNode): Promise<number> {
  let memberId = '';
  const attempt = async (): Promise<number | undefined> => {
    const connection = await cluster.client.connect(port);
    if (connection === undefined) return undefined;
    try {
      const joined = await connection.request(
        joinGroupApi,
        5,
        {
          groupId: GROUP,
          sessionTimeoutMs: SESSION_MS,
          rebalanceTimeoutMs: SESSION_MS,
          memberId,
          protocolType: 'consumer',
          protocols: [{ name: 'range', metadata: Buffer.from('any') }],
        },
        ANSWER_MS,
      );
      if (joined.errorCode === ErrorCode.MEMBER_ID_REQUIRED) memberId = joined.memberId;
      if (joined.errorCode !== 0) return undefined;
      const assignments = [{ memberId, assignment: Buffer.from('all') }];
      const { generationId } = joined;
      const synced = await connection.request(
        syncGroupApi,
        3,
        { groupId: GROUP, generationId, memberId, assignments },
        ANSWER_MS,
      );
      return synced.errorCode === 0 ? generationId : undefined;
    } finally {
      connection.close();
    }
  };
  return cluster.retry(attempt, STEP_MS, 'A member does not get into its group');
}
