/**
 * Reads whole record batches of one segment from its file, and believes none of them before it was checked: length, magic, contiguity, checksum, leader epoch (the bytes that
 * Kafka's checksum leaves out are covered by the last two). What does not fit is damage, reported and never served (RELIABILITY D4).
 */
import { DiskError, type DiskFile } from '../../std/disk.ts';
import type { EpochTable } from './epoch-table.ts';
import type { FileUse } from './file-pool.ts';
import type { LogSegment } from './log-segment.ts';
import { PartitionDamageError } from './partition-damage-error.ts';
import type { PartitionResources } from './partition-resources.ts';
import { OffsetIndex, type TimeEntry, TimeIndex } from './sparse-index.ts';
import {
  BATCH_HEADER_BYTES,
  storedBaseOffset,
  storedBatchFlaw,
  storedLeaderEpoch,
  storedMaxTimestampMs,
  storedNextOffset,
  storedSizeBytes,
} from './stored-batch.ts';

const WINDOW_BYTES_MIN = 32 * 1024;
const WINDOW_BYTES_MAX = 1024 * 1024;
/** An index entry stands this far before what is looked for, more or less. */
const SEEK_BYTES = 8 * 1024;

type Shared = Pick<PartitionResources, 'files' | 'indexes'>;

/** A run of whole batches. */
export interface SegmentRead {
  readonly bytes: Uint8Array;
  /** Offset behind the last record of the run. */
  readonly nextOffset: number;
}

/**
 * Batches from the one that contains `offset` (which must be in the written part) on: at most `maxBytes`, but one at least if `atLeastOne`. Empty if the first one is too large; undefined if the
 * segment was dropped and its file is gone. Nothing beyond `limitBytes` of the file is looked at. Rejects with {@link PartitionDamageError}.
 */
export async function readSegment(
  shared: Shared,
  segment: LogSegment,
  epochs: EpochTable,
  offset: number,
  maxBytes: number,
  atLeastOne: boolean,
  limitBytes = segment.writtenBytes,
): Promise<SegmentRead | undefined> {
  const limit = Math.min(limitBytes, segment.writtenBytes);
  const use = await useLog(shared, segment);
  if (use === undefined) return undefined;
  try {
    const reader = new SegmentWindow(segment, use.file, limit, Math.min(maxBytes, WINDOW_BYTES_MAX) + SEEK_BYTES);
    const start = await seek(shared, segment, reader, offset);
    return await collect(segment, reader, epochs, start, maxBytes, atLeastOne);
  } finally {
    use.release();
  }
}

/** Offset from which on a search for a timestamp ≥ `timestampMs` must look: everything before it in the segment is older. */
export async function offsetBeforeTimestamp(
  shared: Shared,
  segment: LogSegment,
  epochs: EpochTable,
  timestampMs: number,
): Promise<number> {
  const { baseOffset, timeIndex } = segment;
  if (segment.isIndexDamaged) return baseOffset;
  const found = timeIndex.findBelow(timestampMs);
  if (found !== 'file') return baseOffset + (found?.relativeOffset ?? 0);
  const bytes = await loadIndex(shared, segment.timeIndexPath, timeIndex.fileCount * timeIndex.entryBytes);
  const entry = bytes === undefined ? undefined : timeIndex.findBelowInFile(bytes, timestampMs);
  if (bytes !== undefined && entry === undefined) return baseOffset;
  if (entry !== undefined && (await isTrue(shared, segment, epochs, entry))) return baseOffset + entry.relativeOffset;
  segment.isIndexDamaged = true;
  return baseOffset;
}

/** Whether an entry of a time index was ever written for this segment: the batch that it names ends with that offset and has that timestamp. */
async function isTrue(shared: Shared, segment: LogSegment, epochs: EpochTable, entry: TimeEntry): Promise<boolean> {
  const offset = segment.baseOffset + entry.relativeOffset;
  if (offset < segment.baseOffset || offset >= segment.nextOffset) return false;
  const read = await readSegment(shared, segment, epochs, offset, 1, true);
  if (read === undefined) return false;
  return storedNextOffset(read.bytes, 0) - 1 === offset && storedMaxTimestampMs(read.bytes, 0) === entry.timestampMs;
}

/**
 * Builds the indexes of a segment anew from its file, batch header by batch header; what is only in memory stays. Not while index files are written. Rejects with {@link PartitionDamageError} if the
 * log itself is damaged.
 */
