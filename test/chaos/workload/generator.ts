/** Decides what clients do next, from a seed and nothing else: sizes of batches and records, and pauses. Values are unique over the whole run. */
import type { SeededRandom } from '../../../src/std/seeded-random.ts';

export interface SendStep {
  readonly values: readonly number[];
  readonly recordBytes: number;
  /** Until the next step may begin. */
  readonly pauseMs: number;
}

export class Values {
  #next = 0;

  take(count: number): number[] {
    return Array.from({ length: count }, () => this.#next++);
  }
}

const RECORDS_PER_BATCH_MAX = 8;
const RECORD_BYTES_MIN = 24;
/** Most records are small, some are large: sizes are drawn evenly on a logarithmic scale. */
const RECORD_BYTES_SPREAD = 8;
const LARGE_RECORD_BYTES_SPREAD = 13;
/** Share of pauses that are left out, so that requests come in bursts. */
const BURST_CHANCE = 0.3;

export class SendGenerator {
  readonly #random: SeededRandom;
  readonly #values: Values;
  readonly #stepsPerSecond: number;
  readonly #spread: number;

  constructor(random: SeededRandom, values: Values, stepsPerSecond: number, hasLargeRecords = false) {
    this.#spread = hasLargeRecords ? LARGE_RECORD_BYTES_SPREAD : RECORD_BYTES_SPREAD;
    this.#random = random;
    this.#values = values;
    this.#stepsPerSecond = stepsPerSecond;
  }

  next(): SendStep {
    const random = this.#random;
    const count = random.between(1, RECORDS_PER_BATCH_MAX);
    const recordBytes = RECORD_BYTES_MIN + Math.floor(2 ** (random.next() * this.#spread));
    const meanMs = 1000 / this.#stepsPerSecond;
    const pauseMs = random.chance(BURST_CHANCE) ? 0 : (random.next() * 2 * meanMs) / (1 - BURST_CHANCE);
    return { values: this.#values.take(count), recordBytes, pauseMs };
  }

  pick<T>(items: readonly T[]): T {
    return this.#random.pick(items);
  }
}
