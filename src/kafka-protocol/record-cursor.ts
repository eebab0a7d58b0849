/**
 * Walks the (uncompressed) records of a batch without allocating anything per record.
 *
 *     record: varint length, int8 attributes, varlong timestampDelta, varint offsetDelta,
 *             varint keyLength (-1 null) key, varint valueLength (-1 null) value,
 *             varint headerCount, each varint keyLength key, varint valueLength (-1 null) value
 *
 * All varints are zig-zag. Promises: every length is checked against the record it is in and every record against the
 * batch; throws {@link ProtocolError} and nothing else; work is linear in the bytes.
 */
import { ProtocolError } from './protocol-error.ts';

/** Length and six fields of a byte each: no record is shorter. */
export const RECORD_BYTES_MIN = 7;

export interface RecordHeader {
  readonly key: string;
  readonly value: Uint8Array | null;
}

export class RecordCursor {
  /** Of the current record, relative to the batch. */
  timestampDelta = 0;
  offsetDelta = 0;
  readonly #bytes: Uint8Array;
  readonly #count: number;
  #index = -1;
  #position = 0;
  /** End of what may be read now: the current record, or everything between two records. */
  #end: number;
  #keyStart = 0;
  #keyLength = -1;
  #valueStart = 0;
  #valueLength = -1;
  #headersStart = 0;

  /** `records` must hold exactly `count` records. */
  constructor(records: Uint8Array, count: number) {
    if (count * RECORD_BYTES_MIN > records.length) {
      throw new ProtocolError(`${count} records cannot be in ${records.length} bytes`);
    }
    this.#bytes = records;
    this.#count = count;
    this.#end = records.length;
  }

  /** Number of the current record in the batch. */
  get index(): number {
    return this.#index;
  }

  get key(): Uint8Array | null {
    return this.#slice(this.#keyStart, this.#keyLength);
  }

  get value(): Uint8Array | null {
    return this.#slice(this.#valueStart, this.#valueLength);
  }

  /** Moves to the next record; false behind the last one. */
  next(): boolean {
    if (++this.#index >= this.#count) {
      if (this.#position !== this.#bytes.length) {
        throw new ProtocolError(`${this.#bytes.length - this.#position} bytes behind the last record`);
      }
      return false;
    }
    this.#end = this.#bytes.length;
    const length = this.#varint();
    const end = this.#position + length;
    if (length < 0 || end > this.#end) throw new ProtocolError(`Record of ${length} bytes`);
    this.#end = end;
    this.#skip(1);
    this.timestampDelta = this.#varlong();
    this.offsetDelta = this.#varint();
    this.#keyLength = this.#varint();
    this.#keyStart = this.#position;
    this.#skip(this.#keyLength);
    this.#valueLength = this.#varint();
    this.#valueStart = this.#position;
    this.#skip(this.#valueLength);
    this.#headersStart = this.#position;
    // Most records have none: a zero at the very end.
    if (this.#position !== end - 1 || this.#bytes[this.#position] !== 0) this.#skipHeaders();
    else this.#position = end;
    if (this.#position !== end) throw new ProtocolError(`${end - this.#position} bytes too many in a record`);
    return true;
  }

  /** Headers of the current record; allocates, unlike everything else here. */
  headers(): RecordHeader[] {
    const bytes = this.#bytes;
    const position = this.#position;
    this.#position = this.#headersStart;
    const headers: RecordHeader[] = [];
    for (let left = this.#varint(); left > 0; left--) {
      const keyLength = this.#varint();
      const key = Buffer.from(bytes.buffer, bytes.byteOffset + this.#position, keyLength).toString('utf8');
      this.#skip(keyLength);
      const valueLength = this.#varint();
      headers.push({ key, value: this.#slice(this.#position, valueLength) });
      this.#skip(valueLength);
    }
    this.#position = position;
    return headers;
  }

  #skipHeaders(): void {
    const count = this.#varint();
    // Two lengths of a byte each: no header is shorter.
    if (count < 0 || count * 2 > this.#end - this.#position) throw new ProtocolError(`${count} headers in a record`);
    for (let left = count; left > 0; left--) {
      const keyLength = this.#varint();
      if (keyLength < 0) throw new ProtocolError('Record header without key');
      this.#skip(keyLength);
      this.#skip(this.#varint());
    }
  }

  #slice(start: number, length: number): Uint8Array | null {
    return length === -1 ? null : this.#bytes.subarray(start, start + length);
  }

  /** Skips `length` bytes; −1 stands for null and skips none. */
  #skip(length: number): void {
    if (length < -1 || length > this.#end - this.#position) throw new ProtocolError(`Length ${length} in a record`);
    if (length > 0) this.#position += length;
  }

  #byte(): number {
    const at = this.#position;
    if (at >= this.#end) throw new ProtocolError('Record ends early');
    this.#position = at + 1;
    return this.#bytes[at]!;
  }

  #varint(): number {
    const byte = this.#byte();
    return byte < 0x80 ? (byte >>> 1) ^ -(byte & 1) : this.#longerVarint(byte & 0x7f);
  }

  /** Apart, so that the common case is small enough to be inlined. */
  #longerVarint(low: number): number {
    let value = low;
    for (let shift = 7; shift < 35; shift += 7) {
      const byte = this.#byte();
      if (shift === 28 && byte > 0x0f) break;
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return (value >>> 1) ^ -(value & 1);
    }
    throw new ProtocolError('Varint longer than 32 bits in a record');
  }

  #varlong(): number {
    const byte = this.#byte();
    return byte < 0x80 ? (byte >>> 1) ^ -(byte & 1) : this.#longerVarlong(byte & 0x7f);
  }

  #longerVarlong(low: number): number {
    let value = low;
    let factor = 0x80;
    for (let length = 2; length <= 10; length++) {
      const byte = this.#byte();
      value += (byte & 0x7f) * factor;
      factor *= 0x80;
      if (byte >= 0x80) continue;
      if (value > Number.MAX_SAFE_INTEGER) break;
      return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
    }
    throw new ProtocolError('Varlong outside of the supported range in a record');
  }
}
