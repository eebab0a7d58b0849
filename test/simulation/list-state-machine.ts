/**
 * The smallest state machine that can show every error of Raft and WAL: an append-only list of command ids with a hash over (index, term, id). Every apply is shown to an oracle, so
 * two replicas that differ are found at the first entry in which they do. State lives in one file per checkpoint; a catch-up sends the ids that the follower lacks.
 */

import type {
  AppliedEntry,
  CatchUpSource,
  CatchUpStream,
  StateCheckpoint,
  StateMachine,
} from '../../src/raft/state-machine.ts';
import { assert } from '../../src/std/assert.ts';
import { type LogIndex, logIndex, type ReplicaId, type Term, term as toTerm } from '../../src/std/brands.ts';
import { crc32c } from '../../src/std/crc32c.ts';
import type { Disk } from '../../src/std/disk.ts';

const ITEM_BYTES = 24;
const PIECE_ITEMS = 8;

/** One applied command. */
export interface ListItem {
  readonly index: number;
  readonly term: number;
  readonly id: number;
}

export interface ListObserver {
  /** A replica applied (or skipped, id undefined) this index. */
  applied(index: number, term: number, id: number | undefined): void;
  /** A replica's state is now that at `index`, without applying: restored or caught up. */
  jumped(index: number, items: readonly ListItem[]): void;
  leadershipChanged(): void;
}

export function encodeCommand(id: number, sizeBytes: number): Uint8Array {
  const bytes = new Uint8Array(Math.max(8, sizeBytes)).fill(id & 0xff);
  new DataView(bytes.buffer).setFloat64(0, id);
  return bytes;
}

export class ListStateMachine implements StateMachine {
  readonly #disk: Disk;
  readonly #directory: string;
  readonly #observer: ListObserver;
  #items: ListItem[] = [];
  #index: LogIndex = logIndex(0);
  #term: Term = toTerm(0);
  #bytesSinceCheckpoint = 0;
  #files = 0;
  #fileOfCheckpoint = new Map<number, string>();
  #installing = false;
  #closed = false;

  constructor(disk: Disk, replicaId: ReplicaId, observer: ListObserver) {
    this.#disk = disk;
    this.#directory = `list-${replicaId}`;
    this.#observer = observer;
  }

  get items(): readonly ListItem[] {
    return this.#items;
  }

  get index(): LogIndex {
    return this.#index;
  }

  apply(entry: AppliedEntry): unknown {
    this.#moveTo(entry.index, entry.term);
    const id = new DataView(entry.payload.buffer, entry.payload.byteOffset).getFloat64(0);
    this.#items.push({ index: entry.index, term: entry.term, id });
    this.#bytesSinceCheckpoint += entry.payload.length;
    this.#observer.applied(entry.index, entry.term, id);
    return id;
  }

  advance(index: LogIndex, term: Term): void {
    this.#moveTo(index, term);
    this.#observer.applied(index, term, undefined);
  }

