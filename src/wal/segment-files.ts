/**
 * Owns the files of the WAL's directory: creating them zero-filled ahead of need (DECISIONS W9), giving a free one a new
 * life, and putting damaged ones aside. Never touches a file whose content is still needed: the caller hands files back.
 */
import { assert } from '../std/assert.ts';
import type { Disk, DiskFile } from '../std/disk.ts';
import { BLOCK_BYTES } from './layout.ts';
import { encodeSegmentHeader, type SegmentHeader } from './segment.ts';

const SUFFIX = '.wal';
const UNFINISHED_SUFFIX = '.new';
/** Zeros are written in pieces of this size. */
const FILL_BYTES = 1024 * 1024;
/** Damaged segments and torn tails are kept for people to look at, the newest few of them. */
const KEPT_FILES_MAX = 8;

export class SegmentFiles {
  readonly #disk: Disk;
  readonly #directory: string;
  readonly #segmentBytes: number;
  readonly #headerBlock: Uint8Array;
  #zeros: Uint8Array | undefined;
  #nextNumber = 1;
  readonly #free: DiskFile[] = [];
  #total = 0;

  constructor(disk: Disk, directory: string, segmentBytes: number) {
    this.#disk = disk;
    this.#directory = directory;
    this.#segmentBytes = segmentBytes;
    this.#headerBlock = disk.allocateAligned(BLOCK_BYTES);
  }

  /** Files that exist, in use or free. */
  get total(): number {
    return this.#total;
  }

  get free(): number {
    return this.#free.length;
  }

  /** Opens all segment files. Leftovers of an unfinished creation are removed. */
  async openAll(): Promise<DiskFile[]> {
    await this.#disk.makeDirectory(this.#directory);
    const parent = this.#directory.includes('/') ? this.#directory.slice(0, this.#directory.lastIndexOf('/')) : '.';
    await this.#disk.syncDirectory(parent);
    const files: DiskFile[] = [];
    for (const name of await this.#disk.list(this.#directory)) {
      if (name.endsWith(UNFINISHED_SUFFIX)) await this.#disk.removeFile(this.#path(name));
      if (!name.endsWith(SUFFIX)) continue;
      const number = Number.parseInt(name, 10);
      if (Number.isInteger(number)) this.#nextNumber = Math.max(this.#nextNumber, number + 1);
      files.push(await this.#disk.openFile(this.#path(name), { direct: true, priority: 'wal' }));
    }
    // A process that was killed may have made a name and not synced it: it can be read now and lost with the power.
    await this.#disk.syncDirectory(this.#directory);
    this.#total = files.length;
    return files;
  }

  /** Takes back a file whose content is not needed any more; one of another size than new ones is deleted. */
  async giveBack(file: DiskFile, sizeBytes: number): Promise<void> {
    if (sizeBytes === this.#segmentBytes) this.#free.push(file);
    else await this.discard(file);
  }

  /** Deletes a file durably. Files are deleted one by one, oldest life first, so a power loss never leaves a gap. */
  async discard(file: DiskFile): Promise<void> {
    await file.close();
    await this.#disk.removeFile(file.path);
    await this.#disk.syncDirectory(this.#directory);
    this.#total--;
  }

  /** Deletes a free file if there is one. */
  async discardFree(): Promise<void> {
    const file = this.#free.shift();
    if (file !== undefined) await this.discard(file);
  }

  /** Moves a damaged segment out of the way, for people to look at. */
  async putAside(file: DiskFile, sequence: number): Promise<void> {
    await file.close();
    const directory = `${this.#directory}/damaged`;
    await this.#disk.makeDirectory(directory);
    await this.#disk.rename(file.path, `${directory}/${String(sequence).padStart(10, '0')}${SUFFIX}`);
    await this.#disk.syncDirectory(directory);
    await this.#disk.syncDirectory(this.#directory);
    this.#total--;
    await this.#forgetOld(directory);
  }

  /** Keeps a copy of a torn extent that recovery cuts. */
  async keepTorn(sequence: number, position: number, bytes: Uint8Array): Promise<void> {
    const directory = `${this.#directory}/torn`;
    await this.#disk.makeDirectory(directory);
    const name = `${String(sequence).padStart(10, '0')}-${String(position).padStart(10, '0')}`;
    const file = await this.#disk.openFile(`${directory}/${name}`, { create: true });
    await file.write(0, [bytes]);
    await file.close();
    await this.#forgetOld(directory);
  }

  /** Makes one more zero-filled file, durably, and adds it to the free ones. */
  async create(): Promise<void> {
    const number = this.#nextNumber++;
    const path = this.#path(`${String(number).padStart(8, '0')}${SUFFIX}`);
    const unfinished = path + UNFINISHED_SUFFIX;
    try {
      await this.#fill(unfinished);
      await this.#disk.rename(unfinished, path);
      await this.#disk.syncDirectory(this.#directory);
    } catch (error) {
      await this.#disk.removeFile(unfinished).catch(() => undefined);
      throw error;
    }
    this.#free.push(await this.#disk.openFile(path, { direct: true, priority: 'wal' }));
    this.#total++;
  }

  /** Gives the oldest free file a new life: its header is durable when this resolves. */
  async begin(header: Omit<SegmentHeader, 'sizeBytes'>): Promise<DiskFile> {
    const file = this.#free.shift();
    assert(file !== undefined, 'A free segment file is needed');
    encodeSegmentHeader(this.#headerBlock, { ...header, sizeBytes: this.#segmentBytes });
    await file.write(0, [this.#headerBlock]);
    await file.sync();
    return file;
  }

  /** Closes the free files; those in use are closed by their owner. */
  async close(): Promise<void> {
    for (const file of this.#free.splice(0)) await file.close();
  }

  async #fill(path: string): Promise<void> {
    const file = await this.#disk.openFile(path, { create: true, direct: true });
    try {
      this.#zeros ??= this.#disk.allocateAligned(Math.min(FILL_BYTES, this.#segmentBytes));
      for (let at = 0; at < this.#segmentBytes; at += this.#zeros.length) {
        await file.write(at, [this.#zeros.subarray(0, Math.min(this.#zeros.length, this.#segmentBytes - at))]);
      }
      await file.sync();
    } finally {
      await file.close();
    }
  }

  async #forgetOld(directory: string): Promise<void> {
    const names = await this.#disk.list(directory);
    for (const name of names.slice(0, Math.max(0, names.length - KEPT_FILES_MAX))) {
      await this.#disk.removeFile(`${directory}/${name}`);
    }
  }

  #path(name: string): string {
    return `${this.#directory}/${name}`;
  }
}
