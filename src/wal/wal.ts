/**
 * Owns the write-ahead log of one broker: every change of every replica becomes a frame in one order, and one flush makes
 * many frames durable. This file joins the parts: bytes are in frame.ts and flush-block.ts (docs/wal-format.md), group
 * commit in flusher.ts, opening in recovery.ts, reuse of segments in reclaimer.ts.
 */
import { assert, InvariantError } from '../std/assert.ts';
import { type LogIndex, type Lsn, logIndex, type ReplicaId, type Term } from '../std/brands.ts';
import type { Disk, DiskFile } from '../std/disk.ts';
import type { Clock, Timers } from '../std/environment.ts';
import { Histogram, SIZE_BOUNDS_BYTES } from '../std/histogram.ts';
import { type Log, SILENT_LOG } from '../std/log.ts';
import { EntryCache } from './entry-cache.ts';
import { Flusher } from './flusher.ts';
import {
  CHECKPOINT_FLAG,
  ENTRY_HEADER_BYTES,
  FRAME_KIND,
  type FrameKind,
  HARD_STATE_BYTES,
  writeHardState,
} from './frame.ts';
import { FrameReader } from './frame-reader.ts';
import { FrameWriter } from './frame-writer.ts';
import { BLOCK_BYTES, SEGMENT_BYTES_MAX, writeU53 } from './layout.ts';
import { Reclaimer } from './reclaimer.ts';
import type { RecoveredEntries } from './recovered-entries.ts';
import { type Recovered, recover } from './recovery.ts';
import { ReplicaLog } from './replica-log.ts';
import type {
  Checkpoint,
  DamageError,
  Entry,
  HardState,
  RecoveredReplica,
  ReplicaStorage,
  WalStats,
} from './replica-storage.ts';
import { Segment, type SegmentChain, STORE_ID_BYTES } from './segment.ts';
import { SegmentAllocator } from './segment-allocator.ts';
import { SegmentFiles } from './segment-files.ts';
import { Stamps } from './stamp.ts';
import { takeUnflushedEntries } from './unflushed-entries.ts';

const DEFAULT_SEGMENT_BYTES = 32 * 1024 * 1024;
const DEFAULT_BYTES_LIMIT = 256 * 1024 * 1024;
const DEFAULT_CACHE_BYTES = 32 * 1024 * 1024;
const DEFAULT_IDLE_MS = 100;
const FLUSH_BYTES_MAX = 4 * 1024 * 1024;
/** Of why a replica's state was lost. */
const REASON_CHARACTERS_MAX = 500;
/** One segment is written, one is ready, one is being released, one holds the rest. */
const SEGMENTS_MIN = 4;

export interface WalOptions {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly timers: Timers;
  /** Holds nothing but the WAL; relative to the data directory. */
  readonly directory: string;
  /** 16 random bytes, made when the store was formatted (DECISIONS I1). Segments of another store are refused. */
  readonly storeId: Uint8Array;
  readonly log?: Log;
  readonly segmentBytes?: number;
  /** Size that the log keeps to by reusing segments; follows from the restart goal (DECISIONS W4). */
  readonly bytesLimit?: number;
  /** Memory for the recent tail of all replicas. */
  readonly cacheBytes?: number;
  /** An idle log states after this long that its last flush is durable. */
  readonly idleMs?: number;
}

/** All replicas of a broker in one segmented log. Made by {@link Wal.open}. */
export class Wal implements ReplicaStorage {
  readonly recovered: readonly RecoveredReplica[];
  readonly storeDamage: string | undefined;
  readonly stats: WalStats;
  onFlushed: (flushedLsn: Lsn) => void = () => undefined;
  onFailure: (error: Error) => void = () => undefined;
  onPressure: (replicas: readonly ReplicaId[]) => void = () => undefined;
  /** Until somebody is there who can do without the entry, nothing can go on. */
  onDamage: (replicaId: ReplicaId, index: LogIndex, error: DamageError) => void = (_replica, _index, error) =>
    this.#fail(error);

