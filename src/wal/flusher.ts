/**
 * Owns group commit: frames are copied into an open flush, one flush is on its way to disk at a time (one write, one
 * sync), and everything that arrives meanwhile goes with the next. Positions are given out when a flush is opened, so an
 * entry's place is known when it is appended. A failed write or sync is final (DECISIONS: fsync is never retried).
 */
import { assert, InvariantError } from '../std/assert.ts';
import { type Lsn, lsn } from '../std/brands.ts';
import type { Disk } from '../std/disk.ts';
import type { Clock, TimerHandle, Timers } from '../std/environment.ts';
import { FLUSH_FLAG, FlushBuffer, flushExtent } from './flush-block.ts';
import { FRAME_HEADER_BYTES, type FrameKind, frameSeedAt, sealFrame } from './frame.ts';
import { roundUp, SEGMENT_DATA_POSITION } from './layout.ts';
import type { WalStats } from './replica-storage.ts';
import type { Segment } from './segment.ts';
import type { Stamps } from './stamp.ts';

/** Buffers kept for reuse; a stalled disk may need more for a while. */
const IDLE_BUFFERS_MAX = 3;

export interface FlusherOptions {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly stamps: Stamps;
  /** Usual size of a flush at most. */
  readonly bufferBytes: number;
  /** An idle log's last flush is followed by an empty one after this long. */
  readonly idleMs: number;
  readonly stats: WalStats;
  readonly firstLsn: number;
  readonly segment: Segment;
  /** Gives the segment that follows. */
  readonly roll: () => Segment;
  /** Called when a new segment was begun, to append its table first. */
  readonly onRolled: (segment: Segment) => void;
  /** First segment that is needed, as every flush states it. */
  readonly oldestSequence: () => number;
  readonly onFlushed: () => void;
  readonly onFailure: (error: Error) => void;
}

export class Flusher {
  readonly #options: FlusherOptions;
  #segment: Segment;
  #position = SEGMENT_DATA_POSITION;
  #seed: number;
  #nextLsn: number;
  #open: FlushBuffer | undefined;
  readonly #closed: { buffer: FlushBuffer; segment: Segment }[] = [];
  readonly #idle: FlushBuffer[] = [];
  /** The frame being written: where it begins in the open flush, −1 if there is none, and the length of its body. */
  #frameAt = -1;
  #bodyLength = 0;
  #rolling = false;
  #running: Promise<void> | undefined;
  #failed = false;
  #flushedLsn: number;
  #flushedOldestSequence = 0;
  #requestedLsn: number;
  /** When the oldest request was made that waits for a flush to begin, and for the running one to end. */
  #waitingSinceMs: number | undefined;
  #runningSinceMs: number | undefined;
  #emptyWanted = false;
  #lastWasEmpty = true;
  #idleTimer: TimerHandle | undefined;

  constructor(options: FlusherOptions) {
    this.#options = options;
    this.#segment = options.segment;
    this.#seed = options.stamps.seed(options.segment.sequence, 0);
    this.#nextLsn = options.firstLsn;
    this.#flushedLsn = options.firstLsn - 1;
    this.#requestedLsn = options.firstLsn - 1;
  }

