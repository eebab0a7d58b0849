/**
 * Owns what WAL tests share: a store on a simulated disk that can be opened, crashed and opened again, and short ways to
 * write entries.
 */
import { type LogIndex, logIndex, type ReplicaId, replicaId, term } from '../../src/std/brands.ts';
import { crc32c } from '../../src/std/crc32c.ts';
import { SeededRandom } from '../../src/std/seeded-random.ts';
import { ENTRY_KIND, type Entry, type EntryKind } from '../../src/wal/replica-storage.ts';
import { Wal, type WalOptions } from '../../src/wal/wal.ts';
import { type SimulatedMachineTime, SimulatedTime } from './simulated-clock.ts';
import { SimulatedDisk, type SimulatedDiskOptions } from './simulated-disk.ts';
import type { LossMode } from './simulated-file.ts';
import type { SimulatedMount } from './simulated-mount.ts';

export const STORE_ID = Uint8Array.from({ length: 16 }, (_, i) => i + 1);
export const R1 = replicaId(1);
export const R2 = replicaId(2);

/** Virtual time after which something that should end is taken for stuck. */
const LIMIT_MS = 1000;

export type FixtureOptions = Partial<Omit<WalOptions, 'disk' | 'clock' | 'timers'>> & { disk?: SimulatedDiskOptions };

export class WalFixture {
  readonly time: SimulatedTime;
  platter: SimulatedDisk;
  options: FixtureOptions;
  machine: SimulatedMachineTime | undefined;
  mount: SimulatedMount | undefined;
  failures: Error[] = [];
  pressure: ReplicaId[][] = [];

  constructor(options: FixtureOptions = {}, from?: { time: SimulatedTime; platter: SimulatedDisk }) {
    this.options = options;
    this.time = from?.time ?? new SimulatedTime();
    this.platter = from?.platter ?? new SimulatedDisk(this.time, options.disk);
  }

  /** Begins to open; the caller runs the time. */
  opening(): Promise<Wal> {
    this.machine = this.time.machine();
    this.mount = this.platter.mount(this.machine);
    const { disk: _, ...options } = this.options;
    const opening = Wal.open({
      directory: 'wal',
      storeId: STORE_ID,
      segmentBytes: 64 * 1024,
      bytesLimit: 512 * 1024,
      ...options,
      disk: this.mount,
      clock: this.machine,
      timers: this.machine,
    });
    return opening.then((wal) => {
      wal.onFailure = (error) => this.failures.push(error);
      wal.onPressure = (replicas) => this.pressure.push([...replicas]);
      return wal;
    });
  }

  async open(): Promise<Wal> {
    return this.time.settle(this.opening(), LIMIT_MS);
  }

  /** Flushes everything appended. */
  async flush(wal: Wal): Promise<void> {
    wal.flush();
    const target = wal.appendedLsn;
    await this.time.runUntilTrue(() => wal.flushedLsn >= target || this.failures.length > 0, LIMIT_MS);
  }

  kill(seed = 1): void {
    this.machine?.kill();
    this.platter.kill(new SeededRandom(seed));
  }

  powerLoss(mode?: LossMode, seed = 1): void {
    this.machine?.kill();
    this.platter.crash(new SeededRandom(seed), mode);
  }

  /** The same disk content for another life, independent of this one. */
  fork(): WalFixture {
    return new WalFixture(this.options, { time: this.time, platter: this.platter.clone() });
  }
}

/** Entries `from` … `from + count − 1`; content follows from index and term, so a mix-up shows. */
export function makeEntries(
  from: number,
  count: number,
  options: { term?: number; bytes?: number; kind?: EntryKind } = {},
): Entry[] {
  return Array.from({ length: count }, (_, i) => {
    const index = logIndex(from + i);
    const entryTerm = term(options.term ?? 1);
    const payload = new Uint8Array(options.bytes ?? 40);
    for (let at = 0; at < payload.length; at++) payload[at] = (index * 31 + entryTerm * 7 + at) & 0xff;
    return {
      index,
      term: entryTerm,
      kind: options.kind ?? ENTRY_KIND.command,
      payload: [payload],
      checksum: (index * 1000 + entryTerm) >>> 0,
    };
  });
}

/** All entries of a replica from `from` on, read in small steps. */
export async function readAll(
  fixture: WalFixture,
  wal: Wal,
  id: ReplicaId,
  from: number = wal.firstIndex(id),
): Promise<Entry[]> {
  const entries: Entry[] = [];
  for (let next = from; next <= wal.lastIndex(id); ) {
    const read = wal.readEntries(id, next as LogIndex, wal.lastIndex(id), 1000);
    const batch = read instanceof Promise ? await fixture.time.settle(read) : read;
    entries.push(...batch);
    next += batch.length;
  }
  return entries;
}

/** What two entries must agree in, whatever pieces their payloads are in. */
export function plain(entry: Entry): { index: number; term: number; kind: number; checksum: number; payload: string } {
  const bytes = Buffer.concat(entry.payload);
  return {
    index: entry.index,
    term: entry.term,
    kind: entry.kind,
    checksum: entry.checksum,
    payload: `${bytes.length} bytes, ${crc32c(bytes).toString(16)}`,
  };
}

/** Everything recovered, as comparable lines: one a replica, sorted. */
export async function contentOf(fixture: WalFixture, wal: Wal): Promise<string[]> {
  const lines: string[] = [];
  for (const replica of wal.recovered) {
    const { replicaId: id, descriptor, hardState, checkpoint, lastIndex, damage } = replica;
    const entries =
      lastIndex > (checkpoint?.index ?? 0) ? await readAll(fixture, wal, id, (checkpoint?.index ?? 0) + 1) : [];
    const point = checkpoint && [checkpoint.index, checkpoint.term, Buffer.from(checkpoint.payload).toString('hex')];
    const texts = entries.map((entry) => `${entry.index}:${entry.term}:${entry.kind}:${plain(entry).payload}`);
    lines.push(
      JSON.stringify([
        id,
        Buffer.from(descriptor).toString('hex'),
        hardState.currentTerm,
        hardState.votedFor,
        point,
        lastIndex,
        texts,
        damage ?? 'sound',
      ]),
    );
  }
  return lines.sort();
}
