/**
 * Owns what recovery makes of frames, in the order they were written: the state of every replica, and what damage may
 * have hidden of it (DECISIONS W6). Doubt about the whole store begins with frames that cannot be read at all and ends
 * with the next complete table, which was written by a process that knew everything.
 */
import { assert, InvariantError } from '../std/assert.ts';
import { replicaId as asReplicaId, logIndex } from '../std/brands.ts';
import { FLUSH_PAYLOAD_OFFSET, type FlushHeader, restoreOriginals } from './flush-block.ts';
import {
  CHECKPOINT_FLAG,
  decodeCheckpoint,
  decodeEntries,
  decodeFrameHeader,
  FRAME_HEADER_BYTES,
  FRAME_KIND,
  FRAME_KIND_MAX,
  type FrameHeader,
  forEachEntry,
  frameBodyHolds,
  readCommitHint,
  readHardState,
  readTrustedHeader,
} from './frame.ts';
import { viewOf } from './layout.ts';
import { ReplicaLog } from './replica-log.ts';
import type { Entry, ReplicaDamage } from './replica-storage.ts';
import type { Segment, SegmentChain } from './segment.ts';
import type { Stamps } from './stamp.ts';
import { decodeTableRow } from './table-row.ts';

/** A gap larger than this is not filled with holes: the log ends before it. */
const HOLES_MAX = 1_000_000;

export class Replay {
  readonly logs = new Map<number, ReplicaLog>();
  /** Set while frames are missing whose replicas are not known. */
  storeDoubt: string | undefined;
  /** Damage of the whole store that an earlier recovery found; only a new store id ends it. */
  storeDamage: string | undefined;
  /** LSN that the next flush must begin with; undefined if it may begin anywhere. */
  expectedLsn: number | undefined;
  /** Highest LSN seen. */
  highestLsn = 0;
  readonly #chain: SegmentChain;
  readonly #stamps: Stamps;
  readonly #identityDoubts = new Map<number, string>();
  #tableIds: Set<number> | undefined;
  #tableRowLost = false;
  #bytes: Uint8Array = new Uint8Array(0);
  #view = viewOf(this.#bytes);
  #segment: Segment | undefined;

  constructor(chain: SegmentChain, stamps: Stamps) {
    this.#chain = chain;
    this.#stamps = stamps;
  }

  /** What follows is in this segment, whose whole content is `bytes`; stamps are replaced in place. */
  beginSegment(segment: Segment, bytes: Uint8Array): void {
    this.#segment = segment;
    this.#bytes = bytes;
    this.#view = viewOf(bytes);
    this.#chain.push(segment);
  }

