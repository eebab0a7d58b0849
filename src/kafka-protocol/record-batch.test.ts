import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ProtocolError } from './protocol-error.ts';
import { iterateBatches, RECORD_BATCH_HEADER_BYTES, RecordBatch, stampedHeader } from './record-batch.ts';
import { encodeRecordBatch, findByTimestamp, findMaxTimestamp, type NewRecord, readRecords } from './records.ts';

const text = (value: string) => Buffer.from(value, 'utf8');
const three: readonly NewRecord[] = [
  { timestamp: 1000, key: text('a'), value: text('one') },
  {
    timestamp: 3000,
    key: null,
    value: text('two'),
    headers: [
      { key: 'h', value: text('x') },
      { key: 'n', value: null },
    ],
  },
  { timestamp: 2000, key: text('c'), value: null },
];

const newRecord = fc.record({
  timestamp: fc.integer({ min: -1, max: 2 ** 42 }),
  key: fc.option(fc.uint8Array({ maxLength: 200 })),
  value: fc.option(fc.uint8Array({ maxLength: 200 })),
  headers: fc.array(fc.record({ key: fc.string(), value: fc.option(fc.uint8Array()) }), { maxLength: 3 }),
});

describe('encodeRecordBatch()', () => {
  it('gives back what went in', () => {
    fc.assert(
      fc.property(fc.array(newRecord, { minLength: 1, maxLength: 200 }), fc.nat(2 ** 40), (records, baseOffset) => {
        const batch = RecordBatch.at(encodeRecordBatch(records, { baseOffset }))!;
        expect(batch.isCrcValid()).toBe(true);
        expect(batch.recordCount).toBe(records.length);
        expect(batch.lastOffset).toBe(baseOffset + records.length - 1);
        expect(batch.maxTimestamp).toBe(Math.max(...records.map(({ timestamp }) => timestamp)));
        const read = readRecords(batch).map((record) => ({
          ...record,
          key: record.key === null ? null : Array.from(record.key),
          value: record.value === null ? null : Array.from(record.value),
          headers: record.headers.map(({ key, value }) => ({ key, value: value === null ? null : Array.from(value) })),
        }));
        expect(read).toEqual(
          records.map((record, index) => ({
            offset: baseOffset + index,
            timestamp: record.timestamp,
            key: record.key === null ? null : Array.from(record.key),
            value: record.value === null ? null : Array.from(record.value),
            headers: record.headers.map(({ key, value }) => ({
              key: text(key).toString('utf8'),
              value: value === null ? null : Array.from(value),
            })),
          })),
        );
      }),
      { numRuns: 60 },
    );
  });
});

describe('RecordBatch', () => {
  it('has no batch where the bytes end early', () => {
    const bytes = encodeRecordBatch(three);
    for (let length = 0; length < bytes.length; length++) {
      expect(RecordBatch.at(bytes.subarray(0, length))).toBeUndefined();
    }
  });

  it('refuses another magic and an impossible length', () => {
    const bytes = Buffer.from(encodeRecordBatch(three));
    const old = Buffer.from(bytes);
    old[16] = 1;
    expect(() => RecordBatch.at(old)).toThrow('Record batch with magic 1');
    const short = Buffer.from(bytes);
    short.writeInt32BE(48, 8);
    expect(() => RecordBatch.at(short)).toThrow('Record batch of 60 bytes');
    const negative = Buffer.from(bytes);
    negative.writeInt32BE(-1, 8);
    expect(() => RecordBatch.at(negative)).toThrow('Record batch of 11 bytes');
  });

  it('notices a change of any byte that the checksum covers', () => {
    const bytes = encodeRecordBatch(three);
    for (let at = 17; at < bytes.length; at++) {
      const changed = Uint8Array.from(bytes);
      changed[at]! ^= 0x10;
      expect(RecordBatch.at(changed)!.isCrcValid()).toBe(false);
    }
  });
});

describe('iterateBatches()', () => {
  it('gives whole batches in order and leaves out one that is cut', () => {
    const first = encodeRecordBatch(three, { baseOffset: 5 });
    const second = encodeRecordBatch(three.slice(1), { baseOffset: 8 });
    const both = Buffer.concat([first, second]);
    expect(Array.from(iterateBatches(both), ({ baseOffset }) => baseOffset)).toEqual([5, 8]);
    expect(Array.from(iterateBatches(both.subarray(0, -1)), ({ baseOffset }) => baseOffset)).toEqual([5]);
    expect(Array.from(iterateBatches(new Uint8Array(0)))).toEqual([]);
  });
});

