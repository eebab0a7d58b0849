/**
 * What a broker's disk made durable last, as its platter saw it: pages of the WAL in the order in which syncs covered them. Lets an oracle ask whether something was flushed, without believing the
 * broker. Kept over restarts, and over the loss of the store: what was flushed once counted once.
 */

const KEPT_BYTES = 1024 * 1024;

interface Flushed {
  readonly atMs: number;
  readonly pages: readonly Uint8Array[];
  readonly sizeBytes: number;
}

export class DurableTail {
  readonly #flushed: Flushed[] = [];
  #sizeBytes = 0;
  /** Everything flushed after this time is still known. */
  sinceMs = Number.NEGATIVE_INFINITY;

  add(atMs: number, pages: readonly Uint8Array[]): void {
    let sizeBytes = 0;
    for (const page of pages) sizeBytes += page.length;
    this.#flushed.push({ atMs, pages, sizeBytes });
    this.#sizeBytes += sizeBytes;
    while (this.#sizeBytes > KEPT_BYTES) {
      const oldest = this.#flushed.shift()!;
      this.#sizeBytes -= oldest.sizeBytes;
      this.sinceMs = oldest.atMs;
    }
  }

  /**
   * Whether a page that was flushed at `sinceMs` or later holds one of these byte sequences. The WAL replaces some bytes of each sector by stamps: whoever asks gives alternatives that are some bytes
   * apart. Each is searched for only if those before it are nowhere.
   */
  holds(markers: readonly Buffer[], sinceMs: number): boolean {
    return markers.some((marker) => this.#holds(marker, sinceMs));
  }

  #holds(marker: Buffer, sinceMs: number): boolean {
    for (let at = this.#flushed.length - 1; at >= 0; at--) {
      const { atMs, pages } = this.#flushed[at]!;
      if (atMs < sinceMs) return false;
      for (const page of pages) {
        if (Buffer.from(page.buffer, page.byteOffset, page.byteLength).includes(marker)) return true;
      }
    }
    return false;
  }
}
