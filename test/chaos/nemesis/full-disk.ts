/** Disks that get full: by the shim, which says so, and by a file system that really is. */
import { execFileSync } from 'node:child_process';
import { closeSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { NemesisContext } from './nemesis.ts';

const READY_TIMEOUT_MS = 60_000;
const MEGABYTE = 2 ** 20;
const SETTLE_MS = 2_000;
/** Of the file system of one broker's own. */
const DISK_MEGABYTES = 160;

/**
 * One broker's disk gets full. With warning (the file system says that little is left): it refuses records and goes on with everything else. Without (a write finds no space): it stops, and
 * comes back when there is space again.
 */
export async function fullDisk(context: NemesisContext): Promise<void> {
  const { random } = context;
  while (context.hasTime) {
    const broker = await context.who(random.pick(['leader', 'follower']));
    if (random.chance(0.5)) await runShort(context, broker);
    else await runOut(context, broker);
    await context.awaitReady(READY_TIMEOUT_MS);
    await context.sleepBetween(1_500, 3_000);
  }
}

async function runShort(context: NemesisContext, broker: number): Promise<void> {
  const { cluster } = context;
  await context.fault('disk nearly full', [broker], async () => {
    const control = cluster.control(broker);
    const before = control.count('looksAtSpace');
    control.set('freeBytes', 20 * 2 ** 20);
    await context.sleepBetween(3_000, 6_000);
    const looks = control.count('looksAtSpace') - before;
    control.set('freeBytes', 0);
    return looks > 0 ? `it was told ${looks} times that 20 MiB are left` : undefined;
  });
}

async function runOut(context: NemesisContext, broker: number): Promise<void> {
  const { cluster } = context;
  await context.fault('disk full', [broker], async () => {
    const control = cluster.control(broker);
    const before = control.count('writesFull');
    control.set('diskFull', 1);
    await cluster.awaitEnd(broker, 10_000).catch(() => {
      context.notes.push(`Broker ${broker} went on although no write found space`);
    });
    const full = control.count('writesFull') - before;
    control.set('diskFull', 0);
    await cluster.restart(broker);
    return full > 0 ? `${full} writes found no space, it stopped` : undefined;
  });
}

/**
 * The data directory of one broker is on a file system of its own, which is filled to the last block while the broker runs: whatever it writes next finds no space. When there is space again it
 * has to go on, or be started again, with all that it had acknowledged.
 */
export async function fillDisk(context: NemesisContext): Promise<void> {
  const { cluster, random } = context;
  const mounted = new Set<number>();
  while (context.hasTime) {
    const broker = await context.who(random.pick(['leader', 'follower', 'any']));
    if (!mounted.has(broker)) {
      await mountOwn(context, broker);
      mounted.add(broker);
    }
    const isSudden = random.chance(0.6);
    await context.fault(isSudden ? 'disk full at once' : 'disk fills up', [broker], async () => {
      const directory = cluster.dataDirectory(broker);
      const ballast = join(directory, '..', 'data', 'ballast');
      cluster.mayEnd(broker);
      const written = fill(ballast, isSudden ? 0 : 24 * MEGABYTE);
      const free = (): number => {
        const { bavail, bsize } = statfsSync(directory);
        return bavail * bsize;
      };
      const until = performance.now() + random.between(4_000, 9_000);
      // What it gives up or takes back of its own, its reserve for example, is taken too.
      for (let i = 2; performance.now() < until; i++) {
        await context.sleep(400);
        if (cluster.pid(broker) === undefined) break;
        if (isSudden || until - performance.now() < 3_000) fill(`${ballast}-${i % 2}`, 0);
      }
      const leftLast = free();
      rmSync(ballast, { force: true });
      for (const i of [0, 1]) rmSync(`${ballast}-${i}`, { force: true });
      // A write that found no space at the last moment may not have ended the process yet.
      await context.sleep(SETTLE_MS);
      const hasEnded = cluster.pid(broker) === undefined;
      if (hasEnded) await cluster.restart(broker);
      else cluster.revive(broker);
      const end = hasEnded ? 'it stopped' : 'it went on without space';
      return leftLast < MEGABYTE || hasEnded
        ? `${Math.round(written / MEGABYTE)} MB filled the file system, ${leftLast} bytes were left, ${end}`
        : undefined;
    });
    await context.awaitReady(READY_TIMEOUT_MS);
    await context.sleepBetween(1_000, 3_000);
  }
}

/** Moves the data of a broker to a file system of its own; the mount is seen by this run only and ends with it. */
async function mountOwn({ cluster }: NemesisContext, broker: number): Promise<void> {
  const directory = cluster.dataDirectory(broker);
  const kept = `${directory}-before`;
  await cluster.stop(broker);
  const script =
    'mv "$1" "$2" && mkdir "$1" && mount -t tmpfs -o size="$3"m tmpfs "$1" && cp -a "$2"/. "$1" && rm -rf "$2"';
  execFileSync('sh', ['-c', script, 'sh', directory, kept, `${DISK_MEGABYTES}`]);
  cluster.onStop(() => {
    // Replicas are compared after the brokers have stopped, and what is mounted can not be deleted.
    execFileSync('sh', ['-c', 'cp -a "$1" "$2" && umount "$1" && rmdir "$1" && mv "$2" "$1"', 'sh', directory, kept]);
  });
  await cluster.restart(broker);
}

/** Writes a file until only `leaveBytes` are left; gives its size. */
function fill(path: string, leaveBytes: number): number {
  const file = openSync(path, 'a');
  const { bavail, bsize } = statfsSync(join(path, '..'));
  let left = Math.max(0, bavail * bsize - leaveBytes);
  let written = 0;
  for (let piece = Buffer.alloc(MEGABYTE); left > 0 && piece.length > 0; ) {
    try {
      const count = writeSync(file, piece, 0, Math.min(piece.length, left));
      written += count;
      left -= count;
    } catch {
      // No space for so much; smaller pieces until not a block is left.
      piece = piece.subarray(0, Math.floor(piece.length / 2));
    }
  }
  closeSync(file);
  return written;
}
