/**
 * The durable form of the metadata state: inside the checkpoint itself while small (checkpoints are copied whenever a WAL segment is reused, DECISIONS W1), else a file that it names.
 *
 * Promise: a file named by a checkpoint that was returned is complete and fsynced with its directory. Old files go only when two newer checkpoints exist, so the one that a crash falls back to is
 * still there.
 */
import { ByteReader } from '../../kafka-protocol/byte-reader.ts';
import { ByteWriter } from '../../kafka-protocol/byte-writer.ts';
import { assert } from '../../std/assert.ts';
import type { Disk } from '../../std/disk.ts';
import { readString } from './metadata-command.ts';

const INLINE_BYTES_MAX = 16 * 1024;
const FORM = { inline: 0, file: 1 } as const;
const FILES_KEPT = 3;
const FILE_NAME = /^state-(\d{16})$/;

export class MetadataCheckpointFiles {
  readonly #disk: Disk;
  readonly #directory: string;
  readonly #inlineBytesMax: number;

  /** `directory` belongs to this replica alone. */
  constructor(disk: Disk, directory: string, options: { inlineBytesMax?: number } = {}) {
    this.#disk = disk;
    this.#directory = directory;
    this.#inlineBytesMax = options.inlineBytesMax ?? INLINE_BYTES_MAX;
  }

  /** Makes `state` (which carries its own checksum) durable; resolves with the checkpoint's payload. */
  async save(state: Uint8Array, index: number): Promise<Uint8Array> {
    const writer = new ByteWriter();
    if (state.length <= this.#inlineBytesMax) {
      writer.int8(FORM.inline);
      writer.raw(state);
      return Buffer.concat(writer.finish());
    }
    const name = `state-${String(index).padStart(16, '0')}`;
    await this.#writeFile(name, state);
    await this.#removeOldFiles(name);
    writer.int8(FORM.file);
    writer.compactString(name);
    writer.int64(state.length);
    return Buffer.concat(writer.finish());
  }

  /** The state's bytes that a payload stands for. Rejects if the file is missing or has another length. */
  async load(payload: Uint8Array): Promise<Uint8Array> {
    const reader = new ByteReader(payload);
    const form = reader.int8();
    if (form === FORM.inline) return reader.view(reader.remaining);
    assert(form === FORM.file, `Metadata checkpoint of form ${form} is not known to this version`);
    const path = `${this.#directory}/${readString(reader)}`;
    const length = reader.int64();
    const file = await this.#disk.openFile(path);
    try {
      const bytes = await file.read(0, length + 1);
      assert(bytes.length === length, `${path} has ${bytes.length} bytes instead of ${length}`);
      return bytes;
    } finally {
      await file.close();
    }
  }

  async destroy(): Promise<void> {
    await this.#disk.removeDirectory(this.#directory);
    await this.#disk.syncDirectory(parentOf(this.#directory));
  }

  async #writeFile(name: string, state: Uint8Array): Promise<void> {
    await this.#disk.makeDirectory(this.#directory);
    await this.#disk.syncDirectory(parentOf(this.#directory));
    const temporary = `${this.#directory}/${name}.tmp`;
    const file = await this.#disk.openFile(temporary, { create: true });
    try {
      await file.truncate(0);
      await file.write(0, [state]);
      await file.sync();
    } finally {
      await file.close();
    }
    await this.#disk.rename(temporary, `${this.#directory}/${name}`);
    await this.#disk.syncDirectory(this.#directory);
  }

  async #removeOldFiles(newest: string): Promise<void> {
    const names = await this.#disk.list(this.#directory);
    // A file with a higher index than the newest is left from before a crash; a checkpoint may still name it, so it is not counted as old.
    const states = names.filter((name) => FILE_NAME.test(name) && name <= newest).sort();
    for (const name of states.slice(0, -FILES_KEPT)) await this.#disk.removeFile(`${this.#directory}/${name}`);
  }
}

function parentOf(path: string): string {
  const slash = path.lastIndexOf('/');
  return slash === -1 ? '.' : path.slice(0, slash);
}
