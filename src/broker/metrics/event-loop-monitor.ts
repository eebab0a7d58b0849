/** Measures how late timers of the event loop are: the one number that shows that a broker of one core has more to do than it can. */
import type { Clock, TimerHandle, Timers } from '../../std/environment.ts';
import { Histogram } from '../../std/histogram.ts';

const INTERVAL_MS = 100;

export class EventLoopMonitor {
  readonly delayMs = new Histogram();
  readonly #clock: Clock;
  readonly #timers: Timers;
  #timer: TimerHandle | undefined;

  constructor(clock: Clock, timers: Timers) {
    this.#clock = clock;
    this.#timers = timers;
  }

  start(): void {
    const dueMs = this.#clock.monotonicMs() + INTERVAL_MS;
    this.#timer = this.#timers.after(INTERVAL_MS, () => {
      this.delayMs.observe(Math.max(0, this.#clock.monotonicMs() - dueMs));
      this.start();
    });
  }

  stop(): void {
    this.#timer?.cancel();
  }
}
