/**
 * Validated batches on their way into the Raft log of one partition: in arrival order, coalesced, bounded, each answered exactly once.
 *
 * All batches that arrive in one loop turn become one entry (DECISIONS P9). What cannot be proposed yet waits in the same queue, so nothing overtakes: a leader that is not ready parks up to 500 ms and,
 * giving up, refuses all it parked (P5, L6); a leader with too many bytes in flight proposes on as outcomes come in (P6), one whose WAL or disk is behind when there is room again: producers are slowed
 * down, as connections stop reading what they may not hold, and refused only where nothing moves. An answer that says "unknown" (6, 7, 20) is always retriable; nothing unknown is
 * ever answered with code 0.
 */
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import type { ProposalOutcome, RaftGroup } from '../../raft/raft-group.ts';
import { assert } from '../../std/assert.ts';
import type { Clock, TimerHandle, Timers } from '../../std/environment.ts';
import { encodeBatchesHeader } from './partition-command.ts';
import type { ProduceResult } from './partition-log.ts';
import type { BatchResult } from './partition-state-machine.ts';

/** An entry takes batches until it has this many bytes. */
const ENTRY_BYTES_MAX = 1024 * 1024;
/** What a command has besides its batches, and to spare. */
const ENTRY_HEADER_BYTES_MAX = 64;
/** Proposed and not yet answered; below the driver's own limit of uncommitted bytes. */
const IN_FLIGHT_BYTES_MAX = 8 * 1024 * 1024;
/** Not yet proposed. Connections limit what they have in flight, too. */
const WAITING_BYTES_MAX = 64 * 1024 * 1024;
/** The same where nothing was applied for a while: without a quorum a partition must not hold the memory that others need. */
const STUCK_WAITING_BYTES_MAX = 16 * 1024 * 1024;
const STUCK_MS = 2_000;
const PARKED_BYTES_MAX = 8 * 1024 * 1024;
const PARK_MS = 500;
const TIMEOUT_MS_MAX = 0x7fff_ffff;

/** A batch that passed validation. */
export interface QueuedBatch {
  /** Header and records; must not change until answered, nor after if the answer was "unknown". */
  readonly pieces: readonly Uint8Array[];
  readonly sizeBytes: number;
  readonly recordCount: number;
  readonly timeoutMs: number;
  /** Voters that must have flushed before the answer; 0 for a plain majority. */
  readonly requiredFlushes: number;
  readonly done: (result: ProduceResult) => void;
}

interface Waiting extends QueuedBatch {
  readonly deadlineMs: number;
  isAnswered: boolean;
}

interface Proposed {
  readonly batches: readonly Waiting[];
  readonly sizeBytes: number;
}

/** The part of the hot tail that says whether the partitions' files keep up. */
export interface TailRoom {
  readonly isOverfull: boolean;
  whenRoom(callback: () => void): void;
}

export interface ProduceMetrics {
  recordsIn: number;
  bytesIn: number;
  batchesIn: number;
  batchesDuplicate: number;
  batchesRejected: number;
  /** Answers whose batch may or may not be in the log: 6, 7, 20. */
  batchesUnknown: number;
}

export class ProduceQueue {
  readonly #group: RaftGroup;
  readonly #clock: Clock;
  readonly #timers: Timers;
  readonly #commandTimeMs: () => number;
  readonly #logStartOffset: () => number;
  readonly #tail: TailRoom;
  readonly #metrics: ProduceMetrics;
  #waiting: Waiting[] = [];
  #waitingBytes = 0;
  readonly #proposed = new Set<Proposed>();
  #inFlightBytes = 0;
  #isScheduled = false;
  #isAwaitingRoom = false;
  /** When something was applied last, or began to wait in an empty queue. */
  #movedMs = 0;
  #parkTimer: TimerHandle | undefined;
  #deadlineTimer: TimerHandle | undefined;
  #deadlineMs = Number.POSITIVE_INFINITY;

