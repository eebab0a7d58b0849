/**
 * The leader's end of a partition's catch-up: the batches from the follower's log end on, read from pinned files and checked on the way, then the state at the same index.
 *
 * A follower whose log ends below this log's start gets everything from the segment batch that contains the log start on: its own batches are history that the partition no longer has.
 */
import type { CatchUpSource } from '../../raft/state-machine.ts';
import type { LogIndex, Term } from '../../std/brands.ts';
import { type CatchUpState, encodeCatchUpPiece, PIECE_BODY_BYTES_MAX } from './catch-up-codec.ts';
import { encodePartitionState } from './partition-checkpoint.ts';
import { PartitionDamageError } from './partition-damage-error.ts';
import type { PartitionResources } from './partition-resources.ts';
import type { LogCut, SegmentedLog } from './segmented-log.ts';
import { storedBaseOffset } from './stored-batch.ts';

export class PartitionCatchUpSource implements CatchUpSource {
  readonly index: LogIndex;
  readonly term: Term;
  readonly #resources: PartitionResources;
  readonly #log: SegmentedLog;
  readonly #cut: LogCut;
  readonly #state: Uint8Array;
  #nextOffset: number;
  /** Bytes read and not yet sent. */
  #rest: Uint8Array | undefined;
  #stateSent = 0;
  #begun = false;
  #closed = false;

  /** `cut` must be written out. Pins the files until {@link close}. */
  constructor(
    resources: PartitionResources,
    log: SegmentedLog,
    cut: LogCut,
    state: CatchUpState,
    at: { readonly index: LogIndex; readonly term: Term },
    followerEndOffset: number,
  ) {
    this.#resources = resources;
    this.#log = log;
    this.#cut = cut;
    this.#state = encodePartitionState({ ...state, segments: [] });
    this.index = at.index;
    this.term = at.term;
    this.#nextOffset = Math.max(followerEndOffset, cut.startOffset);
    log.files.pin();
  }

  async next(): Promise<Uint8Array | undefined> {
    if (!this.#begun) {
      this.#begun = true;
      await this.#readOn();
      const fromOffset = this.#rest === undefined ? this.#nextOffset : storedBaseOffset(this.#rest, 0);
      return encodeCatchUpPiece({ kind: 'begin', fromOffset, stateBytes: this.#state.length });
    }
    if (this.#rest === undefined) await this.#readOn();
    if (this.#rest !== undefined) {
      const bytes = this.#rest.subarray(0, PIECE_BODY_BYTES_MAX);
      this.#rest = this.#rest.length > bytes.length ? this.#rest.subarray(bytes.length) : undefined;
      return encodeCatchUpPiece({ kind: 'data', bytes });
    }
    if (this.#stateSent === this.#state.length) return undefined;
    const bytes = this.#state.subarray(this.#stateSent, this.#stateSent + PIECE_BODY_BYTES_MAX);
    this.#stateSent += bytes.length;
    return encodeCatchUpPiece({ kind: 'state', bytes });
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#log.files.unpin();
    this.#log.removeObsoleteSoon();
  }

  async #readOn(): Promise<void> {
    if (this.#nextOffset >= this.#cut.endOffset) return;
    const part = this.#cut.segments.find(({ description }) => description.nextOffset > this.#nextOffset);
    if (part === undefined) throw new Error(`No segment has offset ${this.#nextOffset} any more`);
    const offset = Math.max(this.#nextOffset, part.description.baseOffset);
    try {
      const { segment, description } = part;
      const read = await this.#log.readFile(segment, offset, PIECE_BODY_BYTES_MAX, description.sizeBytes);
      if (read === undefined) throw new Error(`The files of ${this.#log.directory} are gone`);
      this.#rest = read.bytes;
      this.#nextOffset = read.nextOffset;
    } catch (error) {
      if (error instanceof PartitionDamageError) this.#resources.onDamage(error, this.#log.directory);
      throw error;
    }
  }
}
