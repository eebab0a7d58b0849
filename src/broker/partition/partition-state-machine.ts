/**
 * One replica of one partition as a replicated state machine: the log, the producers' sequences, the leader epochs, and the state of an extension if the partition has one.
 *
 * Apply is a pure function of (state, entry) (DECISIONS P1): offsets, verdicts and epochs are the same on every replica; files and memory are local and are not part of it. A rejected batch takes no
 * offset. Everything up to the applied index is visible at once: nothing uncommitted ever gets here.
 */
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import type {
  AppliedEntry,
  CatchUpSource,
  CatchUpStream,
  StateCheckpoint,
  StateMachine,
} from '../../raft/state-machine.ts';
import { assert } from '../../std/assert.ts';
import { type LogIndex, logIndex, type Term, term } from '../../std/brands.ts';
import { crc32c } from '../../std/crc32c.ts';
import { DiskError } from '../../std/disk.ts';
import { type CatchUpState, decodeCatchUpPosition, encodeCatchUpPosition } from './catch-up-codec.ts';
import { receiveCatchUp } from './catch-up-receiver.ts';
import { PartitionCatchUpSource } from './catch-up-source.ts';
import { EpochTable } from './epoch-table.ts';
import { replicaDirectory } from './log-files.ts';
import { LogSegment } from './log-segment.ts';
import {
  decodePartitionCheckpoint,
  decodePartitionState,
  decodeProducers,
  encodePartitionCheckpoint,
  encodePartitionState,
  encodeProducers,
  type PartitionCheckpoint,
  type PartitionState,
  type StateFileReference,
  stateFileFor,
} from './partition-checkpoint.ts';
import { decodePartitionCommand } from './partition-command.ts';
import { PartitionDamageError } from './partition-damage-error.ts';
import type { PartitionExtension } from './partition-extension.ts';
import type { PartitionResources } from './partition-resources.ts';
import { ProducerStates } from './producer-states.ts';
import { type LogCut, type LogSettings, SegmentedLog } from './segmented-log.ts';
import {
  storedBaseSequence,
  storedHasLogAppendTime,
  storedLastOffsetDelta,
  storedMaxTimestampMs,
  storedProducerEpoch,
  storedProducerId,
  storedSizeBytes,
} from './stored-batch.ts';

/** What became of one batch of a `batches` command. */
export interface BatchResult {
  readonly errorCode: ErrorCode;
  /** Of a duplicate: where the original is. -1 with an error. */
  readonly baseOffset: number;
  /** -1 unless the batch has log append time. */
  readonly logAppendTimeMs: number;
  readonly isDuplicate: boolean;
}

export interface PartitionStateMachineOptions {
  readonly resources: PartitionResources;
  readonly topic: string;
  readonly partition: number;
  readonly replicaId: number;
  /** The topic's settings as they are now; only what shapes this replica's files is used. */
  readonly settings: () => LogSettings;
  readonly extension?: PartitionExtension;
}

const NO_BYTES = new Uint8Array(0);

export class PartitionStateMachine implements StateMachine {
  readonly log: SegmentedLog;
  readonly #replicaId: number;
  readonly #resources: PartitionResources;
  readonly #extension: PartitionExtension | undefined;
  #producers = new ProducerStates();
  #index: LogIndex = logIndex(0);
  #term: Term = term(0);
  /** Largest command time applied. */
  #timeMs = -1;
  #bytesSinceCheckpoint = 0;
  #lastCheckpoint: { readonly index: LogIndex; readonly number: number } | undefined;
  #stateFile: StateFileReference | undefined;
  /** After the log end, the log start or the extension's state changed. */
  onApplied: () => void = () => undefined;
  onLeadershipChanged: () => void = () => undefined;
  onDestroyed: () => void = () => undefined;

  constructor(options: PartitionStateMachineOptions) {
    const { resources, topic, partition, replicaId, settings, extension } = options;
    this.#resources = resources;
    this.#replicaId = replicaId;
    this.#extension = extension;
    this.log = new SegmentedLog(resources, replicaDirectory(topic, partition, replicaId), settings);
  }

