/**
 * {@link Disk} on a directory of the machine.
 *
 * Node does file operations on a pool of threads. The WAL's go ahead of all others: `bulk` operations leave at least two threads free (DECISIONS W9), so a flush never waits behind a read of
 * a cold segment or a checkpoint.
 */
import * as fs from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { assert } from '../std/assert.ts';
import { type Disk, DiskError, type DiskFile, type OpenOptions } from '../std/disk.ts';
import { AlignedMemory } from './aligned-memory.ts';
import { NodeFile } from './node-file.ts';
import { ThreadPoolGate } from './thread-pool-gate.ts';

/** How Node reports the end of a file operation. */
export type DiskCallback<Result> = (error: NodeJS.ErrnoException | null, result?: Result) => void;

const { O_RDWR, O_RDONLY, O_CREAT, O_EXCL } = fs.constants;
/** Linux only; elsewhere direct files are ordinary ones. */
const O_DIRECT = fs.constants.O_DIRECT ?? 0;

export class NodeDisk implements Disk {
  readonly #root: string;
  readonly #gate = new ThreadPoolGate();
  readonly #memory = new AlignedMemory();

  private constructor(root: string) {
    this.#root = root;
  }

  /** The disk below `directory`, which is made if absent. */
  static async open(directory: string): Promise<NodeDisk> {
    await mkdir(directory, { recursive: true });
    return new NodeDisk(directory);
  }

  async openFile(path: string, options: OpenOptions = {}): Promise<DiskFile> {
    const { create = false, exclusive = false, direct = false, priority = 'bulk' } = options;
    const flags = O_RDWR | (create || exclusive ? O_CREAT : 0) | (exclusive ? O_EXCL : 0);
    const open = (extra: number): Promise<number> =>
      this.run<number>(priority, 'open', path, (callback) =>
        fs.open(this.#absolute(path), flags | extra, 0o644, callback),
      );
    if (!direct) return new NodeFile(this, this.#memory, { fd: await open(0), path, priority, direct });
    try {
      return new NodeFile(this, this.#memory, { fd: await open(O_DIRECT), path, priority, direct });
    } catch (error) {
      // The file system has no O_DIRECT (tmpfs, some network file systems).
      if (codeOf(error) !== 'EINVAL') throw error;
      return new NodeFile(this, this.#memory, { fd: await open(0), path, priority, direct });
    }
  }

  async list(directory: string): Promise<string[]> {
    try {
      const names = await this.run<string[]>('bulk', 'list', directory, (callback) =>
        fs.readdir(this.#absolute(directory), 'utf8', callback),
      );
      return names.sort();
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return [];
      throw error;
    }
  }

  async makeDirectory(path: string): Promise<void> {
    await this.run('bulk', 'makeDirectory', path, (callback) =>
      fs.mkdir(this.#absolute(path), { recursive: true }, (error) => callback(error)),
    );
  }

  async rename(from: string, to: string): Promise<void> {
    await this.run('bulk', 'rename', from, (callback) => fs.rename(this.#absolute(from), this.#absolute(to), callback));
  }

  async removeFile(path: string): Promise<void> {
    try {
      await this.run('bulk', 'removeFile', path, (callback) => fs.unlink(this.#absolute(path), callback));
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') throw error;
    }
  }

  async removeDirectory(path: string): Promise<void> {
    await this.run('bulk', 'removeDirectory', path, (callback) =>
      fs.rm(this.#absolute(path), { recursive: true, force: true }, callback),
    );
  }

  async syncDirectory(path: string): Promise<void> {
    const fd = await this.run<number>('bulk', 'syncDirectory', path, (callback) =>
      fs.open(this.#absolute(path), O_RDONLY, callback),
    );
    try {
      await this.run('bulk', 'syncDirectory', path, (callback) => fs.fsync(fd, callback));
    } finally {
      await this.run('bulk', 'close', path, (callback) => fs.close(fd, (error) => callback(error ?? null)));
    }
  }

  async sizeOf(path: string): Promise<number | undefined> {
    try {
      const stats = await this.run<fs.Stats>('bulk', 'sizeOf', path, (callback) =>
        fs.stat(this.#absolute(path), callback),
      );
      return stats.isFile() ? stats.size : undefined;
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return undefined;
      throw error;
    }
  }

  async space(): Promise<{ freeBytes: number; totalBytes: number }> {
    const { bavail, blocks, bsize } = await this.run<fs.StatsFs>('bulk', 'space', '.', (callback) =>
      fs.statfs(this.#root, callback),
    );
    return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
  }

  allocateAligned(length: number): Uint8Array {
    return this.#memory.allocate(length);
  }

  /** One operation on the thread pool, when its priority lets it. Rejects with a {@link DiskError}. */
  run<Result = void>(
    priority: 'wal' | 'bulk',
    operation: string,
    path: string,
    start: (callback: DiskCallback<Result>) => void,
  ): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.#gate.enter(priority, (ended) => {
        start((error, result) => {
          ended();
          if (error) reject(new DiskError(operation, path, error.code ?? 'UNKNOWN', { cause: error }));
          else resolve(result as Result);
        });
      });
    });
  }

  #absolute(path: string): string {
    assert(!path.startsWith('/') && !path.split('/').includes('..'), `A path stays inside the data directory: ${path}`);
    return join(this.#root, path);
  }
}

function codeOf(error: unknown): string | undefined {
  return error instanceof DiskError ? error.code : undefined;
}
