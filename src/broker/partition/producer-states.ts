/**
 * What a partition knows of its idempotent producers, and the check that makes a retry harmless (KAFKA_PROTOCOL 33-36, DECISIONS P5).
 *
 * Applied state: a pure function of the commands applied. Per producer id: its epoch, its last five batches (as many as a client may have in flight) and when it was last
 * heard of. Unlike Kafka, an unknown producer must begin at sequence 0: otherwise, when a leader changes, the second of two pipelined batches could be taken before the first
 * one is repeated. Only an id that may have been forgotten here, one up to the highest forgotten id, may resume anywhere. A repeated batch older than the five is known for what it is,
 * although its offset is not, if all sequences of the epoch were seen from 0 on: a client whose oldest batch timed out twice has had more than five behind it.
 */
import type { ByteReader } from '../../kafka-protocol/byte-reader.ts';
import type { ByteWriter } from '../../kafka-protocol/byte-writer.ts';
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';

const SEQUENCE_MAX = 0x7fff_ffff;
/** Batches of one producer that a retry is recognized among; clients keep at most five requests in flight. */
const WINDOW_BATCHES = 5;

const OLD_DUPLICATE_DISTANCE_MAX = 2 ** 30;

export interface RememberedBatch {
  readonly firstSequence: number;
  readonly lastSequence: number;
  readonly baseOffset: number;
  /** -1 unless the topic stamps log append time. */
  readonly logAppendTimeMs: number;
}

interface ProducerState {
  epoch: number;
  /** The epoch began at sequence 0 here, so that everything below the last sequence was appended. */
  isFromStart: boolean;
  /** Largest command time seen when this producer last wrote, -1 if none was known. */
  lastTimeMs: number;
  /** Oldest first. */
  readonly batches: RememberedBatch[];
}

/** The idempotence fields of one batch. `producerId` is not -1. */
export interface SequencedBatch {
  readonly producerId: number;
  readonly producerEpoch: number;
  readonly baseSequence: number;
  readonly lastOffsetDelta: number;
}

export type SequenceVerdict =
  | { readonly kind: 'append' }
  | { readonly kind: 'duplicate'; readonly original: RememberedBatch }
  | { readonly kind: 'refused'; readonly errorCode: ErrorCode };

const APPEND: SequenceVerdict = { kind: 'append' };
const OUT_OF_ORDER: SequenceVerdict = { kind: 'refused', errorCode: ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER };
/** Clients take it for an acknowledgement without an offset. */
const OLD_DUPLICATE: SequenceVerdict = { kind: 'refused', errorCode: ErrorCode.DUPLICATE_SEQUENCE_NUMBER };
const FENCED: SequenceVerdict = { kind: 'refused', errorCode: ErrorCode.INVALID_PRODUCER_EPOCH };

/** Sequence of the last record of a batch; sequences wrap to 0 after 2^31 - 1 and are never negative. */
export function lastSequenceOf(baseSequence: number, lastOffsetDelta: number): number {
  const last = baseSequence + lastOffsetDelta;
  return last > SEQUENCE_MAX ? last - SEQUENCE_MAX - 1 : last;
}

/** Below the window, and near enough not to be one that comes after the sequences have wrapped. */
function isOldDuplicate(state: ProducerState, baseSequence: number, lastSequence: number): boolean {
  const oldest = state.batches[0]!.firstSequence;
  const isBelow = baseSequence <= lastSequence && lastSequence < oldest;
  return state.isFromStart && isBelow && oldest - baseSequence < OLD_DUPLICATE_DISTANCE_MAX;
}

function lastOffsetOf(state: ProducerState): number {
  return state.batches.at(-1)!.baseOffset;
}

export class ProducerStates {
  readonly #producers = new Map<number, ProducerState>();
  #highestExpiredId = -1;

  /** Producers remembered; the leader keeps it bounded with expireProducers commands. */
  get count(): number {
    return this.#producers.size;
  }

  /** Ids up to this one may have been forgotten here. */
  get highestExpiredId(): number {
    return this.#highestExpiredId;
  }

  has(producerId: number): boolean {
    return this.#producers.has(producerId);
  }

