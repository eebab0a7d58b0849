/**
 * Owns the content of the segments that recovery read, until what it holds was applied: entries are made from it when they are asked for, by the places that the replicas' logs know. So recovery costs no
 * object per entry, and no more memory than the segments, however small the entries are.
 */
import { readTrustedHeader } from './frame.ts';
import { viewOf } from './layout.ts';
import { entriesAt } from './replay.ts';
import type { ReplicaLog } from './replica-log.ts';
import type { Entry } from './replica-storage.ts';

export class RecoveredEntries {
  readonly #segments = new Map<number, { readonly bytes: Uint8Array; readonly view: DataView }>();

  /** The whole content of a segment life, checked, with the originals in place of the stamps. */
  add(sequence: number, bytes: Uint8Array): void {
    this.#segments.set(sequence, { bytes, view: viewOf(bytes) });
  }

  /** Everything is forgotten but what views of it keep. */
  clear(): void {
    this.#segments.clear();
  }

  /** Entries of the log from `from` on, at least one, up to `to` and `maxBytes` of payload; undefined if `from` is not held. All of them are flushed. */
  read(log: ReplicaLog, from: number, to: number, maxBytes: number): Entry[] | undefined {
    if (this.#segments.size === 0) return undefined;
    const result: Entry[] = [];
    let bytes = 0;
    let index = from;
    while (index <= to) {
      const sequence = log.sequenceAt(index);
      const segment = this.#segments.get(sequence);
      if (segment === undefined) break;
      const at = log.positionAt(index);
      const header = readTrustedHeader(segment.view, at);
      const frame = entriesAt(segment.bytes, segment.view, header, at);
      // Others of this frame may have been truncated, or moved.
      for (; index <= to && log.sequenceAt(index) === sequence && log.positionAt(index) === at; index++) {
        const entry = frame[index - header.index]!;
        bytes += entry.payload[0]!.length;
        if (bytes > maxBytes && result.length > 0) return result;
        result.push(entry);
      }
    }
    return result.length === 0 ? undefined : result;
  }
}
