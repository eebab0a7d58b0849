/**
 * Open files of all partitions of a broker: thousands of segments share a bounded number of descriptors.
 *
 * A file stays open while somebody uses it, and a while longer; the longest unused one is closed when there are too many. A removed file can still be read by who has it.
 */
import { assert } from '../../std/assert.ts';
import type { Disk, DiskFile } from '../../std/disk.ts';

interface PooledFile {
  readonly path: string;
  readonly opened: Promise<DiskFile>;
  users: number;
  /** Not to be given to anybody else. */
  forgotten: boolean;
}

export interface FileUse {
  readonly file: DiskFile;
  /** Once. */
  release(): void;
}

export class FilePool {
  readonly #disk: Disk;
  readonly #filesMax: number;
  readonly #onFailure: (error: Error) => void;
  readonly #files = new Map<string, PooledFile>();
  /** Those of them that nobody uses, longest unused first. */
  readonly #unused = new Set<PooledFile>();

  constructor(disk: Disk, filesMax: number, onFailure: (error: Error) => void) {
    this.#disk = disk;
    this.#filesMax = filesMax;
    this.#onFailure = onFailure;
  }

  /** Opens `path`, or takes it as it is open. Rejects with a DiskError, e.g. ENOENT. */
  async use(path: string, options: { create?: boolean } = {}): Promise<FileUse> {
    let pooled = this.#files.get(path);
    if (pooled === undefined) {
      pooled = {
        path,
        opened: this.#disk.openFile(path, { create: options.create === true }),
        users: 0,
        forgotten: false,
      };
      this.#files.set(path, pooled);
      this.#closeUnused();
    }
    const taken = pooled;
    this.#unused.delete(taken);
    taken.users++;
    let file: DiskFile;
    try {
      file = await taken.opened;
    } catch (error) {
      taken.users--;
      if (this.#files.get(path) === taken) this.#files.delete(path);
      throw error;
    }
    let released = false;
    return {
      file,
      release: () => {
        assert(!released, 'A file is released once');
        released = true;
        taken.users--;
        if (taken.users > 0) return;
        if (taken.forgotten) this.#close(taken);
        else {
          this.#unused.add(taken);
          this.#closeUnused();
        }
      },
    };
  }

  /** Closes `path` as soon as nobody uses it, and never gives this handle out again: the file is about to be removed. */
  forget(path: string): void {
    const pooled = this.#files.get(path);
    if (pooled === undefined) return;
    this.#files.delete(path);
    pooled.forgotten = true;
    if (this.#unused.delete(pooled)) this.#close(pooled);
  }

  get openCount(): number {
    return this.#files.size;
  }

  #closeUnused(): void {
    for (const pooled of this.#unused) {
      if (this.#files.size <= this.#filesMax) return;
      this.#files.delete(pooled.path);
      this.#unused.delete(pooled);
      pooled.forgotten = true;
      this.#close(pooled);
    }
  }

  #close(pooled: PooledFile): void {
    pooled.opened.then((file) => file.close()).catch(this.#onFailure);
  }
}
