/**
 * Everything a broker gets from the machine, as interfaces. `src/node/` implements them on Node, `test/simulation/` on a
 * virtual machine driven by one seed. No other file of `src/` may touch the clock, timers, randomness, disk or network.
 */
import type { Disk } from './disk.ts';

export interface Clock {
  /** Monotonic milliseconds with a fraction, from an arbitrary origin; the only time that decisions may rest on. */
  monotonicMs(): number;
  /** Wall-clock milliseconds since 1970; jumps. For timestamps shown to people and for cluster time (DECISIONS P4). */
  wallMs(): number;
}

export interface TimerHandle {
  cancel(): void;
}

export interface Timers {
  /** Runs `callback` once after `delayMs` (≥ 0). */
  after(delayMs: number, callback: () => void): TimerHandle;
  /** Runs `callback` once after all input that is pending now was read (`setImmediate`). */
  soon(callback: () => void): void;
}

export interface Random {
  /** Uniform in [0, 1). */
  next(): number;
  /** `length` random bytes; identities (store ids, topic ids, member ids) are made of them. */
  bytes(length: number): Uint8Array;
}

export interface Environment {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
  readonly disk: Disk;
}