  get appendedLsn(): Lsn {
    return lsn(this.#nextLsn - 1);
  }

  get flushedLsn(): Lsn {
    return lsn(this.#flushedLsn);
  }

  /** The first needed segment that a durable flush states; segments before it may be reused. */
  get flushedOldestSequence(): number {
    return this.#flushedOldestSequence;
  }

  /** The segment that appends go to. */
  get segment(): Segment {
    return this.#segment;
  }

  get failed(): boolean {
    return this.#failed;
  }

  /** The flush being filled: where the body of the begun frame is written. */
  get buffer(): FlushBuffer {
    assert(this.#open !== undefined, 'A frame must have been begun');
    return this.#open;
  }

  /** Makes room for a frame; returns where in {@link buffer} its body of `bodyLength` bytes goes. */
  begin(bodyLength: number): number {
    assert(!this.#failed, 'Nothing is appended after a failed flush');
    assert(this.#frameAt < 0, 'One frame is written at a time');
    const frameBytes = FRAME_HEADER_BYTES + bodyLength;
    if (this.#open === undefined || this.#open.length + frameBytes > this.#open.limit) this.#openFor(frameBytes);
    const at = this.buffer.length;
    this.#frameAt = at;
    this.#bodyLength = bodyLength;
    return at + FRAME_HEADER_BYTES;
  }

  /** Ends the frame that was begun; its body is in place, and `bodyChecksum` its CRC-32C if that is known. Returns where the frame begins in its segment. */
  end(kind: FrameKind, replicaId: number, index: number, count: number, flags = 0, bodyChecksum?: number): number {
    const buffer = this.#open;
    const at = this.#frameAt;
    if (buffer === undefined || at < 0) throw new InvariantError('A frame must have been begun');
    this.#frameAt = -1;
    const position = buffer.position + at;
    const bodyLength = this.#bodyLength;
    const frameSeed = frameSeedAt(this.#seed, position);
    sealFrame(buffer.bytes, buffer.view, at, bodyLength, frameSeed, kind, flags, replicaId, index, count, bodyChecksum);
    buffer.length = at + FRAME_HEADER_BYTES + bodyLength;
    buffer.frameCount++;
    this.#nextLsn++;
    return position;
  }

  /** The flush being filled completes the table of its segment. */
  markTableComplete(): void {
    this.buffer.flags |= FLUSH_FLAG.completesTable;
  }

  flush(): void {
    const appended = this.#nextLsn - 1;
    if (this.#failed || appended <= this.#requestedLsn) return;
    this.#requestedLsn = appended;
    this.#waitingSinceMs ??= this.#options.clock.monotonicMs();
    if (this.#running === undefined) this.#start();
  }

  /** Writes a flush soon even if there is nothing to write, so that what the last one made durable is stated on disk. */
  flushEmpty(): void {
    if (this.#failed) return;
    this.#emptyWanted = true;
    if (this.#running === undefined) this.#start();
  }

  oldestFlushWaitMs(): number {
    const since = this.#runningSinceMs ?? this.#waitingSinceMs;
    return since === undefined ? 0 : this.#options.clock.monotonicMs() - since;
  }

  /** Nothing is appended or reported flushed from now on. */
  abandon(): void {
    this.#failed = true;
    this.#idleTimer?.cancel();
  }

  /** Flushes what is appended and stops; nothing may be appended meanwhile. */
  async close(): Promise<void> {
    this.#idleTimer?.cancel();
    this.flush();
    while (this.#running !== undefined && !this.#failed) await this.#running;
    this.abandon();
  }

  #openFor(frameBytes: number): void {
    this.#closeOpen();
    const extent = flushExtent(frameBytes);
    for (let rolls = 0; this.#position + extent > this.#segment.sizeBytes; rolls++) {
      // A table that fills a segment would need a table in the next one, and so on.
      assert(
        !this.#rolling && rolls === 0,
        'A segment must hold the table of all replicas and a frame: the segment size is too small',
      );
      this.#roll();
      if (this.#open !== undefined && this.#open.length + frameBytes <= this.#open.limit) return;
      this.#closeOpen();
    }
    const buffer = this.#takeBuffer(extent);
    buffer.open(this.#segment.sequence, this.#position, this.#nextLsn, this.#segment.sizeBytes - this.#position);
    this.#open = buffer;
  }

  #roll(): void {
    this.#rolling = true;
    this.#segment = this.#options.roll();
    this.#position = SEGMENT_DATA_POSITION;
    this.#seed = this.#options.stamps.seed(this.#segment.sequence, 0);
    this.#options.onRolled(this.#segment);
    this.#rolling = false;
  }

  #closeOpen(): void {
    const buffer = this.#open;
    if (buffer === undefined) return;
    this.#open = undefined;
    this.#closed.push({ buffer, segment: this.#segment });
    this.#position = buffer.position + flushExtent(buffer.payloadLength);
    // A full flush need not wait for a request.
    if (this.#running === undefined) this.#start();
  }

  #takeBuffer(extent: number): FlushBuffer {
    const fitting = this.#idle.findIndex((buffer) => buffer.bytes.length >= extent);
    if (fitting >= 0) return this.#idle.splice(fitting, 1)[0]!;
    // Frames above the usual size are rare; the memory stays with the idle buffers.
    const bytes =
      extent <= this.#options.bufferBytes ? this.#options.bufferBytes : roundUp(extent, this.#options.bufferBytes);
    return new FlushBuffer(this.#options.disk.allocateAligned(bytes));
  }

  #giveBack(buffer: FlushBuffer): void {
    this.#idle.push(buffer);
    if (this.#idle.length <= IDLE_BUFFERS_MAX) return;
    this.#idle.sort((a, b) => b.bytes.length - a.bytes.length);
    this.#idle.pop();
  }

  #start(): void {
    if (this.#failed) return;
    if (this.#closed.length === 0) {
      if (this.#open === undefined && this.#emptyWanted) this.#openFor(0);
      if (this.#running !== undefined) return;
      const buffer = this.#open;
      if (buffer === undefined) return;
      assert(this.#frameAt < 0, 'A flush begins between frames');
      this.#open = undefined;
      this.#position = buffer.position + flushExtent(buffer.payloadLength);
      this.#closed.push({ buffer, segment: this.#segment });
    }
    const next = this.#closed.shift();
    if (next === undefined) return;
    this.#emptyWanted = false;
    this.#runningSinceMs = this.#waitingSinceMs ?? this.#options.clock.monotonicMs();
    // What was requested beyond this flush goes on waiting from now.
    this.#waitingSinceMs = next.buffer.lastLsn < this.#requestedLsn ? this.#runningSinceMs : undefined;
    this.#running = this.#run(next.buffer, next.segment);
  }

  async #run(buffer: FlushBuffer, segment: Segment): Promise<void> {
    const { clock, stamps, stats } = this.#options;
    const oldestSequence = this.#options.oldestSequence();
    try {
      const file = segment.file ?? (await segment.ready);
      const startMs = clock.monotonicMs();
      const extent = buffer.seal(stamps, { knownFlushedLsn: this.#flushedLsn, oldestSequence }, segment.originals);
      await file.write(buffer.position, [extent]);
      await file.sync();
      stats.flushes++;
      stats.flushedBytes += extent.length;
      stats.flushedFrames += buffer.frameCount;
      const tookMs = clock.monotonicMs() - startMs;
      stats.flushMsTotal += tookMs;
      stats.flushDurationMs.observe(tookMs);
      stats.flushSizeBytes.observe(extent.length);
    } catch (error) {
      this.abandon();
      this.#options.onFailure(error instanceof Error ? error : new Error(String(error)));
      return;
    }
    // Another part of the disk failed meanwhile: the broker stops, and says nothing more.
    if (this.#failed) return;
    this.#flushedLsn = buffer.lastLsn;
    this.#flushedOldestSequence = oldestSequence;
    this.#lastWasEmpty = buffer.frameCount === 0;
    this.#giveBack(buffer);
    this.#running = undefined;
    this.#runningSinceMs = undefined;
    // The disk goes on while the driver looks at what was flushed.
    if (this.#flushedLsn < this.#requestedLsn || this.#closed.length > 0 || this.#emptyWanted) this.#start();
    if (this.#running === undefined && !this.#lastWasEmpty) this.#armIdleTimer();
    this.#options.onFlushed();
  }

  #armIdleTimer(): void {
    this.#idleTimer?.cancel();
    this.#idleTimer = this.#options.timers.after(this.#options.idleMs, () => {
      if (this.#running === undefined && this.#open === undefined && !this.#lastWasEmpty) this.flushEmpty();
    });
  }
}
