/**
 * Owns reading entries back from segments: neighboring frames in one read, each checked against its checksums before
 * anybody sees it.
 */

import { restoreFromMemory } from './flush-block.ts';
import {
  decodeFrameHeader,
  entriesBodyBytes,
  FRAME_HEADER_BYTES,
  FRAME_KIND,
  type FrameHeader,
  frameBodyHolds,
} from './frame.ts';
import { BLOCK_BYTES, roundUp, SECTOR_BYTES, viewOf } from './layout.ts';
import { entriesAt } from './replay.ts';
import type { ReplicaLog } from './replica-log.ts';
import type { Entry } from './replica-storage.ts';
import { DamageError } from './replica-storage.ts';
import type { Segment, SegmentChain } from './segment.ts';
import type { Stamps } from './stamp.ts';

/** Frames closer than this are fetched by one read. */
const GAP_BYTES_MAX = 64 * 1024;
const READ_BYTES_MAX = 1024 * 1024;

interface WantedFrame {
  readonly segment: Segment;
  readonly position: number;
  readonly firstWanted: number;
  lastWanted: number;
  /** From the entries that are known of it; the frame may be longer. */
  bytes: number;
}

export class FrameReader {
  readonly #chain: SegmentChain;
  readonly #stamps: Stamps;
  readonly #onIdle: () => void;
  readonly #settled: () => Promise<void> | undefined;

  /** `onIdle` is called when the last reader of a segment ends. `settled` resolves when everything moved so far is on the disk; undefined if it is. */
  constructor(chain: SegmentChain, stamps: Stamps, onIdle: () => void, settled: () => Promise<void> | undefined) {
    this.#chain = chain;
    this.#stamps = stamps;
    this.#onIdle = onIdle;
    this.#settled = settled;
  }

  /** Entries `from` to `to` of one replica, which are flushed and have known places; cut at `maxBytes` of payload, at least one. */
  async read(log: ReplicaLog, from: number, to: number, maxBytes: number): Promise<Entry[]> {
    const frames = this.#plan(log, from, to, maxBytes);
    const segments = new Set(frames.map((frame) => frame.segment));
    for (const segment of segments) segment.readers++;
    try {
      // An entry that was moved has its new place at once, its bytes are there after the next flush.
      await this.#settled();
      const entries: Entry[] = [];
      for (let i = 0; i < frames.length; ) {
        let end = i + 1;
        const first = frames[i]!;
        while (end < frames.length && joins(first, frames[end - 1]!, frames[end]!)) end++;
        const group = frames.slice(i, end);
        const last = group[group.length - 1]!;
        let bytes = await this.#fetch(first.segment, first.position, last.position + last.bytes);
        for (const frame of group) {
          const length = this.#frameLength(bytes, first.position, frame);
          if (frame.position + length > first.position + bytes.length) {
            bytes = await this.#fetch(first.segment, first.position, frame.position + length);
          }
          for (const entry of this.#decode(bytes, first.position, frame, log)) {
            if (entry.index >= frame.firstWanted && entry.index <= frame.lastWanted) entries.push(entry);
          }
        }
        i = end;
      }
      return entries;
    } finally {
      for (const segment of segments) if (--segment.readers === 0) this.#onIdle();
    }
  }

  #plan(log: ReplicaLog, from: number, to: number, maxBytes: number): WantedFrame[] {
    const frames: WantedFrame[] = [];
    let payload = 0;
    for (let index = from; index <= to; index++) {
      const bytes = log.payloadBytesAt(index);
      payload += bytes;
      if (payload > maxBytes && index > from) break;
      const sequence = log.sequenceAt(index);
      const position = log.positionAt(index);
      const last = frames.at(-1);
      if (last?.segment.sequence === sequence && last.position === position) {
        last.lastWanted = index;
        last.bytes += entriesBodyBytes(1, bytes);
        continue;
      }
      const segment = this.#chain.get(sequence);
      if (segment === undefined)
        throw new DamageError(`Entry ${index} of replica ${log.replicaId} has no place in the WAL`);
      frames.push({
        segment,
        position,
        firstWanted: index,
        lastWanted: index,
        bytes: FRAME_HEADER_BYTES + entriesBodyBytes(1, bytes),
      });
    }
    return frames;
  }

  /** Bytes of a segment from `position`, stamps replaced by what they replaced. */
  async #fetch(segment: Segment, position: number, end: number): Promise<Uint8Array> {
    const start = position - (position % BLOCK_BYTES);
    const stop = Math.min(segment.sizeBytes, roundUp(Math.max(end, position + FRAME_HEADER_BYTES), BLOCK_BYTES));
    const file = segment.file ?? (await segment.ready);
    const bytes = await file.read(start, stop - start);
    restoreFromMemory(bytes.subarray(0, bytes.length - (bytes.length % SECTOR_BYTES)), start, segment.originals);
    return bytes.subarray(position - start);
  }

  /** The frame's length as its header states it, or what is known of it if the header does not hold. */
  #frameLength(bytes: Uint8Array, origin: number, frame: WantedFrame): number {
    const at = frame.position - origin;
    if (at + FRAME_HEADER_BYTES > bytes.length) return Math.max(frame.bytes, FRAME_HEADER_BYTES);
    const header = decodeFrameHeader(viewOf(bytes), at, Number.MAX_SAFE_INTEGER, this.#seed(frame), frame.position);
    return header === undefined ? frame.bytes : FRAME_HEADER_BYTES + header.bodyLength;
  }

  #decode(bytes: Uint8Array, origin: number, frame: WantedFrame, log: ReplicaLog): Entry[] {
    const at = frame.position - origin;
    const view = viewOf(bytes);
    const header = decodeFrameHeader(view, at, bytes.length, this.#seed(frame), frame.position);
    if (header === undefined || !this.#holds(bytes, at, header, frame)) {
      throw new DamageError(`A frame at ${frame.position} of WAL segment ${frame.segment.sequence} is damaged`);
    }
    const isEntries = header.kind === FRAME_KIND.entries || header.kind === FRAME_KIND.movedEntries;
    if (!isEntries || header.replicaId !== log.replicaId || header.index > frame.firstWanted) {
      throw new DamageError(
        `A frame at ${frame.position} of WAL segment ${frame.segment.sequence} is not the one that was written there`,
      );
    }
    return entriesAt(bytes, view, header, at);
  }

  #holds(bytes: Uint8Array, at: number, header: FrameHeader, frame: WantedFrame): boolean {
    const bodyAt = at + FRAME_HEADER_BYTES;
    return frameBodyHolds(
      bytes.subarray(bodyAt, bodyAt + header.bodyLength),
      header,
      this.#seed(frame),
      frame.position,
    );
  }

  #seed(frame: WantedFrame): number {
    return this.#stamps.seed(frame.segment.sequence, 0);
  }
}

function joins(first: WantedFrame, previous: WantedFrame, next: WantedFrame): boolean {
  if (next.segment !== first.segment || next.position < previous.position) return false;
  const gap = next.position - (previous.position + previous.bytes);
  return gap < GAP_BYTES_MAX && next.position + next.bytes - first.position <= READ_BYTES_MAX;
}
