/**
 * Gives a replica's partition files back what they lost, from the files of its peers, while the replica goes on as a member of its group.
 *
 * Why it is safe (docs/reliability.md, "Damage and its repair"): what is in a partition file is applied, thus committed, and the same bytes on every replica. So writing a peer's batches over damaged
 * ones changes nothing that was promised: log, term, vote and acknowledgements are not touched, nothing is thrown away before its replacement is here, and replicas that are damaged at different
 * places heal each other. A write over damage that a crash cuts short is damage again, and found again.
 */
import type { RaftGroup, RaftGroups } from '../../raft/raft-group.ts';
import type { BrokerId, GroupId } from '../../std/brands.ts';
import type { Log } from '../../std/log.ts';
import type { LogSegment } from './log-segment.ts';
import { PartitionDamageError } from './partition-damage-error.ts';
import type { PartitionResources } from './partition-resources.ts';
import type { OffsetRange, ScrubPeers } from './scrub-peers.ts';
import { type BatchStart, batchFlaw, findBatch } from './segment-reader.ts';
import { type SegmentFlaw, SegmentScan } from './segment-scan.ts';
import type { SegmentedLog } from './segmented-log.ts';
import { BATCH_HEADER_BYTES, storedNextOffset, storedSizeBytes } from './stored-batch.ts';

/** Asked of a peer at a time. */
const REPAIR_BYTES = 512 * 1024;
/** Times that one place is repaired in one walk: a disk that does not keep what it is given is not asked for ever. */
const REPAIRS_OF_A_PLACE_MAX = 2;

/** One replica of a partition on this broker. */
export interface ScrubTarget {
  readonly group: Pick<RaftGroup, 'groupId' | 'replicaId' | 'role' | 'membership'>;
  /** Topic and partition, for people. */
  readonly name: string;
  readonly log: SegmentedLog;
  /** Why the file that holds the state of the last checkpoint is not what was written; undefined if it is, or if there is none. */
  stateFlaw(): Promise<string | undefined>;
}

export interface RepairMetrics {
  /** Places found damaged. */
  damageFound: number;
  bytesRepaired: number;
  /** Times that a replica was damaged and is whole again. */
  replicasRepaired: number;
}

export interface RepairOptions {
  readonly brokerId: BrokerId;
  readonly groups: Pick<RaftGroups, 'isBrokerLive'>;
  readonly peers: ScrubPeers;
  readonly resources: Pick<PartitionResources, 'disk' | 'files' | 'indexes'>;
  readonly log: Log;
  readonly isStopped: () => boolean;
}

export interface Walk {
  /** Everything up to the limit is intact now. */
  readonly isWhole: boolean;
  /** Offset behind the last batch that was handed on. */
  readonly nextOffset: number;
}

/** Damaged places of one replica, since the last time that somebody took note. */
export interface Tally {
  found: number;
  repaired: number;
}

interface DamagedSegment {
  readonly target: ScrubTarget;
  readonly segment: LogSegment;
}

export class PartitionRepair {
  readonly metrics: RepairMetrics = { damageFound: 0, bytesRepaired: 0, replicasRepaired: 0 };
  readonly #options: RepairOptions;
  /** What could not be repaired yet, by path. */
  readonly #damaged = new Map<string, DamagedSegment>();
  readonly #tallies = new Map<GroupId, Tally>();

  constructor(options: RepairOptions) {
    this.#options = options;
  }

