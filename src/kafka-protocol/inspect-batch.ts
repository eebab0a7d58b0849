/**
 * What a Produce handler asks about the `records` of one partition before it proposes them: is this exactly one batch that
 * Kafka would take, and what is its true highest timestamp?
 *
 * Header and CRC are always checked. Whether the records are walked too depends on what walking costs and what it can find:
 *
 *  - Uncompressed: always. It costs some 50 ns a record and no allocation, and it proves what readers rely on: as many
 *    records as the header says, offset deltas 0, 1, 2 …, every length inside of its record.
 *  - Compressed: Kafka decompresses each batch and refuses what is not well-formed. Here that would be a third of a core
 *    at 100 MB/s, to find faults that only a broken producer makes and that only readers of its own batches see: the CRC
 *    shows that the bytes are the producer's, and the offsets that a batch takes come from its header, which is checked.
 *    So the header is believed, unless its timestamps are in doubt; and whoever reads compressed records later takes
 *    nothing in them for granted (`records.ts`). The price: a producer that is allowed to write to a topic can store a
 *    batch there which consumers cannot read. Offsets in time (ListOffsets, retention) rest on
 *    `maxTimestamp`, and two clients get it wrong:
 *     - sarama sends −1, recognized by a maximum below the base;
 *     - kafkajs sorts timestamps as strings and forgets the records that have none, so its maximum looks plausible. It
 *       is recognized by leader epoch 0 (Java, franz-go and others send −1) and Produce version ≤ 7, its highest. An old
 *       librdkafka looks the same and is walked in vain, which is slower and never wrong.
 *    A single record cannot have a wrong maximum.
 *
 * With timestamps of the append the producer's do not matter, and compressed batches are never walked.
 */
import { Codec, canDecompress, decompress } from './compression.ts';
import { ErrorCode } from './error-codes.ts';
import { ProtocolError } from './protocol-error.ts';
import { KNOWN_ATTRIBUTES, NO_PRODUCER_ID, RecordBatch } from './record-batch.ts';
import { RECORD_BYTES_MIN, RecordCursor } from './record-cursor.ts';

/** Versions of Produce that kafkajs can send. */
const KAFKAJS_PRODUCE_VERSION_MAX = 7;
const ZSTD_PRODUCE_VERSION_MIN = 7;
/** By codec, the most bytes that one byte can decompress to: deflate's longest match in two bits, snappy's in three bytes, LZ4's length bytes, zstd's block of one repeated byte. */
const EXPANSION_MAX: readonly number[] = [1, 1032, 22, 255, 32_768];

export interface InspectionLimits {
  /** Version of the Produce request. */
  readonly produceVersion: number;
  /** `max.message.bytes`: of the whole batch as it came. */
  readonly batchBytesMax: number;
  /** Most that a batch may decompress to where it has to be walked. */
  readonly decompressedBytesMax: number;
  /** The topic gives records the time of the append. */
  readonly logAppendTime: boolean;
  /** Timestamps outside of these are refused; leave out for no limit. */
  readonly timestampMinMs?: number | undefined;
  readonly timestampMaxMs?: number | undefined;
}

export type Inspection =
  | {
      readonly kind: 'accepted';
      readonly batch: RecordBatch;
      /** Highest timestamp of the records; may differ from the header's, which then has to be stamped. */
      readonly maxTimestamp: number;
    }
  | { readonly kind: 'refused'; readonly errorCode: ErrorCode; readonly message: string };

/** Never throws for anything a client can send; work is linear in the bytes (or in `decompressedBytesMax`). */
export function inspectBatch(records: Uint8Array | null, limits: InspectionLimits): Inspection {
  if (records === null || records.length === 0) return refused(ErrorCode.INVALID_RECORD, 'There is no record batch');
  if (records.length > limits.batchBytesMax) {
    return refused(
      ErrorCode.MESSAGE_TOO_LARGE,
      `Record batch of ${records.length} bytes is larger than ${limits.batchBytesMax}`,
    );
  }
  try {
    const batch = RecordBatch.at(records);
    if (batch === undefined) return refused(ErrorCode.INVALID_RECORD, 'Record batch is cut short');
    return inspect(batch, records.length, limits);
  } catch (error) {
    if (error instanceof ProtocolError) return refused(ErrorCode.INVALID_RECORD, error.message);
    throw error;
  }
}

