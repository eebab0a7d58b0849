/** Too little memory from outside: a control group takes pages away from one broker, and in the end the kernel may kill it. */
import { MemoryLimit, memoryFacts } from '../faults/memory-limit.ts';
import type { NemesisContext } from './nemesis.ts';

const READY_TIMEOUT_MS = 60_000;
const MEGABYTE = 2 ** 20;
const SQUEEZES = 6;

/** Squeezes one broker after the other down to what can not be taken from it, and a little less. */
export async function squeezeMemory(context: NemesisContext): Promise<void> {
  const { cluster, random } = context;
  while (context.hasTime) {
    const broker = await context.who(random.pick(['leader', 'follower', 'any']));
    await context.fault('memory squeezed', [broker], async () => {
      // Memory is counted where it is first used: the process has to begin in its group.
      await cluster.kill(broker);
      const limit = new MemoryLimit(`flotilla-chaos-${cluster.kafkaPort(broker)}`);
      try {
        await cluster.restart(broker, limit.processesFile);
        const before = memoryFacts(cluster.pid(broker)!);
        let lowest = Number.POSITIVE_INFINITY;
        for (let i = 0; i < SQUEEZES && cluster.pid(broker) !== undefined; i++) {
          const bytes = limit.usageBytes - random.between(0, 8) * MEGABYTE;
          if (limit.set(bytes)) lowest = Math.min(lowest, bytes);
          cluster.mayEnd(broker);
          await context.sleepBetween(300, 1_200);
        }
        const pid = cluster.pid(broker);
        const after = pid === undefined ? undefined : memoryFacts(pid);
        const { hits } = limit;
        limit.set(undefined);
        if (pid === undefined) await cluster.restart(broker);
        else cluster.revive(broker);
        if (hits === 0) return undefined;
        const end =
          after === undefined
            ? 'and the kernel killed it'
            : `with ${after.majorFaults - (before?.majorFaults ?? 0)} major faults, ${Math.round(after.residentBytes / MEGABYTE)} MB resident`;
        return `the limit of ${Math.round(lowest / MEGABYTE)} MB was hit ${hits} times, ${end}`;
      } finally {
        limit.set(undefined);
        // The process stays in it until it ends.
        cluster.onDestroy(() => limit.remove());
      }
    });
    await context.awaitReady(READY_TIMEOUT_MS);
    await context.sleepBetween(500, 1_500);
  }
}