  #moveTo(index: LogIndex, term: Term): void {
    assert(!this.#installing && !this.#closed, 'Nothing is applied while a catch-up is installed, or after the end');
    assert(index === this.#index + 1, `Entry ${index} is applied after ${this.#index}`);
    assert(term >= this.#term, 'Terms never decrease');
    this.#index = index;
    this.#term = term;
  }

  async restore(checkpoint: StateCheckpoint | undefined): Promise<void> {
    await this.#disk.makeDirectory(this.#directory);
    let keep: string | undefined;
    if (checkpoint !== undefined) {
      keep = Buffer.from(checkpoint.payload).toString();
      this.#items = await this.#readFile(keep);
      this.#index = checkpoint.index;
      this.#term = checkpoint.term;
      this.#fileOfCheckpoint.set(checkpoint.index, keep);
    }
    for (const name of await this.#disk.list(this.#directory)) {
      this.#files = Math.max(this.#files, Number(name));
      if (name !== keep) await this.#disk.removeFile(`${this.#directory}/${name}`);
    }
    await this.#disk.syncDirectory(this.#directory);
    this.#observer.jumped(this.#index, this.#items);
  }

  async checkpoint(): Promise<StateCheckpoint> {
    assert(!this.#installing, 'No checkpoint runs while a catch-up is installed');
    const index = this.#index;
    const term = this.#term;
    this.#bytesSinceCheckpoint = 0;
    return this.#write(index, term, [...this.#items]);
  }

  async #write(index: LogIndex, term: Term, items: readonly ListItem[]): Promise<StateCheckpoint> {
    const name = String(++this.#files);
    const file = await this.#disk.openFile(`${this.#directory}/${name}`, { create: true, exclusive: true });
    const bytes = encodeItems(items);
    const checksum = new Uint8Array(4);
    new DataView(checksum.buffer).setUint32(0, crc32c(bytes));
    await file.write(0, [checksum, bytes]);
    await file.sync();
    await file.close();
    await this.#disk.syncDirectory(this.#directory);
    await this.#disk.syncDirectory('.');
    this.#fileOfCheckpoint.set(index, name);
    return { index, term, payload: Buffer.from(name) };
  }

  async #readFile(name: string): Promise<ListItem[]> {
    const file = await this.#disk.openFile(`${this.#directory}/${name}`);
    const bytes = await file.read(0, await file.size());
    await file.close();
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    assert(crc32c(bytes.subarray(4)) === view.getUint32(0), 'A checkpoint that is current reads back whole');
    return decodeItems(bytes.subarray(4));
  }

  checkpointDurable(durable: LogIndex): void {
    for (const [index, name] of this.#fileOfCheckpoint) {
      if (index >= durable) continue;
      this.#fileOfCheckpoint.delete(index);
      // Whether this comes true before a crash does not matter: restore removes what is not named.
      this.#disk.removeFile(`${this.#directory}/${name}`).catch(() => undefined);
    }
  }

  bytesSinceCheckpoint(): number {
    return this.#bytesSinceCheckpoint;
  }

  leadershipChanged(): void {
    this.#observer.leadershipChanged();
  }

  catchUpPosition(): Uint8Array {
    return encodeItems([{ index: this.#index, term: this.#term, id: this.#items.length }]);
  }

  async openCatchUp(position: Uint8Array): Promise<CatchUpSource | undefined> {
    const at = decodeItems(position)[0]!;
    if (at.id > this.#items.length) return undefined;
    const items = this.#items.slice(at.id);
    const index = this.#index;
    const term = this.#term;
    let sent = 0;
    return {
      index,
      term,
      next: async () => {
        if (sent >= items.length) return undefined;
        await this.#disk.space();
        const piece = items.slice(sent, sent + PIECE_ITEMS);
        sent += piece.length;
        return encodeItems(piece);
      },
      close: async () => undefined,
    };
  }

  async installCatchUp(source: CatchUpStream): Promise<StateCheckpoint> {
    assert(!this.#installing, 'One catch-up at a time');
    this.#installing = true;
    try {
      const items = [...this.#items];
      for await (const piece of source.pieces()) items.push(...decodeItems(piece));
      const checkpoint = await this.#write(source.index, source.term, items);
      this.#items = items;
      this.#index = source.index;
      this.#term = source.term;
      this.#bytesSinceCheckpoint = 0;
      this.#observer.jumped(this.#index, this.#items);
      return checkpoint;
    } finally {
      this.#installing = false;
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
  }

  async destroy(): Promise<void> {
    this.#closed = true;
    await this.#disk.removeDirectory(this.#directory);
  }
}

function encodeItems(items: readonly ListItem[]): Uint8Array {
  const bytes = new Uint8Array(items.length * ITEM_BYTES);
  const view = new DataView(bytes.buffer);
  for (const [at, { index, term, id }] of items.entries()) {
    view.setFloat64(at * ITEM_BYTES, index);
    view.setFloat64(at * ITEM_BYTES + 8, term);
    view.setFloat64(at * ITEM_BYTES + 16, id);
  }
  return bytes;
}

function decodeItems(bytes: Uint8Array): ListItem[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const items: ListItem[] = [];
  for (let at = 0; at < bytes.length; at += ITEM_BYTES) {
    items.push({ index: view.getFloat64(at), term: view.getFloat64(at + 8), id: view.getFloat64(at + 16) });
  }
  return items;
}
