/**
 * Who leads next has entries of which it does not know yet that they are committed, while its follower has applied them; its disk stalls, so that this stays so for a while; and the link between the two breaks. Whatever the
 * leader finds out about its follower then, being behind it is no reason to stop.
 */
import { laggingFollower } from './lagging-follower.ts';

const BURST = 5;
const STEP_MS = 5_000;
const CAMPAIGN_EVERY_MS = 5;
const STALL_MS = 1_500;

/** The other follower may win: then the story begins anew. */
const ATTEMPTS_MAX = 20;

export async function followerAhead(seed: number): Promise<void> {
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
    if (await isTold(seed * ATTEMPTS_MAX + attempt)) return;
  }
  throw new Error('The follower that is behind is never elected');
}

async function isTold(seed: number): Promise<boolean> {
  const { time, random, network, groupOf, until, propose, write, leader, follower, third, expectComplete } =
    await laggingFollower(seed);
  follower.start();
  const end = (): number => groupOf(leader)!.lastIndex;
  const isEven = (): boolean => groupOf(follower)?.appliedIndex === end() && groupOf(third)?.appliedIndex === end();
  await until(isEven, 4 * STEP_MS, 'A follower is not caught up');
  // The next leader gets the entries, and not that they are committed.
  const before = end();
  propose(BURST);
  await until(() => end() > before, STEP_MS, 'Nothing is proposed');
  await until(() => groupOf(third)!.lastIndex === end(), STEP_MS, 'Entries do not arrive');
  network.block(leader.brokerId, third.brokerId);
  await until(() => groupOf(follower)!.appliedIndex === end(), STEP_MS, 'Entries are not applied');
  const ahead = end();
  // Neither hears the end of the old leader: they miss it at about the same time.
  network.block(leader.brokerId, follower.brokerId);
  leader.crash(random, false);
  const leads = (broker: typeof leader): boolean => groupOf(broker)!.role === 'leader';
  const campaign = (): void => {
    if (leads(third) || leads(follower)) return;
    groupOf(third)!.campaign();
    time.after(CAMPAIGN_EVERY_MS, campaign);
  };
  campaign();
  await until(() => leads(third) || leads(follower), STEP_MS, 'Nobody is elected');
  network.unblock(leader.brokerId, follower.brokerId);
  network.unblock(leader.brokerId, third.brokerId);
  if (!leads(third)) return false;
  third.stalledUntilMs = time.now + STALL_MS;
  if (groupOf(third)!.appliedIndex >= ahead) throw new Error('The new leader is not behind its follower');
  // Before anything is acknowledged to it.
  network.breakLink(third.brokerId, follower.brokerId);
  await until(() => groupOf(third)!.isReady, 4 * STEP_MS, 'The new leader does not become ready');
  leader.start();
  await write(3);
  await until(
    () => groupOf(leader)?.appliedIndex === groupOf(third)!.appliedIndex,
    STEP_MS,
    'A broker is not caught up',
  );
  await time.runFor(500);
  expectComplete();
  return true;
}
