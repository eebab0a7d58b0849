/**
 * Looks for damage before somebody needs the bytes (DECISIONS W6), and sees to its repair.
 *
 * In the background, at a limited speed, one pass after the other walks over all partition files of this broker: each batch is checked, damage is repaired from the peers (partition-repair.ts), and
 * where this broker leads, the other replicas are asked for their digests of the same ranges, which they take from their own files. A replica whose leader asks for it is not read a second time by
 * its own broker. A pass at full speed is what `cluster.sh scrub` starts. Damage that a reader meets is repaired at once; what nobody can repair now is tried again.
 */
import type { RaftGroups } from '../../raft/raft-group.ts';
import { assert } from '../../std/assert.ts';
import type { BrokerId, GroupId } from '../../std/brands.ts';
import { crc32c } from '../../std/crc32c.ts';
import { DiskError } from '../../std/disk.ts';
import type { Clock, Timers } from '../../std/environment.ts';
import type { Log } from '../../std/log.ts';
import { PartitionDamageError } from './partition-damage-error.ts';
import { firstKept, otherBrokers, PartitionRepair, type RepairMetrics, type ScrubTarget } from './partition-repair.ts';
import type { PartitionResources } from './partition-resources.ts';
import { ScrubPace } from './scrub-pace.ts';
import { type OffsetRange, type RangeDigest, ScrubPeers, serveScrub } from './scrub-peers.ts';
import { findBatch } from './segment-reader.ts';
import type { SegmentedLog } from './segmented-log.ts';
import { storedBaseOffset } from './stored-batch.ts';

/** Compared at a time; less if reading so much would take longer than some seconds. */
const RANGE_BYTES_MAX = 4 * 1024 * 1024;
const RANGE_SECONDS_MAX = 10;
/** The first pass begins this long after the start, if the interval is not shorter. */
const FIRST_PASS_MS = 30_000;
/** Opening and comparing the files of a replica costs the more the smaller they are: thousands of small ones shall not keep the brokers busy. */
const REPLICA_PAUSE_MS = 30;
/** Time after which damage that nobody could repair is tried again. */
const RETRY_MS = 5_000;

export interface ScrubMetrics extends RepairMetrics {
  /** Read and checked. */
  bytes: number;
  /** Ranges that were the same on all replicas that could tell. */
  rangesVerified: number;
  /** Ranges that were not, although each replica's own checksums hold. */
  mismatches: number;
  passes: number;
}

/** What a pass says of one replica. What readers and the leader's questions met since the pass before counts, too. */
export interface ScrubRow {
  readonly name: string;
  readonly role: string;
  bytes: number;
  rangesCompared: number;
  found: number;
  repaired: number;
  mismatches: number;
  /** unfinished: the pass did not get through, or the replica went away. */
  state: 'running' | 'whole' | 'damaged' | 'unfinished';
}

/** The last pass, or the one that runs. */
export interface ScrubReport {
  readonly pass: number;
  isRunning: boolean;
  readonly rows: ScrubRow[];
}

export interface ScrubberOptions {
  readonly brokerId: BrokerId;
  readonly groups: Pick<RaftGroups, 'request' | 'serve' | 'isBrokerLive'>;
  readonly resources: PartitionResources;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Log;
  readonly bytesPerSecond: number;
  /** From the begin of a pass to the begin of the next. */
  readonly intervalMs: number;
  /** The replicas on this broker, as they are now. */
  targets(): Iterable<ScrubTarget>;
  targetOf(group: GroupId): ScrubTarget | undefined;
  /** Makes the state of that group durable once more. */
  checkpointAgain(group: GroupId): void;
  /** Something failed that is not damage: the broker stops. */
  fail(error: unknown): void;
}

