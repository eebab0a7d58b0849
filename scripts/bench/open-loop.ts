/** Calls `send(index, dueMs)` at the scheduled times, whatever came of the calls before: `dueMs` (of performance.now) is when it should have been, even if it is late. Resolves when all were called. */
export function openLoop(
  { recordsPerSecond, total }: { readonly recordsPerSecond: number; readonly total: number },
  send: (index: number, dueMs: number) => void,
): Promise<void> {
  const intervalMs = 1000 / recordsPerSecond;
  const startMs = performance.now();
  let sent = 0;
  return new Promise((resolve) => {
    const sendDue = (): void => {
      const dueCount = Math.min(total, Math.floor((performance.now() - startMs) / intervalMs) + 1);
      for (; sent < dueCount; sent++) send(sent, startMs + sent * intervalMs);
      if (sent === total) return resolve();
      const waitMs = startMs + sent * intervalMs - performance.now();
      // Timers have a millisecond's grain; the rest of the wait is turns of the event loop.
      if (waitMs > 2) setTimeout(sendDue, waitMs - 1);
      else setImmediate(sendDue);
    };
    sendDue();
  });
}
