/** The page through which the harness steers the shim in one broker, and reads what took effect. The layout is `struct control` in shim.c: 64-bit words. */
import { closeSync, openSync, readSync, writeSync } from 'node:fs';

const PAGE_BYTES = 4096;
const WORD_BYTES = 8;
const PORTS_AT = 32;
const PORTS_MAX = 64;
const HOSTS_AT = PORTS_AT + PORTS_MAX;
const POINT_PATH_AT = HOSTS_AT + PORTS_MAX;
const POINT_PATH_BYTES = 256;

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
  bindAny: 13,
  pointOperation: 14,
  pointCountdown: 15,
} as const;
/** What stays when a broker is healed. */
const LASTING: ReadonlySet<string> = new Set(['journal', 'bindAny']);

/** `enum OP_...` of shim.c. */
const OPERATIONS = { create: 1, rename: 2, unlink: 3, mkdir: 4, rmdir: 5, sync: 6, write: 7, truncate: 8 } as const;
const AFTER = 100;

/** A place in the broker's life at which it dies: right before or right after it does something to a file or directory whose path contains `path`. */
export interface NamedPoint {
  readonly name: string;
  readonly when: 'before' | 'after';
  readonly operation: keyof typeof OPERATIONS;
  readonly path: string;
}
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
    for (const setting of Object.keys(SETTINGS) as ShimSetting[]) if (!LASTING.has(setting)) this.set(setting, 0);
  }

  count(counter: ShimCounter): number {
    const word = Buffer.alloc(WORD_BYTES);
    readSync(this.#file, word, 0, WORD_BYTES, COUNTERS[counter] * WORD_BYTES);
    return Number(word.readBigInt64LE());
  }

  /** The broker dies when it comes to `point` for the `count`-th time from now on. */
  dieAt(point: NamedPoint, count: number): void {
    const path = Buffer.alloc(POINT_PATH_BYTES);
    path.write(point.path, 0, POINT_PATH_BYTES - 1);
    this.set('pointOperation', 0);
    writeSync(this.#file, path, 0, POINT_PATH_BYTES, POINT_PATH_AT * WORD_BYTES);
    this.set('pointCountdown', count);
    this.set('pointOperation', OPERATIONS[point.operation] + (point.when === 'after' ? AFTER : 0));
  }

  /** Connections of the broker to one of these ports go to another port, or to another address. */
  redirect(redirections: ReadonlyMap<number, { port: number; host?: string }>): void {
    if (redirections.size > PORTS_MAX) throw new Error(`${redirections.size} redirections, at most ${PORTS_MAX} fit`);
    let i = 0;
    for (const [from, { port, host }] of redirections) {
      const address = (host ?? '0.0.0.0').split('.').reduce((number, part) => number * 256 + Number(part), 0);
      this.#write(HOSTS_AT + i, BigInt(address));
      this.#write(PORTS_AT + i, (BigInt(from) << 32n) | BigInt(port));
      i += 1;
    }
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
