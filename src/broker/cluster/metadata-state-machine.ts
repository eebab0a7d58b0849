/**
 * The metadata group's state machine: turns committed commands into the image that the whole broker reads.
 *
 * Promises: the image is immutable and complete up to its `appliedIndex`; apply is pure (apply-metadata-command.ts); listeners hear of changes once per loop turn, however many commands
 * were applied in it. One instance lives as long as the broker, also before this broker's replica exists.
 */

import { CatchUpDataError } from '../../raft/catch-up-data-error.ts';
import { StateDamageError } from '../../raft/state-damage-error.ts';
import type {
  AppliedEntry,
  CatchUpSource,
  CatchUpStream,
  StateCheckpoint,
  StateMachine,
} from '../../raft/state-machine.ts';
import { assert } from '../../std/assert.ts';
import { type LogIndex, logIndex, type Term, term } from '../../std/brands.ts';
import type { Disk } from '../../std/disk.ts';
import type { Timers } from '../../std/environment.ts';
import { type ApplyResult, applyMetadataCommand } from './apply-metadata-command.ts';
import { MetadataCheckpointFiles } from './metadata-checkpoint.ts';
import { decodeMetadataCommand } from './metadata-command.ts';
import { MetadataState } from './metadata-state.ts';
import { decodeMetadataState, encodeMetadataState, isMetadataStateIntact } from './metadata-state-codec.ts';

const CATCH_UP_PIECE_BYTES = 1 << 20;
/** Far above any real cluster (100,000 partitions are about 15 MB); a peer can not make this broker hold more. */
const CATCH_UP_BYTES_MAX = 256 << 20;

export interface MetadataStateMachineOptions {
  readonly clusterId: string;
  readonly disk: Disk;
  readonly timers: Timers;
  /** Where large checkpoints go, relative to the data directory; default `metadata`. */
  readonly directory?: string;
  readonly inlineBytesMax?: number;
}

export class MetadataStateMachine implements StateMachine {
  readonly #timers: Timers;
  readonly #files: MetadataCheckpointFiles;
  readonly #listeners = new Set<(image: MetadataState) => void>();
  #state: MetadataState;
  #bytesSinceCheckpoint = 0;
  #isNotifying = false;
  /** Set by the controller: role, leader or readiness of the metadata group changed. */
  leadershipChanged: () => void = () => {};

  constructor(options: MetadataStateMachineOptions) {
    this.#timers = options.timers;
    this.#files = new MetadataCheckpointFiles(
      options.disk,
      options.directory ?? 'metadata',
      options.inlineBytesMax === undefined ? {} : { inlineBytesMax: options.inlineBytesMax },
    );
    this.#state = MetadataState.initial(options.clusterId);
  }

  get image(): MetadataState {
    return this.#state;
  }

  /** Called once per loop turn after the image changed, with the newest one. Returns the unsubscribe function. */
  onImageChanged(listener: (image: MetadataState) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  apply(entry: AppliedEntry): ApplyResult {
    const applied = applyMetadataCommand(this.#state, decodeMetadataCommand(entry.payload));
    this.#bytesSinceCheckpoint += entry.payload.length;
    this.#moveTo(applied.state, entry.index, entry.term);
    return applied.result;
  }

  advance(index: LogIndex, atTerm: Term): void {
    this.#moveTo(this.#state, index, atTerm);
  }

  async restore(checkpoint: StateCheckpoint | undefined): Promise<void> {
    // Before the first entry; or after an attempt that failed and changed nothing.
    if (checkpoint === undefined) return this.#files.discard();
    const bytes = await this.#files.load(checkpoint.payload);
    if (!isMetadataStateIntact(bytes)) throw new StateDamageError('Damage in the state of cluster metadata');
    this.#replace(decodeMetadataState(bytes), checkpoint.index);
  }

  async checkpoint(): Promise<StateCheckpoint> {
    const state = this.#state;
    const bytesBefore = this.#bytesSinceCheckpoint;
    const payload = await this.#files.save(encodeMetadataState(state), state.appliedIndex);
    this.#bytesSinceCheckpoint -= bytesBefore;
    return { index: logIndex(state.appliedIndex), term: term(state.appliedTerm), payload };
  }

  checkpointDurable(index: LogIndex): void {
    this.#files.durable(index);
  }

  bytesSinceCheckpoint(): number {
    return this.#bytesSinceCheckpoint;
  }

  /** A catch-up always carries the whole state. */
  catchUpPosition(): Uint8Array {
    return new Uint8Array(0);
  }

  openCatchUp(): Promise<CatchUpSource> {
    const state = this.#state;
    const bytes = encodeMetadataState(state);
    let sent = 0;
    return Promise.resolve({
      index: logIndex(state.appliedIndex),
      term: term(state.appliedTerm),
      next: () => {
        if (sent >= bytes.length) return Promise.resolve(undefined);
        const piece = bytes.subarray(sent, sent + CATCH_UP_PIECE_BYTES);
        sent += piece.length;
        return Promise.resolve(piece);
      },
      close: () => Promise.resolve(),
    });
  }

  async installCatchUp(source: CatchUpStream): Promise<StateCheckpoint> {
    const pieces: Uint8Array[] = [];
    let sizeBytes = 0;
    for await (const piece of source.pieces()) {
      sizeBytes += piece.length;
      if (sizeBytes > CATCH_UP_BYTES_MAX) {
        throw new CatchUpDataError(`Metadata catch-up is larger than ${CATCH_UP_BYTES_MAX} bytes`);
      }
      pieces.push(piece);
    }
    const bytes = Buffer.concat(pieces);
    if (!isMetadataStateIntact(bytes)) throw new CatchUpDataError('Metadata catch-up is cut or damaged');
    const state = decodeMetadataState(bytes);
    const payload = await this.#files.save(bytes, state.appliedIndex);
    assert(state.appliedTerm === source.term, 'Metadata catch-up has another term than announced');
    this.#replace(state, source.index);
    this.#bytesSinceCheckpoint = 0;
    return { index: source.index, term: source.term, payload };
  }

  close(): Promise<void> {
    this.#listeners.clear();
    return Promise.resolve();
  }

  destroy(): Promise<void> {
    return this.#files.destroy();
  }

  #replace(state: MetadataState, index: number): void {
    assert(
      state.clusterId === this.#state.clusterId,
      `Metadata of cluster ${state.clusterId} in ${this.#state.clusterId}`,
    );
    assert(state.appliedIndex === index, `Metadata state of index ${state.appliedIndex} is announced as ${index}`);
    this.#state = state;
    this.#notifySoon();
  }

  #moveTo(state: MetadataState, index: LogIndex, atTerm: Term): void {
    assert(index > this.#state.appliedIndex, `Metadata entry ${index} after ${this.#state.appliedIndex}`);
    this.#state = state.with({ appliedIndex: index, appliedTerm: atTerm });
    this.#notifySoon();
  }

  #notifySoon(): void {
    if (this.#isNotifying) return;
    this.#isNotifying = true;
    this.#timers.soon(() => {
      this.#isNotifying = false;
      for (const listener of [...this.#listeners]) listener(this.#state);
    });
  }
}
