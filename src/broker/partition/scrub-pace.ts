/** Lets so many bytes a second pass: what is read in the background waits here, in pieces too short to matter, until it is its turn. */
import type { Clock, TimerHandle, Timers } from '../../std/environment.ts';

/** A shorter wait costs more than it is worth. */
const WAIT_MS_MIN = 20;

export class ScrubPace {
  readonly #clock: Clock;
  readonly #timers: Timers;
  readonly #bytesPerSecond: number;
  /** When all that passed has had its time. */
  #paidUntilMs = 0;
  readonly #waiting = new Map<TimerHandle, () => void>();
  #isStopped = false;

  constructor(clock: Clock, timers: Timers, bytesPerSecond: number) {
    this.#clock = clock;
    this.#timers = timers;
    this.#bytesPerSecond = bytesPerSecond;
  }

  get isStopped(): boolean {
    return this.#isStopped;
  }

  /** Resolves when `bytes`, which were read, had their time. */
  async spend(bytes: number): Promise<void> {
    const nowMs = this.#clock.monotonicMs();
    this.#paidUntilMs = Math.max(this.#paidUntilMs, nowMs) + (bytes * 1000) / this.#bytesPerSecond;
    const waitMs = this.#paidUntilMs - nowMs;
    if (waitMs >= WAIT_MS_MIN) await this.pause(waitMs);
  }

  /** Resolves after `waitMs`, or at {@link stop}. */
  pause(waitMs: number): Promise<void> {
    if (this.#isStopped) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = this.#timers.after(waitMs, () => {
        this.#waiting.delete(timer);
        resolve();
      });
      this.#waiting.set(timer, resolve);
    });
  }

  /** Ends all waiting, for good. */
  stop(): void {
    this.#isStopped = true;
    for (const [timer, resolve] of this.#waiting) {
      timer.cancel();
      resolve();
    }
    this.#waiting.clear();
  }
}