  constructor(options: {
    readonly group: RaftGroup;
    readonly clock: Clock;
    readonly timers: Timers;
    /** Cluster time for commands, -1 if unknown. */
    readonly commandTimeMs: () => number;
    readonly logStartOffset: () => number;
    readonly tail: TailRoom;
    readonly metrics: ProduceMetrics;
  }) {
    this.#group = options.group;
    this.#clock = options.clock;
    this.#timers = options.timers;
    this.#commandTimeMs = options.commandTimeMs;
    this.#logStartOffset = options.logStartOffset;
    this.#tail = options.tail;
    this.#metrics = options.metrics;
  }

  /** Bytes that wait or are in flight. */
  get pendingBytes(): number {
    return this.#waitingBytes + this.#inFlightBytes;
  }

  /** Takes a batch into the queue of a leader. May answer at once if there is no room. */
  add(batch: QueuedBatch): void {
    const nowMs = this.#clock.monotonicMs();
    const deadlineMs = nowMs + Math.min(Math.max(0, batch.timeoutMs), TIMEOUT_MS_MAX);
    const waiting: Waiting = { ...batch, deadlineMs, isAnswered: false };
    const isParking = !this.#group.isReady;
    if (this.#waiting.length === 0 && this.#proposed.size === 0) this.#movedMs = nowMs;
    const waitingMax = nowMs - this.#movedMs > STUCK_MS ? STUCK_WAITING_BYTES_MAX : WAITING_BYTES_MAX;
    const limit = isParking ? PARKED_BYTES_MAX : waitingMax;
    if (this.#waitingBytes + batch.sizeBytes > limit && this.#waiting.length > 0) {
      if (isParking) this.refuseWaiting(ErrorCode.NOT_LEADER_OR_FOLLOWER, 'Too many requests wait for the new leader');
      const message = 'Too many bytes wait for a quorum';
      this.#answer(waiting, isParking ? ErrorCode.NOT_LEADER_OR_FOLLOWER : ErrorCode.NOT_ENOUGH_REPLICAS, message);
      return;
    }
    this.#waiting.push(waiting);
    this.#waitingBytes += batch.sizeBytes;
    this.#watchDeadline(deadlineMs);
    if (isParking) this.#parkTimer ??= this.#timers.after(PARK_MS, () => this.#stopParking());
    else this.#schedule();
  }

  /** Role or readiness of the group changed. */
  leadershipChanged(): void {
    if (this.#group.role !== 'leader') {
      this.refuseWaiting(ErrorCode.NOT_LEADER_OR_FOLLOWER, 'This broker is not the leader any more');
    } else if (this.#group.isReady && this.#waiting.length > 0) this.#schedule();
  }

  /** Answers everything that was not proposed: it is in nobody's log. */
  refuseWaiting(errorCode: ErrorCode, message: string): void {
    this.#parkTimer?.cancel();
    this.#parkTimer = undefined;
    const refused = this.#waiting;
    this.#waiting = [];
    this.#waitingBytes = 0;
    for (const waiting of refused) this.#answer(waiting, errorCode, message);
  }

  #stopParking(): void {
    this.#parkTimer = undefined;
    if (this.#group.isReady) return this.#schedule();
    this.refuseWaiting(ErrorCode.NOT_LEADER_OR_FOLLOWER, 'The new leader is not ready');
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.#timers.soon(() => {
      this.#isScheduled = false;
      this.#proposeWaiting();
    });
  }

  #proposeWaiting(): void {
    if (!this.#group.isReady) {
      // Lost between scheduling and now; a leader that is about to be ready keeps what it parked.
      if (this.#group.role !== 'leader') this.leadershipChanged();
      return;
    }
    this.#parkTimer?.cancel();
    this.#parkTimer = undefined;
    let taken = 0;
    while (taken < this.#waiting.length && this.#inFlightBytes < IN_FLIGHT_BYTES_MAX && this.#hasRoom(taken)) {
      taken += this.#proposeOne(taken);
    }
    if (taken > 0) this.#waiting.splice(0, taken);
  }

