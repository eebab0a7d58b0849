import { describe, expect, it } from 'vitest';
import {
  batchesCommand,
  moveLogStartCommand,
  PartitionFixture,
  type StoredBatch,
  splitBatches,
  testBatch,
} from '../../../test/support/partition-fixture.ts';
import { SeededRandom } from '../../std/seeded-random.ts';
import { PartitionDamageError } from './partition-damage-error.ts';
import type { LogRead } from './segmented-log.ts';
import { findByTimestamp } from './timestamp-lookup.ts';

async function readAt(
  fixture: PartitionFixture,
  offset: number,
  maxBytes: number,
  atLeastOne: boolean,
): Promise<LogRead> {
  const read = fixture.machine.log.read(offset, maxBytes, atLeastOne);
  const result = read instanceof Promise ? await fixture.time.settle(read) : read;
  expect(result).toBeDefined();
  return result!;
}

/** What a read must give, from the list of all batches. */
function expected(
  batches: readonly StoredBatch[],
  offset: number,
  maxBytes: number,
  atLeastOne: boolean,
): StoredBatch[] {
  const first = batches.findIndex(({ nextOffset }) => nextOffset > offset);
  const result: StoredBatch[] = [];
  let sizeBytes = 0;
  for (const batch of batches.slice(first)) {
    sizeBytes += batch.bytes.length;
    if (sizeBytes > maxBytes && !(atLeastOne && result.length === 0)) break;
    result.push(batch);
  }
  return result;
}

function expectSame(actual: readonly StoredBatch[], wanted: readonly StoredBatch[]): void {
  expect(actual.map(({ baseOffset }) => baseOffset)).toEqual(wanted.map(({ baseOffset }) => baseOffset));
  const all = (batches: readonly StoredBatch[]): Buffer => Buffer.concat(batches.map(({ bytes }) => bytes));
  expect(all(actual).equals(all(wanted))).toBe(true);
}

async function findByTimestampIn(fixture: PartitionFixture, timestampMs: number): Promise<number | undefined> {
  return (await fixture.time.settle(findByTimestamp(fixture.machine.log, timestampMs)))?.offset;
}

/** Appends random batches, and keeps what the log must hold. */
async function filled(options: ConstructorParameters<typeof PartitionFixture>[0], count: number, seed: number) {
  const fixture = new PartitionFixture(options);
  await fixture.start();
  const random = new SeededRandom(seed);
  for (let i = 0; i < count; i++) {
    const records = 1 + random.below(5);
    fixture.apply(
      batchesCommand([testBatch({ records, valueBytes: random.below(random.chance(0.05) ? 6_000 : 200) })]),
      1 + Math.floor(i / 20),
    );
    if (random.chance(0.2)) await fixture.time.runFor(1);
  }
  return { fixture, random, batches: await fixture.readAll(1_000_000) };
}

