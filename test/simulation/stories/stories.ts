/**
 * Stories: states that dice reach hardly ever, reached by a script. A seed still chooses latencies and moments, but what happens and in which order is written down. Each one runs production code and rejects with what
 * went wrong; each is there for a canary that nothing else finds soon (test/canaries).
 */
import { campaignBeforeCatchUp } from './campaign-before-catch-up.ts';
import { earlyCoordinator } from './early-coordinator.ts';
import { followerAhead } from './follower-ahead.ts';
import { leaderBeginsAgain } from './leader-begins-again.ts';
import { officeLost } from './office-lost.ts';
import { recreatedTopic } from './recreated-topic.ts';
import { removedReplica } from './removed-replica.ts';
import { staleCoordinator } from './stale-coordinator.ts';

export const STORIES = {
  campaignBeforeCatchUp,
  earlyCoordinator,
  followerAhead,
  leaderBeginsAgain,
  officeLost,
  recreatedTopic,
  removedReplica,
  staleCoordinator,
} as const satisfies Record<string, (seed: number) => Promise<void>>;

export type StoryName = keyof typeof STORIES;
