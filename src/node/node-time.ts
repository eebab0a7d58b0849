/** Clock and timers of the machine. */
import { performance } from 'node:perf_hooks';
import type { Clock, TimerHandle, Timers } from '../std/environment.ts';

export const nodeClock: Clock = {
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
};

/** Longest delay that Node's timers take; a longer one would fire at once. */
const DELAY_MS_MAX = 2 ** 31 - 1;

export const nodeTimers: Timers = {
  after(delayMs, callback): TimerHandle {
    const timer = setTimeout(callback, Math.min(delayMs, DELAY_MS_MAX));
    return { cancel: () => clearTimeout(timer) };
  },
  soon(callback) {
    setImmediate(callback);
  },
};
