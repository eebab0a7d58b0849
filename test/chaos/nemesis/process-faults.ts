/** Faults of processes: killed, paused, restarted gracefully, short of memory. */
import type { Exception, NemesisContext, Role } from './nemesis.ts';

const READY_TIMEOUT_MS = 30_000;

/** Kills whoever plays the role, again and again, and brings it back. */
export async function killByRole(
  context: NemesisContext,
  roles: readonly Role[],
  exception: Exception = {},
): Promise<void> {
  const { cluster, random } = context;
  while (context.hasTime) {
    const role = random.pick(roles);
    const broker = await context.who(role, exception);
    await context.fault(`kill ${role}`, [broker], async () => {
      await cluster.kill(broker);
      const evidence = `process of broker ${broker} is gone`;
      await context.sleepBetween(500, 4_000);
      await cluster.restart(broker);
      return evidence;
    });
    await context.awaitReady(READY_TIMEOUT_MS);
    await context.sleepBetween(500, 2_500);
  }
}

/** Kills all brokers at once and starts them in random order. */
export async function killAll(context: NemesisContext): Promise<void> {
  const { cluster, random } = context;
  while (context.hasTime) {
    await context.fault(
      'kill all',
      cluster.ids,
      async () => {
        await cluster.kill(...cluster.ids);
        context.quorumLost();
        await context.sleepBetween(200, 1_500);
        context.quorumBack();
        await Promise.all(
          random.shuffle(cluster.ids).map(async (id, i) => {
            await context.sleep(i * random.between(0, 800));
            await cluster.restart(id);
          }),
        );
        return 'all processes were gone';
      },
      { recoverFrom: 'end' },
    );
    await context.awaitReady(READY_TIMEOUT_MS);
    await context.sleepBetween(3_000, 6_000);
  }
}

/** Kills brokers until no majority is left, looks that nothing is acknowledged, and brings all back. */
export async function loseQuorum(context: NemesisContext): Promise<void> {
  const { cluster, random } = context;
  const victims = Math.floor(cluster.ids.length / 2) + 1;
  while (context.hasTime) {
    const dead = random.shuffle(cluster.ids).slice(0, victims);
    await context.fault(
      'no quorum',
      dead,
      async () => {
        await cluster.kill(...dead);
        context.quorumLost();
        await context.sleepBetween(2_000, 5_000);
        context.quorumBack();
        await Promise.all(dead.map((id) => cluster.restart(id)));
        return `processes of brokers ${dead.join(', ')} were gone`;
      },
      { recoverFrom: 'end' },
    );
    await context.awaitReady(READY_TIMEOUT_MS);
    await context.sleepBetween(2_000, 4_000);
  }
}

/** Freezes whoever plays the role for longer than leases and sessions last, and lets it go on. */
export async function pauseByRole(
  context: NemesisContext,
  roles: readonly Role[],
  exception: Exception = {},
): Promise<void> {
  const { cluster, random } = context;
  while (context.hasTime) {
    const role = random.pick(roles);
    const broker = await context.who(role, exception);
    await context.fault(`pause ${role}`, [broker], async () => {
      cluster.pause(broker);
      await context.sleep(20);
      const isPaused = cluster.isPaused(broker);
      // Short ones are stalls of the event loop, long ones outlast every time-out.
      await context.sleepBetween(300, 6_000);
      cluster.resume(broker);
      return isPaused ? `process of broker ${broker} was in state T` : undefined;
    });
    await context.sleepBetween(1_000, 3_000);
  }
}

/** Stops and starts one broker after the other, as an upgrade does. */
export async function rollingRestart(context: NemesisContext): Promise<void> {
  const { cluster } = context;
  while (context.hasTime) {
    for (const broker of cluster.ids) {
      if (!context.hasTime) return;
      await context.fault('graceful restart', [broker], async () => {
        await cluster.stop(broker);
        const isGone = cluster.pid(broker) === undefined;
        await cluster.restart(broker);
        return isGone ? `broker ${broker} had stopped` : undefined;
      });
      await context.awaitReady(READY_TIMEOUT_MS);
      await context.sleepBetween(500, 1_500);
    }
  }
}

/** Kills a broker while it recovers, several times in a row. */
export async function crashLoop(context: NemesisContext): Promise<void> {
  const { cluster, random } = context;
  while (context.hasTime) {
    const broker = await context.who('any');
    await context.fault('crash loop', [broker], async () => {
      await cluster.kill(broker);
      let during = 0;
      for (let i = 0; i < 4; i++) {
        // cluster.sh says that the broker ended while starting: that is what was wanted.
        const restarted = cluster.restart(broker).catch(() => undefined);
        while (cluster.pid(broker) === undefined) await context.sleep(5);
        await context.sleep(random.between(100, 900));
        if (!(await cluster.isReady(broker))) during += 1;
        await cluster.kill(broker);
        await restarted;
        await cluster.kill(broker);
      }
      await cluster.restart(broker);
      return during > 0 ? `killed ${during} times before it served` : undefined;
    });
    await context.awaitReady(READY_TIMEOUT_MS);
    await context.sleepBetween(1_000, 3_000);
  }
}

/** Freezes a broker for moments, one after the other: what a long turn of the event loop or of the collector of garbage looks like from outside. */
export async function stallOften(context: NemesisContext): Promise<void> {
  const { cluster, random } = context;
  while (context.hasTime) {
    const broker = await context.who(random.pick(['leader', 'leader', 'metadata-leader', 'coordinator', 'any']));
    await context.fault('event loop stalls', [broker], async () => {
      const lengths: number[] = [];
      let seen = 0;
      for (let i = random.between(3, 8); i > 0; i--) {
        const lengthMs = random.between(200, 2_000);
        cluster.pause(broker);
        await context.sleep(lengthMs);
        if (cluster.isPaused(broker)) seen += 1;
        cluster.resume(broker);
        lengths.push(lengthMs);
        await context.sleepBetween(50, 700);
      }
      return seen > 0 ? `it stood still ${seen} times, for ${lengths.join(', ')} ms` : undefined;
    });
    await context.sleepBetween(500, 1_500);
  }
}
