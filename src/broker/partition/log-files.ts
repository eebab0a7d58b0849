/**
 * The files of one replica of one partition: when they are created, synced, cut and removed.
 *
 * Promises: a name is durable before a checkpoint can rest on it (create → write → fsync → fsync of the directory). A file is removed only when a checkpoint that does not name it is durable, so a
 * crash at any moment finds all files of the checkpoint that it falls back to. What is asynchronous runs inside of the log's exclusive section.
 */
import type { DiskFile } from '../../std/disk.ts';
import type { LogSegment } from './log-segment.ts';
import { PartitionDamageError } from './partition-damage-error.ts';
import type { PartitionResources } from './partition-resources.ts';

/** Directory of all partitions. */
export const PARTITIONS_DIRECTORY = 'topics';
/** Index entries worth two more files and two more syncs; a lookup scans the log for what is missing after a restart. */
const INDEX_ENTRIES_MIN = 64;
/** A segment with so many unsynced bytes is synced without waiting for a checkpoint. */
const SYNC_EARLY_BYTES = 2 * 1024 * 1024;
/** Kafka allows 249 characters for a topic; with partition and replica the name of a directory must not exceed 255. */
const TOPIC_CHARACTERS_MAX = 200;

/** Directory of one replica. Its id alone makes it unique; topic and partition are for people. */
export function replicaDirectory(topic: string, partition: number, replicaId: number): string {
  return `${PARTITIONS_DIRECTORY}/${topic.slice(0, TOPIC_CHARACTERS_MAX)}-${partition}.${replicaId}`;
}

interface ObsoleteFile {
  readonly path: string;
  readonly fromCheckpoint: number;
  readonly segment?: LogSegment;
}

export class LogFiles {
  readonly #resources: PartitionResources;
  readonly #directory: string;
  #hasDirectory = false;
  #isDirectoryDurable = false;
  /** Names were added or removed since the last sync of the directory. */
  #areNamesDirty = false;
  /** Checkpoints begun so far. */
  #checkpoints = 0;
  /** The last one that is flushed in the WAL. */
  #durableCheckpoint = 0;
  /** Not named by the checkpoint of that number and later ones. */
  #obsolete: ObsoleteFile[] = [];
  /** Segments were dropped since the last cut: the next checkpoint is the first that lets their files go. */
  #hasNewlyDropped = false;
  /** Catch-ups that stream from the files. */
  #pins = 0;

  constructor(resources: PartitionResources, directory: string) {
    this.#resources = resources;
    this.#directory = directory;
  }

  /** Whether a checkpoint would let files go that the last one still names. */
  get wantsCheckpoint(): boolean {
    return this.#hasNewlyDropped;
  }

  /** Appends to the `.log` file at the segment's written end. */
  async appendToSegment(segment: LogSegment, pieces: readonly Uint8Array[]): Promise<void> {
    if (!segment.hasFile) {
      await this.#ensureDirectory();
      this.#areNamesDirty = true;
      segment.hasFile = true;
    }
    segment.unsynced ??= await this.#resources.files.use(segment.logPath, { create: true });
    await segment.unsynced.file.write(segment.writtenBytes, pieces);
    for (const piece of pieces) segment.unsyncedBytes += piece.length;
    // A checkpoint that found all of its bytes unsynced would keep the disk from everybody else.
    if (segment.unsyncedBytes >= SYNC_EARLY_BYTES) await this.#syncLog(segment);
  }

