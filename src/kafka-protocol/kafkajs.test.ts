import { createRequire } from 'node:module';
import { describe, expect, it } from 'vitest';
import { decodeRequest } from './headers.ts';
import { inspectBatch } from './inspect-batch.ts';
import { produceApi } from './messages/produce.ts';
import { readRecords } from './records.ts';

interface KafkajsRequest {
  readonly apiKey: number;
}
interface KafkajsMessage {
  readonly value: string;
  readonly timestamp?: string;
}

const require = createRequire(import.meta.url);
const produceV7: (options: object) => KafkajsRequest = require('kafkajs/src/protocol/requests/produce/v7/request.js');
const encode: (options: object) => Promise<{ readonly buffer: Buffer }> = require('kafkajs/src/protocol/request.js');

/** A Produce request as kafkajs puts it on the wire, without its size. */
async function frameOf(messages: readonly KafkajsMessage[], compression: number): Promise<Buffer> {
  const partitions = [{ partition: 2, firstSequence: 0, messages }];
  const request = produceV7({ acks: -1, timeout: 1000, compression, topicData: [{ topic: 'orders', partitions }] });
  const { buffer } = await encode({ correlationId: 9, clientId: 'kafkajs', request });
  return buffer.subarray(4);
}

const cases: readonly (readonly [string, readonly KafkajsMessage[], number])[] = [
  ['without timestamps', [{ value: 'one' }, { value: 'two' }], 0],
  [
    'in order',
    [
      { value: 'one', timestamp: '1700000000000' },
      { value: 'two', timestamp: '1700000000005' },
    ],
    1700000000005,
  ],
  [
    'of different lengths, which it sorts as strings',
    ['9', '10', '1', '5'].map((timestamp) => ({ value: 'v', timestamp })),
    10,
  ],
  // Only the first is counted in the header; the second gets the time of the client.
  ['on some records only', [{ value: 'old', timestamp: '1500000000000' }, { value: 'now' }], 0],
];

describe('a Produce request of kafkajs', () => {
  for (const [what, messages, expected] of cases) {
    for (const [codecName, codec] of [
      ['uncompressed', 0],
      ['gzip', 1],
    ] as const) {
      it(`with timestamps ${what} is understood (${codecName})`, async () => {
        const { header, body } = decodeRequest(produceApi, await frameOf(messages, codec));
        expect(header).toEqual({ apiKey: 0, apiVersion: 7, correlationId: 9, clientId: 'kafkajs' });
        const partition = body.topicData[0]!.partitionData[0]!;
        expect(partition.index).toBe(2);
        const inspection = inspectBatch(partition.records, {
          produceVersion: header.apiVersion,
          batchBytesMax: 1_000_000,
          decompressedBytesMax: 1_000_000,
          logAppendTime: false,
        });
        if (inspection.kind === 'refused') throw new Error(inspection.message);
        const records = readRecords(inspection.batch);
        expect(records.map(({ value }) => Buffer.from(value!).toString())).toEqual(messages.map(({ value }) => value));
        const max = Math.max(...records.map(({ timestamp }) => timestamp));
        expect(inspection.maxTimestamp).toBe(max);
        if (expected !== 0) expect(max).toBe(expected);
      });
    }
  }
});