export async function rebuildIndexes(shared: Shared, segment: LogSegment, intervalBytes: number): Promise<void> {
  const limit = segment.writtenBytes;
  const offsets = new OffsetIndex();
  const times = new TimeIndex();
  let maxTimestampMs = -1;
  let maxTimestampOffset = -1;
  let expected = segment.baseOffset;
  const use = await shared.files.use(segment.logPath);
  try {
    const reader = new SegmentWindow(segment, use.file, limit, WINDOW_BYTES_MIN);
    for (let position = 0, bytesSinceEntry = 0; position < limit; ) {
      const at = await reader.batch(position, expected);
      expected = storedNextOffset(reader.bytes, at);
      if (storedMaxTimestampMs(reader.bytes, at) > maxTimestampMs) {
        maxTimestampMs = storedMaxTimestampMs(reader.bytes, at);
        maxTimestampOffset = expected - 1;
      }
      if (bytesSinceEntry > intervalBytes) {
        offsets.add(expected - 1 - segment.baseOffset, position);
        times.add(maxTimestampMs, maxTimestampOffset - segment.baseOffset);
        bytesSinceEntry = 0;
      }
      bytesSinceEntry += storedSizeBytes(reader.bytes, at);
      position += storedSizeBytes(reader.bytes, at);
    }
  } finally {
    use.release();
  }
  offsets.addFrom(segment.offsetIndex, expected - segment.baseOffset);
  times.addFrom(segment.timeIndex, expected - segment.baseOffset);
  segment.offsetIndex = offsets;
  segment.timeIndex = times;
  segment.isIndexDamaged = false;
  for (const path of [segment.offsetIndexPath, segment.timeIndexPath]) shared.indexes.delete(path);
}

/** Where a batch begins. */
export interface BatchStart {
  readonly position: number;
  readonly baseOffset: number;
}

/** The batch that contains `offset`, which must be in the written part; undefined if the segment was dropped. Rejects with {@link PartitionDamageError}. */
export async function findBatch(shared: Shared, segment: LogSegment, offset: number): Promise<BatchStart | undefined> {
  const use = await useLog(shared, segment);
  if (use === undefined) return undefined;
  try {
    const reader = new SegmentWindow(segment, use.file, segment.writtenBytes, SEEK_BYTES);
    return await seek(shared, segment, reader, offset);
  } finally {
    use.release();
  }
}

async function useLog(shared: Shared, segment: LogSegment): Promise<FileUse | undefined> {
  try {
    return await shared.files.use(segment.logPath);
  } catch (error) {
    if (!isMissing(error)) throw error;
    if (segment.isDropped) return undefined;
    throw new PartitionDamageError(segment.logPath, 'the file is missing');
  }
}

/** Where the batch that contains `offset` must be, and with which base offset. */
async function seek(shared: Shared, segment: LogSegment, reader: SegmentWindow, offset: number): Promise<BatchStart> {
  const { readHint } = segment;
  if (readHint !== undefined && readHint.baseOffset === offset) return readHint;
  const entry = segment.isIndexDamaged ? undefined : await findIndexEntry(shared, segment, offset);
  if (entry !== undefined) {
    const at = entry.position >= 0 && entry.position < reader.limit ? await reader.batchOrFlaw(entry.position) : 'none';
    if (
      typeof at === 'string' ||
      storedNextOffset(reader.bytes, at) - 1 !== segment.baseOffset + entry.relativeOffset
    ) {
      // The index is derived and has no checksum: what it says is only believed if a batch with that last offset is there.
      segment.isIndexDamaged = true;
    } else return walk(reader, entry.position, storedBaseOffset(reader.bytes, at), offset);
  }
  return walk(reader, 0, segment.baseOffset, offset);
}

async function walk(reader: SegmentWindow, from: number, baseOffset: number, offset: number): Promise<BatchStart> {
  let position = from;
  let expected = baseOffset;
  for (;;) {
    const at = await reader.batch(position, expected);
    const nextOffset = storedNextOffset(reader.bytes, at);
    if (nextOffset > offset) return { position, baseOffset: expected };
    expected = nextOffset;
    position += storedSizeBytes(reader.bytes, at);
  }
}

async function collect(
  segment: LogSegment,
  reader: SegmentWindow,
  epochs: EpochTable,
  { position: start, baseOffset: firstOffset }: BatchStart,
  maxBytes: number,
  atLeastOne: boolean,
): Promise<SegmentRead> {
  let at = await reader.batch(start, firstOffset);
  const firstSize = storedSizeBytes(reader.bytes, at);
  if (firstSize > maxBytes && !atLeastOne) return { bytes: new Uint8Array(0), nextOffset: firstOffset };
  if (at + firstSize > reader.bytes.length) at = await reader.load(start, firstSize);
  const from = at;
  const { bytes } = reader;
  const end = Math.min(bytes.length, from + Math.max(maxBytes, firstSize));
  let nextOffset = firstOffset;
  while (at + BATCH_HEADER_BYTES <= end && (at === from || at + storedSizeBytes(bytes, at) <= end)) {
    const position = start + at - from;
    const flaw = batchFlaw(bytes, at, nextOffset, epochs);
    if (flaw !== undefined) {
      // What lies before the damage is intact; who reads on meets it first.
      if (at > from) break;
      throw reader.damage(position, flaw);
    }
    nextOffset = storedNextOffset(bytes, at);
    at += storedSizeBytes(bytes, at);
  }
  segment.readHint = { baseOffset: nextOffset, position: start + at - from };
  return { bytes: bytes.subarray(from, at), nextOffset };
}