function inspect(batch: RecordBatch, givenBytes: number, limits: InspectionLimits): Inspection {
  if (!batch.isCrcValid()) return refused(ErrorCode.CORRUPT_MESSAGE, 'Record batch does not match its checksum');
  if (batch.sizeBytes !== givenBytes) return refused(ErrorCode.INVALID_RECORD, 'There is more than one record batch');
  const fault = headerFault(batch, limits);
  if (fault !== undefined) return fault;

  let min = batch.baseTimestamp;
  let max = batch.maxTimestamp;
  if (mustWalk(batch, limits)) {
    const range = walk(batch, limits.decompressedBytesMax);
    min = range.min;
    max = range.max;
  }
  if (!limits.logAppendTime) {
    const { timestampMinMs = Number.NEGATIVE_INFINITY, timestampMaxMs = Number.POSITIVE_INFINITY } = limits;
    if (min < timestampMinMs || max > timestampMaxMs) {
      return refused(
        ErrorCode.INVALID_TIMESTAMP,
        `Timestamps ${min} to ${max} are outside of ${timestampMinMs} to ${timestampMaxMs}`,
      );
    }
  }
  return { kind: 'accepted', batch, maxTimestamp: max };
}

function headerFault(batch: RecordBatch, limits: InspectionLimits): Inspection | undefined {
  const { recordCount, lastOffsetDelta, producerId, codec } = batch;
  if (recordCount <= 0 || lastOffsetDelta !== recordCount - 1) {
    return refused(ErrorCode.INVALID_RECORD, `${recordCount} records with last offset delta ${lastOffsetDelta}`);
  }
  if ((batch.attributes & ~KNOWN_ATTRIBUTES) !== 0) {
    return refused(ErrorCode.INVALID_RECORD, `Attributes ${batch.attributes} are not a producer's`);
  }
  if (batch.isControl) return refused(ErrorCode.INVALID_RECORD, 'Clients cannot write control records');
  if (batch.isLogAppendTime) {
    return refused(ErrorCode.INVALID_TIMESTAMP, 'Only the broker sets the time of the append');
  }
  if (!Number.isSafeInteger(batch.baseTimestamp) || !Number.isSafeInteger(batch.maxTimestamp)) {
    return refused(ErrorCode.INVALID_TIMESTAMP, 'Timestamps are outside of the supported range');
  }
  if (!Number.isSafeInteger(producerId) || producerId < NO_PRODUCER_ID) {
    return refused(ErrorCode.INVALID_RECORD, `Producer id ${producerId}`);
  }
  // kafkajs sends epoch 0 and sequence 0 without an id: the two mean nothing then.
  if (producerId !== NO_PRODUCER_ID && (batch.baseSequence < 0 || batch.producerEpoch < 0)) {
    return refused(
      ErrorCode.INVALID_RECORD,
      `Producer epoch ${batch.producerEpoch} and sequence ${batch.baseSequence} with producer id ${producerId}`,
    );
  }
  if (codec > Codec.zstd || (codec === Codec.zstd && limits.produceVersion < ZSTD_PRODUCE_VERSION_MIN)) {
    return refused(
      ErrorCode.UNSUPPORTED_COMPRESSION_TYPE,
      `Compression codec ${codec} in Produce version ${limits.produceVersion}`,
    );
  }
  // A header that is believed decides how many offsets the batch takes: no more than there can be records in it.
  if (recordCount * RECORD_BYTES_MIN > batch.records.length * EXPANSION_MAX[codec]!) {
    return refused(ErrorCode.INVALID_RECORD, `${recordCount} records cannot be in ${batch.records.length} bytes`);
  }
  if (mustWalk(batch, limits) && !canDecompress(codec)) {
    return refused(ErrorCode.UNSUPPORTED_COMPRESSION_TYPE, `Compression codec ${codec} is not available here`);
  }
  return undefined;
}

function mustWalk(batch: RecordBatch, limits: InspectionLimits): boolean {
  if (batch.codec === Codec.none) return true;
  if (limits.logAppendTime) return false;
  if (batch.maxTimestamp < batch.baseTimestamp) return true;
  return batch.recordCount > 1 && batch.leaderEpoch === 0 && limits.produceVersion <= KAFKAJS_PRODUCE_VERSION_MAX;
}

/** Throws {@link ProtocolError} unless the records are what the header says; gives their lowest and highest timestamp. */
function walk(batch: RecordBatch, decompressedBytesMax: number): { readonly min: number; readonly max: number } {
  const cursor = new RecordCursor(decompress(batch.codec, batch.records, decompressedBytesMax), batch.recordCount);
  let min = Number.POSITIVE_INFINITY;
  let max = Number.NEGATIVE_INFINITY;
  while (cursor.next()) {
    if (cursor.offsetDelta !== cursor.index) {
      throw new ProtocolError(`Record ${cursor.index} has offset delta ${cursor.offsetDelta}`);
    }
    if (cursor.timestampDelta < min) min = cursor.timestampDelta;
    if (cursor.timestampDelta > max) max = cursor.timestampDelta;
  }
  min += batch.baseTimestamp;
  max += batch.baseTimestamp;
  if (!Number.isSafeInteger(min) || !Number.isSafeInteger(max)) {
    throw new ProtocolError('Timestamp outside of the supported range');
  }
  return { min, max };
}

function refused(errorCode: ErrorCode, message: string): Inspection {
  return { kind: 'refused', errorCode, message };
}
