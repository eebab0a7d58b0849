/**
 * Owns one simulated process's view of a simulated disk: the production {@link Disk} interface with latency, injected
 * faults and checks that the caller keeps the interface's rules (alignment, buffers left alone until a write settles).
 */
import { assert } from '../../src/std/assert.ts';
import { type Disk, DiskError, type DiskFile, type OpenOptions } from '../../src/std/disk.ts';
import type { SeededRandom } from '../../src/std/seeded-random.ts';
import type { SimulatedMachineTime } from './simulated-clock.ts';
import type { DiskOperationKind, SimulatedDisk } from './simulated-disk.ts';
import { PAGE_BYTES, SimulatedFile } from './simulated-file.ts';

interface WriteInFlight {
  readonly file: SimulatedFile;
  readonly position: number;
  readonly bytes: Uint8Array;
}

/** One process's view of a {@link SimulatedDisk}. */
export class SimulatedMount implements Disk {
  readonly #disk: SimulatedDisk;
  readonly #machine: SimulatedMachineTime;
  readonly #writesInFlight = new Set<WriteInFlight>();
  #dead = false;
  /** Called once when a hook halted the process. */
  onHalt: () => void = () => undefined;

  constructor(disk: SimulatedDisk, machine: SimulatedMachineTime) {
    this.#disk = disk;
    this.#machine = machine;
  }

  get dead(): boolean {
    return this.#dead;
  }