  /** Whether what waits at `from` may be proposed; if not, the queue goes on when it may. */
  #hasRoom(from: number): boolean {
    const isTailFull = this.#tail.isOverfull;
    if (!isTailFull && this.#group.hasRoomFor(entryBytesAtMost(this.#waiting[from]!))) return true;
    if (this.#isAwaitingRoom) return false;
    this.#isAwaitingRoom = true;
    const goOn = (): void => {
      this.#isAwaitingRoom = false;
      if (this.#waiting.length > 0 && this.#group.isReady) this.#schedule();
    };
    if (isTailFull) this.#tail.whenRoom(goOn);
    else this.#group.whenRoom(goOn);
    return false;
  }

  /** Proposes one entry of the batches from `from` on, and returns how many it took. */
  #proposeOne(from: number): number {
    const { requiredFlushes } = this.#waiting[from]!;
    const batches: Waiting[] = [];
    let sizeBytes = 0;
    for (let index = from; index < this.#waiting.length; index++) {
      const next = this.#waiting[index]!;
      const fits = batches.length === 0 || sizeBytes + next.sizeBytes <= ENTRY_BYTES_MAX;
      if (!fits || next.requiredFlushes !== requiredFlushes) break;
      batches.push(next);
      sizeBytes += next.sizeBytes;
    }
    const proposed: Proposed = { batches, sizeBytes };
    this.#waitingBytes -= sizeBytes;
    this.#inFlightBytes += sizeBytes;
    this.#proposed.add(proposed);
    const payload: Uint8Array[] = [encodeBatchesHeader(this.#commandTimeMs(), batches.length)];
    for (const batch of batches) payload.push(...batch.pieces);
    this.#group.propose(payload, (outcome) => this.#ended(proposed, outcome), {
      requiredFlushes,
      isRefusedOnFullDisk: true,
    });
    return batches.length;
  }

  #ended(proposed: Proposed, outcome: ProposalOutcome): void {
    assert(this.#proposed.delete(proposed), 'A proposal ends exactly once');
    this.#inFlightBytes -= proposed.sizeBytes;
    if (outcome.kind === 'applied') this.#applied(proposed, outcome.result as readonly BatchResult[]);
    else {
      const [errorCode, message] = outcome.kind === 'refused' ? refusal(outcome.reason) : UNKNOWN;
      for (const waiting of proposed.batches) this.#answer(waiting, errorCode, message);
    }
    if (this.#waiting.length > 0 && this.#group.isReady) this.#schedule();
  }

  #applied(proposed: Proposed, results: readonly BatchResult[]): void {
    this.#movedMs = this.#clock.monotonicMs();
    const metrics = this.#metrics;
    const logStartOffset = this.#logStartOffset();
    for (const [index, waiting] of proposed.batches.entries()) {
      const result = results[index]!;
      if (result.errorCode !== ErrorCode.NONE) {
        this.#answer(waiting, result.errorCode, REJECTIONS.get(result.errorCode) ?? 'The batch was rejected');
        continue;
      }
      if (result.isDuplicate) metrics.batchesDuplicate++;
      else {
        metrics.batchesIn++;
        metrics.recordsIn += waiting.recordCount;
        metrics.bytesIn += waiting.sizeBytes;
      }
      if (waiting.isAnswered) continue;
      waiting.isAnswered = true;
      const { baseOffset, logAppendTimeMs } = result;
      waiting.done({ errorCode: ErrorCode.NONE, baseOffset, logAppendTimeMs, logStartOffset, errorMessage: null });
    }
  }

  #answer(waiting: Waiting, errorCode: ErrorCode, errorMessage: string): void {
    if (waiting.isAnswered) return;
    waiting.isAnswered = true;
    if (UNKNOWN_CODES.has(errorCode)) this.#metrics.batchesUnknown++;
    else this.#metrics.batchesRejected++;
    const logStartOffset = this.#logStartOffset();
    waiting.done({ errorCode, baseOffset: -1, logAppendTimeMs: -1, logStartOffset, errorMessage });
  }

