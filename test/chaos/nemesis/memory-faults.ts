/** Too little memory from outside: a control group takes pages away from one broker, and in the end the kernel may kill it. */
import { MemoryLimit, memoryFacts } from '../faults/memory-limit.ts';
import type { NemesisContext } from './nemesis.ts';

const READY_TIMEOUT_MS = 60_000;
const MEGABYTE = 2 ** 20;
const SQUEEZES = 6;
const STEP_BYTES = 2 * MEGABYTE;

/** Squeezes one broker after the other down to what can not be taken from it, and a little less. */
export async function squeezeMemory(context: NemesisContext): Promise<void> {
  const { cluster, random } = context;
  while (context.hasTime) {
    const broker = await context.who(random.pick(['leader', 'follower', 'any']));
    const isHard = random.chance(0.5);
    await context.fault(isHard ? 'memory taken away' : 'memory squeezed', [broker], async () => {
      // Memory is counted where it is first used: the process has to begin in its group.
      await cluster.kill(broker);
      const limit = new MemoryLimit(`flotilla-chaos-${cluster.kafkaPort(broker)}`);
      try {
        await cluster.restart(broker, limit.processesFile);
        const before = memoryFacts(cluster.pid(broker)!);
        let lowest = Number.POSITIVE_INFINITY;
        for (let i = 0; i < SQUEEZES && cluster.pid(broker) !== undefined; i++) {
          cluster.mayEnd(broker);
          let bytes = limit.usageBytes;
          limit.set(bytes);
          // Less and less, until nothing more can be taken from it: the next allocation is its death.
          while (isHard && cluster.pid(broker) !== undefined && limit.set(bytes - STEP_BYTES)) bytes -= STEP_BYTES;
          lowest = Math.min(lowest, bytes);
          await context.sleepBetween(300, 1_500);
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
