/**
 * LZ4 frame decoder.
 *
 *     frame: 04 22 4D 18, FLG, BD, [content size u64], [dictionary id u32], header checksum u8, blocks, end mark 0,
 *            [content checksum u32];  block: u32 size (top bit: stored as is), data, [checksum u32]; little-endian
 *
 * Promises: never more output than the limit, memory that follows what was really decoded, and {@link ProtocolError} for
 * everything that is not LZ4. The frame's own checksums are not verified: the batch around it has a CRC-32C.
 */
import { ProtocolError } from './protocol-error.ts';
import { copyLiteral, copyWithin } from './snappy.ts';

const MAGIC = 0x184d2204;
const MATCH_BYTES_MIN = 4;
const OUTPUT_BYTES_FIRST_MAX = 256 * 1024;

export function decompressLz4(input: Uint8Array, outputBytesMax: number): Uint8Array {
  return new Lz4Decoder(input, outputBytesMax).decode();
}

class Lz4Decoder {
  readonly #input: Uint8Array;
  readonly #view: DataView;
  readonly #outputBytesMax: number;
  #from = 0;
  #output: Uint8Array;
  #to = 0;

  constructor(input: Uint8Array, outputBytesMax: number) {
    this.#input = input;
    this.#view = new DataView(input.buffer, input.byteOffset, input.byteLength);
    this.#outputBytesMax = outputBytesMax;
    this.#output = new Uint8Array(Math.min(outputBytesMax, OUTPUT_BYTES_FIRST_MAX, input.length * 4));
  }

  decode(): Uint8Array {
    const { blockBytesMax, independent, blockChecksum } = this.#frameHeader();
    for (;;) {
      const word = this.#uint32();
      if (word === 0) return this.#output.subarray(0, this.#to);
      const size = word & 0x7fff_ffff;
      if (size > blockBytesMax || size > this.#input.length - this.#from) throw malformed(`a block of ${size} bytes`);
      const blockStart = this.#to;
      const end = this.#from + size;
      if (word > 0x7fff_ffff) this.#literal(size);
      else this.#block(end, independent ? blockStart : 0);
      if (this.#to - blockStart > blockBytesMax) throw malformed(`a block that gives ${this.#to - blockStart} bytes`);
      if (blockChecksum) this.#skip(4);
    }
  }

  #frameHeader(): { blockBytesMax: number; independent: boolean; blockChecksum: boolean } {
    if (this.#uint32() !== MAGIC) throw malformed('no frame');
    this.#skip(2);
    const flags = this.#input[this.#from - 2]!;
    const sizeCode = (this.#input[this.#from - 1]! >>> 4) & 7;
    if (flags >>> 6 !== 1) throw malformed(`version ${flags >>> 6}`);
    if (sizeCode < 4) throw malformed(`block size code ${sizeCode}`);
    if ((flags & 0x01) !== 0) throw malformed('a dictionary is needed');
    this.#skip((flags & 0x08) === 0 ? 1 : 9);
    return {
      blockBytesMax: 1 << (8 + 2 * sizeCode),
      independent: (flags & 0x20) !== 0,
      blockChecksum: (flags & 0x10) !== 0,
    };
  }

  /** Sequences of literals and a match each; the last one has literals only. `history` is where matches may begin. */
  #block(end: number, history: number): void {
    const input = this.#input;
    while (this.#from < end) {
      const token = input[this.#from++]!;
      const literalBytes = this.#length(token >>> 4, end);
      if (literalBytes > end - this.#from) throw malformed(`${literalBytes} literals`);
      this.#literal(literalBytes);
      if (this.#from === end) return;
      if (end - this.#from < 2) throw malformed('a match is cut');
      const distance = input[this.#from]! | (input[this.#from + 1]! << 8);
      this.#from += 2;
      const matchBytes = this.#length(token & 15, end) + MATCH_BYTES_MIN;
      if (distance === 0 || distance > this.#to - history) throw malformed(`a match ${distance} back`);
      this.#reserve(matchBytes);
      copyWithin(this.#output, this.#to, distance, matchBytes);
      this.#to += matchBytes;
    }
  }

  /** A four-bit length that goes on in further bytes when it is 15. */
  #length(nibble: number, end: number): number {
    if (nibble !== 15) return nibble;
    let length = nibble;
    for (;;) {
      if (this.#from >= end) throw malformed('a length is cut');
      const byte = this.#input[this.#from++]!;
      length += byte;
      if (byte !== 255) return length;
    }
  }

  #literal(length: number): void {
    this.#reserve(length);
    copyLiteral(this.#input, this.#from, this.#output, this.#to, length);
    this.#from += length;
    this.#to += length;
  }

  #reserve(length: number): void {
    const needed = this.#to + length;
    if (needed <= this.#output.length) return;
    if (needed > this.#outputBytesMax)
      throw new ProtocolError(`Decompression gives more than ${this.#outputBytesMax} bytes`);
    const larger = new Uint8Array(Math.min(this.#outputBytesMax, Math.max(needed, this.#output.length * 2)));
    larger.set(this.#output.subarray(0, this.#to));
    this.#output = larger;
  }

  #uint32(): number {
    this.#skip(4);
    return this.#view.getUint32(this.#from - 4, true);
  }

  #skip(length: number): void {
    if (length > this.#input.length - this.#from) throw malformed('it ends early');
    this.#from += length;
  }
}

function malformed(what: string): ProtocolError {
  return new ProtocolError(`Malformed LZ4 data: ${what}`);
}
