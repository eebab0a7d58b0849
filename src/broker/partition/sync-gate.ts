/**
 * Lets only so many unsynced bytes of partition files be on their way to the disk at a time. What a sync pushes out at once, everybody else's flushes wait behind: with all checkpoints at
 * the same time the WAL would stand still for a tenth of a second.
 */
export class SyncGate {
  readonly #bytesMax: number;
  #bytes = 0;
  readonly #waiting: { readonly bytes: number; readonly start: () => void }[] = [];

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** Runs `sync`, which makes `bytes` durable, when there is room; one that is larger than all the room runs alone. In the order of the calls. */
  async run(bytes: number, sync: () => Promise<void>): Promise<void> {
    const taken = Math.min(bytes, this.#bytesMax);
    if (this.#waiting.length > 0 || this.#bytes + taken > this.#bytesMax) {
      await new Promise<void>((resolve) => this.#waiting.push({ bytes: taken, start: resolve }));
    } else this.#bytes += taken;
    try {
      await sync();
    } finally {
      this.#bytes -= taken;
      this.#next();
    }
  }

  #next(): void {
    for (;;) {
      const first = this.#waiting[0];
      if (first === undefined || this.#bytes + first.bytes > this.#bytesMax) return;
      this.#waiting.shift();
      this.#bytes += first.bytes;
      first.start();
    }
  }
}
