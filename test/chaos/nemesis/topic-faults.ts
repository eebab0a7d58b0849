/** Topics and replicas that come and go while brokers fail. */
import { readFileSync, rmSync } from 'node:fs';
import type { TopicChurn } from '../workload/topic-churn.ts';
import type { NemesisContext } from './nemesis.ts';
import { isolateByRole } from './network-faults.ts';
import { killByRole, pauseByRole } from './process-faults.ts';

const READY_TIMEOUT_MS = 60_000;
/** Time that the last life of the topic gets at the end. */
const LAST_LIFE_MS = 8_000;

/** A topic is deleted and made again while brokers are killed and paused: clients use it, and nothing of an earlier life may come back. */
export async function churnTopics(context: NemesisContext): Promise<void> {
  const { churn } = context;
  const faults = killAndPause(context);
  await live(context, churn);
  await faults;
  await churn.live(performance.now() + LAST_LIFE_MS + READY_TIMEOUT_MS, true);
}

async function killAndPause(context: NemesisContext): Promise<void> {
  const { random } = context;
  const nemeses = [
    (turn: NemesisContext) => killByRole(turn, ['leader', 'metadata-leader', 'any']),
    (turn: NemesisContext) => pauseByRole(turn, ['leader', 'metadata-leader', 'any']),
  ];
  while (context.hasTime) await random.pick(nemeses)(context.within(random.between(3_000, 8_000)));
}

/** Records are deleted from the beginning of their partitions while brokers are killed and paused: what was deleted stays deleted, and nothing else is gone. */
export async function deleteRecords(context: NemesisContext): Promise<void> {
  const { shrinking } = context;
  await shrinking.start();
  await context.fault('records deleted', [], async () => {
    await killAndPause(context);
    await shrinking.stop();
    return shrinking.deletions > 0 ? `records were deleted ${shrinking.deletions} times` : undefined;
  });
}

async function live(context: NemesisContext, churn: TopicChurn): Promise<void> {
  while (context.hasTime) {
    await context.fault('topic deleted and recreated', [], async () => {
      const before = churn.deletions;
      await churn.live(performance.now() + context.remainingMs + LAST_LIFE_MS, false);
      return churn.deletions > before ? `life ${churn.deletions} of the topic was used and deleted` : undefined;
    });
  }
}

/** One of five brokers loses its disk, so that its replicas are replaced one by one in the configurations of all their groups, while others are killed, paused or cut off. Only one disk is lost at a time. */
export async function changeMembership(context: NemesisContext): Promise<void> {
  const { cluster, random } = context;
  while (context.hasTime) {
    const broker = await context.who('any');
    let isWhole = false;
    await context.fault('replicas replaced', [broker], async () => {
      const groups = await context.metric(broker, 'raft_groups');
      await cluster.kill(broker);
      rmSync(cluster.dataDirectory(broker), { recursive: true, force: true });
      const returned = cluster.restart(broker).catch((error: Error) => {
        context.notes.push(`Broker ${broker} did not come back with an empty directory: ${error.message}`);
      });
      const others = { but: broker };
      const nemeses = [
        (turn: NemesisContext) => killByRole(turn, ['leader', 'metadata-leader', 'any'], others),
        (turn: NemesisContext) => pauseByRole(turn, ['leader', 'metadata-leader', 'any'], others),
        (turn: NemesisContext) => isolateByRole(turn, ['leader', 'metadata-leader', 'any'], others),
      ];
      const until = performance.now() + random.between(3_000, 9_000);
      while (performance.now() < until) await random.pick(nemeses)(context.within(until - performance.now()));
      await returned;
      isWhole = await context.awaitWhole(READY_TIMEOUT_MS);
      const isReplaced = readFileSync(cluster.logFile(broker), 'utf8').includes('"kind":"replaced"');
      const after = await context.metric(broker, 'raft_groups');
      return isReplaced && isWhole
        ? `${groups} replicas were lost with their store, ${after} took their place`
        : undefined;
    });
    if (!isWhole) {
      const reasons = await context.reasonsNotReady();
      context.failures.push(`Broker ${broker} was not filled again within ${READY_TIMEOUT_MS / 1000} s: ${reasons}`);
      return;
    }
    await context.sleepBetween(500, 1_500);
  }
}