  /** Damaged and not repaired yet. */
  get damaged(): readonly DamagedSegment[] {
    for (const [path, { target, segment }] of this.#damaged) {
      if (segment.isDropped || target.log.isClosed) this.#damaged.delete(path);
    }
    return [...this.#damaged.values()];
  }

  get damagedReplicas(): number {
    return new Set(this.damaged.map(({ target }) => target)).size;
  }

  isDamaged(target: ScrubTarget): boolean {
    return this.damaged.some((damaged) => damaged.target === target);
  }

  /**
   * Hands all batches of a segment from `start` to the one at `toOffset` to `visit`, and repairs on the way what is damaged. Not whole: no peer could help, or the walk was ended.
   */
  async walk(
    target: ScrubTarget,
    segment: LogSegment,
    visit: (bytes: Uint8Array) => Promise<void> | void,
    start?: BatchStart,
    toOffset?: number,
  ): Promise<Walk> {
    const { resources, isStopped } = this.#options;
    const scan = new SegmentScan(resources.disk, segment, () => target.log.epochs, start, toOffset);
    let found = 0;
    let place = { position: -1, times: 0 };
    /** Where the last repair ended: damage that goes on there is the same. */
    let repairedTo = -1;
    const isAll = start === undefined && toOffset === undefined;
    const wasDamaged = this.#damaged.has(segment.logPath);
    const ended = (isWhole: boolean): Walk => ({ isWhole, nextOffset: scan.offset });
    try {
      for (;;) {
        const step = await scan.next();
        if (isStopped() || target.log.isClosed || segment.isDropped) return ended(false);
        if (step.kind === 'run') await visit(step.bytes);
        else if (step.kind === 'end') {
          // What was found damaged before may lie outside of this walk.
          if (isAll || (found > 0 && !wasDamaged)) this.#isIntact(target, segment, found);
          return ended(true);
        } else {
          place = { position: step.position, times: step.position === place.position ? place.times + 1 : 0 };
          const isNew = place.times === 0 && step.position !== repairedTo;
          if (isNew) {
            found++;
            this.#found(target, segment, step);
          }
          // What was read before must be repaired as well: by a walk that begins there.
          if (step.isFileMissing && step.position > 0) return ended(false);
          const repairedBytes = place.times < REPAIRS_OF_A_PLACE_MAX ? await this.#repair(target, segment, step) : 0;
          if (repairedBytes === 0) return ended(false);
          if (isNew) this.#tally(target).repaired++;
          repairedTo = step.position + repairedBytes;
        }
      }
    } finally {
      await scan.close();
    }
  }

  /** Makes the files hold in `range` what `source` holds there; false if that is not possible batch by batch. */
  async restore(target: ScrubTarget, range: OffsetRange, source: BrokerId): Promise<boolean> {
    const { log, group } = target;
    const { resources, peers } = this.#options;
    await log.writeOutNow();
    for (let offset = range.from; offset < range.to; ) {
      if (log.isClosed || offset < log.startOffset || offset >= log.endOffset) return false;
      const segment = log.segmentOf(offset);
      const own = await findBatch(resources, segment, offset);
      const bytes = await peers.read(source, group.groupId, offset, REPAIR_BYTES);
      if (own === undefined || own.baseOffset !== offset || bytes === undefined) return false;
      const left = segment.writtenBytes - own.position;
      const { end, nextOffset } = intact(bytes, offset, log, left, Math.min(range.to, segment.nextOffset));
      const next = nextOffset < segment.nextOffset ? await findBatch(resources, segment, nextOffset) : undefined;
      const nextPosition = nextOffset < segment.nextOffset ? next?.position : segment.sizeBytes;
      // With batches of other sizes everything behind them would have to move.
      if (end === 0 || nextPosition !== own.position + end) return false;
      if (!(await log.patch(segment, own.position, bytes.subarray(0, end)))) return false;
      this.metrics.bytesRepaired += end;
      offset = nextOffset;
    }
    this.metrics.replicasRepaired++;
    return true;
  }

  /** What was found and repaired in a replica since the last call, whoever met it. */
  takeTally({ group }: ScrubTarget): Tally {
    const tally = this.#tallies.get(group.groupId) ?? { found: 0, repaired: 0 };
    this.#tallies.delete(group.groupId);
    return tally;
  }

  #tally({ group }: ScrubTarget): Tally {
    let tally = this.#tallies.get(group.groupId);
    if (tally === undefined) {
      tally = { found: 0, repaired: 0 };
      this.#tallies.set(group.groupId, tally);
    }
    return tally;
  }

