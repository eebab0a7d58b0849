/** A follower that needs a catch-up campaigns in vain before it gets one, and so forgets its leader. No entries are sent to it that could remind it: the catch-up itself has to. */
import { damageFoundOnce, GROUP, laggingFollower } from './lagging-follower.ts';

/** A leader tries again after a second. */
const PAUSE_MS = 1_000;
const CATCH_UP_MS = 20_000;

export async function campaignBeforeCatchUp(seed: number): Promise<void> {
  const { time, random, until, write, leader, follower, expectComplete } = await laggingFollower(seed);
  damageFoundOnce(leader, () => {
    time.after(random.next() * 0.9 * PAUSE_MS, () => follower.driver?.get(GROUP)?.campaign());
  });
  follower.start();
  const isInstalled = (): boolean => follower.driver?.metrics.catchUpsInstalled === 1;
  await until(isInstalled, CATCH_UP_MS, 'A follower that campaigned in vain is not caught up');
  await write(3);
  await time.runFor(2_000);
  expectComplete();
}
