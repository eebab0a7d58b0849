/**
 * Decides when a Fetch is answered (purgatory, in Kafka's words). Follows each partition by its changes: a wake-up looks at the partition that changed and at nothing else.
 */
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import type { Timers } from '../../std/environment.ts';
import type { RequestContext } from '../network/dispatch.ts';
import { divergenceOf, type FetchTarget } from './fetch-target.ts';
import { NOT_READY_PARK_MS } from './partition-access.ts';

export class FetchWait {
  readonly #targets: readonly FetchTarget[];
  readonly #minBytes: number;
  readonly #maxWaitMs: number;
  readonly #timers: Timers;
  /** What each target contributes to #availableBytes. */
  readonly #bytes: number[];
  #availableBytes = 0;
  /** Targets whose leader is not ready. */
  #notReady = 0;
  #mustAnswer = false;
  #mayWait: boolean;

  constructor(targets: readonly FetchTarget[], minBytes: number, maxWaitMs: number, services: { timers: Timers }) {
    this.#targets = targets;
    this.#minBytes = minBytes;
    this.#maxWaitMs = maxWaitMs;
    this.#timers = services.timers;
    this.#mayWait = maxWaitMs > 0 && targets.length > 0;
    this.#bytes = new Array<number>(targets.length).fill(0);
    for (let position = 0; position < targets.length; position++) this.#look(position);
  }

  /** Bytes that can be read now, each partition with its own limit. */
  get availableBytes(): number {
    return this.#availableBytes;
  }

  get isOver(): boolean {
    if (this.#mustAnswer || (this.#availableBytes >= this.#minBytes && this.#notReady === 0)) return true;
    return !this.#mayWait && this.#notReady === 0;
  }

  /** Resolves when the fetch has to be answered, or nobody waits for it any more. */
  untilOver(context: RequestContext): Promise<void> {
    return new Promise((resolve) => {
      const unsubscribe: (() => void)[] = [];
      const finish = (): void => {
        for (const stop of unsubscribe) stop();
        resolve();
      };
      const changed = (position: number): void => {
        this.#look(position);
        if (this.isOver) finish();
      };
      for (let position = 0; position < this.#targets.length; position++) {
        const { log } = this.#targets[position]!;
        if (log !== undefined) unsubscribe.push(log.onChange(() => changed(position)));
      }
      const answer = this.#timers.after(this.#mayWait ? this.#maxWaitMs : NOT_READY_PARK_MS, finish);
      unsubscribe.push(() => answer.cancel());
      if (this.#mayWait && this.#notReady > 0) {
        // The client may be willing to wait for long, but not for a leader that does not come: it has to look elsewhere then.
        const giveUp = this.#timers.after(Math.min(this.#maxWaitMs, NOT_READY_PARK_MS), () => {
          if (this.#notReady > 0) finish();
        });
        unsubscribe.push(() => giveUp.cancel());
      }
      unsubscribe.push(context.onClosed(finish));
    });
  }

  /** Accounts for one target as it is now. */
  #look(position: number): void {
    const target = this.#targets[position]!;
    const { log, errorCode, fetchOffset, maxBytes } = target;
    if (log === undefined || errorCode !== ErrorCode.NONE) {
      this.#mustAnswer = true;
      return;
    }
    const before = this.#bytes[position]!;
    if (!log.isReady) {
      // A leadership that is gone is an error to report; one that is about to begin is waited for.
      if (!log.isLeader) this.#mustAnswer = true;
      if (before !== NOT_READY) {
        this.#availableBytes -= before;
        this.#bytes[position] = NOT_READY;
        this.#notReady++;
      }
      return;
    }
    if (before === NOT_READY) this.#notReady--;
    else this.#availableBytes -= before;
    if (fetchOffset < log.logStartOffset || fetchOffset > log.highWatermark) this.#mustAnswer = true;
    else if (divergenceOf(target) !== undefined) this.#mustAnswer = true;
    const available = this.#mustAnswer ? 0 : log.bytesAvailable(fetchOffset, Math.max(0, maxBytes));
    this.#bytes[position] = available;
    this.#availableBytes += available;
  }
}

/** Stands in #bytes for a target without a ready leader. */
const NOT_READY = -1;