  /** Ends this view; `settleWrite` decides what becomes of each write in flight. */
  die(settleWrite: (file: SimulatedFile, position: number, bytes: Uint8Array) => void): void {
    this.#dead = true;
    for (const { file, position, bytes } of this.#writesInFlight) settleWrite(file, position, bytes);
    this.#writesInFlight.clear();
  }

  async openFile(path: string, options: OpenOptions = {}): Promise<DiskFile> {
    const file = await this.operate('open', path, 0, 0, () => {
      const entry = this.#disk.lookup(path);
      if (entry === 'directory') throw new DiskError('open', path, 'EISDIR');
      if (entry !== undefined && options.exclusive) throw new DiskError('open', path, 'EEXIST');
      if (entry !== undefined) return entry;
      if (!options.create) throw new DiskError('open', path, 'ENOENT');
      if (this.#disk.lookup(parentOf(path)) !== 'directory') throw new DiskError('open', path, 'ENOENT');
      return this.#disk.createFile(path);
    });
    return new SimulatedHandle(this, file, path, options.direct === true);
  }

  list(directory: string): Promise<string[]> {
    return this.operate('list', directory, 0, 0, () => this.#disk.children(directory));
  }

  makeDirectory(path: string): Promise<void> {
    return this.operate('makeDirectory', path, 0, 0, () => {
      const parts = path.split('/');
      for (let i = 1; i <= parts.length; i++) {
        const directory = parts.slice(0, i).join('/');
        const entry = this.#disk.lookup(directory);
        if (entry instanceof SimulatedFile) throw new DiskError('makeDirectory', path, 'EEXIST');
        if (entry === undefined) this.#disk.changeNames([parentOf(directory)], [[directory, 'directory']]);
      }
    });
  }

  rename(from: string, to: string): Promise<void> {
    return this.operate('rename', `${from} -> ${to}`, 0, 0, () => {
      const entry = this.#disk.lookup(from);
      if (entry === undefined || this.#disk.lookup(parentOf(to)) !== 'directory')
        throw new DiskError('rename', from, 'ENOENT');
      const changes: [string, SimulatedFile | 'directory' | undefined][] = [];
      for (const path of entry === 'directory' ? this.#disk.subtree(from) : [from]) {
        changes.push([path, undefined], [to + path.slice(from.length), this.#disk.lookup(path)]);
      }
      this.#disk.changeNames([...new Set([parentOf(from), parentOf(to)])], changes);
    });
  }

  removeFile(path: string): Promise<void> {
    return this.operate('removeFile', path, 0, 0, () => {
      const entry = this.#disk.lookup(path);
      if (entry === 'directory') throw new DiskError('removeFile', path, 'EISDIR');
      if (entry !== undefined) this.#disk.changeNames([parentOf(path)], [[path, undefined]]);
    });
  }

  removeDirectory(path: string): Promise<void> {
    return this.operate('removeDirectory', path, 0, 0, () => {
      const removed = this.#disk.subtree(path);
      if (removed.length > 0) {
        this.#disk.changeNames(
          [parentOf(path)],
          removed.map((name) => [name, undefined] as const),
        );
      }
    });
  }

  async syncDirectory(path: string): Promise<void> {
    const covered = this.#disk.pendingNamesOf(path === '.' ? '' : path);
    await this.operate('syncDirectory', path, 0, 0, () => {
      if (this.#disk.lookup(path) !== 'directory') throw new DiskError('syncDirectory', path, 'ENOENT');
      this.#disk.makeNamesDurable(covered);
    });
  }

  sizeOf(path: string): Promise<number | undefined> {
    return this.operate('sizeOf', path, 0, 0, () => {
      const entry = this.#disk.lookup(path);
      return entry instanceof SimulatedFile ? entry.size : undefined;
    });
  }

  space(): Promise<{ freeBytes: number; totalBytes: number }> {
    return this.operate('space', '', 0, 0, () => ({
      freeBytes: Math.max(0, this.#disk.capacityBytes - this.#disk.usedBytes),
      totalBytes: this.#disk.capacityBytes,
    }));
  }

  allocateAligned(length: number): Uint8Array {
    assert(length % PAGE_BYTES === 0, 'Aligned memory comes in multiples of 4096 bytes');
    return new Uint8Array(length);
  }

  /** Runs one operation: hook, delay, then `effect` and its completion in one event. Never settles once the process is dead. */
  operate<T>(
    kind: DiskOperationKind,
    path: string,
    position: number,
    bytes: Uint8Array | number,
    effect: () => T,
    options: { write?: WriteInFlight; failed?: (random: SeededRandom) => void } = {},
  ): Promise<T> {
    const { write } = options;
    return new Promise((resolve, reject) => {
      if (this.#dead) return;
      if (write !== undefined) this.#writesInFlight.add(write);
      const { delayMs, fault } = this.#disk.begin(kind, path, position, bytes);
      if (fault?.halt) {
        this.#machine.kill();
        this.onHalt();
        return;
      }
      this.#machine.after(delayMs, () => {
        if (this.#dead) return;
        if (write !== undefined) this.#writesInFlight.delete(write);
        try {
          if (fault?.error !== undefined) {
            options.failed?.(this.#disk.random);
            throw new DiskError(kind, path, fault.error);
          }
          resolve(effect());
        } catch (error) {
          reject(error);
        }
      });
    });
  }

  /** Refuses a write that does not fit, as a full disk does. */
  reserve(file: SimulatedFile, path: string, position: number, length: number): void {
    const growth = file.growth(position, length);
    if (growth > 0 && this.#disk.usedBytes + growth > this.#disk.capacityBytes)
      throw new DiskError('write', path, 'ENOSPC');
  }
}

class SimulatedHandle implements DiskFile {
  readonly path: string;
  readonly #mount: SimulatedMount;
  readonly #file: SimulatedFile;
  readonly #direct: boolean;
  #closed = false;

  constructor(mount: SimulatedMount, file: SimulatedFile, path: string, direct: boolean) {
    this.#mount = mount;
    this.#file = file;
    this.path = path;
    this.#direct = direct;
  }

  async write(position: number, buffers: readonly Uint8Array[]): Promise<void> {
    this.#check(position, ...buffers.map((buffer) => buffer.length), ...buffers.map((buffer) => buffer.byteOffset));
    const bytes = Buffer.concat(buffers);
    const write = { file: this.#file, position, bytes };
    const failed = (random: SeededRandom): void =>
      this.#file.write(position, bytes.subarray(0, random.below(bytes.length / 512 + 1) * 512));
    await this.#mount.operate(
      'write',
      this.path,
      position,
      bytes,
      () => {
        this.#mount.reserve(this.#file, this.path, position, bytes.length);
        assert(isConcatenation(bytes, buffers), `A buffer changed while it was being written to ${this.path}`);
        this.#file.writeOwned(position, bytes);
      },
      { write, failed },
    );
  }

  async read(position: number, length: number): Promise<Uint8Array> {
    this.#check(position, length);
    return this.#mount.operate('read', this.path, position, length, () => this.#file.read(position, length));
  }

  async sync(): Promise<void> {
    this.#check();
    const covered = this.#file.operations;
    await this.#mount.operate('sync', this.path, 0, 0, () => this.#file.sync(covered), {
      failed: (random) => this.#file.failSync(covered, random),
    });
  }

  async truncate(size: number): Promise<void> {
    this.#check();
    await this.#mount.operate('truncate', this.path, size, 0, () => this.#file.truncate(size));
  }

  async size(): Promise<number> {
    this.#check();
    return this.#mount.operate('size', this.path, 0, 0, () => this.#file.size);
  }

  async close(): Promise<void> {
    this.#check();
    this.#closed = true;
    await this.#mount.operate('close', this.path, 0, 0, () => undefined);
  }

  #check(...aligned: number[]): void {
    assert(!this.#closed, `${this.path} is used after it was closed`);
    if (this.#direct) {
      for (const value of aligned)
        assert(value % PAGE_BYTES === 0, `Direct access to ${this.path} is not aligned: ${value}`);
    }
  }
}

function isConcatenation(whole: Buffer, pieces: readonly Uint8Array[]): boolean {
  let at = 0;
  for (const piece of pieces) {
    if (whole.compare(piece, 0, piece.length, at, at + piece.length) !== 0) return false;
    at += piece.length;
  }
  return at === whole.length;
}

/** Directory of a path, empty for the data directory itself. */
export function parentOf(path: string): string {
  const slash = path.lastIndexOf('/');
  return slash < 0 ? '' : path.slice(0, slash);
}
