import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { crc32c } from '../std/crc32c.ts';
import { Codec } from './compression.ts';
import { ErrorCode } from './error-codes.ts';
import { type InspectionLimits, inspectBatch } from './inspect-batch.ts';
import { type BatchOptions, encodeRecordBatch, type NewRecord } from './records.ts';

const LIMITS: InspectionLimits = {
  produceVersion: 9,
  batchBytesMax: 1_048_588,
  decompressedBytesMax: 1024 * 1024,
  logAppendTime: false,
};
const records: readonly NewRecord[] = [
  { timestamp: 1_700_000_000_000, value: Buffer.from('one') },
  { timestamp: 1_700_000_000_005, value: Buffer.from('two') },
  { timestamp: 1_700_000_000_003, value: Buffer.from('three') },
];
const gzip = { codec: Codec.gzip, compress: (bytes: Uint8Array) => gzipSync(bytes) };

/** A batch whose header `change` was applied to, with the checksum that belongs to it. */
function batchWith(change: (bytes: Buffer) => void, options: BatchOptions = {}): Buffer {
  const bytes = Buffer.from(encodeRecordBatch(records, options));
  change(bytes);
  bytes.writeUInt32BE(crc32c(bytes.subarray(21)), 17);
  return bytes;
}

function codeOf(bytes: Uint8Array | null, limits: Partial<InspectionLimits> = {}): number {
  const inspection = inspectBatch(bytes, { ...LIMITS, ...limits });
  return inspection.kind === 'refused' ? inspection.errorCode : ErrorCode.NONE;
}

function maxOf(bytes: Uint8Array, limits: Partial<InspectionLimits> = {}): number {
  const inspection = inspectBatch(bytes, { ...LIMITS, ...limits });
  if (inspection.kind === 'refused') throw new Error(inspection.message);
  return inspection.maxTimestamp;
}