  #found(target: ScrubTarget, segment: LogSegment, { offset, position, flaw }: SegmentFlaw): void {
    this.metrics.damageFound++;
    this.#tally(target).found++;
    if (this.#damaged.has(segment.logPath)) return;
    this.#damaged.set(segment.logPath, { target, segment });
    const { groupId, replicaId } = target.group;
    this.#options.log.error(
      { groupId, replicaId, path: segment.logPath, offset, position, flaw },
      'A partition file is damaged: nothing of that place is served, and it is repaired from the other replicas',
    );
  }

  #isIntact(target: ScrubTarget, segment: LogSegment, places: number): void {
    if (!this.#damaged.delete(segment.logPath)) return;
    if (!this.isDamaged(target)) this.metrics.replicasRepaired++;
    const { groupId, replicaId } = target.group;
    this.#options.log.info(
      { groupId, replicaId, path: segment.logPath, places },
      'A damaged partition file is repaired from the other replicas',
    );
  }

  /** Replaces the damaged batch, and what a peer sent with it, by the peer's. Returns how many bytes. */
  async #repair(target: ScrubTarget, segment: LogSegment, flaw: SegmentFlaw): Promise<number> {
    const { log, group } = target;
    for (const broker of this.#sources(target)) {
      const bytes = await this.#options.peers.read(broker, group.groupId, flaw.offset, REPAIR_BYTES);
      if (bytes === undefined) continue;
      const { end } = intact(bytes, flaw.offset, log, segment.writtenBytes - flaw.position, segment.nextOffset);
      if (end === 0) continue;
      if (!(await log.patch(segment, flaw.position, bytes.subarray(0, end)))) return 0;
      this.metrics.bytesRepaired += end;
      return end;
    }
    return 0;
  }

  /** Brokers that may have it, in an order that spreads the questions. */
  #sources({ group }: ScrubTarget): BrokerId[] {
    return otherBrokers(group, this.#options.brokerId).filter((broker) => this.#options.groups.isBrokerLive(broker));
  }
}

/** Brokers with another replica of the group, voters first. */
export function otherBrokers(group: Pick<RaftGroup, 'membership'>, own: BrokerId): BrokerId[] {
  const { voters, votersOutgoing, learners } = group.membership;
  const brokers = new Set([...voters, ...votersOutgoing, ...learners].map(({ brokerId }) => brokerId));
  brokers.delete(own);
  return [...brokers];
}

/** How much of a peer's answer can be believed and has room: whole intact batches from `offset` on, not beyond `toOffset`. */
function intact(
  bytes: Uint8Array,
  offset: number,
  log: SegmentedLog,
  bytesMax: number,
  toOffset: number,
): { readonly end: number; readonly nextOffset: number } {
  let end = 0;
  let nextOffset = offset;
  while (nextOffset < toOffset && end + BATCH_HEADER_BYTES <= bytes.length) {
    if (batchFlaw(bytes, end, nextOffset, log.epochs) !== undefined) break;
    const sizeBytes = storedSizeBytes(bytes, end);
    if (end + sizeBytes > bytesMax || storedNextOffset(bytes, end) > toOffset) break;
    nextOffset = storedNextOffset(bytes, end);
    end += sizeBytes;
  }
  return { end, nextOffset };
}

/** Where the batches of `segment` that still count begin; undefined for all of it, also where damage hides the place. */
export async function firstKept(
  resources: Pick<PartitionResources, 'files' | 'indexes'>,
  log: SegmentedLog,
  segment: LogSegment,
): Promise<BatchStart | undefined> {
  if (segment.baseOffset >= log.startOffset || log.startOffset >= segment.nextOffset) return undefined;
  try {
    return await findBatch(resources, segment, log.startOffset);
  } catch (error) {
    if (error instanceof PartitionDamageError) return undefined;
    throw error;
  }
}
