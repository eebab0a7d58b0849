/**
 * Owns one open file of a {@link NodeDisk}: positional reads and writes that are complete when they resolve, whatever the
 * system did in how many steps.
 */
import * as fs from 'node:fs';
import { assert } from '../std/assert.ts';
import { DiskError, type DiskFile } from '../std/disk.ts';
import type { AlignedMemory } from './aligned-memory.ts';
import type { NodeDisk } from './node-disk.ts';

/** Buffers that one system call takes (IOV_MAX). */
const BUFFERS_MAX = 1024;
const BLOCK_BYTES = 4096;
/** Direct reads go through aligned memory of this size. */
const SCRATCH_BYTES = 1024 * 1024;

interface NodeFileFacts {
  readonly fd: number;
  readonly path: string;
  readonly priority: 'wal' | 'bulk';
  readonly direct: boolean;
}

export class NodeFile implements DiskFile {
  readonly path: string;
  readonly #disk: NodeDisk;
  readonly #memory: AlignedMemory;
  readonly #fd: number;
  readonly #priority: 'wal' | 'bulk';
  readonly #direct: boolean;
  #closed = false;

  constructor(disk: NodeDisk, memory: AlignedMemory, facts: NodeFileFacts) {
    this.#disk = disk;
    this.#memory = memory;
    this.path = facts.path;
    this.#fd = facts.fd;
    this.#priority = facts.priority;
    this.#direct = facts.direct;
  }

  async write(position: number, buffers: readonly Uint8Array[]): Promise<void> {
    this.#check();
    let rest = buffers.filter((buffer) => buffer.length > 0);
    if (this.#direct) {
      for (const buffer of rest)
        assert(this.#memory.isAligned(buffer), `A direct write to ${this.path} needs aligned memory`);
      assert(position % BLOCK_BYTES === 0, `A direct write to ${this.path} needs an aligned position`);
    }
    let at = position;
    while (rest.length > 0) {
      const call = rest.length > BUFFERS_MAX ? rest.slice(0, BUFFERS_MAX) : rest;
      const written = await this.#disk.run<number>(this.#priority, 'write', this.path, (callback) => {
        if (call.length === 1) fs.write(this.#fd, call[0]!, 0, call[0]!.length, at, callback);
        else fs.writev(this.#fd, call, at, callback);
      });
      if (written === 0) throw new DiskError('write', this.path, 'EIO');
      at += written;
      rest = skip(rest, written);
    }
  }

  async read(position: number, length: number): Promise<Uint8Array> {
    this.#check();
    // Memory of its own: a piece of Node's shared pool could not be viewed as words.
    const bytes = new Uint8Array(Buffer.allocUnsafeSlow(length).buffer);
    const read = this.#direct ? await this.#readDirect(position, bytes) : await this.#readInto(position, bytes);
    return read === length ? bytes : bytes.subarray(0, read);
  }

  async sync(): Promise<void> {
    this.#check();
    await this.#disk.run(this.#priority, 'sync', this.path, (callback) => fs.fdatasync(this.#fd, callback));
  }

  async truncate(size: number): Promise<void> {
    this.#check();
    await this.#disk.run(this.#priority, 'truncate', this.path, (callback) => fs.ftruncate(this.#fd, size, callback));
  }

  async size(): Promise<number> {
    this.#check();
    const stats = await this.#disk.run<fs.Stats>(this.#priority, 'size', this.path, (callback) =>
      fs.fstat(this.#fd, callback),
    );
    return stats.size;
  }

  async close(): Promise<void> {
    this.#check();
    this.#closed = true;
    await this.#disk.run(this.#priority, 'close', this.path, (callback) =>
      fs.close(this.#fd, (error) => callback(error ?? null)),
    );
  }

  /** Fills `bytes` as far as the file goes; returns how far. */
  async #readInto(position: number, bytes: Uint8Array): Promise<number> {
    let done = 0;
    while (done < bytes.length) {
      const read = await this.#disk.run<number>(this.#priority, 'read', this.path, (callback) =>
        fs.read(this.#fd, bytes, done, bytes.length - done, position + done, callback),
      );
      done += read;
      // A direct read ends within a block only where the file ended: to go on from there is refused if the file has grown since.
      if (read === 0 || (this.#direct && read % BLOCK_BYTES !== 0)) break;
    }
    return done;
  }

  async #readDirect(position: number, bytes: Uint8Array): Promise<number> {
    assert(
      position % BLOCK_BYTES === 0 && bytes.length % BLOCK_BYTES === 0,
      `A direct read of ${this.path} must be aligned`,
    );
    const scratch = this.#memory.borrow(Math.min(bytes.length, SCRATCH_BYTES));
    try {
      let done = 0;
      while (done < bytes.length) {
        const part = scratch.subarray(0, Math.min(scratch.length, bytes.length - done));
        const read = await this.#readInto(position + done, part);
        bytes.set(part.subarray(0, read), done);
        done += read;
        if (read < part.length) break;
      }
      return done;
    } finally {
      this.#memory.giveBack(scratch);
    }
  }

  #check(): void {
    assert(!this.#closed, `${this.path} is used after it was closed`);
  }
}

/** The buffers without their first `count` bytes. */
function skip(buffers: readonly Uint8Array[], count: number): Uint8Array[] {
  let first = 0;
  while (first < buffers.length && count >= buffers[first]!.length) count -= buffers[first++]!.length;
  const rest = buffers.slice(first);
  if (count > 0) rest[0] = rest[0]!.subarray(count);
  return rest;
}