export class Scrubber {
  readonly #options: ScrubberOptions;
  readonly #pace: ScrubPace;
  readonly #peers: ScrubPeers;
  readonly #repair: PartitionRepair;
  readonly #counts = { bytes: 0, rangesVerified: 0, mismatches: 0, passes: 0 };
  /** When a leader asked last for digests of a replica. */
  readonly #askedMs = new Map<GroupId, number>();
  /** Files that are being repaired because a reader met damage in them. */
  readonly #healing = new Set<string>();
  #report: ScrubReport = { pass: 0, isRunning: false, rows: [] };
  #startedMs: number;
  #completedMs: number | undefined;
  #running: Promise<ScrubReport> | undefined;
  /** A pass that was asked for and waits. */
  #asked: Promise<ScrubReport> | undefined;
  #isHurried = false;
  #retry: Promise<void> | undefined;

  constructor(options: ScrubberOptions) {
    this.#options = options;
    const { clock, timers, brokerId, groups, resources, log } = options;
    this.#startedMs = clock.monotonicMs();
    this.#pace = new ScrubPace(clock, timers, options.bytesPerSecond);
    this.#peers = new ScrubPeers(groups);
    const isStopped = (): boolean => this.#pace.isStopped;
    this.#repair = new PartitionRepair({ brokerId, groups, peers: this.#peers, resources, log, isStopped });
    serveScrub(groups, {
      read: (group, offset, maxBytes) => this.#read(group, offset, maxBytes),
      digest: (group, range, isFullSpeed) => this.#digest(group, range, isFullSpeed),
      restore: (group, range, source) => this.#restore(group, range, source),
    });
  }

