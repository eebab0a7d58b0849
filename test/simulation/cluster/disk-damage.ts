/** What disks do to what was entrusted to them: bits that flip, sectors that show what was there before, writes that land elsewhere. */
import type { SeededRandom } from '../../../src/std/seeded-random.ts';
import type { SimulatedDisk } from '../simulated-disk.ts';

const PAGE_BYTES = 4096;
/** Of the sequence in the header of a segment. */
const SEQUENCE_OFFSET = 12;
const WAL = 'wal/';
const PARTITIONS = 'topics/';

/** Each says what it did; undefined if nothing. */
export type Damage = (disk: SimulatedDisk, random: SeededRandom) => string | undefined;

export const flipBitsInWal: Damage = (disk, random) => {
  const paths = pathsIn(disk, WAL);
  if (paths.length === 0) return undefined;
  const path = random.pick(paths);
  return flip(disk, path, usedBytes(disk, path), random.pick([1, 1, 20]), random);
};

export const flipBitsInPartitions: Damage = (disk, random) => {
  const paths = pathsIn(disk, PARTITIONS);
  if (paths.length === 0) return undefined;
  const path = random.pick(paths);
  return flip(disk, path, disk.readBytes(path).length, random.pick([1, 1, 5]), random);
};

/** A partition's files vanish: one, or all that a replica has. */
export const loseFiles: Damage = (disk, random) => {
  const paths = pathsIn(disk, PARTITIONS);
  if (paths.length === 0) return undefined;
  const path = random.pick(paths);
  const directory = path.slice(0, path.lastIndexOf('/') + 1);
  const gone = random.chance(0.5) ? [path] : pathsIn(disk, directory);
  for (const each of gone) disk.loseFile(each);
  return `${gone.join(', ')} vanish`;
};

/** The disk said that it wrote and did not. */
export const staleSectors: Damage = (disk, random) => {
  const paths = random.pick([olderSegments(disk), pathsIn(disk, PARTITIONS)]);
  if (paths.length === 0) return undefined;
  const path = random.pick(paths);
  return disk.goStale(path, random) ? `a sector of ${path} is as it was before` : undefined;
};

/**
 * A page that was written to one place is at another one: of the same file, or of a partition's file what was meant for the WAL. Not from one partition's file to another's: where the offsets happen to
 * fit, Kafka's format has nothing that tells them apart, and only a comparison of replicas does.
 */
export const misdirectedWrite: Damage = (disk, random) => {
  const paths = random.pick([olderSegments(disk), pathsIn(disk, PARTITIONS)]);
  if (paths.length === 0) return undefined;
  const to = random.pick(paths);
  const from = random.pick([to, ...pathsIn(disk, WAL)]);
  const source = random.below(Math.ceil(usedBytes(disk, from) / PAGE_BYTES) + 1) * PAGE_BYTES;
  const target = random.below(Math.ceil(usedBytes(disk, to) / PAGE_BYTES) + 1) * PAGE_BYTES;
  const page = disk.readBytes(from, source, PAGE_BYTES);
  const old = disk.readBytes(to, target, page.length);
  const bytes = page.subarray(0, old.length);
  if (bytes.length === 0 || Buffer.compare(bytes, old) === 0) return undefined;
  disk.damage(to, target, bytes);
  return `${bytes.length} bytes of ${from} at ${source} are in ${to} at ${target}`;
};

/**
 * Files of the WAL but for the one in which the log ends, and one that may have been begun behind it. A last flush of which nothing is left, or older bytes in its place, looks as if it had never been
 * written: no log can tell without a second place that remembers (docs/wal-format.md, the window that remains).
 */
function olderSegments(disk: SimulatedDisk): string[] {
  const sequenceOf = (path: string): number => Buffer.from(disk.readBytes(path, SEQUENCE_OFFSET, 4)).readUInt32LE(0);
  return pathsIn(disk, WAL)
    .filter((path) => path.endsWith('.wal') && disk.readBytes(path, SEQUENCE_OFFSET, 4).length === 4)
    .sort((some, other) => sequenceOf(some) - sequenceOf(other))
    .slice(0, -2);
}

function pathsIn(disk: SimulatedDisk, prefix: string): string[] {
  return disk.paths().filter((path) => path.startsWith(prefix));
}

function usedBytes(disk: SimulatedDisk, path: string): number {
  return disk.readBytes(path).findLastIndex((byte) => byte !== 0) + 1;
}

function flip(
  disk: SimulatedDisk,
  path: string,
  sizeBytes: number,
  flips: number,
  random: SeededRandom,
): string | undefined {
  if (sizeBytes === 0) return undefined;
  for (let left = flips; left > 0; left--) disk.flipBit(path, random.below(sizeBytes), random.below(8));
  return `${flips} bits of ${path} flip`;
}