  /** Frames are missing, and nobody knows whose. */
  lose(reason: string): void {
    this.storeDoubt ??= reason;
    this.expectedLsn = undefined;
    this.#tableIds = undefined;
    if (this.#segment !== undefined) this.#segment.damaged = true;
  }

  /** A flush whose checksums hold. */
  applyFlush(header: FlushHeader): void {
    this.#checkLsn(header);
    restoreOriginals(this.#bytes, header, this.#segment!.originals);
    const end = header.position + FLUSH_PAYLOAD_OFFSET + header.payloadLength;
    let at = header.position + FLUSH_PAYLOAD_OFFSET;
    for (let i = 0; i < header.frameCount; i++) {
      const frame = readTrustedHeader(this.#view, at);
      const bodyAt = at + FRAME_HEADER_BYTES;
      assert(bodyAt + frame.bodyLength <= end, 'Frames stay inside their flush');
      this.#applyFrame(frame, at);
      at = bodyAt + frame.bodyLength;
    }
    assert(at === end, 'Frames fill their flush');
  }

  /** A flush whose header holds and whose content does not: each frame is taken or counted as damaged by itself. */
  applyDamagedFlush(header: FlushHeader): void {
    this.#checkLsn(header);
    const segment = this.#segment!;
    segment.damaged = true;
    restoreOriginals(this.#bytes, header, segment.originals);
    const seed = this.#stamps.seed(header.sequence, 0);
    const end = header.position + FLUSH_PAYLOAD_OFFSET + header.payloadLength;
    let at = header.position + FLUSH_PAYLOAD_OFFSET;
    for (let i = 0; i < header.frameCount; i++) {
      const frame = decodeFrameHeader(this.#view, at, end, seed, at);
      if (frame === undefined) {
        this.lose(`A frame header at ${at} of segment ${header.sequence} is damaged`);
        return;
      }
      const bodyAt = at + FRAME_HEADER_BYTES;
      if (frameBodyHolds(this.#bytes.subarray(bodyAt, bodyAt + frame.bodyLength), frame, seed, at)) {
        this.#applyFrame(frame, at);
      } else this.#applyDamagedFrame(frame, at);
      at = bodyAt + frame.bodyLength;
    }
    this.expectedLsn = header.firstLsn + header.frameCount;
  }

  /** Ends the replay: decides what is damaged of each replica and cuts its log before the first hole. */
  finish(): void {
    if (this.storeDoubt !== undefined) this.storeDamage ??= this.storeDoubt;
    for (const log of this.logs.values()) {
      log.dropCoveredHoles();
      const hole = log.firstHole();
      if (hole !== undefined) {
        log.truncate(hole);
        this.#addDamage(log, {
          kind: 'entries',
          fromIndex: logIndex(hole),
          reason: `Entry ${hole} is missing or damaged`,
        });
      }
      const doubt = this.#identityDoubts.get(log.replicaId) ?? this.storeDoubt;
      if (doubt !== undefined) {
        this.#addDamage(log, { kind: 'identity', fromIndex: logIndex(log.lastIndex + 1), reason: doubt });
      }
    }
  }

  #addDamage(log: ReplicaLog, damage: ReplicaDamage): void {
    const before = log.damage;
    const fromIndex = logIndex(Math.min(damage.fromIndex, before?.fromIndex ?? damage.fromIndex));
    log.damage = before?.kind === 'identity' ? { ...before, fromIndex } : { ...damage, fromIndex };
  }

  #checkLsn(header: FlushHeader): void {
    if (this.expectedLsn !== undefined && header.firstLsn !== this.expectedLsn) {
      this.lose(
        `Frames ${this.expectedLsn} to ${header.firstLsn - 1} are missing before segment ${header.sequence}, position ${header.position}`,
      );
    }
    this.expectedLsn = header.firstLsn + header.frameCount;
    this.highestLsn = Math.max(this.highestLsn, this.expectedLsn - 1);
  }

  #applyFrame(frame: FrameHeader, at: number): void {
    if (frame.kind < 1 || frame.kind > FRAME_KIND_MAX) {
      throw new Error(`The WAL holds a frame of unknown kind ${frame.kind}: it was written by a newer version`);
    }
    const body = this.#bytes.subarray(at + FRAME_HEADER_BYTES, at + FRAME_HEADER_BYTES + frame.bodyLength);
    switch (frame.kind) {
      case FRAME_KIND.createReplica:
        assert(this.storeDoubt !== undefined || !this.logs.has(frame.replicaId), 'A replica is created once');
        this.#remove(frame.replicaId);
        this.#create(frame.replicaId, body.slice());
        return;
      case FRAME_KIND.removeReplica:
        this.#remove(frame.replicaId);
        return;
      case FRAME_KIND.tableBegin:
        this.#tableIds = new Set();
        this.#tableRowLost = false;
        this.storeDamage = body.length === 0 ? undefined : Buffer.from(body).toString();
        return;
      case FRAME_KIND.tableRow:
        this.#applyRow(frame, body);
        return;
      case FRAME_KIND.tableEnd:
        this.#endTable(frame);
        return;
      case FRAME_KIND.movedEntries:
        this.#applyMoved(frame, at);
        return;
    }
    const log = this.logs.get(frame.replicaId);
    if (log === undefined) {
      // Its creation is among the lost frames.
      if (this.storeDoubt !== undefined) return;
      throw new InvariantError(`A frame of replica ${frame.replicaId} precedes its creation`);
    }
    switch (frame.kind) {
      case FRAME_KIND.hardState:
        log.hardState = readHardState(viewOf(body), 0);
        return;
      case FRAME_KIND.entries:
        this.#applyEntries(log, frame, at);
        return;
      case FRAME_KIND.truncate:
        this.#truncate(log, frame.index);
        return;
      case FRAME_KIND.checkpoint:
        this.#applyCheckpoint(log, frame, body);
        return;
      case FRAME_KIND.repaired:
        log.damage = undefined;
        this.#identityDoubts.delete(log.replicaId);
        return;
      case FRAME_KIND.lost:
        log.lose(Buffer.from(body).toString());
        return;
      case FRAME_KIND.committed:
        log.commitHint = Math.max(log.commitHint, frame.index);
        return;
    }
  }

  /** The header holds, the body does not. */
  #applyDamagedFrame(frame: FrameHeader, at: number): void {
    const reason = `A frame of kind ${frame.kind} at ${at} of segment ${this.#segment!.sequence} is damaged`;
    const log = this.logs.get(frame.replicaId);
    switch (frame.kind) {
      case FRAME_KIND.entries:
        if (log !== undefined) this.#fillUpTo(log, frame.index + frame.count - 1);
        return;
      case FRAME_KIND.movedEntries:
        // Their first place may be gone: the hole, if there is one, shows at the end.
        return;
      case FRAME_KIND.hardState:
      case FRAME_KIND.checkpoint:
      case FRAME_KIND.lost:
        if (log !== undefined) this.#identityDoubts.set(frame.replicaId, reason);
        return;
      case FRAME_KIND.tableRow:
        // A row repeats what the frames before it said, if there are any.
        this.#tableIds?.add(frame.replicaId);
        if (log === undefined) this.#tableRowLost = true;
        return;
      default:
        this.lose(reason);
    }
  }

