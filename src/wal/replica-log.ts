/**
 * Owns what the WAL knows of one replica: hard state, checkpoint, terms and places of its entries, and which of them are
 * live, that is, must survive the reuse of their segment. Both the running WAL and recovery change it by the same
 * methods, so what is replayed is what was done.
 */
import { assert } from '../std/assert.ts';
import { type LogIndex, logIndex, type ReplicaId, type Term, term } from '../std/brands.ts';
import { LocationLog } from './location-log.ts';
import { type Checkpoint, ENTRY_KIND, type HardState, type ReplicaDamage, type TermRun } from './replica-storage.ts';
import type { TableRow } from './table-row.ts';

/** Told which segments hold live entries, so that the oldest one's worth is known at any time. */
export interface LiveBytes {
  add(sequence: number, log: ReplicaLog, index: number, bytes: number): void;
  removeBytes(sequence: number, bytes: number): void;
}

/** What a live entry costs: payload, its share of the frame, rounded. */
const ENTRY_OVERHEAD_BYTES = 72;

export class ReplicaLog {
  readonly replicaId: ReplicaId;
  readonly descriptor: Uint8Array;
  hardState: HardState = { currentTerm: term(0), votedFor: 0 };
  checkpoint: Checkpoint | undefined;
  commitHint = 0;
  damage: ReplicaDamage | undefined;
  /** Payload and overhead of live entries. */
  liveBytes = 0;
  readonly #usage: LiveBytes;
  readonly #locations = new LocationLog();
  #termRuns: { firstIndex: number; term: number }[] = [];
  #configurationIndexes: number[] = [];
  readonly #holds = new Map<string, number>();
  /** Entries from here on are live. */
  #liveFrom = 1;

  constructor(replicaId: ReplicaId, descriptor: Uint8Array, usage: LiveBytes) {
    this.replicaId = replicaId;
    this.descriptor = descriptor;
    this.#usage = usage;
  }

  get checkpointIndex(): number {
    return this.checkpoint?.index ?? 0;
  }

