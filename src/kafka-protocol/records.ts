/**
 * Records of a batch as objects, for whoever wants the records themselves: coordinators that read their own topics, tests,
 * the load generator. The path of a record through the broker never does.
 */
import { decompress } from './compression.ts';
import { ProtocolError } from './protocol-error.ts';
import { NO_TIMESTAMP, RECORD_BATCH_HEADER_BYTES, type RecordBatch, writeBatchHeader } from './record-batch.ts';
import { RecordCursor, type RecordHeader } from './record-cursor.ts';

export interface LogRecord {
  readonly offset: number;
  readonly timestamp: number;
  readonly key: Uint8Array | null;
  readonly value: Uint8Array | null;
  readonly headers: readonly RecordHeader[];
}

/** A record to be written; it gets its offset from its place in the batch. */
export interface NewRecord {
  readonly timestamp: number;
  readonly key?: Uint8Array | null | undefined;
  readonly value?: Uint8Array | null | undefined;
  readonly headers?: readonly RecordHeader[] | undefined;
}

/** Identity of a record in time. */
export interface TimestampedOffset {
  readonly offset: number;
  readonly timestamp: number;
}

/** Most that a batch may decompress to where no other limit is given. */
export const DECOMPRESSED_BYTES_MAX_DEFAULT = 64 * 1024 * 1024;

/** All records of a batch. Keys and values are views on the batch, or on its decompressed form. Throws `ProtocolError`. */
export function readRecords(batch: RecordBatch, decompressedBytesMax = DECOMPRESSED_BYTES_MAX_DEFAULT): LogRecord[] {
  const cursor = openCursor(batch, decompressedBytesMax);
  const records: LogRecord[] = [];
  while (cursor.next()) {
    records.push({
      offset: offsetAt(batch, cursor),
      timestamp: timestampAt(batch, cursor),
      key: cursor.key,
      value: cursor.value,
      headers: cursor.headers(),
    });
  }
  return records;
}

/**
 * The first record, in the order of offsets, whose timestamp is at least `timestamp` and whose offset is at least
 * `offsetMin`; undefined if the batch has none. Throws `ProtocolError`.
 */
export function findByTimestamp(
  batch: RecordBatch,
  timestamp: number,
  offsetMin = 0,
  decompressedBytesMax = DECOMPRESSED_BYTES_MAX_DEFAULT,
): TimestampedOffset | undefined {
  if (batch.maxTimestamp < timestamp || batch.lastOffset < offsetMin) return undefined;
  const cursor = openCursor(batch, decompressedBytesMax);
  while (cursor.next()) {
    const offset = offsetAt(batch, cursor);
    const found = timestampAt(batch, cursor);
    if (found >= timestamp && offset >= offsetMin) return { offset, timestamp: found };
  }
  return undefined;
}

/** The first of the records with the highest timestamp of a batch. Throws `ProtocolError`. */
export function findMaxTimestamp(
  batch: RecordBatch,
  decompressedBytesMax = DECOMPRESSED_BYTES_MAX_DEFAULT,
): TimestampedOffset | undefined {
  return findByTimestamp(batch, batch.maxTimestamp, 0, decompressedBytesMax);
}

export interface BatchOptions {
  readonly baseOffset?: number | undefined;
  readonly leaderEpoch?: number | undefined;
  readonly producerId?: number | undefined;
  readonly producerEpoch?: number | undefined;
  readonly baseSequence?: number | undefined;
  readonly isTransactional?: boolean | undefined;
  readonly isControl?: boolean | undefined;
  /** The codec and the function that belongs to it; without it the records are stored as they are. */
  readonly compression?: { readonly codec: number; compress(bytes: Uint8Array): Uint8Array } | undefined;
}

/** A batch of `records` (at least one), with its CRC. */
export function encodeRecordBatch(records: readonly NewRecord[], options: BatchOptions = {}): Uint8Array {
  const { compression, ...header } = options;
  const baseTimestamp = records[0]?.timestamp ?? NO_TIMESTAMP;
  let maxTimestamp = baseTimestamp;
  for (const { timestamp } of records) if (timestamp > maxTimestamp) maxTimestamp = timestamp;

  const bodies = records.map((record, index) => new RecordLayout(record, record.timestamp - baseTimestamp, index));
  let recordBytes = 0;
  for (const body of bodies) recordBytes += body.sizeBytes;
  let batch: Uint8Array = Buffer.allocUnsafe(RECORD_BATCH_HEADER_BYTES + recordBytes);
  let at = RECORD_BATCH_HEADER_BYTES;
  for (const body of bodies) at = body.write(batch, at);
  if (compression !== undefined) {
    const compressed = compression.compress(batch.subarray(RECORD_BATCH_HEADER_BYTES));
    batch = Buffer.concat([batch.subarray(0, RECORD_BATCH_HEADER_BYTES), compressed]);
  }
  writeBatchHeader(batch, {
    ...header,
    codec: compression?.codec,
    lastOffsetDelta: records.length - 1,
    baseTimestamp,
    maxTimestamp,
    recordCount: records.length,
  });
  return batch;
}