  readonly #logs: Map<number, ReplicaLog>;
  readonly #cache: EntryCache;
  /** Until {@link endReplay}. */
  readonly #recoveredEntries: RecoveredEntries;
  readonly #flusher: Flusher;
  readonly #writer: FrameWriter;
  readonly #reader: FrameReader;
  readonly #reclaimer: Reclaimer;
  readonly #allocator: SegmentAllocator;
  readonly #files: SegmentFiles;
  readonly #chain: SegmentChain;
  readonly #entryBytesMax: number;
  /** The last frame of moved entries; who waits for its flush, in order. */
  #movedLsn = 0;
  readonly #moveWaiters: { readonly lsn: number; readonly resolve: () => void }[] = [];
  #closed = false;

  /**
   * Reads what is there, makes the part of it that may be unflushed durable again, and is then ready. Rejects if the
   * directory belongs to another store, was written by a newer version, or cannot be written to.
   */
  static async open(options: WalOptions): Promise<Wal> {
    const segmentBytes = options.segmentBytes ?? DEFAULT_SEGMENT_BYTES;
    assert(options.storeId.length === STORE_ID_BYTES, 'A store id has 16 bytes');
    assert(
      segmentBytes % BLOCK_BYTES === 0 && segmentBytes <= SEGMENT_BYTES_MAX,
      'A segment has up to 65536 blocks of 4 KiB',
    );
    const log = options.log ?? SILENT_LOG;
    const stamps = new Stamps(options.storeId);
    const files = new SegmentFiles(options.disk, options.directory, segmentBytes);
    const load = async (file: DiskFile, sizeBytes: number): Promise<Uint8Array> => {
      const reader = await options.disk.openFile(file.path);
      try {
        return await reader.read(0, sizeBytes);
      } finally {
        await reader.close();
      }
    };
    const recovery = await recover({ files, storeId: options.storeId, stamps, log, load });
    if (files.free === 0) await files.create();
    const sequence = recovery.nextSequence;
    const file = await files.begin({ storeId: options.storeId, sequence, continues: recovery.continues });
    const wal = new Wal(options, {
      segmentBytes,
      log,
      stamps,
      files,
      recovery,
      first: new Segment(sequence, segmentBytes, file),
    });
    await wal.#remake(recovery);
    return wal;
  }