  /** Writes what peers say that a `.log` file must have at `position`, and makes it durable; a file that is gone is made anew. */
  async patch(segment: LogSegment, position: number, bytes: Uint8Array): Promise<void> {
    const { disk, files } = this.#resources;
    if ((await disk.sizeOf(segment.logPath)) === undefined) {
      // Who still has the lost file open would go on writing into it.
      this.letGo(segment);
      await disk.makeDirectory(this.#directory);
      this.#areNamesDirty = true;
      this.#isDirectoryDurable = false;
    }
    const use = await files.use(segment.logPath, { create: true });
    try {
      await use.file.write(position, [bytes]);
      await use.file.sync();
    } finally {
      use.release();
    }
    await this.syncNames();
  }

  /** Makes what is written of a segment durable, and its index entries if there are enough of them; its files at the same time, as a sync is mostly waiting. */
  async sync(segment: LogSegment): Promise<void> {
    const { offsetIndex, timeIndex, offsetIndexPath, timeIndexPath } = segment;
    const entries = offsetIndex.memoryCount;
    const isIndexDue = !segment.isIndexDamaged && (entries >= INDEX_ENTRIES_MIN || (segment.isSealed && entries > 0));
    await Promise.all([
      this.#syncLog(segment),
      isIndexDue ? this.#writeIndex(offsetIndexPath, offsetIndex) : undefined,
      isIndexDue ? this.#writeIndex(timeIndexPath, timeIndex) : undefined,
    ]);
  }

  /** Writes a whole file of its own and makes its bytes durable; {@link syncNames} makes its name durable. */
  async writeStateFile(name: string, bytes: Uint8Array): Promise<void> {
    await this.#ensureDirectory();
    this.#areNamesDirty = true;
    const file = await this.#resources.disk.openFile(`${this.#directory}/${name}`, { create: true });
    try {
      await file.truncate(0);
      await file.write(0, [bytes]);
      await file.sync();
    } finally {
      await file.close();
    }
  }

  /** Rejects with {@link PartitionDamageError} if the file is missing or not `sizeBytes` long. */
  async readStateFile(name: string, sizeBytes: number): Promise<Uint8Array> {
    const path = `${this.#directory}/${name}`;
    await this.#checkSize(path, sizeBytes);
    const file = await this.#resources.disk.openFile(path);
    try {
      return await file.read(0, sizeBytes);
    } finally {
      await file.close();
    }
  }

  /** Makes created and removed names durable. */
  async syncNames(): Promise<void> {
    if (!this.#areNamesDirty) return;
    const { disk } = this.#resources;
    await disk.syncDirectory(this.#directory);
    this.#areNamesDirty = false;
    if (this.#isDirectoryDurable) return;
    await disk.syncDirectory(PARTITIONS_DIRECTORY);
    await disk.syncDirectory('.');
    this.#isDirectoryDurable = true;
  }

  /** Numbers a checkpoint, at the moment of its cut: what is dropped from here on is in it. */
  beginCheckpoint(): number {
    this.#hasNewlyDropped = false;
    return ++this.#checkpoints;
  }

  /** The checkpoint of that number is flushed in the WAL: no crash falls back behind it, and {@link removeObsolete} may remove what it does not name. */
  checkpointDurable(checkpoint: number): void {
    this.#durableCheckpoint = Math.max(this.#durableCheckpoint, checkpoint);
  }

  get hasRemovable(): boolean {
    return this.#pins === 0 && this.#obsolete.some(({ fromCheckpoint }) => fromCheckpoint <= this.#durableCheckpoint);
  }

  /** Removes the files that the last durable checkpoint does not name and no catch-up reads. A name that comes back after power loss is removed by {@link restore}. */
  async removeObsolete(): Promise<void> {
    if (!this.hasRemovable) return;
    const limit = this.#durableCheckpoint;
    const removable = this.#obsolete.filter(({ fromCheckpoint }) => fromCheckpoint <= limit);
    this.#obsolete = this.#obsolete.filter(({ fromCheckpoint }) => fromCheckpoint > limit);
    for (const { path, segment } of removable) {
      if (segment !== undefined) this.letGo(segment);
      await this.#resources.disk.removeFile(path);
    }
    // What was deleted before it was ever written has no files, and perhaps no directory.
    if (this.#hasDirectory) this.#areNamesDirty = true;
  }

  /** Keeps all files until {@link unpin}: a catch-up streams from them. */
  pin(): void {
    this.#pins++;
  }

  unpin(): void {
    this.#pins--;
  }

  /** The state file that the running checkpoint replaces: the running one is the first that does not name it. */
  willRemoveState(name: string): void {
    this.#obsolete.push({ path: `${this.#directory}/${name}`, fromCheckpoint: this.#checkpoints });
  }

  /** The segment is in no checkpoint that begins from now on. */
  segmentDropped(segment: LogSegment): void {
    const fromCheckpoint = this.#checkpoints + 1;
    const { logPath, offsetIndexPath, timeIndexPath } = segment;
    this.#hasNewlyDropped = true;
    this.#obsolete.push({ path: logPath, fromCheckpoint, segment });
    for (const path of [offsetIndexPath, timeIndexPath]) {
      this.#obsolete.push({ path, fromCheckpoint });
      this.#resources.indexes.delete(path);
    }
  }

  /**
   * Makes the directory hold what a checkpoint names and nothing else: other files are removed, longer ones cut. Rejects with {@link PartitionDamageError} if a log file is missing or short; a missing
   * or short index is only dropped, the log can do without.
   */
  async restore(segments: readonly LogSegment[], stateFile: string | undefined): Promise<void> {
    const { disk } = this.#resources;
    const names = await disk.list(this.#directory);
    this.#hasDirectory = names.length > 0;
    this.#isDirectoryDurable = segments.length > 0 || stateFile !== undefined;
    const expected = new Map<string, number>();
    for (const segment of segments) {
      const { offsetIndex, timeIndex } = segment;
      expected.set(segment.logPath, segment.sizeBytes);
      if (offsetIndex.fileCount > 0)
        expected.set(segment.offsetIndexPath, offsetIndex.fileCount * offsetIndex.entryBytes);
      if (timeIndex.fileCount > 0) expected.set(segment.timeIndexPath, timeIndex.fileCount * timeIndex.entryBytes);
    }
    for (const name of names) {
      const path = `${this.#directory}/${name}`;
      if (expected.has(path) || name === stateFile) continue;
      await disk.removeFile(path);
      this.#areNamesDirty = true;
    }
    for (const segment of segments) {
      await this.#cut(segment.logPath, segment.sizeBytes);
      const isIndexed = await this.#hasIndexes(segment, expected);
      if (!isIndexed) segment.isIndexDamaged = true;
    }
  }

  /** Removes the files of a segment that no checkpoint ever named. */
  async discard(segment: LogSegment): Promise<void> {
    this.letGo(segment);
    for (const path of [segment.logPath, segment.offsetIndexPath, segment.timeIndexPath]) {
      await this.#resources.disk.removeFile(path);
    }
    this.#areNamesDirty = this.#hasDirectory;
  }

  /** Closes what is held open for a later sync; that sync never comes. */
  letGo(segment: LogSegment): void {
    segment.unsynced?.release();
    segment.unsynced = undefined;
    segment.unsyncedBytes = 0;
    for (const path of [segment.logPath, segment.offsetIndexPath, segment.timeIndexPath]) {
      this.#resources.files.forget(path);
      this.#resources.indexes.delete(path);
    }
  }

  /** Removes the replica's directory durably. */
  async destroy(): Promise<void> {
    const { disk } = this.#resources;
    // A restore that failed at once did not look.
    if (!this.#hasDirectory && (await disk.list(this.#directory)).length === 0) return;
    await disk.removeDirectory(this.#directory);
    await disk.syncDirectory(PARTITIONS_DIRECTORY);
  }

  async #ensureDirectory(): Promise<void> {
    if (this.#hasDirectory) return;
    await this.#resources.disk.makeDirectory(this.#directory);
    this.#hasDirectory = true;
  }

  async #syncLog(segment: LogSegment): Promise<void> {
    const { unsynced } = segment;
    if (unsynced === undefined) return;
    await this.#resources.syncs.run(segment.unsyncedBytes, () => unsynced.file.sync());
    segment.unsynced = undefined;
    segment.unsyncedBytes = 0;
    unsynced.release();
  }

  async #writeIndex(path: string, index: LogSegment['offsetIndex'] | LogSegment['timeIndex']): Promise<void> {
    const { pieces, count } = index.memoryPieces();
    if (count === 0) return;
    if (index.fileCount === 0) this.#areNamesDirty = true;
    const use = await this.#resources.files.use(path, { create: true });
    try {
      await use.file.write(index.fileCount * index.entryBytes, pieces);
      await use.file.sync();
    } finally {
      use.release();
    }
    index.didWrite(count);
  }

  async #hasIndexes(segment: LogSegment, expected: ReadonlyMap<string, number>): Promise<boolean> {
    for (const path of [segment.offsetIndexPath, segment.timeIndexPath]) {
      const sizeBytes = expected.get(path);
      if (sizeBytes !== undefined && ((await this.#resources.disk.sizeOf(path)) ?? -1) < sizeBytes) return false;
    }
    return true;
  }

  async #cut(path: string, sizeBytes: number): Promise<void> {
    if ((await this.#checkSize(path, sizeBytes)) === sizeBytes) return;
    const file: DiskFile = await this.#resources.disk.openFile(path);
    try {
      await file.truncate(sizeBytes);
    } finally {
      await file.close();
    }
  }

  async #checkSize(path: string, sizeBytes: number): Promise<number> {
    const found = await this.#resources.disk.sizeOf(path);
    if (found === undefined) throw new PartitionDamageError(path, 'the file is missing');
    if (found < sizeBytes) throw new PartitionDamageError(path, `${found} bytes are left of ${sizeBytes}`);
    return found;
  }
}
