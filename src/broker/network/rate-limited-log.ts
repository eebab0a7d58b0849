/** Log lines that a client can cause: a few per interval, then a count of the rest, so that a hostile client can not fill the disk or the CPU with them. */
import type { Clock } from '../../std/environment.ts';
import type { Log } from '../../std/log.ts';

const INTERVAL_MS = 1000;
const LINES_PER_INTERVAL = 5;

export class RateLimitedLog {
  readonly #log: Log;
  readonly #clock: Clock;
  #intervalEndsMs = 0;
  #lines = 0;
  #suppressed = 0;

  constructor(log: Log, clock: Clock) {
    this.#log = log;
    this.#clock = clock;
  }

  warn(fields: object, message: string): void {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs >= this.#intervalEndsMs) {
      if (this.#suppressed > 0) this.#log.warn({ count: this.#suppressed }, 'More lines like these were left out');
      this.#intervalEndsMs = nowMs + INTERVAL_MS;
      this.#lines = 0;
      this.#suppressed = 0;
    }
    if (this.#lines === LINES_PER_INTERVAL) {
      this.#suppressed++;
      return;
    }
    this.#lines++;
    this.#log.warn(fields, message);
  }
}
