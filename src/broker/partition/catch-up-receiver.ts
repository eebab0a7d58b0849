/**
 * The follower's end of a partition's catch-up: batches become new segments behind the own log (or instead of it), verified one by one; the state comes last.
 *
 * Nothing of it is believed before all of it is there: the new segments are files that no checkpoint names, removed again if the stream fails and cut by restore after a crash. Base offsets only
 * grow, so they never meet a file of the old log.
 */
import { CatchUpDataError } from '../../raft/catch-up-data-error.ts';
import type { CatchUpStream } from '../../raft/state-machine.ts';
import { type CatchUpPiece, type CatchUpState, decodeCatchUpPiece } from './catch-up-codec.ts';
import { LogSegment } from './log-segment.ts';
import { decodePartitionState } from './partition-checkpoint.ts';
import type { PartitionResources } from './partition-resources.ts';
import type { SegmentedLog } from './segmented-log.ts';
import {
  BATCH_HEADER_BYTES,
  storedBaseOffset,
  storedBatchFlaw,
  storedMaxTimestampMs,
  storedNextOffset,
  storedSizeBytes,
} from './stored-batch.ts';

const WRITE_BYTES = 1024 * 1024;

export interface ReceivedCatchUp {
  readonly state: CatchUpState;
  /** All segments of the log from now on, the last one open. */
  readonly segments: readonly LogSegment[];
}

/** Takes the whole stream. The own log must be written out, and stays as it is: the caller adopts the result. Rejects if anything does not fit, with no trace left. */
export async function receiveCatchUp(
  resources: PartitionResources,
  log: SegmentedLog,
  stream: CatchUpStream,
): Promise<ReceivedCatchUp> {
  const receiver = new Receiver(resources, log);
  try {
    for await (const piece of stream.pieces()) await receiver.take(decoded(() => decodeCatchUpPiece(piece)));
    return await receiver.finish();
  } catch (error) {
    await receiver.discard();
    throw error;
  }
}

class Receiver {
  readonly #resources: PartitionResources;
  readonly #log: SegmentedLog;
  /** Where the next batch must begin; undefined before the first piece. */
  #nextOffset: number | undefined;
  /** The own log is history: the leader's begins behind its end. */
  #isReplacing = false;
  readonly #received: LogSegment[] = [];
  /** Start of a batch whose end is in the next piece. */
  #partial: Uint8Array = new Uint8Array(0);
  #unwritten: Uint8Array[] = [];
  #unwrittenBytes = 0;
  #stateBytes = 0;
  readonly #statePieces: Uint8Array[] = [];
  #stateReceived = 0;

  constructor(resources: PartitionResources, log: SegmentedLog) {
    this.#resources = resources;
    this.#log = log;
  }

  async take(piece: CatchUpPiece): Promise<void> {
    if (piece.kind === 'begin') {
      if (this.#nextOffset !== undefined) throw new CatchUpDataError('A catch-up begins twice');
      this.#isReplacing = piece.fromOffset > this.#log.endOffset;
      this.#nextOffset = piece.fromOffset;
      this.#stateBytes = piece.stateBytes;
    } else if (this.#nextOffset === undefined)
      throw new CatchUpDataError('A catch-up does not begin with its first piece');
    else if (piece.kind === 'data') await this.#takeData(piece.bytes);
    else {
      this.#stateReceived += piece.bytes.length;
      if (this.#stateReceived > this.#stateBytes) throw new CatchUpDataError('A catch-up has more state than it said');
      this.#statePieces.push(piece.bytes);
    }
  }

  async finish(): Promise<ReceivedCatchUp> {
    if (this.#nextOffset === undefined || this.#stateReceived !== this.#stateBytes || this.#partial.length > 0) {
      throw new CatchUpDataError('A catch-up ends early');
    }
    const state = decoded(() => decodePartitionState(Buffer.concat(this.#statePieces)));
    const endOffset = Math.max(this.#nextOffset, this.#isReplacing ? 0 : this.#log.endOffset);
    if (state.logEndOffset !== endOffset) {
      throw new CatchUpDataError(`A catch-up ends at offset ${endOffset} instead of ${state.logEndOffset}`);
    }
    await this.#write();
    const own = this.#isReplacing
      ? []
      : this.#log.segments.filter(({ nextOffset }) => nextOffset > state.logStartOffset);
    const segments = [...own, ...this.#received];
    for (const segment of segments.slice(0, -1)) segment.seal();
    for (const segment of this.#received) segment.createdTimeMs = state.timeMs;
    return { state, segments };
  }

  async discard(): Promise<void> {
    for (const segment of this.#received) await this.#log.files.discard(segment);
  }

  async #takeData(piece: Uint8Array): Promise<void> {
    const bytes = this.#partial.length === 0 ? piece : Buffer.concat([this.#partial, piece]);
    let at = 0;
    while (bytes.length - at >= BATCH_HEADER_BYTES) {
      const sizeBytes = storedSizeBytes(bytes, at);
      if (sizeBytes < BATCH_HEADER_BYTES) throw new CatchUpDataError(`A catch-up has a batch of ${sizeBytes} bytes`);
      if (at + sizeBytes > bytes.length) break;
      await this.#takeBatch(bytes, at, sizeBytes);
      at += sizeBytes;
    }
    this.#partial = bytes.subarray(at);
  }

  async #takeBatch(bytes: Uint8Array, at: number, sizeBytes: number): Promise<void> {
    const flaw = storedBatchFlaw(bytes, at, bytes.length);
    if (flaw !== undefined) throw new CatchUpDataError(`A catch-up has a damaged batch: ${flaw}`);
    const baseOffset = storedBaseOffset(bytes, at);
    if (baseOffset !== this.#nextOffset) {
      throw new CatchUpDataError(`A catch-up goes on with offset ${baseOffset} instead of ${this.#nextOffset}`);
    }
    const nextOffset = storedNextOffset(bytes, at);
    this.#nextOffset = nextOffset;
    // Entries may have been applied between the request and the first piece.
    if (!this.#isReplacing && nextOffset <= this.#log.endOffset) return;
    const { segmentBytes, indexIntervalBytes } = this.#log.settings;
    let segment = this.#received.at(-1);
    if (segment === undefined || segment.sizeBytes + sizeBytes > segmentBytes) {
      await this.#write();
      segment?.seal();
      segment = new LogSegment(this.#log.directory, { baseOffset, createdTimeMs: -1 });
      this.#received.push(segment);
    }
    segment.didAppend(sizeBytes, nextOffset, storedMaxTimestampMs(bytes, at), indexIntervalBytes);
    this.#unwritten.push(bytes.subarray(at, at + sizeBytes));
    this.#unwrittenBytes += sizeBytes;
    if (this.#unwrittenBytes >= WRITE_BYTES) await this.#write();
  }

  async #write(): Promise<void> {
    const segment = this.#received.at(-1);
    if (segment === undefined || this.#unwritten.length === 0) return;
    try {
      await this.#log.files.appendToSegment(segment, this.#unwritten);
    } catch (error) {
      // A disk that cannot write is not a failed stream: the broker stops.
      this.#resources.onFailure(error as Error);
      throw error;
    }
    segment.writtenBytes += this.#unwrittenBytes;
    this.#unwritten = [];
    this.#unwrittenBytes = 0;
  }
}

/** What cannot be decoded is the stream's fault, whoever finds it. */
function decoded<T>(decode: () => T): T {
  try {
    return decode();
  } catch (error) {
    throw new CatchUpDataError(`A catch-up cannot be decoded: ${(error as Error).message}`, { cause: error });
  }
}
