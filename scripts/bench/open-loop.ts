/** Above this, a call that came late counts from when it should have come. Below, it is the grain of Node's timers. */
const TIMER_GRAIN_MS = 2;

/**
 * Calls `send(index, dueMs)` `perSecond` times a second, whatever became of the calls before, and resolves when all were made. `dueMs` (of `performance.now()`) is the time from which a latency
 * counts: the moment of the call, or when it should have come if this process was held up, so that a stall counts for all that should have been sent meanwhile (no coordinated omission).
 *
 * Between two calls the process sleeps: one that spins until the exact moment takes a core away from the brokers that it measures. So calls come on ticks of Node's timers, about a millisecond
 * apart, several at once if need be.
 */
export function openLoop(
  { perSecond, total }: { readonly perSecond: number; readonly total: number },
  send: (index: number, dueMs: number) => void,
): Promise<void> {
  const intervalMs = 1000 / perSecond;
  const startMs = performance.now();
  let sent = 0;
  return new Promise((resolve) => {
    const sendDue = (): void => {
      const nowMs = performance.now();
      const dueCount = Math.min(total, Math.floor((nowMs - startMs) / intervalMs) + 1);
      for (; sent < dueCount; sent++) {
        const plannedMs = startMs + sent * intervalMs;
        send(sent, nowMs - plannedMs > TIMER_GRAIN_MS ? plannedMs : nowMs);
      }
      if (sent === total) resolve();
      else setTimeout(sendDue, Math.max(0, startMs + sent * intervalMs - performance.now()));
    };
    sendDue();
  });
}