  private constructor(
    options: WalOptions,
    parts: {
      segmentBytes: number;
      log: Log;
      stamps: Stamps;
      files: SegmentFiles;
      recovery: Recovered;
      first: Segment;
    },
  ) {
    const { segmentBytes, log, stamps, files, recovery, first } = parts;
    const { chain } = recovery;
    const bytesLimit = options.bytesLimit ?? DEFAULT_BYTES_LIMIT;
    const segmentsMax = Math.max(SEGMENTS_MIN, Math.floor(bytesLimit / segmentBytes));
    this.#chain = chain;
    this.#logs = recovery.logs;
    this.#recoveredEntries = recovery.entries;
    this.#cache = new EntryCache(options.cacheBytes ?? DEFAULT_CACHE_BYTES);
    this.#files = files;
    this.#entryBytesMax = segmentBytes / 4;
    this.storeDamage = recovery.storeDamage;
    this.recovered = [...recovery.logs.values()].map(describe);
    this.stats = {
      flushes: 0,
      flushedBytes: 0,
      flushedFrames: 0,
      flushMsTotal: 0,
      flushDurationMs: new Histogram(),
      flushSizeBytes: new Histogram(SIZE_BOUNDS_BYTES),
      segments: files.total,
      segmentsReused: 0,
      bytesInUse: 0,
      bytesLimit,
      liveBytes: 0,
      movedBytes: 0,
      segmentCreationFailures: 0,
    };
    chain.push(first);
    this.#allocator = new SegmentAllocator({
      files,
      storeId: options.storeId,
      segmentsMax,
      log,
      onNeed: (mayGrow) => this.#reclaimer.need(mayGrow),
      onCreationFailure: () => {
        this.stats.segmentCreationFailures++;
      },
      onFailure: (error) => this.#fail(error),
    });
    this.#flusher = new Flusher({
      disk: options.disk,
      clock: options.clock,
      timers: options.timers,
      stamps,
      bufferBytes: Math.min(FLUSH_BYTES_MAX, segmentBytes / 4),
      idleMs: options.idleMs ?? DEFAULT_IDLE_MS,
      stats: this.stats,
      firstLsn: recovery.nextLsn,
      segment: first,
      roll: () => {
        const sequence = this.#flusher.segment.sequence + 1;
        const segment = new Segment(sequence, segmentBytes, this.#allocator.take(sequence));
        chain.push(segment);
        return segment;
      },
      onRolled: (segment) => {
        this.#writer.table(segment, this.#logs, this.storeDamage);
        this.#reclaimer.rolled();
      },
      oldestSequence: () => chain.oldest!.sequence,
      onFlushed: () => this.#flushed(),
      onFailure: (error) => this.#fail(error),
    });
    this.#writer = new FrameWriter(this.#flusher, this.#entryBytesMax);
    this.#reader = new FrameReader(
      chain,
      stamps,
      () => this.#reclaimer.wake(),
      () => this.#moveSettled(),
    );
    this.#reclaimer = new Reclaimer({
      chain,
      files,
      segmentBytes,
      segmentsMax,
      stats: this.stats,
      flusher: this.#flusher,
      allocator: this.#allocator,
      readLive: (replica, from, to, maxBytes) =>
        this.#cache.read(replica.replicaId, from, to, maxBytes) ??
        this.#recoveredEntries.read(replica, from, to, maxBytes) ??
        this.#reader.read(replica, from, to, maxBytes),
      move: (replica, entries) => {
        this.#writer.entries(FRAME_KIND.movedEntries, replica, entries, 0);
        this.#movedLsn = this.appendedLsn;
      },
      onPressure: (replicas) => this.onPressure(replicas),
      onDamage: (replicaId, index, error) => this.onDamage(replicaId, logIndex(index), error),
      onFailure: (error) => this.#fail(error),
    });
    this.#updateStats();
  }

  get entryBytesMax(): number {
    return this.#entryBytesMax - ENTRY_HEADER_BYTES;
  }

  get appendedLsn(): Lsn {
    return this.#flusher.appendedLsn;
  }

  get flushedLsn(): Lsn {
    return this.#flusher.flushedLsn;
  }

  /** Memory of recent entries; above its budget only by what is not flushed. */
  get entryCache(): { readonly bytes: number; readonly budgetBytes: number } {
    return this.#cache;
  }

  createReplica(replicaId: ReplicaId, descriptor: Uint8Array): Lsn {
    assert(!this.#logs.has(replicaId), 'A replica id is never reused');
    // The frame first: it may begin a segment, whose table must not have the replica yet.
    const appended = this.#append(FRAME_KIND.createReplica, replicaId, 0, descriptor);
    this.#logs.set(replicaId, new ReplicaLog(replicaId, descriptor.slice(), this.#chain));
    return appended;
  }

  removeReplica(replicaId: ReplicaId): Lsn {
    const replica = this.#get(replicaId);
    replica.clear();
    this.#logs.delete(replicaId);
    this.#cache.forget(replicaId);
    return this.#append(FRAME_KIND.removeReplica, replicaId);
  }

  setHardState(replicaId: ReplicaId, hardState: HardState): Lsn {
    const replica = this.#get(replicaId);
    const before = replica.hardState;
    assert(hardState.currentTerm >= before.currentTerm, 'A term never goes back');
    assert(
      hardState.currentTerm > before.currentTerm || before.votedFor === 0 || hardState.votedFor === before.votedFor,
      'A vote never changes within a term',
    );
    replica.hardState = { ...hardState };
    const at = this.#flusher.begin(HARD_STATE_BYTES);
    writeHardState(this.#flusher.buffer.view, at, hardState);
    this.#flusher.end(FRAME_KIND.hardState, replicaId, 0, 0);
    return this.appendedLsn;
  }

  appendEntries(replicaId: ReplicaId, entries: readonly Entry[], commitHint: LogIndex): Lsn {
    const replica = this.#get(replicaId);
    if (entries.length === 0) return this.appendedLsn;
    let expected: number = replica.lastIndex;
    for (const entry of entries) assert(entry.index === ++expected, 'Entries follow the log without a gap');
    this.#writer.entries(FRAME_KIND.entries, replica, entries, commitHint);
    this.#cache.append(replicaId, entries, this.appendedLsn);
    this.#cache.trim(this.flushedLsn);
    return this.appendedLsn;
  }

  noteCommitted(replicaId: ReplicaId, index: LogIndex): Lsn {
    const replica = this.#get(replicaId);
    assert(index <= replica.lastIndex, 'What is committed here is in the log');
    if (index <= replica.commitHint) return this.appendedLsn;
    replica.commitHint = index;
    return this.#append(FRAME_KIND.committed, replicaId, index);
  }

  truncate(replicaId: ReplicaId, fromIndex: LogIndex): Lsn {
    const replica = this.#get(replicaId);
    replica.truncate(fromIndex);
    this.#cache.truncate(replicaId, fromIndex);
    return this.#append(FRAME_KIND.truncate, replicaId, fromIndex);
  }

  setCheckpoint(replicaId: ReplicaId, checkpoint: Checkpoint, options: { resetLog?: boolean } = {}): Lsn {
    const replica = this.#get(replicaId);
    const reset = options.resetLog === true;
    replica.setCheckpoint({ ...checkpoint, payload: checkpoint.payload.slice() }, reset);
    if (reset) this.#cache.forget(replicaId);
    const { payload } = checkpoint;
    const at = this.#flusher.begin(8 + payload.length);
    const { bytes, view } = this.#flusher.buffer;
    writeU53(view, at, checkpoint.term);
    bytes.set(payload, at + 8);
    const flags = reset ? CHECKPOINT_FLAG.resetLog : 0;
    this.#flusher.end(FRAME_KIND.checkpoint, replicaId, checkpoint.index, 0, flags);
    this.#reclaimer.wake();
    return this.appendedLsn;
  }

  repaired(replicaId: ReplicaId): Lsn {
    this.#get(replicaId).damage = undefined;
    return this.#append(FRAME_KIND.repaired, replicaId);
  }

  lose(replicaId: ReplicaId, reason: string): Lsn {
    this.#get(replicaId).lose(reason);
    this.#cache.forget(replicaId);
    const appended = this.#append(FRAME_KIND.lost, replicaId, 0, Buffer.from(reason.slice(0, REASON_CHARACTERS_MAX)));
    this.#reclaimer.wake();
    return appended;
  }

  termAt(replicaId: ReplicaId, index: LogIndex): Term | undefined {
    return this.#get(replicaId).termAt(index);
  }

  firstIndex(replicaId: ReplicaId): LogIndex {
    const replica = this.#get(replicaId);
    return logIndex(Math.min(replica.firstIndex, replica.checkpointIndex + 1));
  }

  lastIndex(replicaId: ReplicaId): LogIndex {
    return this.#get(replicaId).lastIndex;
  }

  readEntries(
    replicaId: ReplicaId,
    from: LogIndex,
    to: LogIndex,
    maxBytes: number,
  ): readonly Entry[] | Promise<readonly Entry[]> {
    const replica = this.#get(replicaId);
    assert(from >= replica.firstIndex && from <= to && to <= replica.lastIndex, 'Entries are read inside the log');
    const cached = this.#cache.read(replicaId, from, to, maxBytes);
    if (cached !== undefined) {
      const last = cached[cached.length - 1]!;
      const agrees = cached[0]!.term === replica.termAt(from) && last.term === replica.termAt(last.index);
      assert(agrees, 'The cache agrees with the log');
      return cached;
    }
    const recovered = this.#recoveredEntries.read(replica, from, to, maxBytes);
    if (recovered !== undefined) return recovered;
    // What the cache holds behind them may not be flushed: the disk is asked for the part before it only.
    const cachedFrom = this.#cache.firstIndex(replicaId) ?? Number.POSITIVE_INFINITY;
    const end = cachedFrom > from ? Math.min(to, cachedFrom - 1) : to;
    return this.#reader.read(replica, from, end, maxBytes);
  }

  /** Resolves when everything that was moved is flushed; undefined if it is. */
  #moveSettled(): Promise<void> | undefined {
    const lsn = this.#movedLsn;
    if (lsn <= this.flushedLsn) return undefined;
    this.flush();
    return new Promise((resolve) => this.#moveWaiters.push({ lsn, resolve }));
  }

  hold(replicaId: ReplicaId, holder: string, fromIndex: LogIndex): void {
    this.#get(replicaId).hold(holder, fromIndex);
  }

  release(replicaId: ReplicaId, holder: string): void {
    this.#logs.get(replicaId)?.release(holder);
    this.#reclaimer.wake();
  }

  endReplay(): void {
    this.#recoveredEntries.clear();
  }

  flush(): void {
    this.#flusher.flush();
  }

  oldestFlushWaitMs(): number {
    return this.#flusher.oldestFlushWaitMs();
  }

  pinnedBytes(replicaId: ReplicaId): number {
    return this.#get(replicaId).liveBytes;
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#reclaimer.stop();
    await this.#flusher.close();
    await this.#allocator.close();
    await this.#files.close();
    for (const segment of this.#chain.all) await segment.file?.close();
  }

  #get(replicaId: ReplicaId): ReplicaLog {
    const replica = this.#logs.get(replicaId);
    if (replica === undefined) throw new InvariantError(`Replica ${replicaId} is not in the WAL`);
    return replica;
  }

  /** Appends a frame without a body of its own making. */
  #append(kind: FrameKind, replicaId: number, index = 0, body?: Uint8Array): Lsn {
    this.#writer.frame(kind, replicaId, index, body);
    return this.appendedLsn;
  }

  /** Writes everything that may be unflushed again, into the new segment, and waits until it is durable (DECISIONS W4). */
  async #remake({ continues, lastBytes }: Recovered): Promise<void> {
    const segment = this.#flusher.segment;
    this.#writer.table(segment, this.#logs, this.storeDamage, () => {
      if (continues === undefined) return;
      for (const replica of this.#logs.values()) {
        for (const run of takeUnflushedEntries(replica, continues, lastBytes)) {
          this.#writer.entries(FRAME_KIND.movedEntries, replica, run, 0);
        }
      }
    });
    await new Promise<void>((resolve, reject) => {
      const { onFlushed, onFailure } = this;
      this.onFlushed = () => {
        if (this.flushedLsn < this.appendedLsn) return;
        this.onFlushed = onFlushed;
        this.onFailure = onFailure;
        resolve();
      };
      this.onFailure = reject;
      this.flush();
    });
    // Each start takes a segment: a broker that is restarted again and again must not run out of them.
    if (this.#files.free === 0) await this.#reclaimer.shrink();
    this.#allocator.prepare(segment.sequence + 1);
  }

  #flushed(): void {
    this.#updateStats();
    while (this.#moveWaiters.length > 0 && this.#moveWaiters[0]!.lsn <= this.flushedLsn)
      this.#moveWaiters.shift()!.resolve();
    this.#reclaimer.wake();
    this.onFlushed(this.flushedLsn);
  }

  #fail(error: Error): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#flusher.abandon();
    this.#reclaimer.stop();
    this.onFailure(error);
  }

  #updateStats(): void {
    const { stats } = this;
    const chain = this.#chain;
    stats.segments = this.#files.total;
    stats.bytesInUse = chain.count * (chain.oldest?.sizeBytes ?? 0);
    stats.liveBytes = chain.liveBytes;
  }
}

function describe(log: ReplicaLog): RecoveredReplica {
  return {
    replicaId: log.replicaId,
    descriptor: log.descriptor,
    hardState: log.hardState,
    checkpoint: log.checkpoint,
    lastIndex: log.lastIndex,
    termRuns: log.termRuns(),
    configurationIndexes: log.configurationIndexes,
    commitHint: logIndex(log.commitHint),
    damage: log.damage,
  };
}
