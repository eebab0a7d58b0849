/**
 * A cursor over bytes from the wire, with the protocol's primitive encodings (big-endian).
 *
 * Promises: reads nothing beyond the end it was given, allocates nothing a length field asks for before that length was
 * checked against the bytes that are there, and throws {@link ProtocolError} and nothing else.
 */
import { isUtf8 } from 'node:buffer';
import { ProtocolError } from './protocol-error.ts';

/** Kafka's limit for any string on the wire, compact ones included. */
export const STRING_BYTES_MAX = 0x7fff;
/**
 * Objects and strings one message may decode to. A struct of two empty fields is three bytes on the wire and fifty times
 * that on the heap: without this limit a frame of 100 MB could take all memory of the broker.
 */
export const ELEMENTS_MAX = 1 << 18;
/** The zero UUID, which stands for "none", in Kafka's base64url form. */
export const ZERO_UUID = 'AAAAAAAAAAAAAAAAAAAAAA';

const EMPTY = new Uint8Array(0);

export class ByteReader {
  readonly bytes: Uint8Array;
  position: number;
  end: number;
  readonly #view: DataView;
  readonly #buffer: Buffer;
  readonly #elementsMax: number;
  #elementsLeft: number;

  /** `elementsMax` is only raised for bytes that we wrote ourselves. */
  constructor(bytes: Uint8Array, position = 0, end = bytes.length, elementsMax = ELEMENTS_MAX) {
    this.#elementsMax = elementsMax;
    this.#elementsLeft = elementsMax;
    this.bytes = bytes;
    this.position = position;
    this.end = end;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get remaining(): number {
    return this.end - this.position;
  }

  int8(): number {
    return this.#view.getInt8(this.#take(1));
  }

  int16(): number {
    return this.#view.getInt16(this.#take(2));
  }

  int32(): number {
    return this.#view.getInt32(this.#take(4));
  }

  uint32(): number {
    return this.#view.getUint32(this.#take(4));
  }

  /** A 64-bit integer that must be exact as a number: real offsets, timestamps and ids are far below 2^53. */
  int64(): number {
    const at = this.#take(8);
    const value = this.#view.getInt32(at) * 0x1_0000_0000 + this.#view.getUint32(at + 4);
    if (!Number.isSafeInteger(value)) throw new ProtocolError('64-bit integer outside of the supported range');
    return value;
  }

  /** A 64-bit integer, cut to the safe integers. */
  bound64(): number {
    const at = this.#take(8);
    const value = this.#view.getInt32(at) * 0x1_0000_0000 + this.#view.getUint32(at + 4);
    return Math.min(Math.max(value, Number.MIN_SAFE_INTEGER), Number.MAX_SAFE_INTEGER);
  }

  bool(): boolean {
    return this.#view.getInt8(this.#take(1)) !== 0;
  }

  /** 16 bytes as 22 characters of base64url without padding, as Kafka prints a UUID. */
  uuid(): string {
    const at = this.#take(16);
    return this.#buffer.toString('base64url', at, at + 16);
  }

  /** Unsigned varint of at most 32 bits; not zig-zag. */
  uvarint(): number {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.#view.getUint8(this.#take(1));
      if (shift === 28 && byte > 0x0f) break;
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value >>> 0;
    }
    throw new ProtocolError('Varint longer than 32 bits');
  }

  /** `length` bytes as a view, not a copy: it lives as long as the frame does. */
  view(length: number): Uint8Array {
    if (length === 0) return EMPTY;
    const at = this.#take(length);
    return this.bytes.subarray(at, at + length);
  }

  /** A string of `length` bytes of UTF-8. */
  utf8(length: number): string {
    if (length === 0) return '';
    if (length > STRING_BYTES_MAX)
      throw new ProtocolError(`String of ${length} bytes is longer than ${STRING_BYTES_MAX}`);
    const at = this.#take(length);
    const buffer = this.#buffer;
    const end = at + length;
    let seen = 0;
    for (let index = at; index < end; index++) seen |= buffer[index]!;
    if (seen < 0x80) return buffer.toString('latin1', at, end);
    if (!isUtf8(buffer.subarray(at, end))) throw new ProtocolError('String is not valid UTF-8');
    return buffer.toString('utf8', at, end);
  }

  /** Classic length prefix of a string: −1 is null. */
  stringLength(): number {
    return this.#checkedLength(this.int16());
  }

  /** Classic length prefix of bytes: −1 is null. */
  bytesLength(): number {
    return this.#checkedLength(this.int32());
  }

  /** Compact length prefix of a string or of bytes, which is stored plus one: −1 is null. */
  compactLength(): number {
    return this.#checkedLength(this.uvarint() - 1);
  }

  /** Classic array count, −1 is null; refused if that many elements of `elementBytesMin` cannot be there. */
  arrayCount(elementBytesMin: number): number {
    return this.#checkedCount(this.int32(), elementBytesMin);
  }

  /** Compact array count, stored plus one. */
  compactArrayCount(elementBytesMin: number): number {
    return this.#checkedCount(this.uvarint() - 1, elementBytesMin);
  }

  /** Charges `count` objects or strings to the limit of this message. */
  charge(count: number): void {
    this.#elementsLeft -= count;
    if (this.#elementsLeft < 0) throw new ProtocolError(`More than ${this.#elementsMax} elements in one message`);
  }

  /** Skips a section of tagged fields none of which is known here. */
  skipTaggedFields(): void {
    let previous = -1;
    for (let left = this.uvarint(); left > 0; left--) {
      previous = this.tag(previous);
      this.skip(this.uvarint());
    }
  }

  /** Next tag of a section; tags ascend, so none can come twice. */
  tag(previous: number): number {
    const tag = this.uvarint();
    if (tag <= previous) throw new ProtocolError(`Tagged field ${tag} after ${previous}`);
    return tag;
  }

  skip(length: number): void {
    this.#take(length);
  }

  #take(length: number): number {
    const at = this.position;
    if (length > this.end - at) throw new ProtocolError(`${length} bytes needed, ${this.end - at} left`);
    this.position = at + length;
    return at;
  }

  #checkedLength(length: number): number {
    if (length < -1) throw new ProtocolError(`Negative length ${length}`);
    if (length > this.remaining) throw new ProtocolError(`Length ${length} with ${this.remaining} bytes left`);
    return length;
  }

  #checkedCount(count: number, elementBytesMin: number): number {
    if (count < -1) throw new ProtocolError(`Negative array count ${count}`);
    if (count * elementBytesMin > this.remaining) {
      throw new ProtocolError(`Array of ${count} elements with ${this.remaining} bytes left`);
    }
    return count;
  }
}
