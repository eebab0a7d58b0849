/**
 * What a loss of power does to a directory, from the journal that the shim kept: takes back, in reverse order, every write that was not followed by a flush of its file and every change of
 * names that was not followed by a flush of its directory. The process has to be dead.
 *
 * `tear` keeps some of it: each 512-byte sector of an unflushed write survives or not, as a seed decides. That is what disks do.
 */
import {
  closeSync,
  existsSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
  truncateSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import type { SeededRandom } from '../../../src/std/seeded-random.ts';

const HEADER_BYTES = 48;
const SECTOR_BYTES = 512;
/** Names that the report tells. */
const NAMES_MAX = 5;
const Type = {
  fileSeen: 1,
  write: 2,
  done: 3,
  sync: 4,
  create: 5,
  rename: 6,
  unlink: 7,
  makeDirectory: 8,
  removeDirectory: 9,
  truncate: 10,
  directorySync: 11,
} as const;

interface JournalRecord {
  readonly type: number;
  readonly event: number;
  readonly inode: number;
  readonly offset: number;
  readonly length: number;
  readonly oldSize: number;
  /** Position and length of what follows the header. */
  readonly textAt: number;
  readonly textBytes: number;
}

/** What was taken back: the proof that something was lost. */
export interface PowerLossReport {
  readonly writesLost: number;
  readonly bytesLost: number;
  readonly namesLost: number;
  /** The names taken back, relative to the directory; the first few. */
  readonly names: readonly string[];
  /** Of the writes lost: those of which some sectors were kept. */
  readonly writesTorn: number;
}

export interface PowerLossOptions {
  readonly journal: string;
  /** The broker's data directory. */
  readonly directory: string;
  /** Some sectors of what is lost survive. */
  readonly tear?: SeededRandom;
}

export function losePower({ journal, directory, tear }: PowerLossOptions): PowerLossReport {
  const file = openSync(journal, 'r+');
  try {
    const records = readJournal(file);
    const report = { writesLost: 0, bytesLost: 0, namesLost: 0, writesTorn: 0, names: [] as string[] };
    const { data, names } = unflushed(file, records);
    const paths = pathsByInode([directory, join(dirname(directory), 'chaos-backups')]);
    for (const record of data.reverse()) {
      const path = paths.get(record.inode);
      if (path === undefined) continue;
      if (takeBack(file, record, path, tear)) report.writesTorn += 1;
      report.writesLost += 1;
      report.bytesLost += record.length;
    }
    for (const record of names.reverse()) {
      const texts = readTexts(file, record);
      takeBackName(record.type, texts);
      if (report.namesLost++ < NAMES_MAX) report.names.push((texts[0] ?? '').slice(directory.length + 1));
    }
    ftruncateSync(file, 0);
    rmSync(join(dirname(directory), 'chaos-backups'), { recursive: true, force: true });
    return report;
  } finally {
    closeSync(file);
  }
}

function readJournal(file: number): JournalRecord[] {
  const { size } = fstatSync(file);
  const header = Buffer.alloc(HEADER_BYTES);
  const records: JournalRecord[] = [];
  for (let at = 0; at + HEADER_BYTES <= size; ) {
    readSync(file, header, 0, HEADER_BYTES, at);
    const textBytes = header.readUInt32LE(4);
    // The process may have been killed while it wrote the last record; what that announces had not begun.
    if (at + HEADER_BYTES + textBytes > size) break;
    const word = (i: number): number => Number(header.readBigUInt64LE(8 * i));
    records.push({
      type: header.readUInt32LE(0),
      event: word(1),
      inode: word(2),
      offset: word(3),
      length: word(4),
      oldSize: word(5),
      textAt: at + HEADER_BYTES,
      textBytes,
    });
    at += HEADER_BYTES + textBytes;
  }
  return records;
}

function unflushed(file: number, records: readonly JournalRecord[]): { data: JournalRecord[]; names: JournalRecord[] } {
  /** inode → event before which its writes are flushed. */
  const flushedFiles = new Map<number, number>();
  const flushedDirectories = new Map<string, number>();
  /** Event of a write → event at which it had returned. */
  const done = new Map<number, number>();
  /** Event of a write that did not return yet → its inode. */
  const underWay = new Map<number, number>();
  for (const record of records) {
    if (record.type === Type.write || record.type === Type.truncate) underWay.set(record.event, record.inode);
    else if (record.type === Type.done) underWay.delete(record.offset);
    else if (record.type === Type.fileSeen) {
      // A write in whose middle a process died has ended when its next life opens the file: a flush of that life covers what is left of it.
      for (const [event, inode] of underWay) {
        if (inode !== record.inode) continue;
        done.set(event, record.event);
        underWay.delete(event);
      }
    }
    if (record.type === Type.sync) flushedFiles.set(record.inode, record.offset);
    else if (record.type === Type.directorySync) flushedDirectories.set(readTexts(file, record)[0]!, record.offset);
    else if (record.type === Type.done) done.set(record.offset, record.event);
  }
  const data = records.filter(
    ({ type, event, inode }) =>
      (type === Type.write || type === Type.truncate) &&
      (done.get(event) ?? Number.POSITIVE_INFINITY) >= (flushedFiles.get(inode) ?? 0),
  );
  const isName = new Set<number>([Type.create, Type.rename, Type.unlink, Type.makeDirectory, Type.removeDirectory]);
  const names = records.filter((record) => {
    if (!isName.has(record.type)) return false;
    const texts = readTexts(file, record);
    const changed = record.type === Type.rename ? texts[1]! : texts[0]!;
    return record.event >= (flushedDirectories.get(dirname(changed)) ?? 0);
  });
  return { data, names };
}

/** Writes back what was replaced; true if a part of the new bytes was kept. */
function takeBack(journal: number, record: JournalRecord, path: string, tear: SeededRandom | undefined): boolean {
  const { type, offset, length, oldSize } = record;
  if (type === Type.truncate) {
    truncateSync(path, oldSize);
    const old = readText(journal, record);
    const file = openSync(path, 'r+');
    if (old.length > 0) writeSync(file, old, 0, old.length, offset);
    fsyncSync(file);
    closeSync(file);
    return false;
  }
  const old = readText(journal, record);
  const file = openSync(path, 'r+');
  try {
    if (tear === undefined || tear.chance(0.3)) {
      if (fstatSync(file).size > oldSize) ftruncateSync(file, oldSize);
      if (old.length > 0) writeSync(file, old, 0, old.length, offset);
      return false;
    }
    let kept = 0;
    const { size } = fstatSync(file);
    for (let at = 0; at < length && offset + at < size; at += SECTOR_BYTES) {
      if (tear.chance(0.5)) {
        kept += 1;
        continue;
      }
      // Beyond the old end a lost sector reads as zeros.
      const sector = Buffer.alloc(Math.min(SECTOR_BYTES, length - at, size - offset - at));
      old.copy(sector, 0, Math.min(at, old.length), Math.min(at + sector.length, old.length));
      writeSync(file, sector, 0, sector.length, offset + at);
    }
    return kept > 0;
  } finally {
    fsyncSync(file);
    closeSync(file);
  }
}

function takeBackName(type: number, texts: readonly string[]): void {
  const [first, second, third] = texts;
  switch (type) {
    case Type.create:
    case Type.makeDirectory:
      rmSync(first!, { recursive: true, force: true });
      return;
    case Type.removeDirectory:
      mkdirSync(first!, { recursive: true });
      return;
    case Type.unlink:
      restore(second, first!);
      return;
    case Type.rename:
      if (existsSync(second!)) renameSync(second!, first!);
      restore(third, second!);
  }
}

function restore(backup: string | undefined, path: string): void {
  if (backup === undefined || backup === '' || !existsSync(backup) || existsSync(path)) return;
  mkdirSync(dirname(path), { recursive: true });
  linkSync(backup, path);
}

function readText(file: number, { textAt, textBytes }: JournalRecord): Buffer {
  const bytes = Buffer.alloc(textBytes);
  readSync(file, bytes, 0, textBytes, textAt);
  return bytes;
}

function readTexts(file: number, record: JournalRecord): string[] {
  return readText(file, record).toString().split('\0');
}

function pathsByInode(directories: readonly string[]): Map<number, string> {
  const paths = new Map<number, string>();
  const visit = (directory: string): void => {
    if (!existsSync(directory)) return;
    for (const entry of readdirSync(directory, { withFileTypes: true })) {
      const path = join(directory, entry.name);
      if (entry.isDirectory()) visit(path);
      else paths.set(lstatSync(path).ino, path);
    }
  };
  for (const directory of directories) visit(directory);
  return paths;
}
