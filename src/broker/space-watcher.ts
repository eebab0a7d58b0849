/**
 * Watches the free space of the data directory (DECISIONS W10). Below the mark produce is refused before append, with a retriable error, while deletes, retention, configs, votes and heartbeats go
 * on; above it (with some distance, so that it does not flap) produce goes on.
 *
 * A preallocated file is the reserve: it is given up when hardly anything is free, so that checkpoints, which let go of WAL and segments, and recovery still find room. It is made again when
 * there is space.
 */
import { assert } from '../std/assert.ts';
import { type Disk, DiskError } from '../std/disk.ts';
import type { TimerHandle, Timers } from '../std/environment.ts';
import type { Log } from '../std/log.ts';

const RESERVE_PATH = 'reserve';
const WRITE_BYTES = 1024 * 1024;

export interface SpaceWatcherOptions {
  readonly disk: Disk;
  readonly timers: Timers;
  readonly log: Log;
  /** First mark. */
  readonly freeMinBytes: number;
  readonly reserveBytes: number;
  readonly intervalMs: number;
  /** Called on every change. */
  readonly onChange: (refusesProduce: boolean) => void;
  readonly onFailure: (error: unknown) => void;
}

export class SpaceWatcher {
  readonly #options: SpaceWatcherOptions;
  #timer: TimerHandle | undefined;
  #stopped = false;
  #hasReserve = false;
  freeBytes = 0;
  totalBytes = 0;
  refusesProduce = false;

  constructor(options: SpaceWatcherOptions) {
    this.#options = options;
  }

  /** Gives the reserve up if the disk is full, so that recovery finds room; call it before anything else writes. A reserve that is missing is made later. */
  async start(): Promise<void> {
    this.#hasReserve = (await this.#options.disk.sizeOf(RESERVE_PATH)) !== undefined;
    await this.check({ makesReserve: false });
    this.#schedule();
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  async check({ makesReserve } = { makesReserve: true }): Promise<void> {
    const { disk, freeMinBytes, reserveBytes, log, onChange } = this.#options;
    const { freeBytes, totalBytes } = await disk.space();
    this.freeBytes = freeBytes;
    this.totalBytes = totalBytes;
    const goesOnAtBytes = freeMinBytes + Math.floor(freeMinBytes / 8);
    const refuses = this.refusesProduce ? freeBytes < goesOnAtBytes : freeBytes < freeMinBytes;
    if (refuses !== this.refusesProduce) {
      this.refusesProduce = refuses;
      log.warn(
        { freeBytes, freeMinBytes },
        refuses ? 'Space is short: produce is refused until there is more' : 'There is space again: produce goes on',
      );
      onChange(refuses);
    }
    if (this.#hasReserve && freeBytes < reserveBytes) await this.#giveUpReserve();
    else if (makesReserve && !this.#hasReserve && reserveBytes > 0 && freeBytes > goesOnAtBytes + 2 * reserveBytes) {
      await this.#makeReserve();
    }
  }

  async #giveUpReserve(): Promise<void> {
    this.#options.log.warn({ reserveBytes: this.#options.reserveBytes }, 'The disk is full: giving up the reserve');
    this.#hasReserve = false;
    await this.#options.disk.removeFile(RESERVE_PATH);
  }

  async #makeReserve(): Promise<void> {
    const { disk, reserveBytes } = this.#options;
    this.#hasReserve = true;
    const file = await disk.openFile(RESERVE_PATH, { create: true });
    const zeros = new Uint8Array(WRITE_BYTES);
    try {
      for (let position = 0; position < reserveBytes && !this.#stopped; position += WRITE_BYTES) {
        await file.write(position, [zeros.subarray(0, Math.min(WRITE_BYTES, reserveBytes - position))]);
      }
      await file.sync();
    } catch (error) {
      // Others were faster: the reserve is what can be done without, and nothing was promised about it.
      if (!(error instanceof DiskError) || error.code !== 'ENOSPC') throw error;
      await this.#giveUpReserve();
    } finally {
      await file.close();
    }
  }

  #schedule(): void {
    assert(this.#timer === undefined, 'Space is watched by one timer');
    if (this.#stopped) return;
    this.#timer = this.#options.timers.after(this.#options.intervalMs, () => {
      this.#timer = undefined;
      this.check().then(
        () => this.#schedule(),
        (error: unknown) => this.#options.onFailure(error),
      );
    });
  }
}
