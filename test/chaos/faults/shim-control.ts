/** The page through which the harness steers the shim in one broker, and reads what took effect. The layout is `struct control` in shim.c: 64-bit words. */
import { closeSync, openSync, readSync, writeSync } from 'node:fs';

const PAGE_BYTES = 4096;
const WORD_BYTES = 8;
const PORTS_AT = 32;
const PORTS_MAX = 64;

/** What can be set. Counts of failures go down as they happen; countdowns act when they reach zero. */
const SETTINGS = {
  syncFailures: 0,
  writeFailures: 1,
  diskFull: 2,
  syncDelayUs: 3,
  writeDelayUs: 4,
  syncStalled: 5,
  clockOffsetNs: 6,
  journal: 7,
  dieBeforeSync: 8,
  dieAfterSync: 9,
  dieInWrite: 10,
  freeBytes: 12,
} as const;
export type ShimSetting = keyof typeof SETTINGS;

/** What is counted, over all lives of the broker. */
const COUNTERS = {
  syncs: 16,
  syncsFailed: 17,
  writes: 18,
  writesFailed: 19,
  writesFull: 20,
  delayed: 21,
  stalled: 22,
  clockReads: 23,
  connects: 24,
  deaths: 25,
  looksAtSpace: 26,
} as const;
export type ShimCounter = keyof typeof COUNTERS;

export class ShimControl {
  readonly #file: number;

  /** Makes the page, with nothing set. */
  constructor(path: string) {
    this.#file = openSync(path, 'w+');
    writeSync(this.#file, Buffer.alloc(PAGE_BYTES), 0, PAGE_BYTES, 0);
  }

  set(setting: ShimSetting, value: number): void {
    this.#write(SETTINGS[setting], BigInt(Math.round(value)));
  }

  /** Heals everything but the journal and the redirections. */
  heal(): void {
    for (const setting of Object.keys(SETTINGS) as ShimSetting[]) if (setting !== 'journal') this.set(setting, 0);
  }

  count(counter: ShimCounter): number {
    const word = Buffer.alloc(WORD_BYTES);
    readSync(this.#file, word, 0, WORD_BYTES, COUNTERS[counter] * WORD_BYTES);
    return Number(word.readBigInt64LE());
  }

  /** Connections of the broker to a port of `redirections` (port → other port) go to the other port. */
  redirect(redirections: ReadonlyMap<number, number>): void {
    if (redirections.size > PORTS_MAX) throw new Error(`${redirections.size} redirections, at most ${PORTS_MAX} fit`);
    let word = PORTS_AT;
    for (const [from, to] of redirections) this.#write(word++, (BigInt(from) << 32n) | BigInt(to));
  }

  close(): void {
    closeSync(this.#file);
  }

  #write(word: number, value: bigint): void {
    const bytes = Buffer.alloc(WORD_BYTES);
    bytes.writeBigInt64LE(value);
    writeSync(this.#file, bytes, 0, WORD_BYTES, word * WORD_BYTES);
  }
}
