import { beforeEach, describe, expect, test } from 'vitest';
import { SimulatedTime } from '../../test/simulation/simulated-clock.ts';
import { type Disk, DiskError } from '../std/disk.ts';
import { SILENT_LOG } from '../std/log.ts';
import { SpaceWatcher } from './space-watcher.ts';

const MARK = 800;
const RESERVE = 100;

class FakeSpace {
  freeBytes = 10_000;
  hasReserve = false;
  failsWith: string | undefined;
  readonly disk = {
    space: () => Promise.resolve({ freeBytes: this.freeBytes, totalBytes: 20_000 }),
    sizeOf: () => Promise.resolve(this.hasReserve ? RESERVE : undefined),
    removeFile: () => {
      this.hasReserve = false;
      return Promise.resolve();
    },
    openFile: () =>
      Promise.resolve({
        write: () => {
          if (this.failsWith !== undefined) return Promise.reject(new DiskError('write', 'reserve', this.failsWith));
          this.hasReserve = true;
          return Promise.resolve();
        },
        sync: () => Promise.resolve(),
        close: () => Promise.resolve(),
      }),
  } as unknown as Disk;
}

let space: FakeSpace;
let time: SimulatedTime;
let changes: boolean[];
let failures: unknown[];
let watcher: SpaceWatcher;

beforeEach(() => {
  space = new FakeSpace();
  time = new SimulatedTime();
  changes = [];
  failures = [];
  watcher = new SpaceWatcher({
    disk: space.disk,
    timers: time,
    log: SILENT_LOG,
    freeMinBytes: MARK,
    reserveBytes: RESERVE,
    intervalMs: 10,
    onChange: (refuses) => changes.push(refuses),
    onFailure: (error) => failures.push(error),
  });
});

async function looks(freeBytes: number): Promise<void> {
  space.freeBytes = freeBytes;
  await time.runFor(10);
}

describe('SpaceWatcher', () => {
  test('refuses produce below the mark and lets it go on some way above', async () => {
    await watcher.start();
    await looks(MARK);
    expect(changes).toEqual([]);
    await looks(MARK - 1);
    expect([changes, watcher.refusesProduce]).toEqual([[true], true]);
    await looks(MARK + 50);
    expect(changes).toEqual([true]);
    await looks(MARK + 100);
    expect([changes, watcher.refusesProduce]).toEqual([[true, false], false]);
    expect([watcher.freeBytes, watcher.totalBytes]).toEqual([MARK + 100, 20_000]);
  });

  test('makes a reserve while there is space, gives it up when there is none, and makes it again', async () => {
    await watcher.start();
    expect(space.hasReserve).toBe(false);
    await looks(10_000);
    expect(space.hasReserve).toBe(true);
    await looks(RESERVE - 1);
    expect(space.hasReserve).toBe(false);
    await looks(MARK + 100 + 2 * RESERVE);
    expect(space.hasReserve).toBe(false);
    await looks(10_000);
    expect(space.hasReserve).toBe(true);
  });

  test('gives the reserve up before anything else when it starts on a full disk', async () => {
    space.hasReserve = true;
    space.freeBytes = 0;
    await watcher.start();
    expect([space.hasReserve, changes]).toEqual([false, [true]]);
  });

  test('does without a reserve that finds no room, but reports a disk that fails', async () => {
    await watcher.start();
    space.failsWith = 'ENOSPC';
    await looks(10_000);
    expect([space.hasReserve, failures]).toEqual([false, []]);
    space.failsWith = 'EIO';
    await looks(10_000);
    expect(failures).toMatchObject([{ code: 'EIO' }]);
  });

  test('stops', async () => {
    await watcher.start();
    watcher.stop();
    await looks(0);
    expect(changes).toEqual([]);
  });
});