  get producers(): ProducerStates {
    return this.#producers;
  }

  get appliedIndex(): LogIndex {
    return this.#index;
  }

  /** Largest command time applied, -1 if none: what a producer's idleness is measured against. */
  get timeMs(): number {
    return this.#timeMs;
  }

  /** BatchResult[] of a batches command, the error code of a moveLogStart, the extension's result, or undefined. */
  apply(entry: AppliedEntry): unknown {
    assert(entry.index === this.#index + 1, `Entry ${entry.index} is applied after ${this.#index}`);
    this.#index = entry.index;
    this.#term = entry.term;
    this.#bytesSinceCheckpoint += entry.payload.length;
    const command = decodePartitionCommand(entry.payload);
    this.#timeMs = Math.max(this.#timeMs, command.timeMs);
    const result = this.#applyCommand(command, entry.term);
    this.onApplied();
    return result;
  }

  advance(index: LogIndex, term: Term): void {
    assert(index >= this.#index, `The applied index cannot move back to ${index}`);
    this.#index = index;
    this.#term = term;
  }

  leadershipChanged(): void {
    this.onLeadershipChanged();
    this.#extension?.leadershipChanged?.();
  }

  async restore(checkpoint: StateCheckpoint | undefined): Promise<void> {
    if (checkpoint === undefined) {
      // An attempt that failed adopted nothing. Files of an adopted log would be removed under the names that the empty one uses again.
      assert(this.#index === 0 && this.log.segments.length === 0, 'A state that was restored is not restored again');
      this.#stateFile = undefined;
      await this.log.files.restore([], undefined);
      this.#extension?.restoreState(NO_BYTES);
      return;
    }
    try {
      await this.#restore(checkpoint);
    } catch (error) {
      if (error instanceof PartitionDamageError) this.#resources.onDamage(error, this.log.directory);
      throw error;
    }
  }

  async #restore(checkpoint: StateCheckpoint): Promise<void> {
    const decoded = decodePartitionCheckpoint(checkpoint.payload);
    assert(decoded.replicaId === this.#replicaId, `A checkpoint of replica ${decoded.replicaId} is not ours`);
    assert(decoded.index === checkpoint.index && decoded.term === checkpoint.term, 'A checkpoint is of another index');
    const state = decodePartitionState(await this.#readState(decoded.state));
    const segments = state.segments.map((description) => new LogSegment(this.log.directory, description));
    for (const segment of segments.slice(0, -1)) segment.isSealed = true;
    await this.log.files.restore(segments, this.#stateFile?.name);
    this.#adopt(state, segments, checkpoint.index, checkpoint.term);
  }

  checkpoint(): Promise<StateCheckpoint> {
    return this.log.withCut((cut) => this.#checkpoint(cut));
  }

  checkpointDurable(index: LogIndex): void {
    if (this.#lastCheckpoint?.index !== index) return;
    this.log.files.checkpointDurable(this.#lastCheckpoint.number);
    this.log.removeObsoleteSoon();
  }

  /** Very many when files wait for a checkpoint to be let go: after a retention move the driver shall not wait until new entries fill its limit, which may be never. */
  bytesSinceCheckpoint(): number {
    return this.log.files.wantsCheckpoint ? Number.MAX_SAFE_INTEGER : this.#bytesSinceCheckpoint;
  }

  catchUpPosition(): Uint8Array {
    return encodeCatchUpPosition({ logEndOffset: this.log.endOffset, lastEpoch: this.log.epochs.lastEpoch });
  }

  openCatchUp(position: Uint8Array): Promise<CatchUpSource | undefined> {
    const from = decodeCatchUpPosition(position);
    return this.log.withCut(async (cut) => {
      const { logEndOffset, lastEpoch } = from;
      if (logEndOffset > cut.endOffset) return undefined;
      const ownEpoch = logEndOffset > cut.startOffset ? this.log.epochs.epochAt(logEndOffset - 1) : -1;
      if (ownEpoch !== -1 && ownEpoch !== lastEpoch) {
        throw new Error(`Offset ${logEndOffset - 1} has epoch ${lastEpoch} at the follower and ${ownEpoch} here`);
      }
      const state: CatchUpState = {
        logStartOffset: cut.startOffset,
        logEndOffset: cut.endOffset,
        timeMs: this.#timeMs,
        epochs: cut.epochs,
        producers: encodeProducers(this.#producers),
        extension: this.#extension?.encodeState() ?? NO_BYTES,
      };
      const at = { index: this.#index, term: this.#term };
      await this.log.writeOut(cut);
      return new PartitionCatchUpSource(this.#resources, this.log, cut, state, at, logEndOffset);
    });
  }

  installCatchUp(stream: CatchUpStream): Promise<StateCheckpoint> {
    return this.log.withCut(async (cut) => {
      await this.log.writeOut(cut);
      const { state, segments } = await receiveCatchUp(this.#resources, this.log, stream);
      this.#adopt({ ...state, segments: [] }, segments, stream.index, stream.term);
      this.onApplied();
      return this.#checkpoint(this.log.cutNow());
    });
  }

  /** Why the state file of the last checkpoint is not what was written; undefined if it is, or if there is none. */
  async stateFlaw(): Promise<string | undefined> {
    const file = this.#stateFile;
    if (file === undefined) return undefined;
    let flaw: string | undefined;
    try {
      const bytes = await this.log.files.readStateFile(file.name, file.sizeBytes);
      if (crc32c(bytes) !== file.checksum) flaw = `${file.name} does not fit its checksum`;
    } catch (error) {
      if (error instanceof PartitionDamageError) flaw = error.message;
      // Removed between two looks at it: a newer checkpoint is current.
      else if (!(error instanceof DiskError)) throw error;
    }
    return this.#stateFile === file && !this.log.isClosed ? flaw : undefined;
  }

  async close(): Promise<void> {
    await this.log.close();
  }

  async destroy(): Promise<void> {
    await this.log.close();
    await this.log.files.destroy();
    this.onDestroyed();
  }

  #applyCommand(command: ReturnType<typeof decodePartitionCommand>, term: Term): unknown {
    switch (command.kind) {
      case 'batches':
        return this.#applyBatches(command.batches, command.count, term);
      case 'moveLogStart':
        return this.#applyMoveLogStart(command.to);
      case 'expireProducers':
        this.#producers.expire(command.beforeMs, command.beforeOffset, this.#timeMs);
        return undefined;
      case 'extension':
        return this.#applyExtension(command.body, term);
    }
  }

  #applyBatches(batches: Uint8Array, count: number, term: Term): BatchResult[] {
    const results: BatchResult[] = [];
    let at = 0;
    for (let left = count; left > 0; left--) {
      const sizeBytes = storedSizeBytes(batches, at);
      assert(at + sizeBytes <= batches.length, 'A batches command ends inside of a batch');
      results.push(this.#applyBatch(batches, at, sizeBytes, term));
      at += sizeBytes;
    }
    assert(at === batches.length, 'A batches command has bytes behind its last batch');
    return results;
  }

  /** Sequence check, offset and producer state are one step: no path has one without the others (KAFKA_PROTOCOL 36). */
  #applyBatch(bytes: Uint8Array, at: number, sizeBytes: number, term: Term): BatchResult {
    const logAppendTimeMs = storedHasLogAppendTime(bytes, at) ? storedMaxTimestampMs(bytes, at) : -1;
    const producerId = storedProducerId(bytes, at);
    if (producerId === -1) {
      const baseOffset = this.log.append(bytes, at, sizeBytes, term, this.#timeMs);
      return { errorCode: ErrorCode.NONE, baseOffset, logAppendTimeMs, isDuplicate: false };
    }
    const batch = {
      producerId,
      producerEpoch: storedProducerEpoch(bytes, at),
      baseSequence: storedBaseSequence(bytes, at),
      lastOffsetDelta: storedLastOffsetDelta(bytes, at),
    };
    const verdict = this.#producers.check(batch);
    switch (verdict.kind) {
      case 'refused':
        return { errorCode: verdict.errorCode, baseOffset: -1, logAppendTimeMs: -1, isDuplicate: false };
      case 'duplicate': {
        const { baseOffset, logAppendTimeMs } = verdict.original;
        return { errorCode: ErrorCode.NONE, baseOffset, logAppendTimeMs, isDuplicate: true };
      }
      case 'append': {
        const baseOffset = this.log.append(bytes, at, sizeBytes, term, this.#timeMs);
        this.#producers.didAppend(batch, baseOffset, logAppendTimeMs, this.#timeMs);
        return { errorCode: ErrorCode.NONE, baseOffset, logAppendTimeMs, isDuplicate: false };
      }
    }
  }

  /** Moving to where the start is already, or below, has happened: a repeated command is no error. */
  #applyMoveLogStart(to: number): ErrorCode {
    if (to > this.log.endOffset) return ErrorCode.OFFSET_OUT_OF_RANGE;
    if (to > this.log.startOffset) this.log.moveStart(to);
    return ErrorCode.NONE;
  }

  #applyExtension(body: Uint8Array, term: Term): unknown {
    assert(this.#extension !== undefined, 'An extension command came to a partition that has no extension');
    const effects = this.#extension.apply(body, {
      index: this.#index,
      term,
      nextOffset: this.log.endOffset,
      logStartOffset: this.log.startOffset,
      timeMs: this.#timeMs,
    });
    for (const batch of effects.batches ?? []) {
      assert(storedSizeBytes(batch, 0) === batch.length, 'An extension emits one whole batch at a time');
      this.log.append(batch, 0, batch.length, term, this.#timeMs);
    }
    if (effects.moveLogStartTo !== undefined) this.#applyMoveLogStart(effects.moveLogStartTo);
    return effects.result;
  }

  async #checkpoint(cut: LogCut): Promise<StateCheckpoint> {
    // Everything up to the first await is of one moment: the cut.
    const index = this.#index;
    const term = this.#term;
    const timeMs = this.#timeMs;
    const producers = encodeProducers(this.#producers);
    const extension = this.#extension?.encodeState() ?? NO_BYTES;
    this.#bytesSinceCheckpoint = 0;
    const { files } = this.log;
    const number = files.beginCheckpoint();
    await this.log.writeOut(cut);
    const segments = await this.log.sync(cut);
    const state = encodePartitionState({
      logStartOffset: cut.startOffset,
      logEndOffset: cut.endOffset,
      timeMs,
      epochs: cut.epochs,
      producers,
      segments,
      extension,
    });
    const previous = this.#stateFile;
    const reference = stateFileFor(state, index, previous?.name);
    if (reference !== undefined) await files.writeStateFile(reference.name, state);
    if (previous !== undefined) files.willRemoveState(previous.name);
    this.#stateFile = reference;
    await files.syncNames();
    const payload = encodePartitionCheckpoint({
      replicaId: this.#replicaId,
      index,
      term,
      state: reference === undefined ? { kind: 'inline', bytes: state } : { kind: 'file', ...reference },
    });
    this.#lastCheckpoint = { index, number };
    return { index, term, payload };
  }

  async #readState(state: PartitionCheckpoint['state']): Promise<Uint8Array> {
    if (state.kind === 'inline') return state.bytes;
    const bytes = await this.log.files.readStateFile(state.name, state.sizeBytes);
    if (bytes.length !== state.sizeBytes || crc32c(bytes) !== state.checksum) {
      throw new PartitionDamageError(`${this.log.directory}/${state.name}`, 'the state does not fit its checksum');
    }
    this.#stateFile = state;
    return bytes;
  }

  #adopt(state: PartitionState, segments: readonly LogSegment[], index: LogIndex, term: Term): void {
    this.log.reset(state.logStartOffset, state.logEndOffset, new EpochTable(state.epochs), segments);
    this.#producers = decodeProducers(state.producers);
    this.#extension?.restoreState(state.extension);
    this.#timeMs = state.timeMs;
    this.#index = index;
    this.#term = term;
  }
}
