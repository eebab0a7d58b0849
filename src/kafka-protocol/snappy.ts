/**
 * Snappy decoder, for raw blocks and for the framing of snappy-java that Kafka's Java clients write:
 *
 *     raw block:  uvarint uncompressed length, then elements (literal, or copy from what was already written)
 *     framing:    82 "SNAPPY" 00, int32 version, int32 compatible version, then [int32 length, raw block]*
 *
 * Promises: never more output than the limit, nothing allocated that the input could not fill, and {@link ProtocolError}
 * for everything that is not snappy.
 */
import { ProtocolError } from './protocol-error.ts';

const FRAMING_MAGIC = Uint8Array.of(0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00);
const FRAMING_HEADER_BYTES = 16;
/** A three-byte copy gives at most 64 bytes: a length claimed above this ratio is a lie. */
const EXPANSION_MAX = 22;

interface Block {
  /** Of the elements, behind the length. */
  readonly start: number;
  readonly end: number;
  readonly outputBytes: number;
}

export function decompressSnappy(input: Uint8Array, outputBytesMax: number): Uint8Array {
  const blocks = isFramed(input) ? framedBlocks(input) : [readBlock(input, 0, input.length)];
  let outputBytes = 0;
  for (const block of blocks) outputBytes += block.outputBytes;
  if (outputBytes > outputBytesMax) {
    throw new ProtocolError(`Decompression gives ${outputBytes} bytes, allowed are ${outputBytesMax}`);
  }
  const output = new Uint8Array(outputBytes);
  let at = 0;
  for (const block of blocks) {
    decodeBlock(input, block, output, at);
    at += block.outputBytes;
  }
  return output;
}

function isFramed(input: Uint8Array): boolean {
  return input.length >= FRAMING_HEADER_BYTES && FRAMING_MAGIC.every((byte, at) => input[at] === byte);
}

function framedBlocks(input: Uint8Array): Block[] {
  const view = new DataView(input.buffer, input.byteOffset, input.byteLength);
  const blocks: Block[] = [];
  let at = FRAMING_HEADER_BYTES;
  while (at < input.length) {
    if (input.length - at < 4) throw malformed('a block length is cut');
    const length = view.getInt32(at);
    at += 4;
    if (length <= 0 || length > input.length - at) throw malformed(`a block of ${length} bytes`);
    blocks.push(readBlock(input, at, at + length));
    at += length;
  }
  return blocks;
}

function readBlock(input: Uint8Array, position: number, end: number): Block {
  let outputBytes = 0;
  let start = position;
  for (let factor = 1; ; factor *= 0x80) {
    if (start >= end || factor > 0x1000_0000) throw malformed('no length');
    const byte = input[start++]!;
    outputBytes += (byte & 0x7f) * factor;
    if (byte < 0x80) break;
  }
  if (outputBytes > (end - start) * EXPANSION_MAX) throw malformed(`${outputBytes} bytes from ${end - start}`);
  return { start, end, outputBytes };
}

function decodeBlock(
  input: Uint8Array,
  { start, end, outputBytes }: Block,
  output: Uint8Array,
  outputStart: number,
): void {
  const outputEnd = outputStart + outputBytes;
  let from = start;
  let to = outputStart;
  while (from < end) {
    const tag = input[from++]!;
    const kind = tag & 3;
    if (kind === 0) {
      let length = (tag >>> 2) + 1;
      if (length > 60) {
        const lengthBytes = length - 60;
        if (lengthBytes > end - from) throw malformed('a literal is cut');
        length = 1;
        for (let index = 0, factor = 1; index < lengthBytes; index++, factor *= 256) length += input[from++]! * factor;
      }
      if (length > end - from || length > outputEnd - to) throw malformed(`a literal of ${length} bytes`);
      copyLiteral(input, from, output, to, length);
      from += length;
      to += length;
      continue;
    }
    let length: number;
    let distance: number;
    if (kind === 1) {
      if (from >= end) throw malformed('a copy is cut');
      length = ((tag >>> 2) & 7) + 4;
      distance = ((tag >>> 5) << 8) | input[from++]!;
    } else {
      const distanceBytes = kind === 2 ? 2 : 4;
      if (distanceBytes > end - from) throw malformed('a copy is cut');
      length = (tag >>> 2) + 1;
      distance = input[from]! | (input[from + 1]! << 8);
      if (kind === 3) distance += input[from + 2]! * 0x1_0000 + input[from + 3]! * 0x100_0000;
      from += distanceBytes;
    }
    if (distance === 0 || distance > to - outputStart || length > outputEnd - to) {
      throw malformed(`a copy of ${length} bytes from ${distance} back`);
    }
    copyWithin(output, to, distance, length);
    to += length;
  }
  if (to !== outputEnd) throw malformed(`${outputEnd - to} bytes are missing`);
}

/** Byte by byte where that is cheaper than the call that copies a range. */
export function copyLiteral(input: Uint8Array, from: number, output: Uint8Array, to: number, length: number): void {
  if (length > 32) output.set(input.subarray(from, from + length), to);
  else for (let index = 0; index < length; index++) output[to + index] = input[from + index]!;
}

/** Repeats `length` bytes from `distance` back; the two ranges may overlap, which repeats a pattern. */
export function copyWithin(output: Uint8Array, to: number, distance: number, length: number): void {
  const from = to - distance;
  if (distance >= length && length > 32) output.copyWithin(to, from, from + length);
  else for (let index = 0; index < length; index++) output[to + index] = output[from + index]!;
}

function malformed(what: string): ProtocolError {
  return new ProtocolError(`Malformed snappy data: ${what}`);
}
