/**
 * A broker dies at the moment at which the removal of its replica of a deleted topic is on its disk, and nothing else of the deletion is but the entry, of which nobody told that disk that it is committed. When the
 * broker starts again the replica must not come back: it would be empty, and vote.
 */
import type { Lsn } from '../../../src/std/brands.ts';
import { Violation } from '../raft-oracle.ts';
import { StoryCluster } from './story-cluster.ts';

const TOPIC = 'topic';
const STEP_MS = 20_000;

export async function removedReplica(seed: number): Promise<void> {
  const cluster = new StoryCluster(seed);
  const { nodes, random } = cluster;
  await cluster.form();
  await cluster.createTopic(TOPIC);
  const node = random.pick(nodes);
  await cluster.until(() => cluster.replicaOf(node, TOPIC) !== undefined, STEP_MS, 'A broker has no replica');
  const groupId = cluster.groupIdOf(TOPIC)!;
  const askUntilDeleted = async (): Promise<void> => {
    while ((await cluster.askToDelete(TOPIC)) !== true);
  };
  const deleted = askUntilDeleted();
  let removedAt: Lsn | undefined;
  const isRemovalDurable = (): boolean => {
    const driver = node.driver!;
    const { storage } = driver;
    if (driver.get(groupId) === undefined) removedAt ??= storage.appendedLsn;
    return removedAt !== undefined && storage.flushedLsn >= removedAt;
  };
  await cluster.until(isRemovalDurable, STEP_MS, 'A replica is not removed');
  node.crash(random, false);
  cluster.onReplica = (who, group) => {
    if (who === node && group.groupId === groupId) throw new Violation('A replica that was removed is there again');
  };
  node.start();
  await cluster.until(() => node.state === 'running', STEP_MS, 'A broker does not start');
  await cluster.settle(deleted, STEP_MS, 'A topic is not deleted');
}
