/**
 * What handlers see of one replica of one partition. Implemented by `partition.ts` on a Raft group; reads are served from applied state only.
 *
 * Offsets are dense: Raft's no-ops and configurations take none. The high watermark equals the applied log end: a record is visible once it is committed, flushed here and
 * applied, and it never goes back.
 */

import type { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import type { RaftGroup } from '../../raft/raft-group.ts';
import type { GroupId, Offset, Term } from '../../std/brands.ts';

/** Answer for one partition of a Produce request. */
export interface ProduceResult {
  readonly errorCode: ErrorCode;
  /** Offset of the first record, -1 with an error. */
  readonly baseOffset: number;
  /** -1 unless message.timestamp.type=LogAppendTime. */
  readonly logAppendTimeMs: number;
  readonly logStartOffset: number;
  /** For people; null when there is none. */
  readonly errorMessage: string | null;
}

export interface ProduceOptions {
  /** 1 and -1 are both answered after quorum commit; 0 is not answered, but limited like the others. */
  readonly acks: -1 | 0 | 1;
  readonly timeoutMs: number;
  /** Version of the Produce request: zstd needs 7. */
  readonly apiVersion: number;
}

/** Bytes of record batches, whole batches back to back in pieces (a piece is a header or a range of a page or file read), ready to be sent. */
export interface ReadResult {
  readonly errorCode: ErrorCode;
  readonly records: readonly Uint8Array[];
  readonly sizeBytes: number;
  readonly highWatermark: number;
  readonly logStartOffset: number;
}

export interface TimestampAndOffset {
  readonly timestampMs: number;
  readonly offset: number;
  readonly leaderEpoch: number;
}

export interface PartitionLog {
  readonly group: RaftGroup;
  readonly groupId: GroupId;
  readonly topic: string;
  /** Kafka's base64url form. */
  readonly topicId: string;
  readonly partition: number;

  /** Applied state. */
  readonly logStartOffset: Offset;
  /** Exclusive; equals the log end as nothing uncommitted is ever in the log. */
  readonly highWatermark: Offset;
  readonly leaderEpoch: Term;
  readonly isLeader: boolean;
  /** Leader that may decide (own-term entry applied). */
  readonly isReady: boolean;
  readonly sizeBytes: number;

  /**
   * Validates the batch(es) of one partition of a Produce request by their headers and proposes them, synchronously: the order of calls is the order in the log. A leader that is not ready
   * parks up to 500 ms in arrival order, bounded; `done` is called exactly once, at once if the batch is refused. `records` must never change: after an answer that means "unknown" (6, 7, 20) the log
   * may still hold them.
   */
  produce(records: Uint8Array, options: ProduceOptions, done: (result: ProduceResult) => void): void;

  /**
   * Record batches from the one that contains `fetchOffset` on, at most `maxBytes`, but one whole batch at least if `atLeastOne`. Answers at once from the hot tail, else reads files.
   * OFFSET_OUT_OF_RANGE only from a ready leader or below the log start, KAFKA_STORAGE_ERROR where the file is damaged; error results have no records. The pieces are never changed.
   */
  read(fetchOffset: number, maxBytes: number, atLeastOne: boolean): ReadResult | Promise<ReadResult>;
  /** Bytes readable from `fetchOffset` on, capped at `maxBytes`; cheap, for min_bytes. Where only files know better it says `maxBytes`: a consumer that far behind need not wait. */
  bytesAvailable(fetchOffset: number, maxBytes: number): number;
  /** Called (batched per loop turn) after the high watermark, log start or leadership changed, or the partition was deleted. Returns the unsubscribe function. */
  onChange(listener: () => void): () => void;

  /** First record with a timestamp ≥ `timestampMs` in offset order, with that record's own timestamp; undefined if none. Rejects with a PartitionDamageError where the file is damaged: error 56. */
  findByTimestamp(timestampMs: number): Promise<TimestampAndOffset | undefined>;
  /** First record with the highest timestamp (ListOffsets -3). Rejects as {@link findByTimestamp}. */
  findMaxTimestamp(): Promise<TimestampAndOffset | undefined>;
  /** OffsetForLeaderEpoch: largest known epoch ≤ `epoch` and the offset where the next one starts, or the log end; -1, -1 if unknown. */
  endOffsetForEpoch(epoch: number): { leaderEpoch: number; endOffset: number };

  /** Moves the log start forward by a committed command (DeleteRecords, retention). */
  moveLogStart(to: Offset, done: (errorCode: ErrorCode) => void): void;
}