function openCursor(batch: RecordBatch, decompressedBytesMax: number): RecordCursor {
  return new RecordCursor(decompress(batch.codec, batch.records, decompressedBytesMax), batch.recordCount);
}

/** Compressed records are stored as they came (`inspect-batch.ts`): what their producer wrote is checked by whoever reads them. */
function offsetAt(batch: RecordBatch, { offsetDelta }: RecordCursor): number {
  if (offsetDelta < 0 || offsetDelta > batch.lastOffsetDelta) {
    throw new ProtocolError(`Offset delta ${offsetDelta} in a batch that ends at ${batch.lastOffsetDelta}`);
  }
  return batch.baseOffset + offsetDelta;
}

function timestampAt(batch: RecordBatch, cursor: RecordCursor): number {
  if (batch.isLogAppendTime) return batch.maxTimestamp;
  const timestamp = batch.baseTimestamp + cursor.timestampDelta;
  if (!Number.isSafeInteger(timestamp)) throw new ProtocolError('Timestamp outside of the supported range');
  return timestamp;
}

/** Sizes of one record, worked out before anything is written so that a batch is one allocation. */
class RecordLayout {
  /** Of the record with its length in front. */
  readonly sizeBytes: number;
  readonly #bodyBytes: number;
  readonly #key: Uint8Array | null;
  readonly #value: Uint8Array | null;
  readonly #headers: readonly { readonly key: Uint8Array; readonly value: Uint8Array | null }[];
  readonly #timestampDelta: number;
  readonly #offsetDelta: number;

  constructor(record: NewRecord, timestampDelta: number, offsetDelta: number) {
    this.#key = record.key ?? null;
    this.#value = record.value ?? null;
    this.#headers = (record.headers ?? []).map(({ key, value }) => ({ key: Buffer.from(key, 'utf8'), value }));
    this.#timestampDelta = timestampDelta;
    this.#offsetDelta = offsetDelta;
    let body = 1 + varlongBytes(timestampDelta) + varlongBytes(offsetDelta) + varlongBytes(this.#headers.length);
    body += nullableBytes(this.#key) + nullableBytes(this.#value);
    for (const { key, value } of this.#headers) body += nullableBytes(key) + nullableBytes(value);
    this.#bodyBytes = body;
    this.sizeBytes = varlongBytes(body) + body;
  }

  /** Writes the record at `at`; gives the position behind it. */
  write(to: Uint8Array, at: number): number {
    at = writeVarlong(to, at, this.#bodyBytes);
    to[at++] = 0;
    at = writeVarlong(to, at, this.#timestampDelta);
    at = writeVarlong(to, at, this.#offsetDelta);
    at = writeNullable(to, at, this.#key);
    at = writeNullable(to, at, this.#value);
    at = writeVarlong(to, at, this.#headers.length);
    for (const { key, value } of this.#headers) at = writeNullable(to, writeNullable(to, at, key), value);
    return at;
  }
}

/** Non-negative for every safe integer: 0, −1, 1, −2 … become 0, 1, 2, 3 … */
function zigZag(value: number): number {
  return value >= 0 ? value * 2 : -value * 2 - 1;
}

function varlongBytes(value: number): number {
  let bytes = 1;
  for (let rest = zigZag(value); rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes++;
  return bytes;
}

function writeVarlong(to: Uint8Array, at: number, value: number): number {
  let rest = zigZag(value);
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) to[at++] = (rest % 0x80) | 0x80;
  to[at++] = rest;
  return at;
}

function nullableBytes(bytes: Uint8Array | null): number {
  return bytes === null ? 1 : varlongBytes(bytes.length) + bytes.length;
}

function writeNullable(to: Uint8Array, at: number, bytes: Uint8Array | null): number {
  at = writeVarlong(to, at, bytes === null ? -1 : bytes.length);
  if (bytes !== null) {
    to.set(bytes, at);
    at += bytes.length;
  }
  return at;
}
