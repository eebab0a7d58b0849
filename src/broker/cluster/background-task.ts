/**
 * Work that a broker does for itself, beside requests: runs when triggered and after an interval, one run at a time. A trigger during a run makes one more run follow. A run that rejects is a
 * broken invariant and goes to `fail`.
 */
import type { TimerHandle, Timers } from '../../std/environment.ts';

export interface BackgroundTaskOptions {
  readonly timers: Timers;
  /** Pause between the end of a run and the next one without a trigger. */
  readonly intervalMs: number;
  run(): Promise<void>;
  /** The broker stops. */
  fail(error: unknown): void;
}

export class BackgroundTask {
  readonly #options: BackgroundTaskOptions;
  #state: 'stopped' | 'idle' | 'due' | 'running' | 'runningAndDue' = 'stopped';
  #timer: TimerHandle | undefined;

  constructor(options: BackgroundTaskOptions) {
    this.#options = options;
  }

  /** Begins with a run. */
  start(): void {
    if (this.#state !== 'stopped') return;
    this.#state = 'idle';
    this.trigger();
  }

  /** A run that is under way ends; none follows. */
  stop(): void {
    this.#timer?.cancel();
    this.#state = 'stopped';
  }

  trigger(): void {
    if (this.#state === 'running') this.#state = 'runningAndDue';
    if (this.#state !== 'idle') return;
    this.#timer?.cancel();
    this.#state = 'due';
    this.#options.timers.soon(() => this.#begin());
  }

  #begin(): void {
    if (this.#state !== 'due') return;
    this.#state = 'running';
    this.#options.run().then(
      () => this.#end(),
      (error) => this.#options.fail(error),
    );
  }

  #end(): void {
    if (this.#state !== 'running' && this.#state !== 'runningAndDue') return;
    const isDue = this.#state === 'runningAndDue';
    this.#state = 'idle';
    if (isDue) this.trigger();
    else this.#timer = this.#options.timers.after(this.#options.intervalMs, () => this.trigger());
  }
}
