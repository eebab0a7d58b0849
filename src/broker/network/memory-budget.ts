/**
 * A limit on bytes held for clients, shared by all connections of a broker. Takers that find it used up wait in line and are called in order when there is room again.
 */
import { assert } from '../../std/assert.ts';

export class MemoryBudget {
  readonly limitBytes: number;
  #usedBytes = 0;
  readonly #waiting = new Set<() => void>();

  constructor(limitBytes: number) {
    this.limitBytes = limitBytes;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  get availableBytes(): number {
    return Math.max(0, this.limitBytes - this.#usedBytes);
  }

  get isExhausted(): boolean {
    return this.#usedBytes >= this.limitBytes;
  }

  /** Takes what is needed even if that goes over the limit: whoever asks has the bytes already. Whether to go on is asked of {@link isExhausted}. */
  take(bytes: number): void {
    this.#usedBytes += bytes;
  }

  release(bytes: number): void {
    this.#usedBytes -= bytes;
    assert(this.#usedBytes >= 0, 'More bytes were released to a memory budget than were taken');
    for (const waiter of this.#waiting) {
      if (this.isExhausted) return;
      this.#waiting.delete(waiter);
      waiter();
    }
  }

  /** Calls back once when there is room; the same function waits only once. */
  wait(waiter: () => void): void {
    this.#waiting.add(waiter);
  }

  cancel(waiter: () => void): void {
    this.#waiting.delete(waiter);
  }
}
