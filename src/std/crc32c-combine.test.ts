import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { crc32c } from './crc32c.ts';
import { crc32cShifted } from './crc32c-combine.ts';

describe('crc32cShifted()', () => {
  it('makes the checksum of a whole from those of its parts', () => {
    const bytes = fc.uint8Array({ maxLength: 700, size: 'max' });
    fc.assert(
      fc.property(bytes, bytes, (a, b) => {
        expect((crc32cShifted(crc32c(a), b.length) ^ crc32c(b)) >>> 0).toBe(crc32c(Buffer.concat([a, b])));
      }),
    );
  });

  it('takes any seed for a part that came before', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 700, size: 'max' }), fc.nat(0xffff_ffff), (bytes, seed) => {
        expect((crc32cShifted(seed, bytes.length) ^ crc32c(bytes)) >>> 0).toBe(crc32c(bytes, seed));
      }),
    );
  });

  it('holds for long parts, whatever was asked before', () => {
    for (const length of [0, 1, 255, 65_536, 65_792, 1_048_577, 16_777_216, 65_536]) {
      const zeros = new Uint8Array(length);
      expect((crc32cShifted(0x1234_5678, length) ^ crc32c(zeros)) >>> 0).toBe(crc32c(zeros, 0x1234_5678));
    }
  });
});
