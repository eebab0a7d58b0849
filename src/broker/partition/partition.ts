/**
 * One replica of one partition as handlers see it: requests in, proposals to its Raft group out, reads from applied state (see partition-log.ts for the promises).
 *
 * Everything that depends on clock or settings is decided here, before proposing; the state machine then applies what was decided (DECISIONS P1).
 */
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import { inspectBatch } from '../../kafka-protocol/inspect-batch.ts';
import { type RecordBatch, stampedHeader } from '../../kafka-protocol/record-batch.ts';
import { DECOMPRESSED_BYTES_MAX_DEFAULT } from '../../kafka-protocol/records.ts';
import type { ProposalOutcome, RaftGroup } from '../../raft/raft-group.ts';
import { type GroupId, type Offset, offset, type Term } from '../../std/brands.ts';
import type { TopicSettings } from '../config/topic-settings.ts';
import { encodeExpireProducers, encodeExtensionHeader, encodeMoveLogStart } from './partition-command.ts';
import { PartitionDamageError } from './partition-damage-error.ts';
import type { PartitionLog, ProduceOptions, ProduceResult, ReadResult, TimestampAndOffset } from './partition-log.ts';
import type { PartitionResources } from './partition-resources.ts';
import type { PartitionStateMachine } from './partition-state-machine.ts';
import { type ProduceMetrics, ProduceQueue } from './produce-queue.ts';
import { retentionLogStart } from './retention.ts';
import type { LogRead } from './segmented-log.ts';
import { findByTimestamp, findMaxTimestamp } from './timestamp-lookup.ts';

/** Producers a partition remembers before the longest unused quarter is forgotten. */
const PRODUCERS_SOFT_MAX = 8_000;
/** Above this, batches of unknown producers are refused until the others are forgotten. */
const PRODUCERS_MAX = 10_000;

export interface PartitionMetrics extends ProduceMetrics {
  bytesOut: number;
  reads: number;
}

export interface PartitionOptions {
  readonly group: RaftGroup;
  readonly machine: PartitionStateMachine;
  readonly resources: PartitionResources;
  readonly topic: string;
  /** Base64url. */
  readonly topicId: string;
  readonly partition: number;
  /** Effective settings as they are now. */
  readonly settings: () => TopicSettings;
  /** producer.id.expiration.ms */
  readonly producerIdExpirationMs?: number;
}

export class Partition implements PartitionLog {
  readonly group: RaftGroup;
  readonly topic: string;
  readonly topicId: string;
  readonly partition: number;
  readonly metrics: PartitionMetrics = {
    recordsIn: 0,
    bytesIn: 0,
    batchesIn: 0,
    batchesDuplicate: 0,
    batchesRejected: 0,
    batchesUnknown: 0,
    bytesOut: 0,
    reads: 0,
  };
  readonly #machine: PartitionStateMachine;
  readonly #resources: PartitionResources;
  readonly #settings: () => TopicSettings;
  readonly #producerIdExpirationMs: number;
  readonly #queue: ProduceQueue;
  readonly #listeners = new Set<() => void>();
  #isNotifying = false;
  #isDestroyed = false;
  #isExpiring = false;
  #isRetaining = false;