  #create(id: number, descriptor: Uint8Array): ReplicaLog {
    const log = new ReplicaLog(asReplicaId(id), descriptor, this.#chain);
    this.logs.set(id, log);
    return log;
  }

  #remove(id: number): void {
    this.logs.get(id)?.clear();
    this.logs.delete(id);
    this.#identityDoubts.delete(id);
  }

  #applyRow(frame: FrameHeader, body: Uint8Array): void {
    const row = decodeTableRow(body);
    const log = this.logs.get(frame.replicaId) ?? this.#create(frame.replicaId, row.descriptor);
    log.adoptRow(row);
    this.#identityDoubts.delete(frame.replicaId);
    this.#tableIds?.add(frame.replicaId);
  }

  #endTable(frame: FrameHeader): void {
    const ids = this.#tableIds;
    this.#tableIds = undefined;
    if (ids === undefined || ids.size !== frame.count) return;
    for (const id of [...this.logs.keys()]) if (!ids.has(id)) this.#remove(id);
    this.storeDoubt = this.#tableRowLost ? 'A row of the table of replicas is damaged' : undefined;
  }

  #applyEntries(log: ReplicaLog, frame: FrameHeader, at: number): void {
    if (frame.index !== log.lastIndex + 1) {
      if (this.storeDoubt === undefined && log.damage === undefined)
        throw new InvariantError(`Entries of replica ${log.replicaId} do not follow its log`);
      if (frame.index <= log.lastIndex) this.#truncate(log, frame.index);
      if (!this.#fillUpTo(log, frame.index - 1)) return;
    }
    const bodyAt = at + FRAME_HEADER_BYTES;
    const sequence = this.#segment!.sequence;
    forEachEntry(this.#view, frame, at, (_, term, kind, payloadBytes) => {
      log.append(term, kind, sequence, at, payloadBytes);
    });
    log.commitHint = Math.max(log.commitHint, readCommitHint(this.#view, bodyAt));
  }

  #applyMoved(frame: FrameHeader, at: number): void {
    const log = this.logs.get(frame.replicaId);
    if (log === undefined) return;
    const sequence = this.#segment!.sequence;
    forEachEntry(this.#view, frame, at, (index, term, kind, payloadBytes) => {
      if (index < log.firstIndex || index > log.lastIndex || log.termAt(index) !== term) return;
      log.move(index, sequence, at, payloadBytes, kind);
    });
  }

  #applyCheckpoint(log: ReplicaLog, frame: FrameHeader, body: Uint8Array): void {
    const checkpoint = decodeCheckpoint(body, frame.index);
    let reset = (frame.flags & CHECKPOINT_FLAG.resetLog) !== 0;
    if (!reset && log.termAt(frame.index) !== checkpoint.term) {
      const doubtful = this.storeDoubt !== undefined || log.firstHole() !== undefined;
      if (!doubtful) throw new InvariantError(`A checkpoint of replica ${log.replicaId} does not lie in its log`);
      if (frame.index < log.lastIndex) {
        this.#addDamage(log, {
          kind: 'entries',
          fromIndex: logIndex(frame.index + 1),
          reason: `Entries before checkpoint ${frame.index} are damaged`,
        });
      }
      reset = true;
    }
    log.setCheckpoint(checkpoint, reset);
  }

  #truncate(log: ReplicaLog, index: number): void {
    // Outside of what is known only behind lost frames.
    if (index > log.lastIndex + 1 || index <= log.checkpointIndex || index < log.firstIndex) {
      assert(this.storeDoubt !== undefined || log.damage !== undefined, 'A log is truncated inside itself');
      return;
    }
    log.truncate(index);
  }

  #fillUpTo(log: ReplicaLog, lastIndex: number): boolean {
    const count = lastIndex - log.lastIndex;
    if (count > HOLES_MAX) {
      this.#addDamage(log, {
        kind: 'entries',
        fromIndex: logIndex(log.lastIndex + 1),
        reason: 'Many entries are missing',
      });
      return false;
    }
    if (count > 0) log.appendHoles(count);
    return true;
  }
}

/** The entries of a frame that holds. */
export function entriesAt(bytes: Uint8Array, view: DataView, frame: FrameHeader, at: number): Entry[] {
  const entries = decodeEntries(bytes, view, frame, at);
  assert(entries !== undefined, 'The entries of a frame fill its body');
  return entries;
}
