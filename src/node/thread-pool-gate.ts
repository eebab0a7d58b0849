/**
 * Owns who may occupy the threads that Node does file I/O on. WAL operations always start at once; all others together
 * use at most the pool's size minus two, so that a flush never waits behind them (DECISIONS W9).
 */

/** Node's default when UV_THREADPOOL_SIZE is not set. */
const DEFAULT_POOL_SIZE = 4;
const WAL_THREADS = 2;

export class ThreadPoolGate {
  readonly #bulkMax: number;
  #bulkRunning = 0;
  readonly #queue: (() => void)[] = [];
  #queueHead = 0;

  constructor(poolSize: number = threadPoolSize()) {
    this.#bulkMax = Math.max(1, poolSize - WAL_THREADS);
  }

  /** Bulk operations that wait for a thread. */
  get queued(): number {
    return this.#queue.length - this.#queueHead;
  }

  /** Runs `start` when a thread may be taken; it must call back exactly once when the operation ended. */
  enter(priority: 'wal' | 'bulk', start: (ended: () => void) => void): void {
    if (priority === 'wal') {
      start(() => undefined);
      return;
    }
    const run = (): void => {
      this.#bulkRunning++;
      start(() => {
        this.#bulkRunning--;
        this.#next();
      });
    };
    if (this.#bulkRunning < this.#bulkMax) run();
    else this.#queue.push(run);
  }

  #next(): void {
    const run = this.#queue[this.#queueHead];
    if (run === undefined) return;
    this.#queueHead++;
    if (this.#queueHead === this.#queue.length) {
      this.#queue.length = 0;
      this.#queueHead = 0;
    } else if (this.#queueHead > 1000) {
      this.#queue.splice(0, this.#queueHead);
      this.#queueHead = 0;
    }
    run();
  }
}

/** Threads that this process has for file I/O. */
export function threadPoolSize(): number {
  const configured = Number.parseInt(process.env.UV_THREADPOOL_SIZE ?? '', 10);
  return Number.isInteger(configured) && configured > 0 ? configured : DEFAULT_POOL_SIZE;
}
