/**
 * A leader loses its office in the middle of a catch-up, and the word that the catch-up is over finds no room. The follower learns of the other leader, which began nothing: that must be enough for it to go on, long before
 * the catch-up counts as stalled.
 */
import { CHANNEL } from '../../../src/raft/transport.ts';
import { damageFoundOnce, GROUP, laggingFollower } from './lagging-follower.ts';

/** Far less than a catch-up may stall. */
const CATCH_UP_MS = 12_000;

export async function officeLost(seed: number): Promise<void> {
  const story = await laggingFollower(seed);
  const { time, random, network, groupOf, until, write, leader, follower, third, expectComplete } = story;
  let isFull = false;
  network.isFull = (from, to, channel) =>
    isFull && from === leader.brokerId && to === follower.brokerId && channel === CHANNEL.bulk;
  damageFoundOnce(leader, () => {
    isFull = true;
    time.after(random.next() * 10, () => void groupOf(leader)?.transferLeadership(third.brokerId));
  });
  follower.start();
  await until(() => third.driver?.get(GROUP)?.isReady === true, CATCH_UP_MS, 'The third broker does not lead');
  const isInstalled = (): boolean => follower.driver?.metrics.catchUpsInstalled === 1;
  await until(isInstalled, CATCH_UP_MS, 'A follower waits for the end of a catch-up whose leader lost its office');
  await write(3);
  await time.runFor(2_000);
  expectComplete();
}
