/**
 * A view on one record batch of format 2, and the header that a broker gives it.
 *
 *      0 baseOffset i64 · 8 batchLength i32 (bytes behind it) · 12 partitionLeaderEpoch i32 · 16 magic i8 = 2 · 17 crc u32
 *     21 attributes i16 · 23 lastOffsetDelta i32 · 27 baseTimestamp i64 · 35 maxTimestamp i64 · 43 producerId i64
 *     51 producerEpoch i16 · 53 baseSequence i32 · 57 recordsCount i32 · 61 records
 *     attributes: bits 0-2 codec · 3 timestamp type · 4 transactional · 5 control · 6 delete horizon
 *
 * The CRC-32C covers bytes 21 to the end: base offset and leader epoch are stamped without touching it. The view never
 * writes to the bytes it is on.
 */
import { assert } from '../std/assert.ts';
import { crc32c } from '../std/crc32c.ts';
import { ProtocolError } from './protocol-error.ts';

export const RECORD_BATCH_HEADER_BYTES = 61;
/** Base offset and length: what stands in front of the bytes that `batchLength` counts. */
const LENGTH_OVERHEAD_BYTES = 12;
const MAGIC = 2;
const CRC_START = 21;

const CODEC_MASK = 0x07;
const LOG_APPEND_TIME = 0x08;
const TRANSACTIONAL = 0x10;
const CONTROL = 0x20;

/** Bits of `attributes` that a producer may set: codec, timestamp type, transactional, control. */
export const KNOWN_ATTRIBUTES = CODEC_MASK | LOG_APPEND_TIME | TRANSACTIONAL | CONTROL;
/** Timestamp of a record or batch that has none. */
export const NO_TIMESTAMP = -1;
/** Producer id of a batch whose producer is not idempotent. */
export const NO_PRODUCER_ID = -1;

/**
 * One batch. The 64-bit getters are exact for every value that a broker accepts; of a hostile batch they may be rounded, so
 * whoever takes batches from clients checks them first (`inspectBatch`).
 */
export class RecordBatch {
  /** All bytes of the batch and no others. */
  readonly bytes: Uint8Array;
  readonly #view: DataView;

  private constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /**
   * The batch that starts at `position`, or undefined when `bytes` end before it does. Throws {@link ProtocolError} when
   * what is there cannot be a batch of format 2. Nothing but length and magic is checked.
   */
  static at(bytes: Uint8Array, position = 0): RecordBatch | undefined {
    const available = bytes.length - position;
    if (available < RECORD_BATCH_HEADER_BYTES) return undefined;
    const view = new DataView(bytes.buffer, bytes.byteOffset + position, RECORD_BATCH_HEADER_BYTES);
    const sizeBytes = LENGTH_OVERHEAD_BYTES + view.getInt32(8);
    if (sizeBytes < RECORD_BATCH_HEADER_BYTES) throw new ProtocolError(`Record batch of ${sizeBytes} bytes`);
    const magic = view.getInt8(16);
    if (magic !== MAGIC) throw new ProtocolError(`Record batch with magic ${magic}`);
    if (sizeBytes > available) return undefined;
    return new RecordBatch(bytes.subarray(position, position + sizeBytes));
  }

  get sizeBytes(): number {
    return this.bytes.length;
  }

  get baseOffset(): number {
    return this.#int64(0);
  }

  /** Offset of the last record; stays what it was when compaction removes that record. */
  get lastOffset(): number {
    return this.baseOffset + this.lastOffsetDelta;
  }

  get leaderEpoch(): number {
    return this.#view.getInt32(12);
  }

  get crc(): number {
    return this.#view.getUint32(17);
  }

  get attributes(): number {
    return this.#view.getInt16(CRC_START);
  }

  /** Number of the compression codec, see `compression.ts`. */
  get codec(): number {
    return this.attributes & CODEC_MASK;
  }

  /** True when all records have `maxTimestamp` as their timestamp, the time of the append. */
  get isLogAppendTime(): boolean {
    return (this.attributes & LOG_APPEND_TIME) !== 0;
  }

  get isTransactional(): boolean {
    return (this.attributes & TRANSACTIONAL) !== 0;
  }

  get isControl(): boolean {
    return (this.attributes & CONTROL) !== 0;
  }

  get lastOffsetDelta(): number {
    return this.#view.getInt32(23);
  }

  get baseTimestamp(): number {
    return this.#int64(27);
  }

  get maxTimestamp(): number {
    return this.#int64(35);
  }

  get producerId(): number {
    return this.#int64(43);
  }

  get producerEpoch(): number {
    return this.#view.getInt16(51);
  }

  get baseSequence(): number {
    return this.#view.getInt32(53);
  }

  get recordCount(): number {
    return this.#view.getInt32(57);
  }

  /** The records as they are in the batch, compressed if `codec` says so. */
  get records(): Uint8Array {
    return this.bytes.subarray(RECORD_BATCH_HEADER_BYTES);
  }

