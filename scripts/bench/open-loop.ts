/**
 * Calls `send(index)` `recordsPerSecond` times a second, whatever became of the calls before, and resolves when all were made. Between two calls the process sleeps: one that spins until the exact moment
 * takes a core away from the brokers that it measures. So calls come on ticks of Node's timers, about a millisecond apart, several at once if need be.
 */
export function openLoop(
  { recordsPerSecond, total }: { readonly recordsPerSecond: number; readonly total: number },
  send: (index: number) => void,
): Promise<void> {
  const intervalMs = 1000 / recordsPerSecond;
  const startMs = performance.now();
  let sent = 0;
  return new Promise((resolve) => {
    const sendDue = (): void => {
      const dueCount = Math.min(total, Math.floor((performance.now() - startMs) / intervalMs) + 1);
      for (; sent < dueCount; sent++) send(sent);
      if (sent === total) resolve();
      else setTimeout(sendDue, Math.max(0, startMs + sent * intervalMs - performance.now()));
    };
    sendDue();
  });
}
