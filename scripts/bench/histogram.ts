/** Latencies in buckets of 1 % width, from 1 µs to minutes: constant memory, quantiles exact to the bucket. */
const GROWTH = Math.log(1.01);
const BUCKETS = 2_000;

export interface Quantiles {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  readonly maxMs: number;
}

export class Histogram {
  readonly #counts = new Float64Array(BUCKETS);
  count = 0;
  maxMs = 0;

  record(valueMs: number): void {
    const bucket = Math.floor(Math.log(Math.max(1, valueMs * 1000)) / GROWTH);
    const index = Math.min(BUCKETS - 1, bucket);
    this.#counts[index] = this.#counts[index]! + 1;
    this.count += 1;
    if (valueMs > this.maxMs) this.maxMs = valueMs;
  }

  /** Milliseconds below which the share `quantile` (0…1) of all values lies. */
  quantileMs(quantile: number): number {
    let remaining = quantile * this.count;
    for (let i = 0; i < BUCKETS; i++) {
      remaining -= this.#counts[i]!;
      if (remaining <= 0) return Math.min(this.maxMs, Math.exp((i + 0.5) * GROWTH) / 1000);
    }
    return this.maxMs;
  }

  quantiles(): Quantiles {
    return {
      p50Ms: this.quantileMs(0.5),
      p99Ms: this.quantileMs(0.99),
      p999Ms: this.quantileMs(0.999),
      maxMs: this.maxMs,
    };
  }
}
