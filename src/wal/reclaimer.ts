/**
 * Owns the reuse of segments, oldest first (DECISIONS W1). A segment is given back only after
 *
 *  1. the table of the segment behind it is flushed (votes, terms, truncations, removals stand again),
 *  2. its live entries were appended again and flushed, and
 *  3. a flush is durable that states that the log begins behind it.
 *
 * One segment is released at a time, when the next one can come from nowhere else.
 */
import { assert } from '../std/assert.ts';
import type { ReplicaId } from '../std/brands.ts';
import type { Flusher } from './flusher.ts';
import type { ReplicaLog } from './replica-log.ts';
import { DamageError, type Entry, type WalStats } from './replica-storage.ts';
import type { Segment, SegmentChain } from './segment.ts';
import type { SegmentAllocator } from './segment-allocator.ts';
import type { SegmentFiles } from './segment-files.ts';

/** Entries are appended again in pieces of about this size. */
const MOVE_BYTES = 256 * 1024;
/** Above this share of the limit in use, the replicas that pin the oldest segment are reported. */
const PRESSURE_SHARE = 0.5;

/** Segments beyond the limit that are rather made than to copy a mostly live one. */
const SEGMENTS_GRACE = 2;

export interface ReclaimerOptions {
  readonly chain: SegmentChain;
  readonly files: SegmentFiles;
  readonly segmentBytes: number;
  readonly segmentsMax: number;
  readonly stats: WalStats;
  readonly flusher: Flusher;
  readonly allocator: SegmentAllocator;
  readonly readLive: (
    replica: ReplicaLog,
    from: number,
    to: number,
    maxBytes: number,
  ) => readonly Entry[] | Promise<readonly Entry[]>;
  readonly move: (replica: ReplicaLog, entries: readonly Entry[]) => void;
  readonly onPressure: (replicas: readonly ReplicaId[]) => void;
  readonly onDamage: (replicaId: ReplicaId, index: number, error: DamageError) => void;
  readonly onFailure: (error: Error) => void;
}

export class Reclaimer {
  readonly #options: ReclaimerOptions;
  #running = false;
  #stopped = false;
  #wake: (() => void) | undefined;
  #onShrunk: (() => void) | undefined;

  constructor(options: ReclaimerOptions) {
    this.#options = options;
  }

  /** The allocator wants a segment. With `mayGrow` it can also make one, which is the better choice while little can be won by copying. */
  need(mayGrow: boolean): 'wait' | 'grow' {
    if (mayGrow && this.#shouldGrow()) return 'grow';
    if (!this.#running && !this.#stopped && this.#releasable() !== undefined) {
      this.#running = true;
      this.#releaseSome().then(
        () => {
          this.#running = false;
          this.#options.allocator.released();
        },
        (error) => this.#options.onFailure(error instanceof Error ? error : new Error(String(error))),
      );
    }
    return 'wait';
  }

  /** Brings a log that grew beyond its limit back to it, as far as that comes cheap. */
  async shrink(): Promise<void> {
    if (this.#options.files.total <= this.#options.segmentsMax) return;
    this.need(false);
    await new Promise<void>((resolve) => {
      this.#onShrunk = resolve;
      if (!this.#running) resolve();
    });
  }

  /** Is a larger log better than copying the oldest segment's live entries? Bounded by the allocator. */
  #shouldGrow(): boolean {
    const { chain, files, segmentBytes, segmentsMax } = this.#options;
    const oldest = this.#releasable();
    if (oldest === undefined) return true;
    // Most of it is live: copying would win little, again and again.
    if (chain.liveBytes > (segmentsMax * segmentBytes) / 2) return true;
    // The checkpointer was told of the pressure: a little more time for it.
    return oldest.liveBytes > segmentBytes / 2 && files.total < segmentsMax + SEGMENTS_GRACE;
  }

  /** Is the log larger than its limit, and so little of it live that copying brings it back for certain, with room to spare? Anything less could copy the same entries forever. */
  #shouldShrink(): boolean {
    const { chain, files, segmentBytes, segmentsMax } = this.#options;
    return files.total > segmentsMax && chain.liveBytes <= ((segmentsMax - 2) * segmentBytes) / 2;
  }

