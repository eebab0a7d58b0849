/** Waiting for something that other events bring about: conditions are looked at again when {@link ConditionWaiters.check} is called, and given up after their time. */
import type { Timers } from '../../std/environment.ts';

interface Waiter {
  readonly condition: () => boolean;
  readonly settle: (met: boolean) => void;
}

export class ConditionWaiters {
  readonly #timers: Timers;
  readonly #waiters = new Set<Waiter>();

  constructor(timers: Timers) {
    this.#timers = timers;
  }

  /** Resolves true as soon as `condition` holds (at once if it does), false after `timeoutMs`. Conditions must be cheap and must not throw. */
  until(condition: () => boolean, timeoutMs: number): Promise<boolean> {
    if (condition()) return Promise.resolve(true);
    if (timeoutMs <= 0) return Promise.resolve(false);
    return new Promise((resolve) => {
      const waiter: Waiter = {
        condition,
        settle: (met) => {
          this.#waiters.delete(waiter);
          timer.cancel();
          resolve(met);
        },
      };
      const timer = this.#timers.after(timeoutMs, () => waiter.settle(false));
      this.#waiters.add(waiter);
    });
  }

  /** Looks at every condition again. */
  check(): void {
    for (const waiter of [...this.#waiters]) if (waiter.condition()) waiter.settle(true);
  }

  /** Ends all waits, unmet. */
  close(): void {
    for (const waiter of [...this.#waiters]) waiter.settle(false);
  }
}
