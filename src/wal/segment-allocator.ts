/**
 * Owns having the next segment ready before it is needed: a free file with the header of its next life durable. Prefers
 * a free file, then a new one up to the limit, then waits until the oldest segment is released; as a last resort, when
 * appends would otherwise stop, it grows the log up to twice its limit. A full disk is survived as long as segments
 * come back (DECISIONS W10).
 */
import { DiskError, type DiskFile } from '../std/disk.ts';
import type { Log } from '../std/log.ts';
import type { SegmentFiles } from './segment-files.ts';

export interface SegmentAllocatorOptions {
  readonly files: SegmentFiles;
  readonly storeId: Uint8Array;
  readonly segmentsMax: number;
  readonly log: Log;
  /** Called when the next segment should come from the oldest one in use. With `mayGrow` the answer may be `grow`: rather a new file, because the oldest is mostly live. */
  readonly onNeed: (mayGrow: boolean) => 'wait' | 'grow';
  readonly onCreationFailure: (error: Error) => void;
  /** Called when a segment could not be prepared for another reason than space. */
  readonly onFailure: (error: Error) => void;
}

export class SegmentAllocator {
  readonly #options: SegmentAllocatorOptions;
  #prepared: { readonly sequence: number; readonly file: Promise<DiskFile> } | undefined;
  /** The preparation before: they go one after the other, so that files, headers and waiting are never mixed up. */
  #before: Promise<unknown> = Promise.resolve();
  #preparing = 0;
  #wanted = 0;
  #wake: (() => void) | undefined;
  #closed = false;
  #creationError: Error | undefined;

  constructor(options: SegmentAllocatorOptions) {
    this.#options = options;
  }

  /** A segment is being prepared: a free file may be taken at any moment. */
  get busy(): boolean {
    return this.#preparing > 0;
  }

  /** The file of segment `sequence`, its header durable. Begins to prepare the one after it. */
  take(sequence: number): Promise<DiskFile> {
    this.#wanted = sequence;
    // Noted as prepared even if nobody prepared it: the one before, still on its way, prepares this one when it is there.
    if (this.#prepared?.sequence !== sequence) this.#prepared = { sequence, file: this.#prepare(sequence) };
    const { file } = this.#prepared;
    this.#wake?.();
    file.then(
      () => this.prepare(this.#wanted + 1),
      () => undefined,
    );
    return file;
  }

  /** Begins to prepare segment `sequence`, which will be the next one taken. */
  prepare(sequence: number): void {
    // Two rolls in short order: the later one is already being prepared.
    if (this.#closed || sequence <= Math.max(this.#wanted, this.#prepared?.sequence ?? 0)) return;
    const file = this.#prepare(sequence);
    // A disk that fails here will not do better when the segment is needed.
    file.catch((error: Error) => this.#options.onFailure(error));
    this.#prepared = { sequence, file };
  }

  /** A file was given back. */
  released(): void {
    this.#wake?.();
  }

  /** Ends preparation; one that waits for a release never settles. */
  async close(): Promise<void> {
    this.#closed = true;
    if (this.#wake !== undefined) return;
    const file = await this.#prepared?.file.catch(() => undefined);
    if (this.#prepared !== undefined && this.#prepared.sequence !== this.#wanted) await file?.close();
  }

  #prepare(sequence: number): Promise<DiskFile> {
    const { files, storeId } = this.#options;
    this.#preparing++;
    const file = this.#before
      .then(async () => {
        await this.#obtainFree(sequence);
        return files.begin({ storeId, sequence, continues: undefined });
      })
      .finally(() => {
        this.#preparing--;
      });
    // Whoever takes it sees the failure.
    this.#before = file.catch(() => undefined);
    return file;
  }

  async #obtainFree(sequence: number): Promise<void> {
    const { files, segmentsMax } = this.#options;
    let mayCreate = true;
    for (;;) {
      // Grown beyond the limit and not needed any more: shrink.
      while (files.free > 1 && files.total > segmentsMax) await files.discardFree();
      if (files.free > 0) return;
      const urgent = this.#wanted >= sequence;
      if (mayCreate && this.#mayCreate(urgent)) {
        mayCreate = await this.#create();
        continue;
      }
      // Appends stand still, and so would everything that could release a segment.
      if (urgent) throw this.#creationError ?? new Error(`The WAL is full: ${files.total} segments are in use`);
      this.#options.onNeed(false);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
      // Being wanted is a reason to try again, even after a failure: space may have been made.
      mayCreate ||= this.#wanted >= sequence;
    }
  }

  #mayCreate(urgent: boolean): boolean {
    const { files, segmentsMax, onNeed } = this.#options;
    if (files.total < segmentsMax) return true;
    return files.total < 2 * segmentsMax && (urgent || onNeed(true) === 'grow');
  }

  async #create(): Promise<boolean> {
    try {
      await this.#options.files.create();
      return true;
    } catch (error) {
      if (!(error instanceof DiskError) || (error.code !== 'ENOSPC' && error.code !== 'EDQUOT')) throw error;
      this.#options.log.warn(
        { error: error.message },
        'No space for another WAL segment; going on with those there are',
      );
      this.#creationError = error;
      this.#options.onCreationFailure(error);
      return false;
    }
  }
}
