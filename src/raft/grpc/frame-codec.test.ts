import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  decodeFrame,
  encodeFrame,
  handshakeFrame,
  type IncomingFrame,
  isPayload,
  type OutgoingFrame,
} from './frame-codec.ts';
import { seal } from './message-checksum.ts';
import { FrameSchema, HandshakeSchema, RefusalSchema } from './peer_pb.ts';

/** The bytes, as grpc-js asks for them. */
function bytesOf(frame: OutgoingFrame): Buffer {
  const encoded = encodeFrame(frame);
  expect(encoded.byteLength).toBe(encoded.length);
  const bytes = Buffer.alloc(encoded.length + 5);
  expect(encoded.copy(bytes, 5)).toBe(encoded.length);
  return bytes.subarray(5);
}

const payloadOf = (frame: IncomingFrame): Uint8Array => {
  if (!isPayload(frame)) throw new Error('Not a payload');
  return frame;
};

describe('frame codec', () => {
  it('writes what protobuf writes and reads it back, for any pieces', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 5 }), (pieces) => {
        const whole = Buffer.concat(pieces);
        const encoded = bytesOf(pieces);
        const { checksum } = fromBinary(FrameSchema, encoded);
        const content = { case: 'payload', value: whole } as const;
        const reference = toBinary(FrameSchema, create(FrameSchema, { content, checksum }));
        expect(Buffer.compare(encoded, reference)).toBe(0);
        expect(Buffer.compare(payloadOf(decodeFrame(encoded)), whole)).toBe(0);
      }),
    );
  });

  it.each([0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152])('carries %i bytes', (length) => {
    const bytes = Buffer.alloc(length, 7);
    const encoded = bytesOf([bytes]);
    const frame = fromBinary(FrameSchema, encoded);
    expect(frame.content.case).toBe('payload');
    expect(Buffer.compare(payloadOf(decodeFrame(encoded)), bytes)).toBe(0);
  });

  it('reads a payload as a view of the received buffer', () => {
    const encoded = bytesOf([new Uint8Array([1, 2, 3])]);
    expect(payloadOf(decodeFrame(encoded)).buffer).toBe(encoded.buffer);
  });

  it('reads a payload that another writer encoded with a longer length or other fields behind it', () => {
    const long = Buffer.from([0x0a, 0x83, 0x00, 1, 2, 3]);
    expect([...payloadOf(decodeFrame(seal(long)))]).toEqual([1, 2, 3]);
    const unknownField = Buffer.from([0x0a, 0x03, 1, 2, 3, 0x98, 0x06, 0x01]);
    expect([...payloadOf(decodeFrame(seal(unknownField)))]).toEqual([1, 2, 3]);
  });

  it('carries the frames of the handshake', () => {
    const refusal = handshakeFrame({ case: 'refusal', value: create(RefusalSchema, { code: 'x', reason: 'y' }) });
    expect(decodeFrame(bytesOf(refusal))).toEqual(refusal);
    const handshake = handshakeFrame({ case: 'handshake', value: create(HandshakeSchema, { brokerId: 5 }) });
    expect(decodeFrame(bytesOf(handshake))).toEqual(handshake);
  });

  it('throws when any bit was flipped on the way, in payloads and in what brokers say of themselves', () => {
    const handshake = handshakeFrame({
      case: 'handshake',
      value: create(HandshakeSchema, { brokerId: 5, session: 1, incarnation: new Uint8Array(8), clusterId: 'c' }),
    });
    for (const frame of [handshake, [new Uint8Array([1, 2, 3])], []]) {
      const sent = bytesOf(frame);
      for (let bit = 0; bit < sent.length * 8; bit++) {
        const received = Buffer.from(sent);
        received[bit >> 3] = received[bit >> 3]! ^ (1 << (bit & 7));
        expect(() => decodeFrame(received)).toThrow();
      }
    }
    expect(() => decodeFrame(Buffer.alloc(0))).toThrow('no checksum');
  });

  it('throws on bytes that are no frame and never reads beyond them', () => {
    expect(() => decodeFrame(seal(Buffer.from([0x0a, 0x05, 1])))).toThrow();
    expect(() => decodeFrame(seal(Buffer.from([0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])))).toThrow();
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        try {
          const frame = decodeFrame(seal(Buffer.from(bytes)));
          if (isPayload(frame)) expect(frame.length).toBeLessThan(Math.max(1, bytes.length));
        } catch (error) {
          expect(error).toBeInstanceOf(Error);
        }
      }),
    );
  });
});
