/** Index files that were loaded for lookups in old segments: a broker-wide budget, the longest unused one goes first. */
export class ByteCache {
  readonly #budgetBytes: number;
  #usedBytes = 0;
  readonly #entries = new Map<string, Uint8Array>();

  constructor(budgetBytes: number) {
    this.#budgetBytes = budgetBytes;
  }

  get(key: string): Uint8Array | undefined {
    const bytes = this.#entries.get(key);
    if (bytes !== undefined) {
      this.#entries.delete(key);
      this.#entries.set(key, bytes);
    }
    return bytes;
  }

  set(key: string, bytes: Uint8Array): void {
    this.delete(key);
    this.#entries.set(key, bytes);
    this.#usedBytes += bytes.length;
    for (const oldest of this.#entries.keys()) {
      if (this.#usedBytes <= this.#budgetBytes || oldest === key) return;
      this.delete(oldest);
    }
  }

  delete(key: string): void {
    const bytes = this.#entries.get(key);
    if (bytes === undefined) return;
    this.#usedBytes -= bytes.length;
    this.#entries.delete(key);
  }
}
