import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { crc32c, crc32cPortable } from './crc32c.ts';

const ascii = (text: string) => Buffer.from(text, 'latin1');

describe('crc32c()', () => {
  // The check value of the CRC catalogue and the vectors of RFC 3720, appendix B.4.
  const vectors: readonly (readonly [string, Uint8Array, number])[] = [
    ['nothing', new Uint8Array(0), 0],
    ['the catalogue check string', ascii('123456789'), 0xe3069283],
    ['32 zero bytes', new Uint8Array(32), 0x8a9136aa],
    ['32 bytes of ones', new Uint8Array(32).fill(0xff), 0x62a8ab43],
    ['32 ascending bytes', Uint8Array.from({ length: 32 }, (_, at) => at), 0x46dd794e],
    ['32 descending bytes', Uint8Array.from({ length: 32 }, (_, at) => 31 - at), 0x113fdb5c],
  ];
  for (const [name, bytes, expected] of vectors) {
    it(`matches the published checksum of ${name}`, () => {
      expect(crc32c(bytes)).toBe(expected);
      expect(crc32cPortable(bytes)).toBe(expected);
    });
  }

  it('gives the same checksum natively and portably, whole or in pieces', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 700, size: 'max' }), fc.nat(), (bytes, at) => {
        const cut = bytes.length === 0 ? 0 : at % bytes.length;
        const whole = crc32c(bytes);
        expect(crc32cPortable(bytes)).toBe(whole);
        expect(crc32c(bytes.subarray(cut), crc32c(bytes.subarray(0, cut)))).toBe(whole);
        expect(crc32cPortable(bytes.subarray(cut), crc32cPortable(bytes.subarray(0, cut)))).toBe(whole);
      }),
    );
  });

  it('reads only the view it is given', () => {
    const backing = Buffer.from('xxxx123456789yyyy', 'latin1');
    expect(crc32c(new Uint8Array(backing.buffer, backing.byteOffset + 4, 9))).toBe(0xe3069283);
  });
});