  get metrics(): ScrubMetrics {
    return { ...this.#repair.metrics, ...this.#counts };
  }

  /** Replicas with damage that is not repaired yet. */
  get damagedReplicas(): number {
    return this.#repair.damagedReplicas;
  }

  /** Milliseconds since a pass was completed last, or since the start. */
  get ageMs(): number {
    return this.#options.clock.monotonicMs() - (this.#completedMs ?? this.#startedMs);
  }

  get report(): ScrubReport {
    return this.#report;
  }

  /** Begins with the passes in the background. */
  start(): void {
    this.#inBackground().catch((error: unknown) => this.#failed(error));
  }

  stop(): void {
    this.#pace.stop();
  }

  /**
   * Walks over everything from now on, as fast as it can; a pass that runs in the background hurries to its end before. Resolves at the end of the pass with what
   * it found; all who ask while it waits for its turn share it.
   */
  scrubNow(): Promise<ScrubReport> {
    if (this.#running === undefined) return this.#pass(true);
    this.#isHurried = true;
    this.#asked ??= this.#passAfter(this.#running);
    return this.#asked;
  }

  async #passAfter(running: Promise<ScrubReport>): Promise<ScrubReport> {
    await running;
    while (this.#running !== undefined) await this.#running;
    this.#isHurried = false;
    this.#asked = undefined;
    return this.#pass(true);
  }

  /** Whoever read met damage in a file: it is repaired now. */
  damageMet(target: ScrubTarget, { path }: PartitionDamageError): void {
    const segment = target.log.segments.find(({ logPath }) => logPath === path);
    if (segment === undefined || this.#healing.has(path) || this.#pace.isStopped) return;
    this.#healing.add(path);
    this.#repair
      .walk(target, segment, () => undefined)
      .then(
        (walk) => {
          this.#healing.delete(path);
          if (!walk.isWhole) this.#retryLater();
        },
        (error: unknown) => {
          this.#healing.delete(path);
          this.#failed(error);
        },
      );
  }

  async #inBackground(): Promise<void> {
    const { clock, intervalMs } = this.#options;
    await this.#pace.pause(Math.min(FIRST_PASS_MS, intervalMs));
    while (!this.#pace.isStopped) {
      const beganMs = clock.monotonicMs();
      while (this.#running !== undefined) await this.#running;
      await this.#pass(false);
      await this.#pace.pause(Math.max(0, beganMs + intervalMs - clock.monotonicMs()));
    }
  }

  #pass(isFullSpeed: boolean): Promise<ScrubReport> {
    if (this.#pace.isStopped) return Promise.resolve(this.#report);
    assert(this.#running === undefined, 'One pass runs at a time');
    const report = { pass: ++this.#counts.passes, isRunning: true, rows: [] };
    this.#report = report;
    this.#running = this.#walkAll(report, isFullSpeed)
      .then(() => report)
      .finally(() => {
        report.isRunning = false;
        this.#running = undefined;
      });
    return this.#running;
  }

  async #walkAll({ rows }: ScrubReport, isFullSpeed: boolean): Promise<void> {
    const { clock, intervalMs } = this.#options;
    const ledFirst = [...this.#options.targets()].sort((some, other) => Number(isLed(other)) - Number(isLed(some)));
    for (const target of ledFirst) {
      const askedMs = this.#askedMs.get(target.group.groupId) ?? Number.NEGATIVE_INFINITY;
      if (!isFullSpeed && !isLed(target) && clock.monotonicMs() - askedMs < intervalMs) continue;
      const row: ScrubRow = {
        name: target.name,
        role: target.group.role,
        bytes: 0,
        rangesCompared: 0,
        found: 0,
        repaired: 0,
        mismatches: 0,
        state: 'running',
      };
      rows.push(row);
      try {
        await this.#replica(target, row, isFullSpeed);
      } catch (error) {
        this.#failed(error);
        row.state = 'unfinished';
      }
      if (!isFullSpeed && !this.#isHurried) await this.#pace.pause(REPLICA_PAUSE_MS);
      if (this.#pace.isStopped) return;
    }
    this.#completedMs = clock.monotonicMs();
    for (const group of this.#askedMs.keys()) {
      if (this.#options.targetOf(group) === undefined) this.#askedMs.delete(group);
    }
  }

  async #replica(target: ScrubTarget, row: ScrubRow, isFullSpeed: boolean): Promise<void> {
    const { log, group } = target;
    const rangeBytes = Math.min(RANGE_BYTES_MAX, this.#options.bytesPerSecond * RANGE_SECONDS_MAX);
    // Those who are asked rely on it for all that they have, and write it out when they are; what this file lacks nobody would look at (seed 1100242).
    if (isLed(target)) await log.writeOutNow();
    let isWhole = true;
    for (const segment of [...log.segments]) {
      if (segment.isDropped || segment.writtenBytes === 0) continue;
      const comparison = new Comparison(rangeBytes, (range, own) =>
        this.#compare(target, row, range, own, isFullSpeed),
      );
      // Where leadership moves meanwhile, the range is committed all the same.
      const isCompared = isLed(target);
      const start = await firstKept(this.#options.resources, log, segment);
      const walk = await this.#repair.walk(
        target,
        segment,
        async (bytes) => {
          row.bytes += bytes.length;
          this.#counts.bytes += bytes.length;
          if (isCompared) await comparison.add(bytes);
          if (!isFullSpeed && !this.#isHurried) await this.#pace.spend(bytes.length);
        },
        start,
      );
      if (walk.isWhole) await comparison.finish(walk.nextOffset);
      if (this.#pace.isStopped || log.isClosed) {
        row.state = 'unfinished';
        return;
      }
      if (walk.isWhole || segment.isDropped) continue;
      isWhole = false;
      this.#retryLater();
    }
    const flaw = log.isClosed ? undefined : await target.stateFlaw();
    if (flaw !== undefined) {
      row.found++;
      this.#repair.metrics.damageFound++;
      this.#options.log.error(
        { groupId: group.groupId, replicaId: group.replicaId, flaw },
        'The file of a checkpoint is damaged: another one is made',
      );
      this.#options.checkpointAgain(group.groupId);
      row.repaired++;
    }
    const { found, repaired } = this.#repair.takeTally(target);
    row.found += found;
    row.repaired += repaired;
    row.state = isWhole ? 'whole' : 'damaged';
  }

  /** Asks the other replicas for what they have in a range that is intact here. */
  async #compare(
    target: ScrubTarget,
    row: ScrubRow,
    range: OffsetRange,
    own: RangeDigest,
    isFullSpeed: boolean,
  ): Promise<void> {
    const { brokerId, groups, log } = this.#options;
    const { groupId, membership } = target.group;
    const others = otherBrokers(target.group, brokerId).filter((broker) => groups.isBrokerLive(broker));
    if (others.length === 0) return;
    const answers = await Promise.all(
      others.map(async (broker) => ({
        broker,
        digest: await this.#peers.digest(broker, groupId, range, isFullSpeed || this.#isHurried),
      })),
    );
    const known = answers.filter(({ digest }) => digest !== undefined);
    if (known.length === 0) return;
    row.rangesCompared++;
    const held = [{ broker: brokerId, digest: own }, ...known].map(({ broker, digest }) => ({
      broker,
      key: keyOf(digest!),
    }));
    if (held.every(({ key }) => key === keyOf(own))) {
      this.#counts.rangesVerified++;
      return;
    }
    row.mismatches++;
    this.#counts.mismatches++;
    log.error(
      { groupId, ...range, replicas: held },
      'Replicas hold different batches, although each of them passes its checksums',
    );
    // A learner has what its leader sent it, so that with the leader alone it would outvote two voters.
    const voters = new Set(membership.voters.map((voter) => voter.brokerId));
    const majority = held.find(
      ({ key }) => held.filter((one) => one.key === key && voters.has(one.broker)).length * 2 > voters.size,
    )?.key;
    if (majority === undefined) return;
    const source = held.find(({ key }) => key === majority)!.broker;
    for (const { broker, key } of held) {
      if (key === majority) continue;
      const isRestored =
        broker === brokerId
          ? await this.#restore(groupId, range, source)
          : await this.#peers.restore(broker, groupId, range, source);
      log.info({ groupId, ...range, broker, source, isRestored }, 'A replica was told to take what most replicas hold');
      if (isRestored) row.repaired++;
    }
  }

  // -------------------------------------------------------------- what other brokers ask

  async #read(group: GroupId, offset: number, maxBytes: number): Promise<readonly Uint8Array[] | undefined> {
    const target = this.#targetOf(group);
    if (target === undefined) return undefined;
    const { log } = target;
    if (offset >= log.endOffset) return undefined;
    try {
      const pieces =
        offset < log.startOffset
          ? await deletedBatches(log, offset, maxBytes)
          : (await log.read(offset, maxBytes, true))?.pieces;
      const first = pieces?.[0];
      return first === undefined || storedBaseOffset(first, 0) !== offset ? undefined : pieces;
    } catch (error) {
      if (!(error instanceof PartitionDamageError)) throw error;
      this.damageMet(target, error);
      return undefined;
    }
  }

  async #digest(group: GroupId, range: OffsetRange, isFullSpeed: boolean): Promise<RangeDigest | undefined> {
    const target = this.#targetOf(group);
    if (target === undefined) return undefined;
    const { log } = target;
    if (!hasRange(log, range)) return undefined;
    this.#askedMs.set(group, this.#options.clock.monotonicMs());
    await log.writeOutNow();
    const digest = { sizeBytes: 0, checksum: 0 };
    try {
      for (let offset = range.from; offset < range.to; ) {
        if (log.isClosed || !hasRange(log, { from: offset, to: range.to })) return undefined;
        const segment = log.segmentOf(offset);
        const start = await findBatch(this.#options.resources, segment, offset);
        if (start === undefined || start.baseOffset !== offset) return undefined;
        const walk = await this.#repair.walk(
          target,
          segment,
          async (bytes) => {
            digest.sizeBytes += bytes.length;
            digest.checksum = crc32c(bytes, digest.checksum);
            this.#counts.bytes += bytes.length;
            if (!isFullSpeed) await this.#pace.spend(bytes.length);
          },
          start,
          range.to,
        );
        if (!walk.isWhole) {
          this.#retryLater();
          return undefined;
        }
        offset = walk.nextOffset;
      }
    } catch (error) {
      if (!(error instanceof PartitionDamageError)) throw error;
      this.damageMet(target, error);
      return undefined;
    }
    return digest;
  }

  async #restore(group: GroupId, range: OffsetRange, source: BrokerId): Promise<boolean> {
    const target = this.#targetOf(group);
    if (target === undefined) return false;
    try {
      return await this.#repair.restore(target, range, source);
    } catch (error) {
      if (!(error instanceof PartitionDamageError)) throw error;
      this.damageMet(target, error);
      return false;
    }
  }

  #targetOf(group: GroupId): ScrubTarget | undefined {
    return this.#pace.isStopped ? undefined : this.#options.targetOf(group);
  }

  // -------------------------------------------------------------- what could not be repaired

  #retryLater(): void {
    // Stopped, nothing pauses any more: trying again would never end.
    if (this.#pace.isStopped) return;
    this.#retry ??= this.#retryDamaged().then(
      () => {
        this.#retry = undefined;
        if (this.#repair.damaged.length > 0) this.#retryLater();
      },
      (error: unknown) => {
        this.#retry = undefined;
        this.#failed(error);
      },
    );
  }

  async #retryDamaged(): Promise<void> {
    await this.#pace.pause(RETRY_MS);
    for (const { target, segment } of this.#repair.damaged) {
      if (this.#pace.isStopped) return;
      await this.#repair.walk(target, segment, () => undefined);
    }
  }

  /** A disk that could not open or read a file now may do so later; a failed write has stopped the broker already. */
  #failed(error: unknown): void {
    if (this.#pace.isStopped) return;
    if (error instanceof DiskError) this.#options.log.warn({ reason: error.message }, 'Files could not be checked');
    else this.#options.fail(error);
  }
}

/** Cuts what a walk hands on into ranges and their digests. */
class Comparison {
  readonly #rangeBytes: number;
  readonly #compare: (range: OffsetRange, own: RangeDigest) => Promise<void>;
  #from: number | undefined;
  #own = { sizeBytes: 0, checksum: 0 };

  constructor(rangeBytes: number, compare: (range: OffsetRange, own: RangeDigest) => Promise<void>) {
    this.#rangeBytes = rangeBytes;
    this.#compare = compare;
  }

  async add(bytes: Uint8Array): Promise<void> {
    const baseOffset = storedBaseOffset(bytes, 0);
    if (this.#own.sizeBytes >= this.#rangeBytes) await this.finish(baseOffset);
    this.#from ??= baseOffset;
    this.#own = {
      sizeBytes: this.#own.sizeBytes + bytes.length,
      checksum: crc32c(bytes, this.#own.checksum),
    };
  }

  async finish(to: number): Promise<void> {
    const from = this.#from;
    const own = this.#own;
    this.#from = undefined;
    this.#own = { sizeBytes: 0, checksum: 0 };
    if (from !== undefined) await this.#compare({ from, to }, own);
  }
}

/** The first segment may begin below the log start, which does not matter to who compares whole batches. */
function hasRange({ segments, endOffset }: SegmentedLog, { from, to }: OffsetRange): boolean {
  const [first] = segments;
  return first !== undefined && from >= first.baseOffset && from < to && to <= endOffset;
}

function isLed({ group }: ScrubTarget): boolean {
  return group.role === 'leader';
}

function keyOf({ sizeBytes, checksum }: RangeDigest): string {
  return `${sizeBytes}:${checksum.toString(16)}`;
}

/** Batches below the log start, as far as they are still there: in the file of whoever asks they lie before others that count. */
async function deletedBatches(
  log: SegmentedLog,
  offset: number,
  maxBytes: number,
): Promise<readonly Uint8Array[] | undefined> {
  const segment = log.segments.find(({ baseOffset, nextOffset }) => baseOffset <= offset && offset < nextOffset);
  if (segment === undefined || segment.isDropped) return undefined;
  const read = await log.readFile(segment, offset, maxBytes, segment.writtenBytes);
  return read === undefined ? undefined : [read.bytes];
}
