/**
 * Owns the bytes of one message on a peer stream: the protobuf `Frame` of peer.proto. A payload, which is nearly every
 * frame, is written as field header + pieces with one copy and read as a view of the received buffer; only the frames of
 * the handshake become protobuf objects.
 */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { type Frame, FrameSchema } from './peer_pb.ts';

/** Pieces of a payload, or a frame of the handshake. */
export type OutgoingFrame = readonly Uint8Array[] | Frame;
/** A payload, or a frame of the handshake. */
export type IncomingFrame = Uint8Array | Frame;

/** Field 1 (`payload`), length-delimited. */
const PAYLOAD_TAG = 0x0a;
/** Tag and a length of up to 2^31. */
export const PAYLOAD_HEADER_BYTES_MAX = 6;

export function isPayload(frame: IncomingFrame): frame is Uint8Array {
  return frame instanceof Uint8Array;
}

/** A frame of the handshake. */
export function handshakeFrame(content: Exclude<Frame['content'], { case: 'payload' }>): Frame {
  return create(FrameSchema, { content });
}

export function encodeFrame(frame: OutgoingFrame): Buffer {
  if (!isPieces(frame)) {
    const bytes = toBinary(FrameSchema, frame);
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }
  let length = 0;
  for (const piece of frame) length += piece.length;
  const headerLength = 1 + varintLength(length);
  const buffer = Buffer.allocUnsafe(headerLength + length);
  buffer[0] = PAYLOAD_TAG;
  let position = 1;
  for (let rest = length; ; rest >>>= 7) {
    if (rest < 0x80) {
      buffer[position++] = rest;
      break;
    }
    buffer[position++] = (rest & 0x7f) | 0x80;
  }
  for (const piece of frame) {
    buffer.set(piece, position);
    position += piece.length;
  }
  return buffer;
}

/** Throws on bytes that are no frame; grpc-js then ends the stream. */
export function decodeFrame(bytes: Buffer): IncomingFrame {
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
