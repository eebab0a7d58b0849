/**
 * Owns how changes become frames: every payload byte is copied once, into the flush it leaves with. Frames are bounded in
 * size, so that damage and reads have small units, and a segment's table is written here.
 */
import { assert, InvariantError } from '../std/assert.ts';
import { crc32c } from '../std/crc32c.ts';
import { crc32cShifted } from '../std/crc32c-combine.ts';
import { payloadBytes } from './entry-cache.ts';
import type { Flusher } from './flusher.ts';
import { ENTRIES_PREFIX_BYTES, ENTRY_HEADER_BYTES, entriesBodyBytes, FRAME_KIND, type FrameKind } from './frame.ts';
import { writeU53 } from './layout.ts';
import type { ReplicaLog } from './replica-log.ts';
import type { Entry } from './replica-storage.ts';
import type { Segment } from './segment.ts';
import { encodeTableRow } from './table-row.ts';

/** Entries of one call are split into frames of about this size. */
const FRAME_BYTES_TARGET = 1024 * 1024;
/** Payloads that are smaller on average are read again rather than their checksums put together. */
const COMBINED_BYTES_MIN = 1024;
const NO_BYTES = new Uint8Array(0);

export class FrameWriter {
  readonly #flusher: Flusher;
  /** Bytes that one entry may take, its header included. */
  readonly #entryBytesMax: number;
  readonly #frameBytesMax: number;

  constructor(flusher: Flusher, entryBytesMax: number) {
    this.#flusher = flusher;
    this.#entryBytesMax = entryBytesMax;
    this.#frameBytesMax = Math.min(FRAME_BYTES_TARGET, entryBytesMax);
  }

  frame(kind: FrameKind, replicaId: number, index = 0, body: Uint8Array = NO_BYTES, count = 0): void {
    const at = this.#flusher.begin(body.length);
    this.#flusher.buffer.bytes.set(body, at);
    this.#flusher.end(kind, replicaId, index, count);
  }

  /** Appends entries, new ones or ones that move, and tells the replica's log their places. */
  entries(kind: FrameKind, replica: ReplicaLog, entries: readonly Entry[], commitHint: number): void {
    let start = 0;
    while (start < entries.length) {
      let bytes = 0;
      let end = start;
      for (; end < entries.length; end++) {
        const size = payloadBytes(entries[end]!) + ENTRY_HEADER_BYTES;
        if (size > this.#entryBytesMax)
          throw new InvariantError(`An entry of ${size} bytes is larger than a WAL segment allows`);
        if (end > start && bytes + size > this.#frameBytesMax) break;
        bytes += size;
      }
      this.#run(kind, replica, entries, start, end, bytes - (end - start) * ENTRY_HEADER_BYTES, commitHint);
      start = end;
    }
    replica.commitHint = Math.max(replica.commitHint, commitHint);
  }

  /** The table that opens a segment; `moved` goes inside it, so that the table's end proves all of it. */
  table(
    segment: Segment,
    logs: ReadonlyMap<number, ReplicaLog>,
    storeDamage: string | undefined,
    moved?: () => void,
  ): void {
    this.frame(FRAME_KIND.tableBegin, 0, 0, Buffer.from(storeDamage ?? ''), logs.size);
    for (const replica of logs.values())
      this.frame(FRAME_KIND.tableRow, replica.replicaId, 0, encodeTableRow(replica.toRow()));
    moved?.();
    this.frame(FRAME_KIND.tableEnd, 0, 0, NO_BYTES, logs.size);
    this.#flusher.markTableComplete();
    segment.tableEndLsn = this.#flusher.appendedLsn;
    assert(this.#flusher.segment === segment, 'A table stays in its segment');
  }

  /** One frame of entries `start` … `end` − 1. */
  #run(
    kind: FrameKind,
    replica: ReplicaLog,
    entries: readonly Entry[],
    start: number,
    end: number,
    payloadLength: number,
    commitHint: number,
  ): void {
    const count = end - start;
    const at = this.#flusher.begin(entriesBodyBytes(count, payloadLength));
    const { bytes, view, sequence } = this.#flusher.buffer;
    writeU53(view, at, commitHint);
    let headerAt = at + ENTRIES_PREFIX_BYTES;
    let payloadAt = headerAt + count * ENTRY_HEADER_BYTES;
    for (let i = start; i < end; i++) {
      const entry = entries[i]!;
      const payloadStart = payloadAt;
      for (const piece of entry.payload) {
        bytes.set(piece, payloadAt);
        payloadAt += piece.length;
      }
      writeU53(view, headerAt, entry.term);
      view.setUint32(headerAt + 8, payloadAt - payloadStart, true);
      view.setUint32(headerAt + 12, entry.checksum, true);
      view.setUint32(headerAt + 16, entry.kind, true);
      view.setUint32(headerAt + 20, 0, true);
      headerAt += ENTRY_HEADER_BYTES;
    }
    const payloadsAt = at + ENTRIES_PREFIX_BYTES + count * ENTRY_HEADER_BYTES;
    const bodyChecksum =
      payloadLength >= count * COMBINED_BYTES_MIN
        ? combinedChecksum(crc32c(bytes.subarray(at, payloadsAt)), entries, start, end)
        : undefined;
    const position = this.#flusher.end(kind, replica.replicaId, entries[start]!.index, count, 0, bodyChecksum);
    for (let i = start; i < end; i++) {
      const entry = entries[i]!;
      const size = payloadBytes(entry);
      if (kind === FRAME_KIND.entries) replica.append(entry.term, entry.kind, sequence, position, size);
      else replica.move(entry.index, sequence, position, size, entry.kind);
    }
  }
}

/** The checksum of what has `checksum` with the payloads of entries `start` … `end` − 1 behind it; undefined where one of theirs is unknown. */
function combinedChecksum(checksum: number, entries: readonly Entry[], start: number, end: number): number | undefined {
  let combined = checksum;
  for (let i = start; i < end; i++) {
    const entry = entries[i]!;
    if (entry.payloadChecksum === undefined) return undefined;
    combined = crc32cShifted(combined, payloadBytes(entry)) ^ entry.payloadChecksum;
  }
  return combined;
}
