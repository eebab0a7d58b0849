import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { batchesCommand, moveLogStartCommand, PartitionFixture } from '../../../test/support/partition-fixture.ts';
import { RecordBatch } from '../../kafka-protocol/record-batch.ts';
import { encodeRecordBatch, readRecords } from '../../kafka-protocol/records.ts';
import { SeededRandom } from '../../std/seeded-random.ts';
import { findByTimestamp, findMaxTimestamp } from './timestamp-lookup.ts';

interface Stamped {
  readonly offset: number;
  readonly timestamp: number;
}

/** A log of batches with timestamps that go up and down. */
async function withTimestamps(seed: number, options: ConstructorParameters<typeof PartitionFixture>[0]) {
  const fixture = new PartitionFixture(options);
  await fixture.start();
  const random = new SeededRandom(seed);
  for (let i = 0; i < 80; i++) {
    const records = Array.from({ length: 1 + random.below(4) }, () => ({
      timestamp: Math.max(0, i * 10 + random.below(60) - 30),
      value: Buffer.alloc(random.below(100)),
    }));
    const compression = random.chance(0.3) ? { codec: 1, compress: gzipSync } : undefined;
    fixture.apply(batchesCommand([encodeRecordBatch(records, { compression })]), 1 + Math.floor(i / 30));
    if (random.chance(0.3)) await fixture.time.runFor(1);
  }
  return fixture;
}

async function allRecords(fixture: PartitionFixture): Promise<Stamped[]> {
  const records: Stamped[] = [];
  for (const { bytes } of await fixture.readAll()) {
    for (const { offset, timestamp } of readRecords(RecordBatch.at(bytes)!)) {
      if (offset >= fixture.machine.log.startOffset) records.push({ offset, timestamp });
    }
  }
  return records;
}

async function checkEverything(fixture: PartitionFixture): Promise<void> {
  const { log } = fixture.machine;
  const records = await allRecords(fixture);
  const newest = Math.max(...records.map(({ timestamp }) => timestamp));
  for (let asked = 0; asked <= newest + 5; asked += 7) {
    const found = await fixture.time.settle(findByTimestamp(log, asked));
    const expected = records.find(({ timestamp }) => timestamp >= asked);
    expect(found && { offset: found.offset, timestamp: found.timestampMs }).toEqual(expected);
  }
  const max = await fixture.time.settle(findMaxTimestamp(log));
  expect(max && { offset: max.offset, timestamp: max.timestampMs }).toEqual(
    records.find(({ timestamp }) => timestamp === newest),
  );
}

describe('timestamp lookup', () => {
  it('finds the first record in offset order with its own timestamp, in the tail, in files, after a restart, above the log start', async () => {
    for (let seed = 0; seed < 4; seed++) {
      const options = { settings: { segmentBytes: 1_500, indexIntervalBytes: 150 }, tailBytesMax: 4_096 };
      const fixture = await withTimestamps(seed, options);
      await checkEverything(fixture);
      const checkpoint = await fixture.checkpoint();
      fixture.platter.crash(new SeededRandom(seed), 'lose');
      await fixture.start(checkpoint);
      await checkEverything(fixture);
      for (const share of [0.3, 0.55, 0.8, 0.99]) {
        fixture.apply(moveLogStartCommand(Math.floor(fixture.machine.log.endOffset * share)), 9);
        await checkEverything(fixture);
      }
    }
  });

  it('does not believe a damaged time index', async () => {
    for (let round = 0; round < 12; round++) {
      const fixture = await withTimestamps(round, { settings: { indexIntervalBytes: 50 } });
      const checkpoint = await fixture.checkpoint();
      const path = fixture.platter.paths().find((name) => name.endsWith('.timeindex'))!;
      fixture.platter.kill(new SeededRandom(1));
      const entries = fixture.platter.readBytes(path).length / 12;
      // The timestamps become small, so that the search believes it may begin late.
      for (let entry = 0; entry < entries; entry++)
        fixture.platter.damage(path, entry * 12, Buffer.alloc(round % 2 === 0 ? 7 : 8));
      await fixture.start(checkpoint);
      await checkEverything(fixture);
      await fixture.time.drain();
      expect(fixture.machine.log.segments[0]!.isIndexDamaged).toBe(false);
    }
  });

  it('names the epoch of the record', async () => {
    const fixture = await withTimestamps(1, {});
    const first = await fixture.time.settle(findByTimestamp(fixture.machine.log, 0));
    expect(first).toMatchObject({ offset: 0, leaderEpoch: 1 });
    const late = await fixture.time.settle(findByTimestamp(fixture.machine.log, 790));
    expect(late).toMatchObject({ leaderEpoch: 3 });
  });

  it('finds nothing in an empty log', async () => {
    const fixture = new PartitionFixture();
    await fixture.start();
    expect(await findByTimestamp(fixture.machine.log, 0)).toBeUndefined();
    expect(await findMaxTimestamp(fixture.machine.log)).toBeUndefined();
  });

  it('takes the header for records that nobody can decompress', async () => {
    const fixture = new PartitionFixture();
    await fixture.start();
    const compress = (): Uint8Array => Buffer.from('not gzip at all');
    fixture.apply(
      batchesCommand([
        encodeRecordBatch([{ timestamp: 5 }, { timestamp: 9 }], { compression: { codec: 1, compress } }),
      ]),
    );
    expect(await findByTimestamp(fixture.machine.log, 7)).toEqual({ offset: 0, timestampMs: 9, leaderEpoch: 1 });
    expect(await findMaxTimestamp(fixture.machine.log)).toEqual({ offset: 0, timestampMs: 9, leaderEpoch: 1 });
  });
});
