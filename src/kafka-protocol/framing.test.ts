import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FrameParser } from './framing.ts';
import { ProtocolError } from './protocol-error.ts';

function framed(...bodies: readonly Uint8Array[]): Buffer {
  return Buffer.concat(
    bodies.flatMap((body) => {
      const size = Buffer.alloc(4);
      size.writeInt32BE(body.length);
      return [size, body];
    }),
  );
}

function parse(parser: FrameParser, ...chunks: readonly Uint8Array[]): string[] {
  const frames: string[] = [];
  for (const chunk of chunks) parser.push(chunk, (frame) => frames.push(Buffer.from(frame).toString('hex')));
  return frames;
}

describe('FrameParser', () => {
  it('gives the same frames however the stream is cut', () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 12 }),
        fc.array(fc.nat({ max: 200 }), { minLength: 1 }),
        (bodies, lengths) => {
          const stream = framed(...bodies);
          const parser = new FrameParser();
          const frames: string[] = [];
          let cuts = 0;
          for (let at = 0; at < stream.length; ) {
            // Empty chunks are chunks too, but not for ever.
            const length = lengths[cuts++ % lengths.length]! + (cuts > lengths.length ? 1 : 0);
            frames.push(...parse(parser, stream.subarray(at, at + length)));
            at += length;
          }
          expect(frames).toEqual(bodies.map((body) => Buffer.from(body).toString('hex')));
          expect(parser.pendingBytes).toBe(0);
        },
      ),
    );
  });

  it('gives a view of a frame that lies in one chunk', () => {
    const chunk = framed(Buffer.from('one'), Buffer.from('two'));
    const frames: Uint8Array[] = [];
    new FrameParser().push(chunk, (frame) => frames.push(frame));
    expect(frames.map(({ buffer }) => buffer)).toEqual([chunk.buffer, chunk.buffer]);
    expect(frames[1]!.byteOffset).toBe(chunk.byteOffset + 11);
  });

  it('gathers frames larger than what it reserves first', () => {
    const body = Buffer.alloc(3_000_000, 'flotilla');
    const stream = framed(body, Buffer.from('next'));
    const chunks: Buffer[] = [];
    for (let at = 0; at < stream.length; at += 65_536) chunks.push(stream.subarray(at, at + 65_536));
    expect(parse(new FrameParser(), ...chunks)).toEqual([body.toString('hex'), Buffer.from('next').toString('hex')]);
  });

  it('keeps what it emitted when more arrives', () => {
    const parser = new FrameParser();
    const frames: Uint8Array[] = [];
    const [first, second] = [Buffer.alloc(500, 1), Buffer.alloc(500, 2)];
    const stream = framed(first, second);
    for (let at = 0; at < stream.length; at += 100) {
      parser.push(Buffer.from(stream.subarray(at, at + 100)), (frame) => frames.push(frame));
    }
    expect(Buffer.from(frames[0]!).equals(first)).toBe(true);
    expect(Buffer.from(frames[1]!).equals(second)).toBe(true);
  });

  const sizes: readonly (readonly [string, string])[] = [
    ['negative', 'ffffffff'],
    ['above the limit', '00000065'],
    ['that is the start of a TLS hello', '16030100'],
  ];
  for (const [what, size] of sizes) {
    it(`refuses a size ${what}, after the frames before it`, () => {
      const parser = new FrameParser(100);
      const frames: Uint8Array[] = [];
      const chunk = Buffer.concat([framed(Buffer.from('good')), Buffer.from(size, 'hex')]);
      expect(() => parser.push(chunk, (frame) => frames.push(frame))).toThrow(ProtocolError);
      expect(frames.length).toBe(1);
    });
  }

  it('accepts the largest size', () => {
    expect(parse(new FrameParser(100), framed(Buffer.alloc(100))).length).toBe(1);
  });

  it('holds no more memory for an announced frame than arrived, beyond a first step', () => {
    const before = process.memoryUsage().arrayBuffers;
    const parsers = Array.from({ length: 20 }, () => {
      const parser = new FrameParser();
      parser.push(Buffer.from('0600000000', 'hex'), () => undefined);
      return parser;
    });
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(20 * 1.1 * 1024 * 1024);
    expect(parsers[0]!.pendingBytes).toBe(1);
  });
});
