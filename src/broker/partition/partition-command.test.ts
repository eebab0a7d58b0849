import { describe, expect, it } from 'vitest';
import { batchesCommand, testBatch } from '../../../test/support/partition-fixture.ts';
import {
  decodePartitionCommand,
  encodeExpireProducers,
  encodeExtensionHeader,
  encodeMoveLogStart,
} from './partition-command.ts';

describe('partition commands', () => {
  it('have fixed bytes', () => {
    expect(Buffer.from(encodeMoveLogStart(1, 0x1_0000_0002)).toString('hex')).toBe(
      '0002' + '0000000000000001' + '0000000100000002',
    );
    expect(Buffer.from(encodeExpireProducers(-1, 3, 4)).toString('hex')).toBe(
      '0003' + 'ffffffffffffffff' + '0000000000000003' + '0000000000000004',
    );
    expect(Buffer.from(batchesCommand([testBatch()], 5)).toString('hex', 0, 14)).toBe(
      '0001' + '0000000000000005' + '00000001',
    );
  });

  it('come back as they were', () => {
    const batches = [testBatch(), testBatch({ records: 3 })];
    expect(decodePartitionCommand(batchesCommand(batches, 77))).toEqual({
      kind: 'batches',
      timeMs: 77,
      count: 2,
      batches: Buffer.concat(batches),
    });
    expect(decodePartitionCommand(encodeMoveLogStart(-1, 9))).toEqual({ kind: 'moveLogStart', timeMs: -1, to: 9 });
    expect(decodePartitionCommand(encodeExpireProducers(8, 7, 6))).toEqual({
      kind: 'expireProducers',
      timeMs: 8,
      beforeMs: 7,
      beforeOffset: 6,
    });
    const body = Uint8Array.of(1, 2, 3);
    expect(decodePartitionCommand(Buffer.concat([encodeExtensionHeader(4), body]))).toEqual({
      kind: 'extension',
      timeMs: 4,
      body: Buffer.from(body),
    });
  });

  it('stop the replica if their version or kind is unknown', () => {
    const command = Buffer.from(encodeMoveLogStart(0, 1));
    expect(() => decodePartitionCommand(Buffer.concat([Uint8Array.of(1), command.subarray(1)]))).toThrow('version 1');
    expect(() => decodePartitionCommand(Buffer.concat([Uint8Array.of(0, 9), command.subarray(2)]))).toThrow('kind 9');
    expect(() => decodePartitionCommand(command.subarray(0, 12))).toThrow('wrong length');
    expect(() => decodePartitionCommand(command.subarray(0, 3))).toThrow('shorter');
  });
});