describe('stampedHeader()', () => {
  const original = encodeRecordBatch(three, { producerId: 7, producerEpoch: 1, baseSequence: 2 });
  const restamp = (stamp: Parameters<typeof stampedHeader>[1]) => {
    const before = Buffer.from(original);
    const batch = RecordBatch.at(original)!;
    const stamped = RecordBatch.at(Buffer.concat([stampedHeader(batch, stamp), batch.records]))!;
    expect(before.equals(original)).toBe(true);
    expect(stamped.isCrcValid()).toBe(true);
    return stamped;
  };

  it('sets offset and epoch and leaves everything that the checksum covers', () => {
    const stamped = restamp({ baseOffset: 2 ** 40 + 3, leaderEpoch: 9 });
    expect(stamped.baseOffset).toBe(2 ** 40 + 3);
    expect(stamped.leaderEpoch).toBe(9);
    expect(Buffer.from(stamped.bytes.subarray(16)).equals(original.subarray(16))).toBe(true);
  });

  it('corrects the highest timestamp', () => {
    const stamped = restamp({ baseOffset: 0, leaderEpoch: 1, maxTimestamp: 3333 });
    expect(stamped.maxTimestamp).toBe(3333);
    expect(stamped.isLogAppendTime).toBe(false);
    expect(stamped.crc).not.toBe(RecordBatch.at(original)!.crc);
  });

  it('gives all records the time of the append', () => {
    const stamped = restamp({ baseOffset: 0, leaderEpoch: 1, maxTimestamp: 5000, logAppendTime: true });
    expect(stamped.isLogAppendTime).toBe(true);
    expect(readRecords(stamped).map(({ timestamp }) => timestamp)).toEqual([5000, 5000, 5000]);
  });

  it('is a header and nothing else', () => {
    expect(stampedHeader(RecordBatch.at(original)!, { baseOffset: 0, leaderEpoch: 0 }).length).toBe(
      RECORD_BATCH_HEADER_BYTES,
    );
  });
});

describe('findByTimestamp()', () => {
  const batch = RecordBatch.at(encodeRecordBatch(three, { baseOffset: 10 }))!;

  it('gives the first record in the order of offsets that is late enough', () => {
    expect(findByTimestamp(batch, 0)).toEqual({ offset: 10, timestamp: 1000 });
    expect(findByTimestamp(batch, 1500)).toEqual({ offset: 11, timestamp: 3000 });
    expect(findByTimestamp(batch, 1500, 12)).toEqual({ offset: 12, timestamp: 2000 });
    expect(findByTimestamp(batch, 3001)).toBeUndefined();
    expect(findByTimestamp(batch, 0, 13)).toBeUndefined();
  });

  it('finds the highest timestamp', () => {
    expect(findMaxTimestamp(batch)).toEqual({ offset: 11, timestamp: 3000 });
  });
});

describe('compressed records, which nobody looked at before', () => {
  /** One record whose byte at `position` (2 timestamp delta, 3 offset delta; zig-zag) was changed before it was compressed. */
  const tampered = (timestamp: number, position: number, value: number) => {
    const compress = (bytes: Uint8Array): Uint8Array => {
      const changed = Uint8Array.from(bytes);
      changed[position] = value;
      return gzipSync(changed);
    };
    return RecordBatch.at(
      encodeRecordBatch([{ timestamp, value: text('v') }], { baseOffset: 10, compression: { codec: 1, compress } }),
    )!;
  };

  it('give no offset outside of their batch, and no timestamp that cannot be sent', () => {
    expect(findByTimestamp(tampered(1000, 3, 0), 1000)).toEqual({ offset: 10, timestamp: 1000 });
    for (const value of [1, 2, 39]) {
      expect(() => findByTimestamp(tampered(1000, 3, value), 1000)).toThrow(ProtocolError);
      expect(() => readRecords(tampered(1000, 3, value))).toThrow(ProtocolError);
    }
    expect(() => findByTimestamp(tampered(Number.MAX_SAFE_INTEGER, 2, 2), 1000)).toThrow(ProtocolError);
  });
});
