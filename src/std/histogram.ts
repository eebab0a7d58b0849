/** Counts of observations per bucket, in typed memory: observing costs a few comparisons and an addition, whatever is scraped later. */

/** Upper bounds in milliseconds that fit requests, commits and flushes. */
export const LATENCY_BOUNDS_MS: readonly number[] = [
  0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384,
];

/** Upper bounds in bytes that fit batches, from one block to the largest flush. */
export const SIZE_BOUNDS_BYTES: readonly number[] = [
  4096, 8192, 16_384, 32_768, 65_536, 131_072, 262_144, 524_288, 1_048_576, 2_097_152, 4_194_304,
];

export interface HistogramView {
  /** Upper bounds, ascending; inclusive. */
  readonly bounds: readonly number[];
  /** Observations per bucket, not cumulated; one more than there are bounds. */
  readonly counts: Float64Array;
  /** Of all observed values. */
  readonly sum: number;
}

export class Histogram implements HistogramView {
  readonly bounds: readonly number[];
  readonly counts: Float64Array;
  sum = 0;

  constructor(bounds: readonly number[] = LATENCY_BOUNDS_MS) {
    this.bounds = bounds;
    this.counts = new Float64Array(bounds.length + 1);
  }

  observe(value: number): void {
    let bucket = 0;
    while (bucket < this.bounds.length && value > this.bounds[bucket]!) bucket++;
    this.counts[bucket]!++;
    this.sum += value;
  }
}