  isCrcValid(): boolean {
    return crc32c(this.bytes.subarray(CRC_START)) === this.crc;
  }

  #int64(at: number): number {
    return this.#view.getInt32(at) * 0x1_0000_0000 + this.#view.getUint32(at + 4);
  }
}

/**
 * The batches of a `records` field or a piece of a log, in order. Ends at a batch that is cut short: a fetch response may
 * end in one. Throws {@link ProtocolError} where the bytes are no batch.
 */
export function* iterateBatches(bytes: Uint8Array): Generator<RecordBatch, void, undefined> {
  for (let position = 0; position < bytes.length; ) {
    const batch = RecordBatch.at(bytes, position);
    if (batch === undefined) return;
    yield batch;
    position += batch.sizeBytes;
  }
}

export interface Stamp {
  /** Offset of the first record. */
  readonly baseOffset: number;
  readonly leaderEpoch: number;
  /** The true maximum, where the producer's is wrong. With `logAppendTime` the time of the append. */
  readonly maxTimestamp?: number | undefined;
  /** Gives every record the timestamp `maxTimestamp`. */
  readonly logAppendTime?: boolean | undefined;
}

/**
 * A header of its own for `batch`, to be written in front of {@link RecordBatch.records}: the bytes that were proposed are
 * never changed (DECISIONS W7). The CRC is computed anew only if timestamps change.
 */
export function stampedHeader(batch: RecordBatch, stamp: Stamp): Uint8Array {
  const { baseOffset, leaderEpoch, maxTimestamp, logAppendTime = false } = stamp;
  assert(Number.isSafeInteger(baseOffset) && baseOffset >= 0, `Base offset ${baseOffset}`);
  assert(!logAppendTime || maxTimestamp !== undefined, 'The time of the append is needed');
  // Not `slice`: on a Buffer that is a view, and the proposed bytes would be overwritten.
  const header = new Uint8Array(RECORD_BATCH_HEADER_BYTES);
  header.set(batch.bytes.subarray(0, RECORD_BATCH_HEADER_BYTES));
  const view = new DataView(header.buffer);
  setInt64(view, 0, baseOffset);
  view.setInt32(12, leaderEpoch);
  const changesTime = maxTimestamp !== undefined && maxTimestamp !== batch.maxTimestamp;
  const changesType = logAppendTime !== batch.isLogAppendTime;
  if (!changesTime && !changesType) return header;
  if (changesTime) setInt64(view, 35, maxTimestamp);
  if (changesType) view.setInt16(CRC_START, batch.attributes ^ LOG_APPEND_TIME);
  view.setUint32(17, crc32c(batch.records, crc32c(header.subarray(CRC_START))));
  return header;
}

export interface BatchHeader {
  readonly baseOffset?: number | undefined;
  readonly leaderEpoch?: number | undefined;
  readonly codec?: number | undefined;
  readonly isLogAppendTime?: boolean | undefined;
  readonly isTransactional?: boolean | undefined;
  readonly isControl?: boolean | undefined;
  readonly lastOffsetDelta: number;
  readonly baseTimestamp: number;
  readonly maxTimestamp: number;
  readonly producerId?: number | undefined;
  readonly producerEpoch?: number | undefined;
  readonly baseSequence?: number | undefined;
  readonly recordCount: number;
}

/** Writes a header in front of the records that `bytes` hold from {@link RECORD_BATCH_HEADER_BYTES} on. */
export function writeBatchHeader(bytes: Uint8Array, header: BatchHeader): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  setInt64(view, 0, header.baseOffset ?? 0);
  view.setInt32(8, bytes.length - LENGTH_OVERHEAD_BYTES);
  view.setInt32(12, header.leaderEpoch ?? -1);
  view.setInt8(16, MAGIC);
  view.setInt16(
    CRC_START,
    (header.codec ?? 0) |
      (header.isLogAppendTime ? LOG_APPEND_TIME : 0) |
      (header.isTransactional ? TRANSACTIONAL : 0) |
      (header.isControl ? CONTROL : 0),
  );
  view.setInt32(23, header.lastOffsetDelta);
  setInt64(view, 27, header.baseTimestamp);
  setInt64(view, 35, header.maxTimestamp);
  setInt64(view, 43, header.producerId ?? NO_PRODUCER_ID);
  view.setInt16(51, header.producerEpoch ?? -1);
  view.setInt32(53, header.baseSequence ?? -1);
  view.setInt32(57, header.recordCount);
  view.setUint32(17, crc32c(bytes.subarray(CRC_START)));
}

function setInt64(view: DataView, at: number, value: number): void {
  assert(Number.isSafeInteger(value), `Value ${value} is not a safe integer`);
  view.setInt32(at, Math.floor(value / 0x1_0000_0000));
  view.setUint32(at + 4, value >>> 0);
}
