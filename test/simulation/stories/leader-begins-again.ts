/**
 * A leader gives up a catch-up, and the word of that finds no room in a channel that others fill: its follower waits for the end of something that is over. The next one by the same leader must not have to wait until the
 * follower has given up the first by itself.
 */
import { CHANNEL } from '../../../src/raft/transport.ts';
import { damageFoundOnce, laggingFollower } from './lagging-follower.ts';

/** The leader tries again after a second; far less than a catch-up may stall. */
const CATCH_UP_MS = 10_000;
const FULL_MS = 500;

export async function leaderBeginsAgain(seed: number): Promise<void> {
  const { time, random, network, until, write, leader, follower, expectComplete } = await laggingFollower(seed);
  let fullUntilMs = 0;
  network.isFull = (from, to, channel) =>
    from === leader.brokerId && to === follower.brokerId && channel === CHANNEL.bulk && time.now < fullUntilMs;
  damageFoundOnce(leader, () => {
    fullUntilMs = time.now + random.next() * FULL_MS + 10;
  });
  follower.start();
  const isInstalled = (): boolean => follower.driver?.metrics.catchUpsInstalled === 1;
  await until(isInstalled, CATCH_UP_MS, 'A follower waits for the end of a catch-up that its leader gave up');
  await write(3);
  await time.runFor(2_000);
  expectComplete();
}