  constructor(options: PartitionOptions) {
    this.group = options.group;
    this.topic = options.topic;
    this.topicId = options.topicId;
    this.partition = options.partition;
    this.#machine = options.machine;
    this.#resources = options.resources;
    this.#settings = options.settings;
    this.#producerIdExpirationMs = options.producerIdExpirationMs ?? 86_400_000;
    const { clock, timers } = options.resources;
    this.#queue = new ProduceQueue({
      group: options.group,
      clock,
      timers,
      commandTimeMs: () => this.#commandTimeMs(),
      logStartOffset: () => this.logStartOffset,
      tail: this.#resources.tail,
      metrics: this.metrics,
    });
    this.#machine.onApplied = () => this.#changed();
    this.#machine.log.keepsTail = this.isLeader;
    this.#machine.onLeadershipChanged = () => {
      this.#machine.log.keepsTail = this.isLeader;
      this.#queue.leadershipChanged();
      this.#changed();
    };
    this.#machine.onDestroyed = () => {
      this.#isDestroyed = true;
      this.#queue.refuseWaiting(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, 'The partition was deleted');
      this.#changed();
    };
  }

  get groupId(): GroupId {
    return this.group.groupId;
  }

  get logStartOffset(): Offset {
    return offset(this.#machine.log.startOffset);
  }

  get highWatermark(): Offset {
    return offset(this.#machine.log.endOffset);
  }

  get leaderEpoch(): Term {
    return this.group.currentTerm;
  }

  get isLeader(): boolean {
    return !this.#isDestroyed && this.group.role === 'leader';
  }

  get isReady(): boolean {
    return !this.#isDestroyed && this.group.isReady;
  }

  get sizeBytes(): number {
    return this.#machine.log.sizeBytes;
  }

  get segmentCount(): number {
    return this.#machine.log.segments.length;
  }

  get producerCount(): number {
    return this.#machine.producers.count;
  }

  /** Bytes of produce requests that wait or are in flight. */
  get pendingBytes(): number {
    return this.#queue.pendingBytes;
  }

  produce(records: Uint8Array, options: ProduceOptions, done: (result: ProduceResult) => void): void {
    const refuse = (errorCode: ErrorCode, errorMessage: string): void => {
      this.metrics.batchesRejected++;
      done({ errorCode, baseOffset: -1, logAppendTimeMs: -1, logStartOffset: this.logStartOffset, errorMessage });
    };
    if (!this.isLeader) return refuse(ErrorCode.NOT_LEADER_OR_FOLLOWER, 'This broker is not the leader');
    const settings = this.#settings();
    const wallMs = this.#resources.clock.wallMs();
    const isLogAppendTime = settings.timestampType === 'LogAppendTime';
    const inspection = inspectBatch(records, {
      produceVersion: options.apiVersion,
      batchBytesMax: settings.maxMessageBytes,
      decompressedBytesMax: DECOMPRESSED_BYTES_MAX_DEFAULT,
      logAppendTime: isLogAppendTime,
      timestampMinMs: timestampMin(wallMs, settings.timestampBeforeMaxMs),
      timestampMaxMs: wallMs + settings.timestampAfterMaxMs,
    });
    if (inspection.kind === 'refused') return refuse(inspection.errorCode, inspection.message);
    const { batch } = inspection;
    if (batch.isTransactional) {
      return refuse(ErrorCode.INVALID_TXN_STATE, 'Transactions are not supported');
    }
    const requiredFlushes = this.#requiredFlushes(settings, options.acks);
    if (requiredFlushes === undefined) {
      return refuse(ErrorCode.NOT_ENOUGH_REPLICAS, `Fewer than ${settings.minInsyncReplicas} replicas are in sync`);
    }
    if (!this.#hasRoomForProducer(batch.producerId)) {
      return refuse(ErrorCode.NOT_ENOUGH_REPLICAS, 'Too many producers are remembered; the oldest are being forgotten');
    }
    const maxTimestampMs = isLogAppendTime ? this.#resources.stampMs() : inspection.maxTimestamp;
    this.#queue.add({
      pieces: resolvedPieces(batch, maxTimestampMs, isLogAppendTime),
      sizeBytes: batch.sizeBytes,
      recordCount: batch.recordCount,
      timeoutMs: options.timeoutMs,
      requiredFlushes,
      done,
    });
  }

  read(fetchOffset: number, maxBytes: number, atLeastOne: boolean): ReadResult | Promise<ReadResult> {
    const { log } = this.#machine;
    if (this.#isDestroyed) return this.#readError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION);
    if (fetchOffset < log.startOffset) return this.#readError(ErrorCode.OFFSET_OUT_OF_RANGE);
    if (fetchOffset > log.endOffset) {
      // Only a leader that has applied everything committed knows that there is no such offset (DECISIONS L6).
      return this.#readError(this.isReady ? ErrorCode.OFFSET_OUT_OF_RANGE : ErrorCode.NOT_LEADER_OR_FOLLOWER);
    }
    if (fetchOffset === log.endOffset) return this.#readResult({ pieces: [], sizeBytes: 0 });
    const read = log.read(fetchOffset, maxBytes, atLeastOne);
    return read instanceof Promise ? this.#readFiles(read) : this.#readResult(read);
  }

  bytesAvailable(fetchOffset: number, maxBytes: number): number {
    return this.#machine.log.bytesAvailable(fetchOffset, maxBytes);
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  findByTimestamp(timestampMs: number): Promise<TimestampAndOffset | undefined> {
    return this.#reportingDamage(findByTimestamp(this.#machine.log, timestampMs));
  }

  findMaxTimestamp(): Promise<TimestampAndOffset | undefined> {
    return this.#reportingDamage(findMaxTimestamp(this.#machine.log));
  }

  endOffsetForEpoch(epoch: number): { leaderEpoch: number; endOffset: number } {
    const { log } = this.#machine;
    const current = this.group.currentTerm;
    if (epoch > current || epoch < 0) return { leaderEpoch: -1, endOffset: -1 };
    // A leader without a record of its own yet has an epoch that the table does not know.
    if (epoch === current && this.isReady) return { leaderEpoch: epoch, endOffset: log.endOffset };
    return log.epochs.endOffset(epoch, log.endOffset);
  }

  moveLogStart(to: Offset, done: (errorCode: ErrorCode) => void): void {
    if (!this.isReady) return done(ErrorCode.NOT_LEADER_OR_FOLLOWER);
    if (to < 0 || to > this.highWatermark) return done(ErrorCode.OFFSET_OUT_OF_RANGE);
    this.group.propose([encodeMoveLogStart(this.#commandTimeMs(), to)], (outcome) =>
      done(outcome.kind === 'applied' ? (outcome.result as ErrorCode) : ErrorCode.NOT_LEADER_OR_FOLLOWER),
    );
  }

  /** Proposes a command of the partition's extension, given in pieces that must not change again. An applied outcome carries the extension's result. */
  proposeExtension(pieces: readonly Uint8Array[], done: (outcome: ProposalOutcome) => void): void {
    this.group.propose([encodeExtensionHeader(this.#commandTimeMs()), ...pieces], done);
  }

  /** Leader's housekeeping, to be called every few minutes: retention, and producers that were idle too long. Does nothing elsewhere. */
  maintain(): void {
    if (!this.isReady) return;
    const clusterTimeMs = this.#resources.clusterTimeMs();
    this.#retain(clusterTimeMs);
    if (clusterTimeMs === undefined) return;
    const beforeMs = clusterTimeMs - this.#producerIdExpirationMs;
    if (this.#machine.producers.hasIdle(beforeMs)) this.#expireProducers(beforeMs, 0);
  }

  #retain(clusterTimeMs: number | undefined): void {
    const to = retentionLogStart(this.#machine.log.segments, this.#settings(), clusterTimeMs);
    if (to === undefined || to <= this.logStartOffset || this.#isRetaining) return;
    this.#isRetaining = true;
    this.moveLogStart(offset(to), () => {
      this.#isRetaining = false;
    });
  }

  #expireProducers(beforeMs: number, beforeOffset: number): void {
    if (this.#isExpiring) return;
    this.#isExpiring = true;
    this.group.propose([encodeExpireProducers(this.#commandTimeMs(), beforeMs, beforeOffset)], () => {
      this.#isExpiring = false;
    });
  }

  /** Keeps producer state bounded (DECISIONS P9). False if there is no room for one more. */
  #hasRoomForProducer(producerId: number): boolean {
    const { producers } = this.#machine;
    if (producerId === -1 || producers.count < PRODUCERS_SOFT_MAX || producers.has(producerId)) return true;
    if (this.isReady) this.#expireProducers(0, producers.evictionOffset(PRODUCERS_SOFT_MAX / 4));
    return producers.count < PRODUCERS_MAX;
  }

  /** Voters that must flush beyond the majority that commits; undefined if too few are in sync to try. */
  #requiredFlushes(settings: TopicSettings, acks: number): number | undefined {
    if (acks !== -1) return 0;
    const { voters, votersOutgoing } = this.group.membership;
    const replicas = Math.max(voters.length, votersOutgoing.length);
    const required = settings.minInsyncReplicas;
    // A leader is in sync with itself.
    if (required > 1 && this.isReady && this.group.inSyncBrokers.length < required) return undefined;
    return required > Math.floor(replicas / 2) + 1 ? required : 0;
  }

  /** Time that commands carry: cluster time, because what expires by it must not hang on one broker's clock (DECISIONS P4). */
  #commandTimeMs(): number {
    return this.#resources.clusterTimeMs() ?? -1;
  }

  async #readFiles(read: Promise<LogRead | undefined>): Promise<ReadResult> {
    try {
      const result = await read;
      if (result === undefined) return this.#readError(ErrorCode.OFFSET_OUT_OF_RANGE);
      return this.#readResult(result);
    } catch (error) {
      if (!(error instanceof PartitionDamageError)) throw error;
      this.#resources.onDamage(error, this.#machine.log.directory);
      return this.#readError(ErrorCode.KAFKA_STORAGE_ERROR);
    }
  }

  #readResult(read: Pick<LogRead, 'pieces' | 'sizeBytes'>): ReadResult {
    this.metrics.reads++;
    this.metrics.bytesOut += read.sizeBytes;
    return {
      errorCode: ErrorCode.NONE,
      records: read.pieces,
      sizeBytes: read.sizeBytes,
      highWatermark: this.highWatermark,
      logStartOffset: this.logStartOffset,
    };
  }

  #readError(errorCode: ErrorCode): ReadResult {
    return { errorCode, records: [], sizeBytes: 0, highWatermark: -1, logStartOffset: -1 };
  }

  async #reportingDamage<T>(lookup: Promise<T>): Promise<T> {
    try {
      return await lookup;
    } catch (error) {
      if (error instanceof PartitionDamageError) this.#resources.onDamage(error, this.#machine.log.directory);
      throw error;
    }
  }

  #changed(): void {
    if (this.#isNotifying || this.#listeners.size === 0) return;
    this.#isNotifying = true;
    this.#resources.timers.soon(() => {
      this.#isNotifying = false;
      for (const listener of [...this.#listeners]) listener();
    });
  }
}

/** A batch as it shall be stored, but for what apply stamps: with a header of its own if its timestamps change, as it came otherwise. */
function resolvedPieces(batch: RecordBatch, maxTimestamp: number, logAppendTime: boolean): readonly Uint8Array[] {
  if (maxTimestamp === batch.maxTimestamp && !logAppendTime) return [batch.bytes];
  const header = stampedHeader(batch, { baseOffset: 0, leaderEpoch: batch.leaderEpoch, maxTimestamp, logAppendTime });
  return [header, batch.records];
}

/** Kafka's default for "before" is the largest int64: no limit, which also lets records without a timestamp pass. */
function timestampMin(nowMs: number, beforeMaxMs: number): number {
  return beforeMaxMs >= nowMs ? Number.NEGATIVE_INFINITY : nowMs - beforeMaxMs;
}
