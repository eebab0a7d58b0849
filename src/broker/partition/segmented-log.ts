/**
 * The applied record batches of one replica of one partition: segment files in Kafka's own log format plus a hot tail in memory.
 *
 * Promises: append is synchronous and copies (no view of an entry outlives it). Only applied, thus committed, batches ever get here, so nothing but the loss of a checkpoint's later bytes on
 * restart ever shortens a file. Files are created at the first write (an idle partition has none), written in large pieces, and synced by {@link SegmentedLog.sync} only. A file that
 * a checkpoint may still name is never removed.
 *
 * All file work of one log runs one after the other ({@link SegmentedLog.exclusive}); reads run beside it.
 */
import { assert } from '../../std/assert.ts';
import { EpochTable } from './epoch-table.ts';
import { LogFiles } from './log-files.ts';
import { LogSegment, type SegmentDescription } from './log-segment.ts';
import { PartitionDamageError } from './partition-damage-error.ts';
import type { PartitionResources } from './partition-resources.ts';
import { offsetBeforeTimestamp, readSegment, rebuildIndexes } from './segment-reader.ts';
import {
  stampStoredBatch,
  storedBaseOffset,
  storedLastOffsetDelta,
  storedMaxTimestampMs,
  storedNextOffset,
  storedSizeBytes,
} from './stored-batch.ts';
import type { TailChunk, TailOwner } from './tail-cache.ts';

/** Bytes not yet in files that start a write. */
const WRITE_OUT_BYTES = 256 * 1024;
const RELATIVE_OFFSET_MAX = 0x7fff_ffff;

/** How this replica cuts its files; replicas may differ (DECISIONS P7). */
export interface LogSettings {
  readonly segmentBytes: number;
  readonly segmentMs: number;
  readonly indexIntervalBytes: number;
}

/** Whole batches in pieces. */
export interface LogRead {
  readonly pieces: readonly Uint8Array[];
  readonly sizeBytes: number;
  /** Offset behind the last record. */
  readonly nextOffset: number;
}

/** Batches that a catch-up streams from files. */
export type FileRead = { readonly bytes: Uint8Array; readonly nextOffset: number };

/** The log at one moment, while appends go on. */
export interface LogCut {
  readonly startOffset: number;
  readonly endOffset: number;
  readonly epochs: EpochTable['rows'];
  readonly segments: readonly { readonly segment: LogSegment; readonly description: SegmentDescription }[];
}

export class SegmentedLog implements TailOwner {
  readonly directory: string;
  readonly #resources: PartitionResources;
  readonly #settings: () => LogSettings;
  readonly #files: LogFiles;
  #segments: LogSegment[] = [];
  /** Oldest first; covers everything from its first offset to the end. */
  #chunks: TailChunk[] = [];
  #previousPageBytes = 0;
  #startOffset = 0;
  #endOffset = 0;
  #unwrittenBytes = 0;
  #writeOutQueued = false;
  /** Segments whose indexes are being built anew, or could not be. */
  readonly #rebuilding = new Set<LogSegment>();
  #exclusiveEnd: Promise<unknown> = Promise.resolve();
  #runningCut: ReadonlySet<LogSegment> | undefined;
  #isClosed = false;
  epochs = new EpochTable();
  /** Consumers read here: what was written stays in memory while the budget allows. A replica that only follows needs its pages until they are written. */
  keepsTail = true;

  /** `directory` is the replica's own, relative to the data directory. Settings are asked for at each append. */
  constructor(resources: PartitionResources, directory: string, settings: () => LogSettings) {
    this.#resources = resources;
    this.directory = directory;
    this.#settings = settings;
    this.#files = new LogFiles(resources, directory);
  }

  get startOffset(): number {
    return this.#startOffset;
  }

  get settings(): LogSettings {
    return this.#settings();
  }

  /** Exclusive. */
  get endOffset(): number {
    return this.#endOffset;
  }

  get segments(): readonly LogSegment[] {
    return this.#segments;
  }

