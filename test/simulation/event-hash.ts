/**
 * A hash of everything that happens in a run, in its order, so that two runs can be compared. Numbers go in by their bits: writing a time in decimal costs more than the event that it belongs to.
 */
import { crc32c } from '../../src/std/crc32c.ts';

const double = new Float64Array(1);
const words = new Uint32Array(double.buffer);

export class EventHash {
  #state = 0x811c9dc5;

  get value(): number {
    return this.#state >>> 0;
  }

  number(value: number): this {
    double[0] = value;
    this.#mix(words[0]!);
    this.#mix(words[1]!);
    return this;
  }

  text(value: string): this {
    let state = this.#state;
    for (let at = 0; at < value.length; at++) state = Math.imul(state ^ value.charCodeAt(at), 0x01000193);
    this.#state = state;
    this.#mix(value.length);
    return this;
  }

  bytes(value: Uint8Array): this {
    this.#mix(value.length);
    this.#mix(crc32c(value));
    return this;
  }

  /** One round of MurmurHash3: each bit of the word reaches the whole state within two rounds. */
  #mix(word: number): void {
    let mixed = Math.imul(word, 0xcc9e2d51);
    mixed = Math.imul((mixed << 15) | (mixed >>> 17), 0x1b873593);
    const state = this.#state ^ mixed;
    this.#state = (Math.imul((state << 13) | (state >>> 19), 5) + 0xe6546b64) | 0;
  }
}
