/**
 * The durable form of the metadata state: inside the checkpoint itself while small (checkpoints are copied whenever a WAL segment is reused, DECISIONS W1), else a file that it names.
 *
 * Promise: a file named by a checkpoint that was returned is complete and fsynced with its directory. It stays until a later checkpoint is durable in the WAL: no crash falls back to it then.
 */
import { ByteReader } from '../../kafka-protocol/byte-reader.ts';
import { ByteWriter } from '../../kafka-protocol/byte-writer.ts';
import { StateDamageError } from '../../raft/state-damage-error.ts';
import { assert } from '../../std/assert.ts';
import { type Disk, DiskError, type DiskFile } from '../../std/disk.ts';
import { readString } from './metadata-command.ts';

const INLINE_BYTES_MAX = 16 * 1024;
const FORM = { inline: 0, file: 1 } as const;
const FILE_NAME = /^state-\d{16}$/;

export class MetadataCheckpointFiles {
  readonly #disk: Disk;
  readonly #directory: string;
  readonly #inlineBytesMax: number;
  /** Index of the newest checkpoint that is durable in the WAL. */
  #durableIndex = 0;

  /** `directory` belongs to this replica alone. */
  constructor(disk: Disk, directory: string, options: { inlineBytesMax?: number } = {}) {
    this.#disk = disk;
    this.#directory = directory;
    this.#inlineBytesMax = options.inlineBytesMax ?? INLINE_BYTES_MAX;
  }

  /** Makes `state` (which carries its own checksum) durable; resolves with the checkpoint's payload. */
  async save(state: Uint8Array, index: number): Promise<Uint8Array> {
    await this.#removeOldFiles();
    const writer = new ByteWriter();
    if (state.length <= this.#inlineBytesMax) {
      writer.int8(FORM.inline);
      writer.raw(state);
      return Buffer.concat(writer.finish());
    }
    const name = fileName(index);
    await this.#writeFile(name, state);
    writer.int8(FORM.file);
    writer.compactString(name);
    writer.int64(state.length);
    return Buffer.concat(writer.finish());
  }

  /** The state's bytes that a payload stands for. Rejects with a {@link StateDamageError} if the file is missing, cannot be read or has another length. */
  async load(payload: Uint8Array): Promise<Uint8Array> {
    const reader = new ByteReader(payload);
    const form = reader.int8();
    if (form === FORM.inline) return reader.view(reader.remaining);
    assert(form === FORM.file, `Metadata checkpoint of form ${form} is not known to this version`);
    const path = `${this.#directory}/${readString(reader)}`;
    const length = reader.int64();
    const bytes = await this.#read(path, length + 1);
    if (bytes.length === length) return bytes;
    throw new StateDamageError(`Damage in ${path}: it has ${bytes.length} bytes instead of ${length}`);
  }

  async #read(path: string, bytesMax: number): Promise<Uint8Array> {
    let file: DiskFile | undefined;
    try {
      file = await this.#disk.openFile(path);
      return await file.read(0, bytesMax);
    } catch (error) {
      const isDamage = error instanceof DiskError && (error.code === 'ENOENT' || error.code === 'EIO');
      throw isDamage ? new StateDamageError(`Damage in ${path}: ${error.message}`, { cause: error }) : error;
    } finally {
      await file?.close();
    }
  }

  /** Removes what is left of a state that is given up. */
  async discard(): Promise<void> {
    for (const name of await this.#disk.list(this.#directory))
      await this.#disk.removeFile(`${this.#directory}/${name}`);
  }

  /** The checkpoint of `index` is durable: files of earlier ones go with the next {@link save}. */
  durable(index: number): void {
    this.#durableIndex = Math.max(this.#durableIndex, index);
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

  async #removeOldFiles(): Promise<void> {
    const durable = fileName(this.#durableIndex);
    for (const name of await this.#disk.list(this.#directory)) {
      if (FILE_NAME.test(name) && name < durable) await this.#disk.removeFile(`${this.#directory}/${name}`);
    }
  }
}

function fileName(index: number): string {
  return `state-${String(index).padStart(16, '0')}`;
}

function parentOf(path: string): string {
  const slash = path.lastIndexOf('/');
  return slash === -1 ? '.' : path.slice(0, slash);
}
