/**
 * Owns reproducible randomness: the same seed gives the same sequence on every machine and Node version. For simulation
 * and for decisions that must be repeatable; never for identities in production (those come from the injected Random of
 * the machine).
 */
import { assert } from './assert.ts';
import type { Random } from './environment.ts';

/** sfc32 (a small chaotic generator with 128 bits of state), seeded through splitmix32 so that neighboring seeds differ at once. */
export class SeededRandom implements Random {
  #a: number;
  #b: number;
  #c: number;
  #counter: number;

  /** `seed` is a safe integer; its upper and lower 32 bits both count. */
  constructor(seed: number) {
    assert(Number.isSafeInteger(seed), 'A seed must be a safe integer');
    let state = (seed ^ Math.imul(Math.floor(seed / 2 ** 32), 0x9e3779b1)) >>> 0;
    const splitmix = (): number => {
      state = (state + 0x9e3779b9) >>> 0;
      let mixed = state ^ (state >>> 16);
      mixed = Math.imul(mixed, 0x21f0aaad);
      mixed ^= mixed >>> 15;
      mixed = Math.imul(mixed, 0x735a2d97);
      return (mixed ^ (mixed >>> 15)) >>> 0;
    };
    this.#a = splitmix();
    this.#b = splitmix();
    this.#c = splitmix();
    this.#counter = 1;
    for (let round = 0; round < 12; round++) this.uint32();
  }

  /** Uniform in 0 … 2^32 − 1. */
  uint32(): number {
    const result = (this.#a + this.#b + this.#counter) >>> 0;
    this.#counter = (this.#counter + 1) >>> 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) >>> 0;
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + result) >>> 0;
    return result;
  }

  next(): number {
    return this.uint32() / 2 ** 32;
  }

  bytes(length: number): Uint8Array {
    const result = new Uint8Array(length);
    for (let i = 0; i < length; i += 4) {
      const word = this.uint32();
      for (let j = i; j < Math.min(i + 4, length); j++) result[j] = word >>> (8 * (j - i));
    }
    return result;
  }

  /** Uniform integer in 0 … `bound` − 1; `bound` ≥ 1. */
  below(bound: number): number {
    assert(bound >= 1, 'The bound of a random integer must be at least 1');
    return Math.floor(this.next() * bound);
  }

  /** Uniform integer in `low` … `high`, both included. */
  between(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }

  /** True with the given probability. */
  chance(probability: number): boolean {
    return this.next() < probability;
  }

  pick<T>(items: readonly T[]): T {
    assert(items.length > 0, 'Cannot pick from nothing');
    return items[this.below(items.length)] as T;
  }

  /** A copy of `items` in random order. */
  shuffle<T>(items: readonly T[]): T[] {
    const result = [...items];
    for (let i = result.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      [result[i], result[j]] = [result[j] as T, result[i] as T];
    }
    return result;
  }

  /** An independent generator, so that one part drawing more numbers does not change what another part sees. */
  fork(): SeededRandom {
    return new SeededRandom(this.uint32() * 2 ** 20 + (this.uint32() >>> 12));
  }
}