describe('inspectBatch()', () => {
  it('accepts what clients send', () => {
    expect(codeOf(encodeRecordBatch(records))).toBe(ErrorCode.NONE);
    expect(codeOf(encodeRecordBatch(records, { producerId: 3, producerEpoch: 0, baseSequence: 0 }))).toBe(
      ErrorCode.NONE,
    );
    expect(codeOf(encodeRecordBatch(records, { producerId: -1, producerEpoch: 0, baseSequence: 0 }))).toBe(
      ErrorCode.NONE,
    );
    expect(codeOf(encodeRecordBatch(records, { compression: gzip }))).toBe(ErrorCode.NONE);
    expect(codeOf(encodeRecordBatch(records, { baseOffset: 1 }))).toBe(ErrorCode.NONE);
  });

  const hundred = { compression: gzip, leaderEpoch: 0 } as const;
  const refusals: readonly (readonly [string, Uint8Array | null, number, Partial<InspectionLimits>?])[] = [
    ['null', null, ErrorCode.INVALID_RECORD],
    ['no bytes', new Uint8Array(0), ErrorCode.INVALID_RECORD],
    ['a cut batch', encodeRecordBatch(records).subarray(0, -1), ErrorCode.INVALID_RECORD],
    ['a cut header', encodeRecordBatch(records).subarray(0, 60), ErrorCode.INVALID_RECORD],
    ['two batches', Buffer.concat([encodeRecordBatch(records), encodeRecordBatch(records)]), ErrorCode.INVALID_RECORD],
    ['a batch above the limit', encodeRecordBatch(records), ErrorCode.MESSAGE_TOO_LARGE, { batchBytesMax: 80 }],
    ['an older format', batchWith((bytes) => bytes.writeInt8(1, 16)), ErrorCode.INVALID_RECORD],
    ['no records', batchWith((bytes) => bytes.writeInt32BE(0, 57)), ErrorCode.INVALID_RECORD],
    ['too few records', batchWith((bytes) => bytes.writeInt32BE(2, 57)), ErrorCode.INVALID_RECORD],
    [
      'fewer records than are there',
      batchWith((bytes) => {
        bytes.writeInt32BE(2, 57);
        bytes.writeInt32BE(1, 23);
      }),
      ErrorCode.INVALID_RECORD,
    ],
    [
      'more records than fit',
      batchWith((bytes) => {
        bytes.writeInt32BE(0x7fffffff, 57);
        bytes.writeInt32BE(0x7ffffffe, 23);
      }),
      ErrorCode.INVALID_RECORD,
    ],
    [
      'more records than can be compressed into it',
      batchWith(
        (bytes) => {
          bytes.writeInt32BE(0x7fffffff, 57);
          bytes.writeInt32BE(0x7ffffffe, 23);
        },
        { compression: gzip },
      ),
      ErrorCode.INVALID_RECORD,
    ],
    ['control records', encodeRecordBatch(records, { isControl: true }), ErrorCode.INVALID_RECORD],
    ['a delete horizon', batchWith((bytes) => bytes.writeInt16BE(0x40, 21)), ErrorCode.INVALID_RECORD],
    ['the time of the append', batchWith((bytes) => bytes.writeInt16BE(0x08, 21)), ErrorCode.INVALID_TIMESTAMP],
    ['an unknown codec', batchWith((bytes) => bytes.writeInt16BE(5, 21)), ErrorCode.UNSUPPORTED_COMPRESSION_TYPE],
    [
      'early zstd',
      batchWith((bytes) => bytes.writeInt16BE(4, 21)),
      ErrorCode.UNSUPPORTED_COMPRESSION_TYPE,
      { produceVersion: 6 },
    ],
    [
      'an id without sequence',
      encodeRecordBatch(records, { producerId: 3, producerEpoch: 0 }),
      ErrorCode.INVALID_RECORD,
    ],
    ['an id without epoch', encodeRecordBatch(records, { producerId: 3, baseSequence: 0 }), ErrorCode.INVALID_RECORD],
    ['a huge timestamp', batchWith((bytes) => bytes.fill(0x7f, 35, 43)), ErrorCode.INVALID_TIMESTAMP],
    ['a late record', encodeRecordBatch(records), ErrorCode.INVALID_TIMESTAMP, { timestampMaxMs: 1_700_000_000_004 }],
    ['an early record', encodeRecordBatch(records), ErrorCode.INVALID_TIMESTAMP, { timestampMinMs: 1_700_000_000_001 }],
    // The second record's offset delta: behind the header and the 11 bytes of the first record, at its fourth byte.
    ['a wrong offset delta', batchWith((bytes) => (bytes[61 + 10 + 3] = 8)), ErrorCode.INVALID_RECORD],
    ['a wrong record length', batchWith((bytes) => (bytes[61] = 10)), ErrorCode.INVALID_RECORD],
    [
      'damaged gzip in doubt',
      batchWith((bytes) => bytes.fill(0, 61), hundred),
      ErrorCode.INVALID_RECORD,
      { produceVersion: 7 },
    ],
    [
      'a bomb in doubt',
      encodeRecordBatch(records, hundred),
      ErrorCode.INVALID_RECORD,
      { produceVersion: 7, decompressedBytesMax: 20 },
    ],
  ];
  for (const [what, bytes, errorCode, limits] of refusals) {
    it(`refuses ${what}`, () => expect(codeOf(bytes, limits)).toBe(errorCode));
  }

  it('accepts as many records as compress best', () => {
    const alike = Array.from({ length: 60_000 }, () => ({ timestamp: 1_700_000_000_000 }));
    expect(codeOf(encodeRecordBatch(alike, { compression: gzip }))).toBe(ErrorCode.NONE);
    // One record of zeros, at the limit of what deflate can do.
    const zeros = encodeRecordBatch([{ timestamp: 1, value: Buffer.alloc(8_000_000) }], { compression: gzip });
    expect(codeOf(zeros)).toBe(ErrorCode.NONE);
  });

  it('refuses every changed byte, with CORRUPT_MESSAGE where the checksum shows it', () => {
    const good = encodeRecordBatch(records);
    for (let at = 17; at < good.length; at++) {
      const bytes = Uint8Array.from(good);
      bytes[at]! ^= 1;
      expect(codeOf(bytes)).toBe(ErrorCode.CORRUPT_MESSAGE);
    }
  });

  it('finds the true highest timestamp of uncompressed records', () => {
    for (const wrong of [-1, 1_700_000_000_000, 1_800_000_000_000]) {
      expect(maxOf(batchWith((bytes) => bytes.writeBigInt64BE(BigInt(wrong), 35)))).toBe(1_700_000_000_005);
    }
  });

  it('looks into compressed records where the highest timestamp is in doubt, and only there', () => {
    const wrongMax = (max: number, leaderEpoch: number) =>
      batchWith((bytes) => bytes.writeBigInt64BE(BigInt(max), 35), { compression: gzip, leaderEpoch });
    // sarama: no maximum
    expect(maxOf(wrongMax(-1, -1))).toBe(1_700_000_000_005);
    // kafkajs: a plausible one
    expect(maxOf(wrongMax(1_700_000_000_001, 0), { produceVersion: 7 })).toBe(1_700_000_000_005);
    // a producer that is believed
    expect(maxOf(wrongMax(1_700_000_000_009, 0), { produceVersion: 8 })).toBe(1_700_000_000_009);
    expect(maxOf(wrongMax(1_700_000_000_009, -1), { produceVersion: 7 })).toBe(1_700_000_000_009);
    // with the time of the append nobody needs it
    expect(codeOf(wrongMax(-1, -1), { logAppendTime: true, decompressedBytesMax: 1 })).toBe(ErrorCode.NONE);
  });
});