  /** What becomes of a batch; changes nothing. */
  check(batch: SequencedBatch): SequenceVerdict {
    const { producerId, producerEpoch, baseSequence } = batch;
    const state = this.#producers.get(producerId);
    if (state === undefined) {
      return baseSequence === 0 || producerId <= this.#highestExpiredId ? APPEND : OUT_OF_ORDER;
    }
    if (producerEpoch < state.epoch) return FENCED;
    if (producerEpoch > state.epoch) return baseSequence === 0 ? APPEND : OUT_OF_ORDER;
    const lastSequence = lastSequenceOf(baseSequence, batch.lastOffsetDelta);
    for (const original of state.batches) {
      if (original.firstSequence === baseSequence && original.lastSequence === lastSequence) {
        return { kind: 'duplicate', original };
      }
    }
    const previous = state.batches.at(-1)!.lastSequence;
    if (baseSequence === (previous === SEQUENCE_MAX ? 0 : previous + 1)) return APPEND;
    return isOldDuplicate(state, baseSequence, lastSequence) ? OLD_DUPLICATE : OUT_OF_ORDER;
  }

  /** Remembers a batch that {@link check} let pass, at the offset it was given. */
  didAppend(batch: SequencedBatch, baseOffset: number, logAppendTimeMs: number, timeMs: number): void {
    let state = this.#producers.get(batch.producerId);
    if (state === undefined) {
      state = {
        epoch: batch.producerEpoch,
        isFromStart: batch.baseSequence === 0,
        lastTimeMs: timeMs,
        batches: [],
      };
      this.#producers.set(batch.producerId, state);
    } else if (batch.producerEpoch !== state.epoch) {
      state.epoch = batch.producerEpoch;
      state.isFromStart = batch.baseSequence === 0;
      state.batches.length = 0;
    }
    if (state.batches.length === WINDOW_BATCHES) state.batches.shift();
    state.lastTimeMs = timeMs;
    state.batches.push({
      firstSequence: batch.baseSequence,
      lastSequence: lastSequenceOf(batch.baseSequence, batch.lastOffsetDelta),
      baseOffset,
      logAppendTimeMs,
    });
  }

  /**
   * Forgets producers that last wrote before `beforeMs`, and those whose last batch is below `beforeOffset` (0: none). One whose time is unknown, because the cluster had none when it wrote, counts
   * as heard of at `timeMs` from now on. Returns how many were forgotten.
   */
  expire(beforeMs: number, beforeOffset: number, timeMs: number): number {
    let expired = 0;
    for (const [producerId, state] of this.#producers) {
      const isIdle = state.lastTimeMs >= 0 && state.lastTimeMs < beforeMs;
      if (!isIdle && lastOffsetOf(state) >= beforeOffset) {
        if (state.lastTimeMs < 0) state.lastTimeMs = timeMs;
        continue;
      }
      this.#producers.delete(producerId);
      if (producerId > this.#highestExpiredId) this.#highestExpiredId = producerId;
      expired++;
    }
    return expired;
  }

  /** `beforeOffset` for {@link expire} that forgets the `count` producers whose last batch is oldest: the leader's choice when there are too many. */
  evictionOffset(count: number): number {
    const offsets = [...this.#producers.values()].map(lastOffsetOf).sort((a, b) => a - b);
    return (offsets[Math.min(count, offsets.length) - 1] ?? -1) + 1;
  }

  /** Whether {@link expire} has anything to do: an idle producer, or one whose time is unknown. */
  hasIdle(beforeMs: number): boolean {
    for (const { lastTimeMs } of this.#producers.values()) if (lastTimeMs < beforeMs) return true;
    return false;
  }

  /** In order of producer ids, so that equal states have equal bytes. */
  encode(writer: ByteWriter): void {
    writer.int64(this.#highestExpiredId);
    writer.int32(this.#producers.size);
    for (const [producerId, state] of [...this.#producers].sort(([a], [b]) => a - b)) {
      writer.int64(producerId);
      writer.int16(state.epoch);
      writer.int8(state.isFromStart ? 1 : 0);
      writer.int64(state.lastTimeMs);
      writer.int8(state.batches.length);
      for (const batch of state.batches) {
        writer.int32(batch.firstSequence);
        writer.int32(batch.lastSequence);
        writer.int64(batch.baseOffset);
        writer.int64(batch.logAppendTimeMs);
      }
    }
  }

  static decode(reader: ByteReader): ProducerStates {
    const states = new ProducerStates();
    states.#highestExpiredId = reader.int64();
    for (let left = reader.int32(); left > 0; left--) {
      const producerId = reader.int64();
      const state: ProducerState = {
        epoch: reader.int16(),
        isFromStart: reader.int8() === 1,
        lastTimeMs: reader.int64(),
        batches: [],
      };
      for (let batches = reader.int8(); batches > 0; batches--) {
        state.batches.push({
          firstSequence: reader.int32(),
          lastSequence: reader.int32(),
          baseOffset: reader.int64(),
          logAppendTimeMs: reader.int64(),
        });
      }
      states.#producers.set(producerId, state);
    }
    return states;
  }
}
