/**
 * Builds a message as a list of buffers: small fields are packed, large byte strings (record batches on their way out) are
 * referenced and never copied, so whoever sends the list must not change them until they are sent.
 */
import { assert } from '../std/assert.ts';
import { STRING_BYTES_MAX } from './byte-reader.ts';

const BUFFER_BYTES_FIRST = 512;
const BUFFER_BYTES_MAX = 64 * 1024;
/** Byte strings from this size on are referenced; below it a copy is cheaper than one more buffer for the socket. */
const REFERENCE_BYTES_MIN = 1024;

export class ByteWriter {
  readonly #chunks: Uint8Array[] = [];
  #chunkBytes = 0;
  #buffer: Buffer;
  /** First byte of the current buffer that is not yet in a chunk. */
  #start = 0;
  #position = 0;

  constructor(sizeHintBytes = BUFFER_BYTES_FIRST) {
    this.#buffer = Buffer.allocUnsafe(sizeHintBytes);
  }

  /** Bytes written so far. */
  get sizeBytes(): number {
    return this.#chunkBytes + this.#position - this.#start;
  }

  int8(value: number): void {
    assert((value << 24) >> 24 === value, `Value ${value} is not an int8`);
    this.#byte(value);
  }

  int16(value: number): void {
    assert((value << 16) >> 16 === value, `Value ${value} is not an int16`);
    const at = this.#take(2);
    this.#buffer[at] = value >> 8;
    this.#buffer[at + 1] = value;
  }

  int32(value: number): void {
    assert((value | 0) === value, `Value ${value} is not an int32`);
    this.#word(this.#take(4), value);
  }

  uint32(value: number): void {
    assert(value >>> 0 === value, `Value ${value} is not a uint32`);
    this.#word(this.#take(4), value);
  }

  int64(value: number): void {
    assert(Number.isSafeInteger(value), `Value ${value} is not a safe integer`);
    const at = this.#take(8);
    this.#word(at, Math.floor(value / 0x1_0000_0000));
    this.#word(at + 4, value >>> 0);
  }

  bool(value: boolean): void {
    this.#byte(value ? 1 : 0);
  }

  /** The 16 bytes of a UUID given as 22 characters of base64url. */
  uuid(value: string): void {
    const raw = Buffer.from(value, 'base64url');
    assert(raw.length === 16, `Value ${value} is not a UUID`);
    const at = this.#take(16);
    this.#buffer.set(raw, at);
  }

  /** Unsigned varint; not zig-zag. */
  uvarint(value: number): void {
    assert(value >>> 0 === value, `Value ${value} is not a uint32`);
    while (value >= 0x80) {
      this.#byte((value & 0x7f) | 0x80);
      value >>>= 7;
    }
    this.#byte(value);
  }

  /** Length prefix (int16) and UTF-8. */
  string(value: string): void {
    const length = this.#stringBytes(value);
    this.int16(length);
    this.#utf8(value, length);
  }

  /** Length prefix (uvarint, plus one) and UTF-8. */
  compactString(value: string): void {
    const length = this.#stringBytes(value);
    this.uvarint(length + 1);
    this.#utf8(value, length);
  }

  /** Appends `bytes`; large ones by reference. */
  raw(bytes: Uint8Array): void {
    if (bytes.length < REFERENCE_BYTES_MIN) {
      const at = this.#take(bytes.length);
      this.#buffer.set(bytes, at);
      return;
    }
    this.#cut();
    this.#chunks.push(bytes);
    this.#chunkBytes += bytes.length;
  }

  /** Everything written, in order. The writer must not be used afterwards. */
  finish(): Uint8Array[] {
    this.#cut();
    return this.#chunks;
  }

  #stringBytes(value: string): number {
    const length = Buffer.byteLength(value);
    assert(length <= STRING_BYTES_MAX, `String of ${length} bytes is longer than ${STRING_BYTES_MAX}`);
    return length;
  }

  #utf8(value: string, length: number): void {
    const at = this.#take(length);
    this.#buffer.write(value, at, length, length === value.length ? 'latin1' : 'utf8');
  }

  #byte(value: number): void {
    const at = this.#take(1);
    this.#buffer[at] = value;
  }

  #word(at: number, value: number): void {
    const buffer = this.#buffer;
    buffer[at] = value >> 24;
    buffer[at + 1] = value >> 16;
    buffer[at + 2] = value >> 8;
    buffer[at + 3] = value;
  }

  /** Makes room for `length` bytes and gives their position in `#buffer`, which may be another one from here on. */
  #take(length: number): number {
    let at = this.#position;
    if (at + length > this.#buffer.length) {
      this.#cut();
      this.#buffer = Buffer.allocUnsafe(Math.max(length, Math.min(this.#buffer.length * 2, BUFFER_BYTES_MAX)));
      this.#start = 0;
      at = 0;
    }
    this.#position = at + length;
    return at;
  }

  #cut(): void {
    if (this.#position === this.#start) return;
    const chunk = this.#buffer.subarray(this.#start, this.#position);
    this.#chunks.push(chunk);
    this.#chunkBytes += chunk.length;
    this.#start = this.#position;
  }
}