  get lastIndex(): LogIndex {
    return logIndex(this.#locations.next - 1);
  }

  /** First entry with a known place. */
  get firstIndex(): LogIndex {
    return logIndex(this.#locations.first);
  }

  get liveFrom(): number {
    return this.#liveFrom;
  }

  /** Configuration entries above the checkpoint. */
  get configurationIndexes(): LogIndex[] {
    return this.#configurationIndexes.map(logIndex);
  }

  sequenceAt(index: number): number {
    return this.#locations.sequenceAt(index);
  }

  positionAt(index: number): number {
    return this.#locations.positionAt(index);
  }

  payloadBytesAt(index: number): number {
    return this.#locations.payloadBytesAt(index);
  }

  termAt(index: number): Term | undefined {
    if (index === this.checkpointIndex) return this.checkpoint?.term ?? term(0);
    if (index < this.#locations.first || index >= this.#locations.next) return undefined;
    return term(this.#runAt(index)?.term ?? 0);
  }

  /** Terms of the entries behind the checkpoint. */
  termRuns(): TermRun[] {
    const from = this.checkpointIndex + 1;
    const runs: TermRun[] = [];
    for (const [i, run] of this.#termRuns.entries()) {
      const end = this.#termRuns[i + 1]?.firstIndex ?? this.#locations.next;
      if (end > from) runs.push({ firstIndex: logIndex(Math.max(from, run.firstIndex)), term: term(run.term) });
    }
    return runs;
  }

  append(entryTerm: number, kind: number, sequence: number, position: number, payloadBytes: number): void {
    const index = this.#locations.next;
    const last = this.#termRuns.at(-1);
    assert(last === undefined || entryTerm >= last.term, 'Terms never decrease along a log');
    if (last === undefined || entryTerm > last.term) this.#termRuns.push({ firstIndex: index, term: entryTerm });
    this.#locations.push(sequence, position, payloadBytes);
    if (kind === ENTRY_KIND.configuration) this.#configurationIndexes.push(index);
    if (index >= this.#liveFrom && sequence !== 0) this.#addLive(index);
  }

  /** Voids the entries from `index` on. */
  truncate(index: number): void {
    assert(index > this.checkpointIndex, 'A checkpoint cannot be truncated away');
    assert(index >= this.#locations.first, 'Only known entries can be truncated');
    for (let i = Math.max(index, this.#liveFrom); i < this.#locations.next; i++) this.#removeLive(i);
    this.#locations.truncate(index);
    while ((this.#termRuns.at(-1)?.firstIndex ?? 0) >= index) this.#termRuns.pop();
    while ((this.#configurationIndexes.at(-1) ?? 0) >= index) this.#configurationIndexes.pop();
  }

  setCheckpoint(checkpoint: Checkpoint, resetLog: boolean): void {
    if (resetLog) {
      this.#voidAll(checkpoint.index + 1);
      this.checkpoint = checkpoint;
    } else {
      assert(
        checkpoint.index >= this.checkpointIndex && checkpoint.index <= this.lastIndex,
        'A checkpoint lies inside the log',
      );
      assert(this.termAt(checkpoint.index) === checkpoint.term, 'A checkpoint has the term of its entry');
      this.checkpoint = checkpoint;
    }
    this.commitHint = Math.max(this.commitHint, checkpoint.index);
    this.#updateLiveFrom();
  }

  /** The entry is now (also) at another place: it was appended again. */
  move(index: number, sequence: number, position: number, payloadBytes: number, kind: number): void {
    if (index >= this.#liveFrom) this.#removeLive(index);
    this.#locations.move(index, sequence, position, payloadBytes);
    if (index >= this.#liveFrom) this.#addLive(index);
    // Not live, but it must be known to be there when the segment goes: a hold that moved it may be forgotten by now.
    else this.#usage.add(sequence, this, index, 0);
    if (
      kind === ENTRY_KIND.configuration &&
      index > this.checkpointIndex &&
      !this.#configurationIndexes.includes(index)
    ) {
      this.#configurationIndexes.push(index);
      this.#configurationIndexes.sort((a, b) => a - b);
    }
  }

  /** Entries before `index` have no place any more. They must not be live. */
  dropBefore(index: number): void {
    assert(index <= this.#liveFrom, 'Live entries are never dropped');
    const from = Math.min(index, this.#locations.next);
    if (from <= this.#locations.first) return;
    this.#locations.dropBefore(from);
    while (this.#termRuns.length > 1 && this.#termRuns[1]!.firstIndex <= from) this.#termRuns.shift();
    if (this.#locations.first === this.#locations.next) this.#termRuns = [];
  }

  hold(holder: string, fromIndex: number): void {
    this.#holds.set(holder, fromIndex);
    this.#updateLiveFrom();
  }

  release(holder: string): void {
    this.#holds.delete(holder);
    this.#updateLiveFrom();
  }

  /** All entries and their worth go away: the replica was removed. */
  clear(): void {
    this.#voidAll(1);
  }

  /** Its state is gone: nothing is left but what was promised, the term and the vote, and how far it was known committed; it is damaged from its first entry on. */
  lose(reason: string): void {
    this.#voidAll(1);
    this.checkpoint = undefined;
    this.damage = { kind: this.damage?.kind ?? 'entries', fromIndex: logIndex(1), reason };
    this.#updateLiveFrom();
  }

  /** Entries that a checkpoint covers stay readable only if all behind them do. */
  dropCoveredHoles(): void {
    for (let i = Math.min(this.checkpointIndex, this.lastIndex); i >= this.#locations.first; i--) {
      if (this.#locations.sequenceAt(i) !== 0) continue;
      this.dropBefore(i + 1);
      return;
    }
  }

  /** First entry behind the checkpoint whose place is unknown; undefined if there is none. */
  firstHole(): number | undefined {
    for (let i = Math.max(this.#locations.first, this.checkpointIndex + 1); i < this.#locations.next; i++) {
      if (this.#locations.sequenceAt(i) === 0) return i;
    }
    return undefined;
  }

  toRow(): TableRow {
    return {
      descriptor: this.descriptor,
      hardState: this.hardState,
      commitHint: this.commitHint,
      lastIndex: this.lastIndex,
      checkpoint: this.checkpoint,
      termRuns: this.termRuns(),
      damage: this.damage,
    };
  }

  /**
   * Takes over a table's row. It was written by a process that knew this replica's whole state, so it stands where what
   * was replayed so far says something else; entries whose places are not known become holes. Returns the first index
   * from which on entries may not be the ones known before.
   */
  adoptRow(row: TableRow): number {
    this.hardState = row.hardState;
    this.commitHint = Math.max(row.commitHint, row.checkpoint?.index ?? 0);
    this.damage = row.damage;
    if (this.#agreesWith(row)) {
      this.checkpoint = row.checkpoint;
      this.#updateLiveFrom();
      return row.lastIndex + 1;
    }
    let firstChanged = row.lastIndex + 1;
    // An entry is the same wherever its index and term are, so places that were replayed stay good.
    const known = new Map<number, { term: number; sequence: number; position: number; payloadBytes: number }>();
    for (let i = this.#locations.first; i < this.#locations.next; i++) {
      known.set(i, {
        term: this.#runAt(i)?.term ?? 0,
        sequence: this.#locations.sequenceAt(i),
        position: this.#locations.positionAt(i),
        payloadBytes: this.#locations.payloadBytesAt(i),
      });
    }
    const configurations = new Set(this.#configurationIndexes);
    this.#voidAll((row.checkpoint?.index ?? 0) + 1);
    this.checkpoint = row.checkpoint;
    this.#updateLiveFrom();
    for (const [i, run] of row.termRuns.entries()) {
      const end = row.termRuns[i + 1]?.firstIndex ?? row.lastIndex + 1;
      for (let index: number = run.firstIndex; index < end; index++) {
        const place = known.get(index);
        const kind = configurations.has(index) ? ENTRY_KIND.configuration : ENTRY_KIND.command;
        if (place?.term === run.term) this.append(run.term, kind, place.sequence, place.position, place.payloadBytes);
        else {
          this.append(run.term, ENTRY_KIND.command, 0, 0, 0);
          firstChanged = Math.min(firstChanged, index);
        }
      }
    }
    return firstChanged;
  }

  /** Entries that must have been there and cannot be read: their terms are not known, the log goes on behind them. */
  appendHoles(count: number): void {
    const holeTerm = this.#termRuns.at(-1)?.term ?? this.checkpoint?.term ?? 0;
    for (let i = 0; i < count; i++) this.append(holeTerm, ENTRY_KIND.command, 0, 0, 0);
  }

  #agreesWith(row: TableRow): boolean {
    const checkpointIndex = row.checkpoint?.index ?? 0;
    const { first } = this.#locations;
    if (row.lastIndex !== this.lastIndex || first > checkpointIndex + 1) return false;
    // Entries from before an installed snapshot are not those that its checkpoint covers.
    if (first <= checkpointIndex && this.#runAt(checkpointIndex)?.term !== row.checkpoint?.term) return false;
    return row.termRuns.every(
      (run, i) =>
        this.#runAt(run.firstIndex)?.term === run.term &&
        this.#runAt((row.termRuns[i + 1]?.firstIndex ?? row.lastIndex + 1) - 1)?.term === run.term,
    );
  }

  #voidAll(next: number): void {
    for (let i = Math.max(this.#liveFrom, this.#locations.first); i < this.#locations.next; i++) this.#removeLive(i);
    this.#locations.reset(next);
    this.#termRuns = [];
    this.#configurationIndexes = [];
  }

  #updateLiveFrom(): void {
    let liveFrom = this.checkpointIndex + 1;
    for (const held of this.#holds.values()) liveFrom = Math.min(liveFrom, held);
    liveFrom = Math.max(liveFrom, Math.min(this.#locations.first, this.checkpointIndex + 1));
    const first = this.#locations.first;
    const next = this.#locations.next;
    for (let i = Math.max(this.#liveFrom, first); i < Math.min(liveFrom, next); i++) this.#removeLive(i);
    for (let i = Math.max(liveFrom, first); i < Math.min(this.#liveFrom, next); i++) this.#addLive(i);
    this.#liveFrom = liveFrom;
    while (this.#configurationIndexes.length > 0 && this.#configurationIndexes[0]! <= this.checkpointIndex) {
      this.#configurationIndexes.shift();
    }
  }

  #addLive(index: number): void {
    const sequence = this.#locations.sequenceAt(index);
    if (sequence === 0) return;
    const bytes = this.#locations.payloadBytesAt(index) + ENTRY_OVERHEAD_BYTES;
    this.liveBytes += bytes;
    this.#usage.add(sequence, this, index, bytes);
  }

  #removeLive(index: number): void {
    const sequence = this.#locations.sequenceAt(index);
    if (sequence === 0) return;
    const bytes = this.#locations.payloadBytesAt(index) + ENTRY_OVERHEAD_BYTES;
    this.liveBytes -= bytes;
    this.#usage.removeBytes(sequence, bytes);
  }

  /** The run that covers `index`; there are few. */
  #runAt(index: number): { firstIndex: number; term: number } | undefined {
    for (let i = this.#termRuns.length - 1; i >= 0; i--) {
      if (this.#termRuns[i]!.firstIndex <= index) return this.#termRuns[i];
    }
    return undefined;
  }
}
