import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { arbitraryCommand } from '../../../test/fakes/metadata-commands.ts';
import { decodeMetadataCommand, encodeMetadataCommand } from './metadata-command.ts';

describe('metadata commands', () => {
  test('come back from their bytes as they were', () => {
    fc.assert(
      fc.property(arbitraryCommand, (command) => {
        expect(decodeMetadataCommand(Buffer.concat(encodeMetadataCommand(command)))).toEqual(command);
      }),
    );
  });

  test('of an unknown version or kind, cut short or with bytes left over, are never applied', () => {
    const bytes = Buffer.concat(encodeMetadataCommand({ kind: 'allocateProducerIds', count: 1000 }));
    const changed = (position: number, value: number): Buffer => {
      const copy = Buffer.from(bytes);
      copy[position] = value;
      return copy;
    };
    expect(() => decodeMetadataCommand(changed(0, 2))).toThrow('format version 2');
    expect(() => decodeMetadataCommand(changed(1, 99))).toThrow('kind 99');
    expect(() => decodeMetadataCommand(Buffer.concat([bytes, Buffer.from([0])]))).toThrow('1 bytes too many');
    for (let length = 0; length < bytes.length; length++) {
      expect(() => decodeMetadataCommand(bytes.subarray(0, length))).toThrow();
    }
  });
});
