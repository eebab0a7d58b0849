/**
 * Owns the bytes of one simulated file: what the running system sees, what a power loss leaves, and the operations in
 * between. Pages are immutable once stored, so the two views share them and zero-filled files cost nothing.
 */
import type { SeededRandom } from '../../src/std/seeded-random.ts';

export const PAGE_BYTES = 4096;
export const SECTOR_BYTES = 512;
const ZERO_PAGE = new Uint8Array(PAGE_BYTES);

/** A write or truncation that no sync has covered yet. */
type PendingOperation =
  | {
      readonly kind: 'write';
      readonly position: number;
      readonly length: number;
      readonly pages: ReadonlyMap<number, Uint8Array>;
    }
  | { readonly kind: 'truncate'; readonly size: number };

/** How a power loss treats un-synced writes: all gone, all there, some operations, or any subset of their sectors. */
export type LossMode = 'lose' | 'keep' | 'operations' | 'sectors';

export class SimulatedFile {
  readonly id: number;
  #pages = new Map<number, Uint8Array>();
  #size = 0;
  #durablePages = new Map<number, Uint8Array>();
  #durableSize = 0;
  #pending: PendingOperation[] = [];
  /** Operations that left the pending list since the file was made. */
  #settled = 0;
  /** What the last flushed write replaced, page by page. */
  #replaced: readonly (readonly [page: number, content: Uint8Array])[] = [];
  /** Sees the pages that a sync makes durable. */
  onDurable: ((pages: readonly Uint8Array[]) => void) | undefined;

  constructor(id: number) {
    this.id = id;
  }

  get size(): number {
    return this.#size;
  }

  /** Bytes of disk that the file takes: pages that were ever written. */
  get allocatedBytes(): number {
    return this.#pages.size * PAGE_BYTES;
  }