  #releasable(): Segment | undefined {
    const { chain, flusher } = this.#options;
    return chain.oldest === flusher.segment ? undefined : chain.oldest;
  }

  /** Something changed that a release may wait for. */
  wake(): void {
    this.#wake?.();
    // Grown beyond its limit, the log comes back without waiting until somebody needs a segment: callers that refuse entries
    // because of its size would wait forever.
    if (!this.#running && this.#shouldShrink()) this.need(false);
  }

  /** A new segment was begun: time to look at what pins the oldest. */
  rolled(): void {
    const { chain, segmentsMax } = this.#options;
    if (chain.count < segmentsMax * PRESSURE_SHARE) return;
    const pinning = this.#pinning();
    // From a fresh stack: an append is in progress.
    if (pinning.length > 0) queueMicrotask(() => !this.#stopped && this.#options.onPressure(pinning));
  }

  stop(): void {
    this.#stopped = true;
  }

  #pinning(): ReplicaId[] {
    const { oldest } = this.#options.chain;
    if (oldest === undefined || oldest.liveBytes === 0) return [];
    const pinning: ReplicaLog[] = [];
    for (const [replica, range] of oldest.ranges) {
      for (
        let index = Math.max(range.first, replica.liveFrom);
        index <= Math.min(range.last, replica.lastIndex);
        index++
      ) {
        if (replica.sequenceAt(index) !== oldest.sequence) continue;
        pinning.push(replica);
        break;
      }
    }
    return pinning.sort((a, b) => b.liveBytes - a.liveBytes).map((replica) => replica.replicaId);
  }

  /** Releases one segment and the dead ones behind it, and more while the log is larger than its limit and copying wins something. */
  async #releaseSome(): Promise<void> {
    const { allocator, files, segmentsMax } = this.#options;
    const first = this.#releasable();
    if (first !== undefined) await this.#release(first);
    while (this.#shouldShrink()) {
      const next = this.#releasable();
      if (next === undefined) break;
      await this.#release(next);
      allocator.released();
      while (files.free > (allocator.busy ? 1 : 0) && files.total > segmentsMax) await files.discardFree();
    }
    this.#onShrunk?.();
  }

  async #release(segment: Segment): Promise<void> {
    const { chain, flusher, files, segmentsMax, stats } = this.#options;
    const successor = chain.after(segment);
    assert(successor !== undefined, 'The segment being written is never released');
    await this.#flushed(successor.tableEndLsn);
    let run: Segment[] = [];
    for (;;) {
      if (segment.liveBytes > 0) await this.#moveLive(segment);
      // Entries are dead only once the frames that say so are flushed: checkpoints, truncations, removals as well as moves.
      // A hold may bring entries back to life meanwhile.
      // Dead segments are kept for followers that lag a little, unless the log is too large.
      const wereDead = this.#deadFrom(segment).slice(0, Math.max(1, files.total - segmentsMax));
      await this.#flushed(flusher.appendedLsn);
      run = wereDead.slice(
        0,
        firstIndexWhere(wereDead, (dead) => dead.liveBytes > 0),
      );
      if (run.length > 0) break;
    }
    for (const dead of run) {
      this.#forget(dead);
      chain.remove(dead);
    }
    const last = run[run.length - 1]!;
    flusher.flushEmpty();
    await this.#until(() => flusher.flushedOldestSequence > last.sequence);
    for (const dead of run) {
      await this.#until(() => dead.readers === 0);
      const file = await dead.ready;
      if (dead.damaged) await files.putAside(file, dead.sequence);
      else await files.giveBack(file, dead.sizeBytes);
      stats.segmentsReused++;
    }
  }

  /** `first` and the segments behind it in which nothing is live, as far as they follow each other; each has a successor, whose table is appended. */
  #deadFrom(first: Segment): Segment[] {
    const { chain } = this.#options;
    const dead: Segment[] = [];
    for (let next: Segment | undefined = first; next !== undefined && next.liveBytes === 0; next = chain.after(next)) {
      if (chain.after(next) !== undefined) dead.push(next);
    }
    return dead;
  }

  /** Appends the live entries of a segment again. */
  async #moveLive(segment: Segment): Promise<void> {
    const { move, stats } = this.#options;
    const isHere = (replica: ReplicaLog, index: number): boolean =>
      index >= replica.liveFrom && index <= replica.lastIndex && replica.sequenceAt(index) === segment.sequence;
    for (const [replica, range] of [...segment.ranges]) {
      for (let index = range.first; index <= range.last; index++) {
        if (index < replica.liveFrom) index = replica.liveFrom;
        if (index > replica.lastIndex || !isHere(replica, index)) continue;
        let last = index;
        while (last < range.last && isHere(replica, last + 1)) last++;
        const entries = await this.#readUndamaged(segment, replica, index, last);
        if (entries === undefined) continue;
        // While it was read, a truncation or a checkpoint may have changed what is live here.
        const still = entries.filter(
          (entry) => isHere(replica, entry.index) && replica.termAt(entry.index) === entry.term,
        );
        for (const run of runsOf(still)) {
          const before = segment.liveBytes;
          move(replica, run);
          stats.movedBytes += before - segment.liveBytes;
        }
        index = entries.at(-1)!.index;
      }
    }
  }

  /** Undefined: the first entry is damaged, and not needed any more. */
  async #readUndamaged(
    segment: Segment,
    replica: ReplicaLog,
    first: number,
    last: number,
  ): Promise<readonly Entry[] | undefined> {
    const { readLive, onDamage } = this.#options;
    for (let to = last; ; to = first) {
      try {
        return await readLive(replica, first, to, MOVE_BYTES);
      } catch (error) {
        if (!(error instanceof DamageError)) throw error;
        segment.damaged = true;
        // What lies before the damage is moved first.
        if (to > first) continue;
        onDamage(replica.replicaId, first, error);
        await this.#until(
          () => first < replica.liveFrom || first > replica.lastIndex || replica.sequenceAt(first) !== segment.sequence,
        );
        return undefined;
      }
    }
  }

  /** Entries of a segment that goes away can no longer be read. */
  #forget(segment: Segment): void {
    for (const [replica, range] of segment.ranges) {
      const last = Math.min(range.last, replica.lastIndex, replica.liveFrom - 1);
      for (let index = last; index >= Math.max(range.first, replica.firstIndex); index--) {
        if (replica.sequenceAt(index) !== segment.sequence) continue;
        replica.dropBefore(index + 1);
        break;
      }
    }
    segment.ranges.clear();
  }

  #flushed(lsn: number): Promise<void> {
    this.#options.flusher.flush();
    return this.#until(() => this.#options.flusher.flushedLsn >= lsn);
  }

  async #until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

function firstIndexWhere<T>(items: readonly T[], holds: (item: T) => boolean): number {
  const found = items.findIndex(holds);
  return found < 0 ? items.length : found;
}

function runsOf(entries: readonly Entry[]): Entry[][] {
  const runs: Entry[][] = [];
  for (const entry of entries) {
    const run = runs.at(-1);
    if (run !== undefined && run[run.length - 1]!.index + 1 === entry.index) run.push(entry);
    else runs.push([entry]);
  }
  return runs;
}
