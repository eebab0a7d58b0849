/**
 * Owns the bytes of one message on a peer stream: the protobuf `Frame` of peer.proto. A payload, which is nearly every
 * frame, is written as field header + pieces with one copy (grpc-js's own) and read as a view of the received buffer; only the frames of
 * the handshake become protobuf objects.
 */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { CHECKSUM_BYTES, seal, unseal, writeChecksum } from './message-checksum.ts';
import { type Frame, FrameSchema } from './peer_pb.ts';

/** Pieces of a payload, or a frame of the handshake. */
export type OutgoingFrame = readonly Uint8Array[] | Frame;
/** A payload, or a frame of the handshake. */
export type IncomingFrame = Uint8Array | Frame;

/** Field 1 (`payload`), length-delimited. */
const PAYLOAD_TAG = 0x0a;
/** Tag and a length of up to 2^31. */
const PAYLOAD_HEADER_BYTES_MAX = 6;
/** What a frame has around its payload. */
export const FRAME_OVERHEAD_BYTES_MAX = PAYLOAD_HEADER_BYTES_MAX + CHECKSUM_BYTES;

export function isPayload(frame: IncomingFrame): frame is Uint8Array {
  return frame instanceof Uint8Array;
}

/** A frame of the handshake. */
export function handshakeFrame(content: Exclude<Frame['content'], { case: 'payload' }>): Frame {
  return create(FrameSchema, { content });
}

/**
 * The frame's bytes, for grpc-js alone: of a payload, what is returned is not a Buffer but knows how to copy itself into one, see {@link PayloadFrame}.
 */
export function encodeFrame(frame: OutgoingFrame): Buffer {
  if (isPieces(frame)) return new PayloadFrame(frame) as unknown as Buffer;
  return seal(toBinary(FrameSchema, frame));
}

/**
 * Stands in for the Buffer that grpc-js expects of a serializer. All it does with one is to ask for its length and to copy it behind the five bytes of gRPC's own header, into memory that
 * it allocates; so the pieces of a payload are copied there, once, instead of into a buffer of ours first. The transport's tests fail if another version of grpc-js asks for more.
 */
class PayloadFrame {
  readonly length: number;
  readonly #pieces: readonly Uint8Array[];
  readonly #payloadLength: number;

  constructor(pieces: readonly Uint8Array[]) {
    let length = 0;
    for (const piece of pieces) length += piece.length;
    this.#pieces = pieces;
    this.#payloadLength = length;
    this.length = 1 + varintLength(length) + length + CHECKSUM_BYTES;
  }

  get byteLength(): number {
    return this.length;
  }

  /** Writes the whole frame to `target` at `start`; returns its length. */
  copy(target: Uint8Array, start = 0): number {
    let position = start;
    target[position++] = PAYLOAD_TAG;
    for (let rest = this.#payloadLength; ; rest >>>= 7) {
      if (rest < 0x80) {
        target[position++] = rest;
        break;
      }
      target[position++] = (rest & 0x7f) | 0x80;
    }
    for (const piece of this.#pieces) {
      target.set(piece, position);
      position += piece.length;
    }
    writeChecksum(target, start, position);
    return position + CHECKSUM_BYTES - start;
  }
}

/** Throws on bytes that are no frame, or not the one that was sent; grpc-js then ends the stream. */
export function decodeFrame(received: Buffer): IncomingFrame {
  const bytes = unseal(received);
  if (bytes[0] === PAYLOAD_TAG) {
    let length = 0;
    for (let position = 1; position < PAYLOAD_HEADER_BYTES_MAX; position++) {
      const byte = bytes[position];
      if (byte === undefined) break;
      length += (byte & 0x7f) * 2 ** (7 * (position - 1));
      if (byte < 0x80) {
        if (length === bytes.length - position - 1) return bytes.subarray(position + 1);
        break;
      }
    }
  }
  const frame = fromBinary(FrameSchema, bytes);
  return frame.content.case === 'payload' ? frame.content.value : frame;
}

function isPieces(frame: OutgoingFrame): frame is readonly Uint8Array[] {
  return Array.isArray(frame);
}

function varintLength(value: number): number {
  let length = 1;
  for (let rest = value; rest >= 0x80; rest >>>= 7) length++;
  return length;
}
