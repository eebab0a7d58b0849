/**
 * The few header fields of a stored record batch that the partition needs, read at a position inside of a page, a file read or a command without making an object.
 *
 * Everything here trusts its bytes: what comes from a client was validated by kafka-protocol/record-batch before it was proposed, what comes from a file is checked by
 * {@link storedBatchFlaw} before it is believed.
 */
import { crc32c } from '../../std/crc32c.ts';

/** Bytes of a record batch v2 before its records. */
export const BATCH_HEADER_BYTES = 61;
/** Bytes of base offset and length, which the length field does not count. */
export const BATCH_OVERHEAD_BYTES = 12;

const LENGTH_AT = 8;
const LEADER_EPOCH_AT = 12;
const MAGIC_AT = 16;
const CRC_AT = 17;
const ATTRIBUTES_AT = 21;
const LAST_OFFSET_DELTA_AT = 23;
const MAX_TIMESTAMP_AT = 35;
const PRODUCER_ID_AT = 43;
const PRODUCER_EPOCH_AT = 51;
const BASE_SEQUENCE_AT = 53;
const RECORD_COUNT_AT = 57;
const LOG_APPEND_TIME_BIT = 0x08;

export function readInt32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
}

export function readInt64(bytes: Uint8Array, at: number): number {
  return readInt32(bytes, at) * 0x1_0000_0000 + (readInt32(bytes, at + 4) >>> 0);
}

export function writeInt32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >> 24;
  bytes[at + 1] = value >> 16;
  bytes[at + 2] = value >> 8;
  bytes[at + 3] = value;
}

export function writeInt64(bytes: Uint8Array, at: number, value: number): void {
  writeInt32(bytes, at, Math.floor(value / 0x1_0000_0000));
  writeInt32(bytes, at + 4, value >>> 0);
}

export const storedBaseOffset = (bytes: Uint8Array, at: number): number => readInt64(bytes, at);
/** Whole size of the batch that starts at `at`. */
export const storedSizeBytes = (bytes: Uint8Array, at: number): number =>
  readInt32(bytes, at + LENGTH_AT) + BATCH_OVERHEAD_BYTES;
export const storedLeaderEpoch = (bytes: Uint8Array, at: number): number => readInt32(bytes, at + LEADER_EPOCH_AT);
export const storedLastOffsetDelta = (bytes: Uint8Array, at: number): number =>
  readInt32(bytes, at + LAST_OFFSET_DELTA_AT);
/** Offset behind the last record of the batch. */
export const storedNextOffset = (bytes: Uint8Array, at: number): number =>
  readInt64(bytes, at) + readInt32(bytes, at + LAST_OFFSET_DELTA_AT) + 1;
export const storedMaxTimestampMs = (bytes: Uint8Array, at: number): number => readInt64(bytes, at + MAX_TIMESTAMP_AT);
export const storedProducerId = (bytes: Uint8Array, at: number): number => readInt64(bytes, at + PRODUCER_ID_AT);
export const storedProducerEpoch = (bytes: Uint8Array, at: number): number =>
  ((bytes[at + PRODUCER_EPOCH_AT]! << 24) >> 16) | bytes[at + PRODUCER_EPOCH_AT + 1]!;
export const storedBaseSequence = (bytes: Uint8Array, at: number): number => readInt32(bytes, at + BASE_SEQUENCE_AT);
export const storedRecordCount = (bytes: Uint8Array, at: number): number => readInt32(bytes, at + RECORD_COUNT_AT);
export const storedHasLogAppendTime = (bytes: Uint8Array, at: number): boolean =>
  (bytes[at + ATTRIBUTES_AT + 1]! & LOG_APPEND_TIME_BIT) !== 0;

/** Writes what apply alone knows: bytes 0-7 and 12-15, which Kafka's checksum does not cover. */
export function stampStoredBatch(bytes: Uint8Array, at: number, baseOffset: number, leaderEpoch: number): void {
  writeInt64(bytes, at, baseOffset);
  writeInt32(bytes, at + LEADER_EPOCH_AT, leaderEpoch);
}

/** Why the bytes at `at` are not a whole, intact batch that fits before `end`; undefined if they are. */
export function storedBatchFlaw(bytes: Uint8Array, at: number, end: number): string | undefined {
  if (end - at < BATCH_HEADER_BYTES) return `${end - at} bytes are too few for a batch header`;
  const sizeBytes = storedSizeBytes(bytes, at);
  if (sizeBytes < BATCH_HEADER_BYTES || at + sizeBytes > end) return `batch length ${sizeBytes} does not fit`;
  if (bytes[at + MAGIC_AT] !== 2) return `magic is ${bytes[at + MAGIC_AT]}`;
  const stored = readInt32(bytes, at + CRC_AT) >>> 0;
  const computed = crc32c(bytes.subarray(at + ATTRIBUTES_AT, at + sizeBytes));
  if (stored !== computed) return `checksum is ${computed}, stored is ${stored}`;
  return undefined;
}
