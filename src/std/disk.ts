/**
 * The disk, as the WAL and the partition files see it. All paths are relative to the broker's data directory and use `/`.
 *
 * Promises: an operation that resolves has taken effect in the running system; only {@link DiskFile.sync} (data) and
 * {@link Disk.syncDirectory} (names) make it survive power loss. An operation that fails rejects with a {@link DiskError};
 * after a failed write or sync the caller must treat the file as unusable and stop (fsync is never retried).
 */
export interface Disk {
  /** Opens for reading and writing. `create` makes the file if absent; `exclusive` fails if it exists. `direct` asks for O_DIRECT and falls back silently where the file system lacks it: then positions, lengths and buffers must be 4 KiB aligned, see {@link Disk.allocateAligned}. */
  openFile(path: string, options?: OpenOptions): Promise<DiskFile>;
  /** Names in a directory, sorted; empty if it does not exist. */
  list(directory: string): Promise<string[]>;
  /** Makes a directory and its parents. */
  makeDirectory(path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /** Removes a file; nothing if absent. */
  removeFile(path: string): Promise<void>;
  /** Removes a directory and all in it; nothing if absent. */
  removeDirectory(path: string): Promise<void>;
  /** fsync of a directory: makes creations, renames and removals in it durable. */
  syncDirectory(path: string): Promise<void>;
  /** File size in bytes, or undefined if there is no such file. */
  sizeOf(path: string): Promise<number | undefined>;
  /** Bytes that can still be written to the file system of the data directory, and its total. */
  space(): Promise<{ freeBytes: number; totalBytes: number }>;
  /** Memory fit for direct I/O: 4 KiB aligned, `length` a multiple of 4096. */
  allocateAligned(length: number): Uint8Array;
}

export interface OpenOptions {
  readonly create?: boolean;
  readonly exclusive?: boolean;
  readonly direct?: boolean;
  /** `wal` operations go before all others; `bulk` ones leave at least two threads of the pool free (DECISIONS W9). Default `bulk`. */
  readonly priority?: 'wal' | 'bulk';
}

export interface DiskFile {
  readonly path: string;
  /** Writes all of `buffers` back to back at `position`; loops over short writes. The buffers must not change until it settles. */
  write(position: number, buffers: readonly Uint8Array[]): Promise<void>;
  /** Reads up to `length` bytes at `position`; shorter only at the end of the file. */
  read(position: number, length: number): Promise<Uint8Array>;
  /** fdatasync. */
  sync(): Promise<void>;
  truncate(size: number): Promise<void>;
  size(): Promise<number>;
  close(): Promise<void>;
}

/** A disk operation that failed. `code` is the errno name, e.g. ENOSPC or EIO. */
export class DiskError extends Error {
  override name = 'DiskError';
  readonly operation: string;
  readonly path: string;
  readonly code: string;

  constructor(operation: string, path: string, code: string, options?: ErrorOptions) {
    super(`${operation} of ${path} failed: ${code}`, options);
    this.operation = operation;
    this.path = path;
    this.code = code;
  }
}