/** Why the bytes at `at` are not an intact batch with this base offset and its leader epoch; undefined if they are. */
export function batchFlaw(bytes: Uint8Array, at: number, baseOffset: number, epochs: EpochTable): string | undefined {
  const flaw = storedBatchFlaw(bytes, at, bytes.length);
  if (flaw !== undefined) return flaw;
  if (storedBaseOffset(bytes, at) !== baseOffset) {
    return `base offset is ${storedBaseOffset(bytes, at)} instead of ${baseOffset}`;
  }
  const epoch = epochs.epochAt(baseOffset);
  // A row that the log start cut off no longer knows the first batch, which may begin below the log start.
  if (epoch !== -1 && storedLeaderEpoch(bytes, at) !== epoch) {
    return `leader epoch is ${storedLeaderEpoch(bytes, at)} instead of ${epoch}`;
  }
  return undefined;
}

async function findIndexEntry(shared: Shared, segment: LogSegment, offset: number) {
  const index = segment.offsetIndex;
  const relativeOffset = offset - segment.baseOffset;
  const found = index.find(relativeOffset);
  if (found !== 'file') return found;
  const bytes = await loadIndex(shared, segment.offsetIndexPath, index.fileCount * index.entryBytes);
  if (bytes === undefined) {
    segment.isIndexDamaged = true;
    return undefined;
  }
  return index.findInFile(bytes, relativeOffset);
}

/** The first `sizeBytes` (at least) of an index file, from the cache as far as they are there; undefined if the file is missing or short. */
async function loadIndex(shared: Shared, path: string, sizeBytes: number): Promise<Uint8Array | undefined> {
  const known = shared.indexes.get(path) ?? new Uint8Array(0);
  if (known.length >= sizeBytes) return known;
  let use: Awaited<ReturnType<Shared['files']['use']>>;
  try {
    use = await shared.files.use(path);
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
  try {
    const rest = await use.file.read(known.length, sizeBytes - known.length);
    if (rest.length < sizeBytes - known.length) return undefined;
    const bytes = known.length === 0 ? rest : Buffer.concat([known, rest]);
    shared.indexes.set(path, bytes);
    return bytes;
  } finally {
    use.release();
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof DiskError && error.code === 'ENOENT';
}

/** A window of file bytes that moves over the segment as headers are asked for. */
class SegmentWindow {
  readonly limit: number;
  bytes: Uint8Array = new Uint8Array(0);
  #position = 0;
  readonly #segment: LogSegment;
  readonly #file: DiskFile;
  readonly #windowBytes: number;

  constructor(segment: LogSegment, file: DiskFile, limit: number, windowBytes: number) {
    this.#segment = segment;
    this.#file = file;
    this.limit = limit;
    this.#windowBytes = Math.max(WINDOW_BYTES_MIN, windowBytes);
  }

  /** Index in {@link bytes} of the batch at file position `position`; its header at least is there. Rejects if it is none, or does not begin at `baseOffset`. */
  async batch(position: number, baseOffset: number): Promise<number> {
    const at = await this.batchOrFlaw(position);
    if (typeof at === 'string') throw this.damage(position, at);
    if (storedBaseOffset(this.bytes, at) !== baseOffset) {
      throw this.damage(position, `base offset is ${storedBaseOffset(this.bytes, at)} instead of ${baseOffset}`);
    }
    return at;
  }

  async batchOrFlaw(position: number): Promise<number | string> {
    if (position + BATCH_HEADER_BYTES > this.limit) return 'the log ends inside of a batch';
    let at = position - this.#position;
    if (at < 0 || at + BATCH_HEADER_BYTES > this.bytes.length) at = await this.load(position, BATCH_HEADER_BYTES);
    const sizeBytes = storedSizeBytes(this.bytes, at);
    if (this.bytes[at + 16] !== 2) return `magic is ${this.bytes[at + 16]}`;
    if (sizeBytes < BATCH_HEADER_BYTES || position + sizeBytes > this.limit)
      return `batch length ${sizeBytes} does not fit`;
    return at;
  }

  /** Reads on from `position`, `atLeastBytes` or more; the bytes then begin there. */
  async load(position: number, atLeastBytes: number): Promise<number> {
    const wanted = Math.min(this.limit - position, Math.max(atLeastBytes, this.#windowBytes));
    const bytes = await this.#file.read(position, wanted).catch((error: unknown) => {
      // A sector that cannot be read is damage like one that reads wrong.
      if (error instanceof DiskError && error.code === 'EIO') throw this.damage(position, 'the disk cannot read it');
      throw error;
    });
    if (bytes.length < wanted) throw this.damage(position, `the file ends ${wanted - bytes.length} bytes early`);
    this.bytes = bytes;
    this.#position = position;
    return 0;
  }

  damage(position: number, flaw: string): PartitionDamageError {
    return new PartitionDamageError(this.#segment.logPath, `at position ${position}, ${flaw}`);
  }
}