  get sizeBytes(): number {
    let sizeBytes = 0;
    for (const segment of this.#segments) sizeBytes += segment.sizeBytes;
    return sizeBytes;
  }

  /** Appends the batch of `sizeBytes` at `at` of `source` with the next offset, and returns that. */
  append(source: Uint8Array, at: number, sizeBytes: number, leaderEpoch: number, timeMs: number): number {
    const settings = this.#settings();
    const baseOffset = this.#endOffset;
    const nextOffset = baseOffset + storedLastOffsetDelta(source, at) + 1;
    assert(nextOffset > baseOffset, 'A batch has at least one record');
    const segment = this.#segmentFor(sizeBytes, nextOffset, timeMs, settings);
    const chunk = this.#chunkFor(segment, sizeBytes);
    const position = chunk.add(sizeBytes, baseOffset, nextOffset);
    chunk.page.set(source.subarray(at, at + sizeBytes), position);
    stampStoredBatch(chunk.page, position, baseOffset, leaderEpoch);
    this.epochs.didAppend(leaderEpoch, baseOffset);
    segment.didAppend(sizeBytes, nextOffset, storedMaxTimestampMs(source, at), settings.indexIntervalBytes);
    this.#endOffset = nextOffset;
    this.#unwrittenBytes += sizeBytes;
    if (this.#unwrittenBytes >= WRITE_OUT_BYTES) this.writeOutSoon();
    return baseOffset;
  }

  /** Forgets what lies below `offset`, which is inside of the log; whole segments leave the list at once, their files when no checkpoint names them. */
  moveStart(offset: number): void {
    assert(offset > this.#startOffset && offset <= this.#endOffset, `The log start cannot move to ${offset}`);
    this.#startOffset = offset;
    this.epochs.moveLogStart(offset, this.#endOffset);
    while (this.#segments.length > 0 && this.#segments[0]!.nextOffset <= offset) this.#drop(this.#segments.shift()!);
    this.#releaseDropped();
  }

  /**
   * Batches from the one that contains `offset` (start ≤ offset < end) on: at most `maxBytes`, but one at least if `atLeastOne`. At once from the hot tail, else from one segment file. Undefined if
   * the log start passed the offset meanwhile. Rejects with a PartitionDamageError.
   */
  read(offset: number, maxBytes: number, atLeastOne: boolean): LogRead | Promise<LogRead | undefined> {
    assert(offset >= this.#startOffset && offset < this.#endOffset, `Offset ${offset} is outside of the log`);
    const first = this.#chunks[0];
    if (first !== undefined && offset >= first.firstOffset) return this.#readTail(offset, maxBytes, atLeastOne);
    return this.#readFile(this.segmentOf(offset), offset, maxBytes, atLeastOne);
  }

  /** As {@link read}, but from the file alone and not beyond `limitBytes` of it: for a catch-up of a cut that was written out. Undefined if the file is gone. */
  readFile(segment: LogSegment, offset: number, maxBytes: number, limitBytes: number): Promise<FileRead | undefined> {
    return readSegment(this.#resources, segment, this.epochs, offset, maxBytes, true, limitBytes);
  }

  /** Bytes from `offset` to the end, capped at `maxBytes`; an upper bound where only files know better. */
  bytesAvailable(offset: number, maxBytes: number): number {
    if (offset >= this.#endOffset) return 0;
    const first = this.#chunks[0];
    if (first === undefined || offset < first.firstOffset) return maxBytes;
    let bytes = 0;
    for (let i = this.#chunks.length - 1; i >= 0 && bytes < maxBytes; i--) {
      const chunk = this.#chunks[i]!;
      if (chunk.firstOffset > offset) bytes += chunk.usedBytes;
      else {
        bytes += chunk.usedBytes - positionInChunk(chunk, offset);
        break;
      }
    }
    return Math.min(bytes, maxBytes);
  }

  /** The segment that contains `offset`. */
  segmentOf(offset: number): LogSegment {
    let low = 0;
    let high = this.#segments.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (this.#segments[middle]!.baseOffset <= offset) low = middle;
      else high = middle;
    }
    const segment = this.#segments[low];
    assert(segment !== undefined && segment.baseOffset <= offset, `No segment contains offset ${offset}`);
    return segment;
  }

  /** Offset in `segment`, not below the log start, from which on to look for a timestamp ≥ `timestampMs`. */
  async offsetBeforeTimestamp(segment: LogSegment, timestampMs: number): Promise<number> {
    const offset = await offsetBeforeTimestamp(this.#resources, segment, this.epochs, timestampMs);
    if (segment.isIndexDamaged) this.#rebuildSoon(segment);
    return Math.max(this.#startOffset, offset);
  }

  /** Runs file work after all file work asked for before. */
  exclusive<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#exclusiveEnd.then(work);
    this.#exclusiveEnd = result.catch(() => undefined);
    return result;
  }

  /** Runs `work` on the log as it is at the moment when `work` begins; until it ends, what the cut holds stays although the log start may pass it. */
  withCut<T>(work: (cut: LogCut) => Promise<T>): Promise<T> {
    return this.exclusive(async () => {
      this.#runningCut = new Set(this.#segments);
      try {
        return await work(this.cutNow());
      } finally {
        this.#runningCut = undefined;
        this.#releaseDropped();
      }
    });
  }

  /** The log as it is now. */
  cutNow(): LogCut {
    return {
      startOffset: this.#startOffset,
      endOffset: this.#endOffset,
      epochs: this.epochs.rows.slice(),
      segments: this.#segments.map((segment) => ({ segment, description: segment.describe() })),
    };
  }

  /** Writes everything up to `cut` to the files, without syncing. Only inside of {@link withCut}. */
  async writeOut(cut: LogCut): Promise<void> {
    while (cut.segments.some(({ segment, description }) => segment.writtenBytes < description.sizeBytes)) {
      const wrote = await this.#writeNext();
      assert(wrote, 'Bytes of a segment are neither in its file nor in the tail');
    }
  }

  /** Writes everything there is now to the files, without syncing: for who reads them instead of the hot tail. */
  async writeOutNow(): Promise<void> {
    if (this.#unwrittenBytes > 0 && !this.#isClosed) await this.withCut((cut) => this.writeOut(cut));
  }

  /** Makes what was written of `cut` survive power loss, data and indexes; names are left to {@link LogFiles.syncNames}. Returns the segments as a checkpoint shall name them. Only inside of {@link withCut}. */
  async sync(cut: LogCut): Promise<SegmentDescription[]> {
    for (const { segment } of cut.segments) await this.#files.sync(segment);
    return cut.segments.map(({ segment, description }) => ({
      ...description,
      offsetIndexCount: Math.min(segment.offsetIndex.fileCount, description.offsetIndexCount),
      timeIndexCount: Math.min(segment.timeIndex.fileCount, description.timeIndexCount),
    }));
  }

  /** Writes intact batches over damaged ones, durably; false if the segment left the log meanwhile. */
  patch(segment: LogSegment, position: number, bytes: Uint8Array): Promise<boolean> {
    return this.exclusive(async () => {
      if (this.#isClosed || segment.isDropped || !this.#segments.includes(segment)) return false;
      assert(position + bytes.length <= segment.writtenBytes, 'A repair writes inside of what was written');
      segment.readHint = undefined;
      try {
        await this.#files.patch(segment, position, bytes);
      } catch (error) {
        this.#resources.onFailure(error as Error);
        throw error;
      }
      return true;
    });
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Files beside the segments that belong to the replica: state of checkpoints. */
  get files(): LogFiles {
    return this.#files;
  }

  /** Removes files that nothing can need any more. */
  removeObsoleteSoon(): void {
    if (this.#isClosed || !this.#files.hasRemovable) return;
    this.exclusive(() => this.#files.removeObsolete()).catch(this.#resources.onFailure);
  }

  writeOutSoon(): void {
    if (this.#writeOutQueued || this.#isClosed) return;
    this.#writeOutQueued = true;
    this.exclusive(async () => {
      this.#writeOutQueued = false;
      while (!this.#isClosed && (await this.#writeNext())) {
        // Until the tail is written: what is appended meanwhile joins in pieces that grow with the load.
      }
    }).catch(this.#resources.onFailure);
  }

  dropOldestChunk(chunk: TailChunk): void {
    assert(this.#chunks[0] === chunk, 'Only the oldest chunk of a log may go');
    this.#chunks.shift();
    // A page that went before it was full was too large for this partition's share of the budget.
    if (this.#chunks.length === 0) this.#previousPageBytes = chunk.page.length / 4;
    this.#resources.tail.release(this, chunk);
  }

  /** Replaces everything by the segments of a checkpoint, or by nothing. The caller made sure that the files are as described. */
  reset(startOffset: number, endOffset: number, epochs: EpochTable, segments: readonly LogSegment[]): void {
    const kept = new Set(segments);
    for (const segment of this.#segments) if (!kept.has(segment)) this.#drop(segment);
    for (const chunk of this.#chunks) this.#resources.tail.release(this, chunk);
    this.#chunks = [];
    this.#unwrittenBytes = 0;
    this.#segments = [...segments];
    this.#startOffset = startOffset;
    this.#endOffset = endOffset;
    this.epochs = epochs;
  }

  /** Stops writing and lets memory and files go; what is on disk stays. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.exclusive(async () => {
      for (const chunk of this.#chunks) this.#resources.tail.release(this, chunk);
      this.#chunks = [];
      for (const segment of this.#segments) this.#files.letGo(segment);
    });
  }

  #segmentFor(sizeBytes: number, nextOffset: number, timeMs: number, settings: LogSettings): LogSegment {
    const active = this.#segments.at(-1);
    if (active !== undefined && !active.isSealed) {
      const isFull = active.sizeBytes + sizeBytes > settings.segmentBytes && active.sizeBytes > 0;
      const isTooLong = nextOffset - 1 - active.baseOffset > RELATIVE_OFFSET_MAX;
      const isOld = active.createdTimeMs >= 0 && timeMs - active.createdTimeMs > settings.segmentMs;
      if (!isFull && !isTooLong && !isOld) return active;
      active.seal();
    }
    const segment = new LogSegment(this.directory, { baseOffset: this.#endOffset, createdTimeMs: timeMs });
    this.#segments.push(segment);
    return segment;
  }

  #chunkFor(segment: LogSegment, sizeBytes: number): TailChunk {
    const last = this.#chunks.at(-1);
    if (last !== undefined && last.segment === segment && last.freeBytes >= sizeBytes) return last;
    const chunk = this.#resources.tail.allocate(this, segment, sizeBytes, this.#previousPageBytes);
    this.#previousPageBytes = chunk.page.length;
    this.#chunks.push(chunk);
    this.#resources.tail.reclaim();
    return chunk;
  }

  #readTail(offset: number, maxBytes: number, atLeastOne: boolean): LogRead {
    const chunks = this.#chunks;
    let index = chunks.length - 1;
    while (chunks[index]!.firstOffset > offset) index--;
    const pieces: Uint8Array[] = [];
    let sizeBytes = 0;
    let nextOffset = offset;
    for (let at = positionInChunk(chunks[index]!, offset); index < chunks.length; index++, at = 0) {
      const chunk = chunks[index]!;
      const end = endInChunk(chunk, at, maxBytes - sizeBytes, atLeastOne && sizeBytes === 0);
      if (end > at) {
        chunk.shared = true;
        pieces.push(chunk.page.subarray(at, end));
        sizeBytes += end - at;
        nextOffset = end === chunk.usedBytes ? chunk.nextOffset : storedBaseOffset(chunk.page, end);
      }
      if (end < chunk.usedBytes) break;
    }
    return { pieces, sizeBytes, nextOffset };
  }

  async #readFile(
    segment: LogSegment,
    offset: number,
    maxBytes: number,
    atLeastOne: boolean,
  ): Promise<LogRead | undefined> {
    const read = await readSegment(this.#resources, segment, this.epochs, offset, maxBytes, atLeastOne);
    if (segment.isIndexDamaged) this.#rebuildSoon(segment);
    if (read === undefined) return undefined;
    const { bytes, nextOffset } = read;
    return { pieces: bytes.length === 0 ? [] : [bytes], sizeBytes: bytes.length, nextOffset };
  }

  /** Writes the next piece of the tail to its file; false if everything is written. */
  async #writeNext(): Promise<boolean> {
    const chunks = this.#chunks;
    let index = chunks.findIndex((chunk) => chunk.writtenBytes < chunk.usedBytes);
    if (index < 0) return false;
    const { segment } = chunks[index]!;
    const written: { chunk: TailChunk; usedBytes: number }[] = [];
    const pieces: Uint8Array[] = [];
    let sizeBytes = 0;
    for (; index < chunks.length && chunks[index]!.segment === segment && sizeBytes < 1024 * 1024; index++) {
      const chunk = chunks[index]!;
      assert(chunk.filePosition + chunk.writtenBytes === segment.writtenBytes + sizeBytes, 'A write leaves a gap');
      written.push({ chunk, usedBytes: chunk.usedBytes });
      pieces.push(chunk.page.subarray(chunk.writtenBytes, chunk.usedBytes));
      sizeBytes += chunk.usedBytes - chunk.writtenBytes;
    }
    await this.#files.appendToSegment(segment, pieces);
    segment.writtenBytes += sizeBytes;
    for (const { chunk, usedBytes } of written) {
      if (!chunk.released) this.#unwrittenBytes -= usedBytes - chunk.writtenBytes;
      chunk.writtenBytes = usedBytes;
    }
    this.#releaseDropped();
    if (!this.keepsTail) this.#releaseWritten();
    this.#resources.tail.reclaim();
    return true;
  }

  #rebuildSoon(segment: LogSegment): void {
    if (this.#rebuilding.has(segment)) return;
    this.#rebuilding.add(segment);
    this.exclusive(async () => {
      if (!this.#isClosed && !segment.isDropped) {
        await rebuildIndexes(this.#resources, segment, this.#settings().indexIntervalBytes);
      }
      this.#rebuilding.delete(segment);
    }).catch((error) => {
      if (error instanceof PartitionDamageError) this.#resources.onDamage(error, this.directory);
      else this.#resources.onFailure(error);
    });
  }

  #drop(segment: LogSegment): void {
    segment.seal();
    segment.isDropped = true;
    this.#files.segmentDropped(segment);
  }

  #releaseWritten(): void {
    for (let first = this.#chunks[0]; first !== undefined && first.usedBytes > 0; first = this.#chunks[0]) {
      if (first.writtenBytes < first.usedBytes) return;
      this.#chunks.shift();
      this.#resources.tail.release(this, first);
    }
  }

  /** Chunks of dropped segments go, written or not, unless a running checkpoint is about to name them. */
  #releaseDropped(): void {
    for (;;) {
      const first = this.#chunks[0];
      if (first === undefined || !first.segment.isDropped) return;
      if (first.writtenBytes < first.usedBytes && this.#runningCut?.has(first.segment)) return;
      this.#unwrittenBytes -= first.usedBytes - first.writtenBytes;
      this.#chunks.shift();
      this.#resources.tail.release(this, first);
    }
  }
}

/** Position of the batch that contains `offset`, which is in the chunk. */
function positionInChunk(chunk: TailChunk, offset: number): number {
  let at = chunk.markBefore(offset);
  while (storedNextOffset(chunk.page, at) <= offset) at += storedSizeBytes(chunk.page, at);
  return at;
}

/** End of the last whole batch within `maxBytes` from batch boundary `from` on. */
function endInChunk(chunk: TailChunk, from: number, maxBytes: number, atLeastOne: boolean): number {
  if (from + maxBytes >= chunk.usedBytes) return chunk.usedBytes;
  let end = Math.max(from, chunk.markAtMost(from + Math.max(0, maxBytes)));
  for (;;) {
    const next = end + storedSizeBytes(chunk.page, end);
    if (next - from > maxBytes && !(atLeastOne && end === from)) return end;
    end = next;
    if (end - from > maxBytes || end === chunk.usedBytes) return end;
  }
}