  #watchDeadline(deadlineMs: number): void {
    if (deadlineMs >= this.#deadlineMs) return;
    this.#deadlineTimer?.cancel();
    this.#deadlineMs = deadlineMs;
    const delayMs = Math.max(0, deadlineMs - this.#clock.monotonicMs());
    this.#deadlineTimer = this.#timers.after(delayMs, () => this.#timeOut());
  }

  /** One timer for all: it looks through what is pending once per shortest time-out, not per request. */
  #timeOut(): void {
    const nowMs = this.#clock.monotonicMs();
    this.#deadlineMs = Number.POSITIVE_INFINITY;
    this.#deadlineTimer = undefined;
    const isExpired = (waiting: Waiting): boolean => waiting.deadlineMs <= nowMs;
    const expired = this.#waiting.filter(isExpired);
    this.#waiting = this.#waiting.filter((waiting) => !isExpired(waiting));
    for (const waiting of expired) this.#waitingBytes -= waiting.sizeBytes;
    let nextMs = Number.POSITIVE_INFINITY;
    for (const waiting of this.#waiting) nextMs = Math.min(nextMs, waiting.deadlineMs);
    for (const { batches } of this.#proposed) {
      for (const waiting of batches) {
        if (isExpired(waiting)) expired.push(waiting);
        else nextMs = Math.min(nextMs, waiting.deadlineMs);
      }
    }
    if (nextMs < Number.POSITIVE_INFINITY) this.#watchDeadline(nextMs);
    for (const waiting of expired) {
      if (waiting.requiredFlushes === 0) this.#answer(waiting, ErrorCode.REQUEST_TIMED_OUT, 'No quorum in time');
      else this.#answer(waiting, ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND, 'Too few replicas flushed it in time');
    }
  }
}

/** Of the entry that begins with this batch. */
function entryBytesAtMost(first: QueuedBatch): number {
  return Math.max(first.sizeBytes, ENTRY_BYTES_MAX) + ENTRY_HEADER_BYTES_MAX;
}

const UNKNOWN: readonly [ErrorCode, string] = [
  ErrorCode.NOT_LEADER_OR_FOLLOWER,
  'Leadership was lost before the batch was committed',
];

const UNKNOWN_CODES: ReadonlySet<ErrorCode> = new Set([
  ErrorCode.NOT_LEADER_OR_FOLLOWER,
  ErrorCode.REQUEST_TIMED_OUT,
  ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
]);

const REJECTIONS: ReadonlyMap<ErrorCode, string> = new Map([
  [ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, 'The sequence does not follow the last one of this producer'],
  [ErrorCode.DUPLICATE_SEQUENCE_NUMBER, 'The batch was appended before, and its offset is no longer remembered'],
  [ErrorCode.INVALID_PRODUCER_EPOCH, 'A newer epoch of this producer was seen'],
]);

/** Why nothing was written, as a code that clients repeat. A full disk is the storage error: clients then look for another leader, and a producer that gives up says the right word. */
function refusal(reason: Extract<ProposalOutcome, { kind: 'refused' }>['reason']): readonly [ErrorCode, string] {
  switch (reason) {
    case 'notLeader':
    case 'notReady':
      return [ErrorCode.NOT_LEADER_OR_FOLLOWER, 'This broker is not the leader'];
    case 'overloaded':
      return [ErrorCode.NOT_ENOUGH_REPLICAS, 'Too many bytes wait for a quorum'];
    case 'tooLarge':
      return [ErrorCode.MESSAGE_TOO_LARGE, 'The batch is larger than a quarter of a WAL segment (wal.segment.bytes)'];
    case 'diskFull':
      return [ErrorCode.KAFKA_STORAGE_ERROR, 'A disk of the partition is full'];
  }
}
