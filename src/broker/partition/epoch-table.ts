/**
 * Which leader epoch begins at which offset: what OffsetForLeaderEpoch answers and what every stored batch is checked against.
 *
 * Applied state. Epochs and start offsets both ascend; an epoch without records has no row.
 */
import { assert } from '../../std/assert.ts';

export interface EpochStart {
  readonly epoch: number;
  readonly startOffset: number;
}

export class EpochTable {
  #rows: EpochStart[];

  constructor(rows: readonly EpochStart[] = []) {
    this.#rows = [...rows];
  }

  get rows(): readonly EpochStart[] {
    return this.#rows;
  }

  /** Epoch of the last record; -1 if none is known. */
  get lastEpoch(): number {
    return this.#rows.at(-1)?.epoch ?? -1;
  }

  /** Notes that a batch of `epoch` begins at `offset`. Called for each batch, in order. */
  didAppend(epoch: number, offset: number): void {
    const last = this.#rows.at(-1);
    if (last !== undefined) {
      if (last.epoch === epoch) return;
      assert(epoch > last.epoch, `Epoch ${epoch} follows epoch ${last.epoch}`);
      assert(offset >= last.startOffset, `Epoch ${epoch} starts below epoch ${last.epoch}`);
      // Nothing is left of the last epoch: the log start passed all of it.
      if (offset === last.startOffset) this.#rows.pop();
    }
    this.#rows.push({ epoch, startOffset: offset });
  }

  /** Forgets epochs that end at or below the new log start; the one that contains it begins there from now on. */
  moveLogStart(logStartOffset: number, logEndOffset: number): void {
    const rows = this.#rows;
    const kept: EpochStart[] = [];
    for (let i = 0; i < rows.length; i++) {
      const end = rows[i + 1]?.startOffset ?? logEndOffset;
      // The last epoch stays even if no record of it does: a consumer at the log end still asks for it.
      if (end <= logStartOffset && i < rows.length - 1) continue;
      const { epoch, startOffset } = rows[i]!;
      kept.push({ epoch, startOffset: Math.max(startOffset, logStartOffset) });
    }
    this.#rows = kept;
  }

  /** Epoch of the record at `offset`, which is in the log; -1 if the table does not reach that far. */
  epochAt(offset: number): number {
    const index = this.#floor((row) => row.startOffset <= offset);
    return index < 0 ? -1 : this.#rows[index]!.epoch;
  }

  /**
   * Largest known epoch ≤ `epoch`, and the offset at which the next one begins (the log end if there is none). For an epoch older than all known ones: that epoch and the start of the oldest, as
   * Kafka answers, so that a consumer with a very old position learns where its history was cut. Before the first record every epoch ends at the log end: "unknown" (-1, -1) would make a consumer
   * that waits there for the first record reset its position, perhaps to behind it.
   */
  endOffset(epoch: number, logEndOffset: number): { leaderEpoch: number; endOffset: number } {
    if (epoch < 0) return { leaderEpoch: -1, endOffset: -1 };
    const index = this.#floor((row) => row.epoch <= epoch);
    const endOffset = this.#rows[index + 1]?.startOffset ?? logEndOffset;
    return { leaderEpoch: index < 0 ? epoch : this.#rows[index]!.epoch, endOffset };
  }

  #floor(matches: (row: EpochStart) => boolean): number {
    let low = -1;
    let high = this.#rows.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (matches(this.#rows[middle]!)) low = middle;
      else high = middle;
    }
    return low;
  }
}
