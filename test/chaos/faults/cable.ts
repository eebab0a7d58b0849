/** The program that carries packets between brokers (cable.c), and the page through which it is steered: links[from][to] of ten 64-bit words each. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readSync, writeSync } from 'node:fs';

const BROKERS_MAX = 16;
const WORD_BYTES = 8;
const WORDS_PER_LINK = 10;
const SETTINGS = { loss: 0, duplicate: 1, corrupt: 2, delayMs: 3, jitterMs: 4 } as const;
const COUNTERS = { passed: 5, lost: 6, duplicated: 7, corrupted: 8, overtaken: 9 } as const;
const DEVICE = 'flotilla0';
const START_TIMEOUT_MS = 5_000;

/** Chances between 0 and 1. */
export interface PacketRule {
  readonly loss?: number;
  readonly duplicate?: number;
  readonly corrupt?: number;
  readonly delayMs?: number;
  /** Each packet gets its own share of it, so that packets overtake each other. */
  readonly jitterMs?: number;
}
export type PacketCounters = Record<keyof typeof COUNTERS, number>;

export class Cable {
  readonly #file: number;
  readonly #process: ChildProcess;

  private constructor(file: number, process: ChildProcess) {
    this.#file = file;
    this.#process = process;
  }

  /** Throws if the device can not be made. */
  static async open(program: string, controlPath: string): Promise<Cable> {
    const file = openSync(controlPath, 'w+');
    const bytes = BROKERS_MAX * BROKERS_MAX * WORDS_PER_LINK * WORD_BYTES;
    writeSync(file, Buffer.alloc(bytes), 0, bytes, 0);
    const child = spawn(program, [controlPath, DEVICE], { stdio: ['ignore', 'pipe', 'inherit'] });
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('The cable did not start')), START_TIMEOUT_MS);
      child.stdout.once('data', () => {
        clearTimeout(timer);
        resolve();
      });
      child.once('exit', (code) => reject(new Error(`The cable ended with code ${code}`)));
    });
    return new Cable(file, child);
  }

  /** Where broker `from` reaches broker `to`. */
  static address(from: number, to: number): string {
    return `10.66.${from}.${to}`;
  }

  /** For packets from one broker to another. */
  set(from: number, to: number, rule: PacketRule): void {
    const { loss = 0, duplicate = 0, corrupt = 0, delayMs = 0, jitterMs = 0 } = rule;
    const words = { loss: loss * 1e6, duplicate: duplicate * 1e6, corrupt: corrupt * 1e6 };
    for (const name of ['loss', 'duplicate', 'corrupt'] as const) this.#write(from, to, SETTINGS[name], words[name]);
    this.#write(from, to, SETTINGS.delayMs, delayMs * 1000);
    this.#write(from, to, SETTINGS.jitterMs, jitterMs * 1000);
  }

  heal(): void {
    for (let from = 0; from < BROKERS_MAX; from++) for (let to = 0; to < BROKERS_MAX; to++) this.set(from, to, {});
  }

  /** Sums over all links. */
  get counters(): PacketCounters {
    const sum: PacketCounters = { passed: 0, lost: 0, duplicated: 0, corrupted: 0, overtaken: 0 };
    const all = Buffer.alloc(BROKERS_MAX * BROKERS_MAX * WORDS_PER_LINK * WORD_BYTES);
    readSync(this.#file, all, 0, all.length, 0);
    for (let link = 0; link < BROKERS_MAX * BROKERS_MAX; link++) {
      for (const [name, word] of Object.entries(COUNTERS)) {
        sum[name as keyof PacketCounters] += Number(all.readBigInt64LE((link * WORDS_PER_LINK + word) * WORD_BYTES));
      }
    }
    return sum;
  }

  close(): void {
    this.#process.kill('SIGKILL');
    closeSync(this.#file);
  }

  #write(from: number, to: number, word: number, value: number): void {
    const bytes = Buffer.alloc(WORD_BYTES);
    bytes.writeBigInt64LE(BigInt(Math.round(value)));
    writeSync(this.#file, bytes, 0, WORD_BYTES, ((from * BROKERS_MAX + to) * WORDS_PER_LINK + word) * WORD_BYTES);
  }
}