describe('SegmentedLog', () => {
  it('reads the right batches from every offset: from the tail, from files, at segment boundaries, after a restart', async () => {
    const { fixture, random, batches } = await filled(
      { settings: { segmentBytes: 6_000, indexIntervalBytes: 300 }, tailBytesMax: 16_384 },
      150,
      1,
    );
    const { log } = fixture.machine;
    expect(batches.map(({ baseOffset }) => baseOffset)).toEqual([
      0,
      ...batches.slice(0, -1).map(({ nextOffset }) => nextOffset),
    ]);
    expect(log.segments.length).toBeGreaterThan(5);
    let tailReads = 0;
    const checkEverywhere = async (): Promise<void> => {
      for (let offset = 0; offset < log.endOffset; offset++) {
        const maxBytes = random.pick([0, 100, 500, 3_000, 50_000]);
        const atLeastOne = random.chance(0.7);
        if (!(log.read(offset, 1, true) instanceof Promise)) tailReads++;
        const read = await readAt(fixture, offset, maxBytes, atLeastOne);
        const got = splitBatches(read.pieces);
        const all = expected(batches, offset, maxBytes, atLeastOne);
        // A read may stop early (at a segment's end, or the window's), but never skips, and gives something if it may.
        expectSame(got, all.slice(0, got.length));
        if (all.length > 0) expect(got.length).toBeGreaterThan(0);
        expect(read.nextOffset).toBe(got.at(-1)?.nextOffset ?? read.nextOffset);
        expect(read.sizeBytes).toBe(got.reduce((sum, { bytes }) => sum + bytes.length, 0));
      }
    };
    await checkEverywhere();
    expect(tailReads).toBeGreaterThan(10);
    expect(tailReads).toBeLessThan(log.endOffset - 10);
    const checkpoint = await fixture.checkpoint();
    fixture.platter.crash(random, 'lose');
    await fixture.start(checkpoint);
    expectSame(await fixture.readAll(700), batches);
    expectSame(await fixture.readAll(1_000_000), batches);
  });

  it('keeps a view that was given out as it was, whatever the pages are used for later', async () => {
    const fixture = new PartitionFixture({ tailBytesMax: 8_192 });
    await fixture.start();
    fixture.apply(batchesCommand([testBatch({ valueBytes: 1_000 })]));
    const view = await readAt(fixture, 0, 10_000, true);
    const before = Buffer.concat(view.pieces);
    for (let i = 0; i < 100; i++) {
      fixture.apply(batchesCommand([testBatch({ valueBytes: 3_000, timestampMs: i })]));
      await fixture.time.runFor(5);
    }
    expect(fixture.resources.tail.usedBytes).toBeLessThanOrEqual(8_192);
    expect(Buffer.concat(view.pieces).equals(before)).toBe(true);
  });

  it('holds the memory budget over many partitions, by writing the oldest pages out', async () => {
    const fixture = new PartitionFixture({ tailBytesMax: 64 * 1024 });
    await fixture.start();
    for (let i = 0; i < 400; i++) {
      fixture.apply(batchesCommand([testBatch({ valueBytes: 2_000 })]));
      await fixture.time.runFor(1);
      expect(fixture.resources.tail.usedBytes).toBeLessThanOrEqual(128 * 1024);
    }
    expect(await fixture.readAll()).toHaveLength(400);
    await fixture.time.settle(fixture.machine.close());
    expect(fixture.resources.tail.usedBytes).toBe(0);
  });

  it('writes large pieces, and nothing before there is enough', async () => {
    const fixture = new PartitionFixture();
    const writes: number[] = [];
    fixture.platter.onOperation = ({ kind, length }) => {
      if (kind === 'write') writes.push(length);
      return undefined;
    };
    await fixture.start();
    for (let i = 0; i < 250; i++) {
      fixture.apply(batchesCommand([testBatch({ valueBytes: 1_000 })]));
      await fixture.time.runFor(1);
    }
    expect(writes.length).toBe(1);
    expect(writes[0]).toBeGreaterThanOrEqual(256 * 1024);
  });

  it('shares few open files among many segments', async () => {
    const { fixture, batches } = await filled(
      { settings: { segmentBytes: 1_000 }, tailBytesMax: 4_096, filesMax: 3 },
      60,
      4,
    );
    await fixture.checkpoint();
    expectSame(await fixture.readAll(400), batches);
    expect(fixture.resources.files.openCount).toBeLessThanOrEqual(4);
  });

  it('does not believe a damaged index: it finds everything, only slower', async () => {
    const { fixture, random, batches } = await filled({ settings: { indexIntervalBytes: 100 } }, 600, 5);
    const checkpoint = await fixture.checkpoint();
    fixture.platter.crash(random, 'lose');
    const index = fixture.platter.paths().find((path) => path.endsWith('.index'))!;
    const entries = Buffer.from(fixture.platter.readBytes(index));
    const misplaced = Buffer.from(entries);
    const last = entries.subarray(-4);
    for (let at = 0; at < entries.length; at += 8) {
      entries[at + 7]! ^= 16;
      // A position where a batch begins, but another one.
      misplaced.set(last, at + 4);
    }
    for (const bytes of [entries, misplaced]) {
      fixture.platter.damage(index, 0, bytes);
      await fixture.start(checkpoint);
      const { log } = fixture.machine;
      const find = async (): Promise<void> => {
        for (const { baseOffset } of [...batches].reverse()) {
          expect(splitBatches((await readAt(fixture, baseOffset, 1, true)).pieces)[0]!.baseOffset).toBe(baseOffset);
        }
      };
      expect(await findByTimestampIn(fixture, 1_000)).toBe(0);
      await find();
      fixture.apply(batchesCommand([testBatch()]), 99);
      await fixture.time.drain();
      expect(log.segments[0]!.isIndexDamaged).toBe(false);
      // What was built anew leads to the right place, and so it does from its file.
      await find();
      const repaired = await fixture.checkpoint();
      fixture.platter.kill(random);
      await fixture.start(repaired);
      await find();
      expect(fixture.machine.log.segments[0]!.isIndexDamaged).toBe(false);
      fixture.platter.kill(random);
    }
  });

  it('finds any flipped bit of a batch before it is served', async () => {
    const { fixture, random, batches } = await filled({}, 6, 6);
    const checkpoint = await fixture.checkpoint();
    const size = batches.reduce((sum, { bytes }) => sum + bytes.length, 0);
    const path = fixture.platter.paths()[0]!;
    for (let round = 0; round < 200; round++) {
      const platter = fixture.platter.clone();
      platter.crash(random, 'lose');
      platter.flipBit(path, random.below(size), random.below(8));
      const again = new PartitionFixture({ platter, time: fixture.time });
      await again.start(checkpoint);
      await expect(again.readAll()).rejects.toThrow(PartitionDamageError);
    }
  });

  it('forgets what lies below the log start, also while a reader is on its way', async () => {
    const { fixture } = await filled({ settings: { segmentBytes: 1_000 }, tailBytesMax: 4_096 }, 60, 7);
    const { log } = fixture.machine;
    const reading = log.read(2, 1_000, true);
    expect(reading).toBeInstanceOf(Promise);
    fixture.apply(moveLogStartCommand(log.endOffset - 3), 9);
    fixture.machine.checkpointDurable((await fixture.checkpoint()).index);
    await fixture.time.drain();
    const read = await reading;
    if (read !== undefined) expect(splitBatches(read.pieces)[0]!.baseOffset).toBeLessThanOrEqual(2);
    expect((await fixture.readAll())[0]!.nextOffset).toBeGreaterThan(log.endOffset - 3);
    expect(log.segments[0]!.nextOffset).toBeGreaterThan(log.startOffset);
  });

  it('begins a new segment when the active one is too old, by the time of commands', async () => {
    const fixture = new PartitionFixture({ settings: { segmentMs: 100 } });
    await fixture.start();
    for (const timeMs of [1_000, 1_050, 1_101, 1_102]) fixture.apply(batchesCommand([testBatch()], timeMs));
    expect(fixture.machine.log.segments.map(({ baseOffset }) => baseOffset)).toEqual([0, 2]);
  });

  it('reports a failed write, once, and never claims the bytes are in the file', async () => {
    const fixture = new PartitionFixture();
    await fixture.start();
    fixture.platter.onOperation = ({ kind }) => (kind === 'write' ? { error: 'ENOSPC' } : undefined);
    fixture.apply(batchesCommand([testBatch({ valueBytes: 300_000 })]));
    await fixture.time.runFor(10);
    expect(fixture.failures.map(({ message }) => message)).toEqual([expect.stringContaining('ENOSPC')]);
    expect(fixture.machine.log.segments[0]!.writtenBytes).toBe(0);
    await expect(fixture.checkpoint()).rejects.toThrow('ENOSPC');
  });
});
