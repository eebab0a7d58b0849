/**
 * Sends entries: at the end of each pass, what all groups led here have for one peer goes into as few messages as possible, group after group, so that no group waits
 * for the backlog of another. Payloads are the views that the WAL's cache or the proposer holds.
 *
 * Limits (DECISIONS L3): bytes under way per (group, follower); the transport's budget per (peer, channel). What has no room waits here as a range, not as bytes.
 */
import { type LogIndex, logIndex, type Term } from '../std/brands.ts';
import type { Entry } from '../wal/replica-storage.ts';
import type { AppendStream } from './append-stream.ts';
import type { AppendRange } from './core/types.ts';
import type { DriverContext } from './driver-context.ts';
import { isEntryIntact } from './entry-checksum.ts';
import type { Peer } from './peer.ts';
import { startPeerMessage, writeRaftMessage } from './peer-codec.ts';
import { CHANNEL } from './transport.ts';
import type { WireWriter } from './wire.ts';

/** Payload bytes that one group adds to a message before the next group's turn. */
const TURN_BYTES = 256 * 1024;
/** Reads from the disk under way for one peer: with TURN_BYTES, what they may hold in memory. */
const READS_MAX = 16;

export class AppendSender {
  readonly #context: DriverContext;

  constructor(context: DriverContext) {
    this.#context = context;
  }

  /** The core wants a range sent. */
  offer(stream: AppendStream, range: AppendRange): void {
    if (stream.peer.link === undefined) return;
    if (range.probe) stream.forgetInFlight();
    stream.offer(range);
    stream.peer.appendStreams.add(stream);
  }

  /** Sends what can be sent to a peer. */
  flush(peer: Peer): void {
    while (peer.link !== undefined) {
      const message = peer.appendBacklog.shift() ?? this.#build(peer);
      if (message === undefined) return;
      if (!this.#context.transport.send(peer.brokerId, CHANNEL.append, message)) {
        peer.appendBacklog.unshift(message);
        return;
      }
      this.#context.metrics.appendMessagesSent++;
      for (const piece of message) this.#context.metrics.appendBytesSent += piece.length;
    }
  }

  #build(peer: Peer): readonly Uint8Array[] | undefined {
    let writer: WireWriter | undefined;
    const { appendMessageBytes } = this.#context.config;
    // A stream with more to send goes behind the others; one that waits (for an acknowledgement, for the disk) is left out until it is offered or woken again.
    for (const stream of peer.appendStreams) {
      peer.appendStreams.delete(stream);
      const before = writer?.sizeBytes ?? 0;
      writer = this.#write(stream, writer, Math.min(TURN_BYTES, appendMessageBytes - before));
      if (writer !== undefined && writer.sizeBytes >= appendMessageBytes) break;
    }
    return writer?.finish();
  }

  #write(stream: AppendStream, writer: WireWriter | undefined, bytesMax: number): WireWriter | undefined {
    const range = stream.range;
    if (range === undefined || stream.reading) return writer;
    if (!stream.isCurrent(range.term)) {
      stream.reset();
      return writer;
    }
    if (range.lastIndex === range.prevIndex) return this.#writeEntries(stream, writer, []);
    if (stream.inFlightBytes >= this.#context.config.groupInFlightBytesMax) return writer;
    const { storage } = this.#context;
    const { replica } = stream;
    if (stream.peer.appendReads >= READS_MAX) {
      stream.peer.appendWaiting.add(stream);
      return writer;
    }
    const firstIndex = storage.firstIndex(replica.replicaId);
    if (range.prevIndex + 1 < firstIndex) {
      this.#compacted(stream, firstIndex);
      return writer;
    }
    const from = logIndex(range.prevIndex + 1);
    const entries = storage.readEntries(replica.replicaId, from, range.lastIndex, Math.max(bytesMax, 1));
    if (entries instanceof Promise) {
      this.#await(stream, range.term, entries);
      return writer;
    }
    return this.#writeEntries(stream, writer, entries);
  }

  #writeEntries(stream: AppendStream, writer: WireWriter | undefined, entries: readonly Entry[]): WireWriter {
    const message = stream.take(entries);
    this.#context.metrics.appendEntriesSent += entries.length;
    const target = writer ?? startPeerMessage();
    writeRaftMessage(target, message);
    if (stream.range !== undefined) stream.peer.appendStreams.add(stream);
    return target;
  }

  /** The entries are on the disk only. They are checked once more: what leaves this broker must be what the leader sealed (DECISIONS W8). */
  #await(stream: AppendStream, term: Term, reading: Promise<readonly Entry[]>): void {
    const { generation, peer } = stream;
    stream.reading = true;
    peer.appendReads++;
    reading.then(
      (entries) =>
        this.#context.enqueue(() => {
          stream.reading = false;
          peer.appendReads--;
          for (const waiting of peer.appendWaiting) peer.appendStreams.add(waiting);
          peer.appendWaiting.clear();
          if (peer.link === undefined || stream.replica.removed) return;
          const current = stream.generation === generation && stream.isCurrent(term);
          if (current && entries.length > 0) {
            for (const entry of entries) {
              if (!isEntryIntact(stream.replica.groupId, entry)) {
                throw new Error(`Entry ${entry.index} of group ${stream.replica.groupId} was read back damaged`);
              }
            }
            peer.appendBacklog.push(this.#writeEntries(stream, undefined, entries).finish());
          }
          if (stream.range !== undefined) peer.appendStreams.add(stream);
        }),
      (error: unknown) => {
        if (!stream.replica.removed) this.#context.fail(error);
      },
    );
  }

  /** The WAL no longer has what the follower needs; the core asks for a catch-up when it learns that. */
  #compacted(stream: AppendStream, firstIndex: LogIndex): void {
    stream.reset();
    const { replica, follower } = stream;
    this.#context.enqueue(() => {
      if (replica.removed) return;
      this.#context.step(replica, { kind: 'compacted', firstIndex });
      this.#context.step(replica, { kind: 'peerReset', nowMs: this.#context.nowMs, replica: follower });
    });
  }
}
