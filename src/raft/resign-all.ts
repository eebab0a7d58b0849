/** Hands all leaderships of this broker to others, before it stops: so nobody has to miss it first. */
import type { Timers } from '../std/environment.ts';
import type { DriverContext } from './driver-context.ts';

/** Pause before leaderships that nobody took are offered again. */
const RETRY_MS = 100;

/** Resolves when nothing is led any more that another voter could lead, after `timeoutMs`, or when the driver stops. */
export async function resignAll(
  context: DriverContext,
  timers: Timers,
  timeoutMs: number,
  isRunning: () => boolean,
): Promise<void> {
  const endMs = context.clock.monotonicMs() + timeoutMs;
  for (;;) {
    const led = [...context.replicas.values()].filter(
      (replica) => replica.role === 'leader' && replica.membership.voters.length > 1,
    );
    if (led.length === 0 || context.clock.monotonicMs() >= endMs || !isRunning()) return;
    const moved = await Promise.race([
      Promise.all(led.map((replica) => replica.transferLeadership())),
      new Promise<undefined>((resolve) => {
        timers.after(Math.max(1, endMs - context.clock.monotonicMs()), () => resolve(undefined));
      }),
    ]);
    // Nobody could take any of them: trying again at once would change nothing.
    if (moved?.every((success) => !success)) {
      await new Promise<void>((resolve) => {
        timers.after(RETRY_MS, resolve);
      });
    }
  }
}
