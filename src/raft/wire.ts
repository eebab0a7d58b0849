/**
 * Owns the bytes of peer messages at the lowest level: a writer that makes a message of pieces (large payloads stay the views they are, small ones are
 * copied between the headers) and a bounds-checked reader that gives views. Numbers are unsigned LEB128 up to 2^53 − 1.
 */
import { assert } from '../std/assert.ts';

/** Bytes of a peer that are not a message. The link is ended; nothing of the message is used. */
export class WireError extends Error {
  override name = 'WireError';
}

/** Payloads below this size are copied: a piece of its own costs more than the copy. */
const VIEW_BYTES_MIN = 1024;
const BLOCK_BYTES = 8192;
const textEncoder = new TextEncoder();
const textDecoder = new TextDecoder('utf-8', { fatal: true });

export class WireWriter {
  #block: Uint8Array;
  #at = 0;
  /** Start of what was written into the block and is not yet a piece. */
  #from = 0;
  #pieces: Uint8Array[] = [];
  #piecesBytes = 0;

  constructor(firstBlockBytes = 1024) {
    // From Node's pool: most messages are small, and memory of their own would cost more than their bytes do.
    this.#block = Buffer.allocUnsafe(firstBlockBytes);
  }

  /** Bytes written so far. */
  get sizeBytes(): number {
    return this.#piecesBytes + this.#at - this.#from;
  }

  byte(value: number): this {
    this.#reserve(1);
    this.#block[this.#at++] = value;
    return this;
  }

  flag(value: boolean): this {
    return this.byte(value ? 1 : 0);
  }

  /** A safe integer ≥ 0. */
  number(value: number): this {
    assert(Number.isSafeInteger(value) && value >= 0, `Not an unsigned safe integer: ${value}`);
    this.#reserve(8);
    const block = this.#block;
    while (value >= 0x8000_0000) {
      block[this.#at++] = (value % 128) + 128;
      value = Math.floor(value / 128);
    }
    while (value >= 0x80) {
      block[this.#at++] = (value & 0x7f) | 0x80;
      value >>>= 7;
    }
    block[this.#at++] = value;
    return this;
  }

  uint32(value: number): this {
    this.#reserve(4);
    const block = this.#block;
    block[this.#at++] = value >>> 24;
    block[this.#at++] = value >>> 16;
    block[this.#at++] = value >>> 8;
    block[this.#at++] = value;
    return this;
  }

  text(value: string): this {
    return this.bytes([textEncoder.encode(value)]);
  }

  /** Length and content; the content may be given in pieces, which are shared, not copied, when large. */
  bytes(content: readonly Uint8Array[]): this {
    let length = 0;
    for (const piece of content) length += piece.length;
    this.number(length);
    for (const piece of content) this.#raw(piece);
    return this;
  }

  /** The message. The writer cannot be used afterwards. */
  finish(): Uint8Array[] {
    this.#cut();
    return this.#pieces;
  }

  #raw(piece: Uint8Array): void {
    if (piece.length >= VIEW_BYTES_MIN) {
      this.#cut();
      this.#pieces.push(piece);
      this.#piecesBytes += piece.length;
      return;
    }
    this.#reserve(piece.length);
    this.#block.set(piece, this.#at);
    this.#at += piece.length;
  }

  #reserve(length: number): void {
    if (this.#at + length <= this.#block.length) return;
    this.#cut();
    this.#block = new Uint8Array(Math.max(BLOCK_BYTES, length));
    this.#at = 0;
    this.#from = 0;
  }

  #cut(): void {
    if (this.#at === this.#from) return;
    this.#pieces.push(this.#block.subarray(this.#from, this.#at));
    this.#piecesBytes += this.#at - this.#from;
    this.#from = this.#at;
  }
}

export class WireReader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get remainingBytes(): number {
    return this.#bytes.length - this.#at;
  }

  byte(): number {
    if (this.#at >= this.#bytes.length) throw new WireError('A message ends too early');
    return this.#bytes[this.#at++]!;
  }

  flag(): boolean {
    const value = this.byte();
    if (value > 1) throw new WireError(`Not a flag: ${value}`);
    return value === 1;
  }

  number(): number {
    let value = 0;
    let scale = 1;
    for (let length = 1; ; length++) {
      const byte = this.byte();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) break;
      if (length === 8) throw new WireError('A number is too long');
      scale *= 128;
    }
    if (!Number.isSafeInteger(value)) throw new WireError('A number is too large');
    return value;
  }

  /** How many of something follow; `bytesEach` is the least that one of them takes, so a lie about it cannot make anybody allocate. */
  count(bytesEach: number): number {
    const count = this.number();
    if (count * bytesEach > this.remainingBytes) throw new WireError(`A message is too short for ${count} items`);
    return count;
  }

  uint32(): number {
    return ((this.byte() << 24) | (this.byte() << 16) | (this.byte() << 8) | this.byte()) >>> 0;
  }

  /** A view of the message. */
  bytes(): Uint8Array {
    const length = this.count(1);
    const view = this.#bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    return view;
  }

  text(): string {
    try {
      return textDecoder.decode(this.bytes());
    } catch (error) {
      throw new WireError('Text is not UTF-8', { cause: error });
    }
  }

  /** Asserts that everything was read. */
  end(): void {
    if (this.remainingBytes > 0) throw new WireError(`${this.remainingBytes} bytes follow the end of a message`);
  }
}
