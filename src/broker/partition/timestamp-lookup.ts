/**
 * ListOffsets by timestamp: time index, then batch headers, then the records of one batch (decompressed within a bound), for the exact record (KAFKA_PROTOCOL 57).
 *
 * Answers a record that is in the log now with its own timestamp, or none. What lies below the log start is not there, also inside of a batch.
 */
import { ProtocolError } from '../../kafka-protocol/protocol-error.ts';
import { RecordBatch } from '../../kafka-protocol/record-batch.ts';
import { findByTimestamp as findInBatch, readRecords } from '../../kafka-protocol/records.ts';
import { assert } from '../../std/assert.ts';
import type { LogSegment } from './log-segment.ts';
import type { TimestampAndOffset } from './partition-log.ts';
import type { SegmentedLog } from './segmented-log.ts';
import { storedMaxTimestampMs, storedSizeBytes } from './stored-batch.ts';

const READ_BYTES = 256 * 1024;

/** First record, in the order of offsets, with a timestamp ≥ `timestampMs`. */
export async function findByTimestamp(log: SegmentedLog, timestampMs: number): Promise<TimestampAndOffset | undefined> {
  for (const segment of [...log.segments]) {
    if (segment.maxTimestampMs < timestampMs || segment.isDropped) continue;
    const found = await findInSegment(log, segment, timestampMs);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** First of the records with the highest timestamp. */
export async function findMaxTimestamp(log: SegmentedLog): Promise<TimestampAndOffset | undefined> {
  let maxTimestampMs = -1;
  for (const [index, segment] of [...log.segments].entries()) {
    if (segment.maxTimestampMs <= maxTimestampMs) continue;
    // The log start may have passed the record that gave the first segment its maximum.
    const isCut = index === 0 && log.startOffset > segment.baseOffset;
    const ofSegment = isCut ? await maxTimestampFrom(log, segment) : segment.maxTimestampMs;
    maxTimestampMs = Math.max(maxTimestampMs, ofSegment);
  }
  return maxTimestampMs < 0 ? undefined : findByTimestamp(log, maxTimestampMs);
}

async function findInSegment(
  log: SegmentedLog,
  segment: LogSegment,
  timestampMs: number,
): Promise<TimestampAndOffset | undefined> {
  const from = await log.offsetBeforeTimestamp(segment, timestampMs);
  return scan(log, from, segment.nextOffset, (bytes, at) => {
    if (storedMaxTimestampMs(bytes, at) < timestampMs) return undefined;
    const batch = batchAt(bytes, at);
    const first = { offset: Math.max(batch.baseOffset, log.startOffset), timestamp: batch.maxTimestamp };
    const found = orIfUnreadable(first, () => findInBatch(batch, timestampMs, log.startOffset));
    if (found === undefined) return undefined;
    return { timestampMs: found.timestamp, offset: found.offset, leaderEpoch: batch.leaderEpoch };
  });
}

/** By the records, where a batch is only partly in the log. */
async function maxTimestampFrom(log: SegmentedLog, segment: LogSegment): Promise<number> {
  let maxTimestampMs = -1;
  await scan(log, log.startOffset, segment.nextOffset, (bytes, at) => {
    const ofBatch = storedMaxTimestampMs(bytes, at);
    if (ofBatch > maxTimestampMs) maxTimestampMs = Math.max(maxTimestampMs, maxTimestampIn(batchAt(bytes, at), log));
    return undefined;
  });
  return maxTimestampMs;
}

function maxTimestampIn(batch: RecordBatch, log: SegmentedLog): number {
  if (batch.baseOffset >= log.startOffset) return batch.maxTimestamp;
  return orIfUnreadable(batch.maxTimestamp, () => {
    let maxTimestampMs = -1;
    for (const { offset, timestamp } of readRecords(batch)) {
      if (offset >= log.startOffset && timestamp > maxTimestampMs) maxTimestampMs = timestamp;
    }
    return maxTimestampMs;
  });
}

function batchAt(bytes: Uint8Array, at: number): RecordBatch {
  const batch = RecordBatch.at(bytes, at);
  assert(batch !== undefined, 'A read of the log gives whole batches');
  return batch;
}

/** Compressed records are stored as they came, unread: a producer may have sent what nobody can decompress. Then the header stands for them. */
function orIfUnreadable<T>(otherwise: T, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof ProtocolError) return otherwise;
    throw error;
  }
}

/** Calls `visit` for each batch that has an offset in [from, end) until it gives something. */
async function scan<T>(
  log: SegmentedLog,
  from: number,
  end: number,
  visit: (bytes: Uint8Array, at: number) => T | undefined,
): Promise<T | undefined> {
  let offset = Math.max(from, log.startOffset);
  while (offset < Math.min(end, log.endOffset)) {
    const read = await log.read(offset, READ_BYTES, true);
    if (read === undefined) {
      // The log start passed the offset while the file was read.
      if (log.startOffset <= offset) return undefined;
      offset = log.startOffset;
      continue;
    }
    for (const piece of read.pieces) {
      for (let at = 0; at < piece.length; at += storedSizeBytes(piece, at)) {
        const result = visit(piece, at);
        if (result !== undefined) return result;
      }
    }
    offset = Math.max(read.nextOffset, log.startOffset);
  }
  return undefined;
}