  /** Pages that a write would add. */
  growth(position: number, length: number): number {
    let added = 0;
    for (let page = Math.floor(position / PAGE_BYTES); page * PAGE_BYTES < position + length; page++) {
      if (!this.#pages.has(page)) added++;
    }
    return added * PAGE_BYTES;
  }

  /** Operations since the file was made: what a sync issued now will cover. */
  get operations(): number {
    return this.#settled + this.#pending.length;
  }

  read(position: number, length: number): Uint8Array {
    return readPages(this.#pages, this.#size, position, length);
  }

  write(position: number, given: Uint8Array): void {
    // A Buffer's slice is a view: pages made with it would share memory, and what was written later would change what is durable.
    this.writeOwned(position, new Uint8Array(given));
  }

  /** As {@link write}, of bytes that nobody changes any more: whole pages become views of them. */
  writeOwned(position: number, bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    const written = new Map<number, Uint8Array>();
    const end = position + bytes.length;
    for (let page = Math.floor(position / PAGE_BYTES); page * PAGE_BYTES < end; page++) {
      const pageStart = page * PAGE_BYTES;
      const from = Math.max(position, pageStart);
      const to = Math.min(end, pageStart + PAGE_BYTES);
      const piece = bytes.subarray(from - position, to - position);
      let content: Uint8Array;
      if (piece.length === PAGE_BYTES && Buffer.compare(piece, ZERO_PAGE) === 0) content = ZERO_PAGE;
      else {
        content = piece.length === PAGE_BYTES ? piece : new Uint8Array(this.#pages.get(page) ?? ZERO_PAGE);
        if (piece.length < PAGE_BYTES) content.set(piece, from - pageStart);
      }
      this.#pages.set(page, content);
      written.set(page, content);
    }
    this.#size = Math.max(this.#size, end);
    this.#pending.push({ kind: 'write', position, length: bytes.length, pages: written });
  }

  truncate(size: number): void {
    truncatePages(this.#pages, size);
    this.#size = size;
    this.#pending.push({ kind: 'truncate', size });
  }

  /** Makes durable what was complete when the sync was issued ({@link operations} at that time). */
  sync(covered: number): void {
    const flushed: Uint8Array[] = [];
    for (const operation of this.#settle(covered)) {
      this.#makeDurable(operation, undefined);
      if (this.onDurable === undefined || operation.kind !== 'write') continue;
      for (const page of operation.pages.values()) if (page !== ZERO_PAGE) flushed.push(page);
    }
    if (flushed.length > 0) this.onDurable?.(flushed);
  }

  /** A failed sync: the system forgets that these writes are dirty, so they stay visible and no later sync saves them (ATC'20, "Can applications recover from fsync failures?"). */
  failSync(covered: number, random: SeededRandom): void {
    for (const operation of this.#settle(covered)) {
      if (random.chance(0.3)) this.#makeDurable(operation, () => random.chance(0.5));
    }
  }

  #settle(covered: number): PendingOperation[] {
    const operations = this.#pending.splice(0, Math.max(0, covered - this.#settled));
    this.#settled += operations.length;
    return operations;
  }

  /** What a power loss leaves becomes what the system sees. */
  losePower(random: SeededRandom, mode: LossMode): void {
    const keepShare = mode === 'lose' ? 0 : mode === 'keep' ? 1 : random.pick([0.1, 0.5, 0.9]);
    for (const operation of this.#pending) {
      if (operation.kind === 'write' && mode === 'sectors') {
        this.#makeDurable(operation, () => random.chance(keepShare));
      } else if (random.chance(keepShare)) this.#makeDurable(operation, undefined);
    }
    this.#becomeDurable();
  }

  /** As {@link losePower}, with the caller choosing sectors: `keep(index)` for the index-th sector of all pending writes. */
  losePowerChoosing(keep: (sector: number) => boolean): void {
    let sector = 0;
    for (const operation of this.#pending) this.#makeDurable(operation, () => keep(sector++));
    this.#becomeDurable();
  }

  /** Sectors that {@link losePowerChoosing} asks about. */
  get pendingSectors(): number {
    let sectors = 0;
    for (const operation of this.#pending) {
      if (operation.kind === 'write') sectors += countSectors(operation.position, operation.length);
    }
    return sectors;
  }

  /** Changes bytes on the platter and in memory alike, as damage does. */
  damage(position: number, bytes: Uint8Array): void {
    this.write(position, bytes);
    this.sync(this.operations);
  }

  /** A sector that was flushed shows what was there before, as if the disk had dropped the write. False if nothing differs. */
  goStale(random: SeededRandom): boolean {
    if (this.#replaced.length === 0) return false;
    const [page, content] = random.pick(this.#replaced);
    const sector = random.below(PAGE_BYTES / SECTOR_BYTES) * SECTOR_BYTES;
    const position = page * PAGE_BYTES + sector;
    const old = content.subarray(sector, Math.min(sector + SECTOR_BYTES, sector + this.#size - position));
    if (old.length === 0 || Buffer.compare(this.read(position, old.length), old) === 0) return false;
    this.damage(position, old);
    return true;
  }

  /** A copy that shares the immutable pages. */
  clone(): SimulatedFile {
    const copy = new SimulatedFile(this.id);
    copy.#pages = new Map(this.#pages);
    copy.#size = this.#size;
    copy.#durablePages = new Map(this.#durablePages);
    copy.#durableSize = this.#durableSize;
    copy.#pending = [...this.#pending];
    copy.#settled = this.#settled;
    return copy;
  }

  #makeDurable(operation: PendingOperation, keepSector: (() => boolean) | undefined): void {
    if (operation.kind === 'truncate') {
      truncatePages(this.#durablePages, operation.size);
      this.#durableSize = operation.size;
      return;
    }
    const end = operation.position + operation.length;
    if (keepSector === undefined) {
      this.#replaced = [...operation.pages.keys()].map((page) => [page, this.#durablePages.get(page) ?? ZERO_PAGE]);
      for (const [page, content] of operation.pages) this.#durablePages.set(page, content);
      this.#durableSize = Math.max(this.#durableSize, end);
      return;
    }
    let sector = Math.floor(operation.position / SECTOR_BYTES);
    for (; sector * SECTOR_BYTES < end; sector++) {
      if (!keepSector()) continue;
      const start = sector * SECTOR_BYTES;
      const page = Math.floor(start / PAGE_BYTES);
      const within = start - page * PAGE_BYTES;
      const content = new Uint8Array(this.#durablePages.get(page) ?? ZERO_PAGE);
      content.set(operation.pages.get(page)!.subarray(within, within + SECTOR_BYTES), within);
      this.#durablePages.set(page, content);
      this.#durableSize = Math.max(this.#durableSize, Math.min(end, start + SECTOR_BYTES));
    }
  }

  #becomeDurable(): void {
    this.#settle(this.operations);
    this.#pages = new Map(this.#durablePages);
    this.#size = this.#durableSize;
  }
}

function countSectors(position: number, length: number): number {
  return Math.ceil((position + length) / SECTOR_BYTES) - Math.floor(position / SECTOR_BYTES);
}

function readPages(pages: ReadonlyMap<number, Uint8Array>, size: number, position: number, length: number): Uint8Array {
  const end = Math.min(size, position + length);
  const result = new Uint8Array(Math.max(0, end - position));
  for (let page = Math.floor(position / PAGE_BYTES); page * PAGE_BYTES < end; page++) {
    const content = pages.get(page);
    if (content === undefined || content === ZERO_PAGE) continue;
    const start = page * PAGE_BYTES;
    const from = Math.max(position, start);
    const to = Math.min(end, start + PAGE_BYTES);
    result.set(content.subarray(from - start, to - start), from - position);
  }
  return result;
}

function truncatePages(pages: Map<number, Uint8Array>, size: number): void {
  for (const [page, content] of pages) {
    const start = page * PAGE_BYTES;
    if (start >= size) pages.delete(page);
    else if (start + PAGE_BYTES > size) {
      const cut = new Uint8Array(content);
      cut.fill(0, size - start);
      pages.set(page, cut);
    }
  }
}
