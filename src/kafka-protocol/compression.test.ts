import { createRequire } from 'node:module';
import { gzipSync } from 'node:zlib';
import { compress as zstdCompress } from '@cloudpss/zstd';
import fc from 'fast-check';
import { compressFrameSync } from 'lz4-napi';
import { describe, expect, it } from 'vitest';
import { Codec, decompress } from './compression.ts';
import { ProtocolError } from './protocol-error.ts';
import { zstdOutputBytesMax } from './zstd-frame.ts';

// The encoder that kafkajs' snappy plugin uses.
const plugin = createRequire(import.meta.url).resolve('kafkajs-snappy');
const snappyjs: { compress(input: Uint8Array): Uint8Array } = createRequire(plugin)('snappyjs');

/** The framing of snappy-java around blocks of `blockBytes`. */
function snappyFramed(input: Uint8Array, blockBytes = 100): Buffer {
  const chunks = [Buffer.from('82534e41505059000000000100000001', 'hex')];
  for (let at = 0; at < input.length; at += blockBytes) {
    const block = snappyjs.compress(Uint8Array.from(input.subarray(at, at + blockBytes)));
    const length = Buffer.alloc(4);
    length.writeInt32BE(block.length);
    chunks.push(length, Buffer.from(block));
  }
  return Buffer.concat(chunks);
}

const encoders: readonly (readonly [string, Codec, (input: Uint8Array) => Uint8Array])[] = [
  ['gzip', Codec.gzip, (input) => gzipSync(input)],
  ['raw snappy', Codec.snappy, (input) => snappyjs.compress(Uint8Array.from(input))],
  ['framed snappy', Codec.snappy, (input) => snappyFramed(input)],
  ['lz4', Codec.lz4, (input) => compressFrameSync(Buffer.from(input))],
  [
    'lz4 with checksums',
    Codec.lz4,
    (input) => compressFrameSync(Buffer.from(input), { contentChecksum: true, blockChecksums: true }),
  ],
  ['zstd', Codec.zstd, (input) => zstdCompress(input)],
];

/** Bytes with repetitions at many distances, so that copies of all kinds occur. */
const compressible = fc
  .array(fc.tuple(fc.uint8Array({ minLength: 1, maxLength: 80 }), fc.integer({ min: 1, max: 60 })), { maxLength: 40 })
  .map((parts) => Buffer.concat(parts.flatMap(([bytes, times]) => Array.from({ length: times }, () => bytes))));

const ZEROES = new Uint8Array(10_000_000);

describe('decompress()', () => {
  for (const [name, codec, encode] of encoders) {
    it(`undoes ${name}`, () => {
      fc.assert(
        fc.property(compressible, (input) => {
          const output = decompress(codec, encode(input), input.length + 1);
          expect(Buffer.compare(output, input)).toBe(0);
        }),
        { numRuns: 60 },
      );
    });

    it(`undoes ${name} of several blocks`, () => {
      const input = Buffer.from(Array.from({ length: 60_000 }, (_, at) => `${at * 7919} `).join(''));
      expect(Buffer.compare(decompress(codec, encode(input), input.length), input)).toBe(0);
    });

    it(`refuses a bomb of ${name} without the memory it asks for`, () => {
      const bomb = encode(ZEROES);
      const before = process.memoryUsage().arrayBuffers;
      expect(() => decompress(codec, bomb, 200_000)).toThrow(ProtocolError);
      expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2_000_000);
    });

    it(`gives a result within the limit or a ProtocolError for damaged ${name}`, () => {
      fc.assert(
        fc.property(
          compressible,
          fc.array(fc.record({ at: fc.nat(), byte: fc.integer({ min: 0, max: 255 }) }), { maxLength: 4 }),
          fc.nat(),
          (input, changes, cut) => {
            const damaged = Uint8Array.from(encode(input));
            for (const { at, byte } of changes) damaged[at % damaged.length] = byte;
            const bytes = cut % 3 === 0 ? damaged.subarray(0, cut % damaged.length) : damaged;
            try {
              expect(decompress(codec, bytes, 100_000).length).toBeLessThanOrEqual(100_000);
            } catch (error) {
              if (!(error instanceof ProtocolError)) throw error;
            }
          },
        ),
        { numRuns: 300 },
      );
    });
  }

  it('gives uncompressed records as they are, and refuses an unknown codec', () => {
    const input = Uint8Array.of(1, 2, 3);
    expect(decompress(Codec.none, input, 3)).toBe(input);
    expect(() => decompress(Codec.none, input, 2)).toThrow(ProtocolError);
    expect(() => decompress(7, input, 3)).toThrow('Unknown compression codec 7');
  });

  it('undoes an lz4 frame whose blocks refer to each other', () => {
    // Two blocks: six literals "abcdef"; then a match of 4 bytes six back and the literals "!" twice.
    const header = '04224d18' + '40' + '40' + 'c0';
    const first = '07000000' + '60' + '616263646566';
    const second = '06000000' + '00' + '0600' + '20' + '2121';
    const frame = Buffer.from(`${header}${first}${second}00000000`, 'hex');
    expect(Buffer.from(decompress(Codec.lz4, frame, 100)).toString()).toBe('abcdefabcd!!');
    const independent = Buffer.from(frame);
    independent[4] = 0x60;
    expect(() => decompress(Codec.lz4, independent, 100)).toThrow('a match 6 back');
  });

  it('believes no length of snappy that its bytes cannot fill', () => {
    expect(() => decompress(Codec.snappy, Buffer.from('ffffffff0f00', 'hex'), 2 ** 32)).toThrow(ProtocolError);
  });
});

describe('zstdOutputBytesMax()', () => {
  it('is what a frame declares', () => {
    expect(zstdOutputBytesMax(zstdCompress(ZEROES))).toBe(ZEROES.length);
  });

  it('counts blocks where nothing is declared', () => {
    // No content size: a repeated byte 1,000 times, then three bytes as they are.
    const frame = Buffer.from(`28b52ffd0058${'421f00'}78${'190000'}616263`, 'hex');
    expect(zstdOutputBytesMax(frame)).toBe(1003);
    expect(decompress(Codec.zstd, frame, 1003).length).toBe(1003);
    expect(() => decompress(Codec.zstd, frame, 1002)).toThrow('allowed are 1002');
  });

  it('refuses a declared size that the blocks cannot give', () => {
    const frame = Buffer.from(`28b52ffda0${'00000040'}${'190000'}616263`, 'hex');
    expect(() => zstdOutputBytesMax(frame)).toThrow('1073741824 bytes declared, 3 possible');
  });
});
