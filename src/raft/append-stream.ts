/**
 * The way of entries from one leading replica to one follower: what the core wants sent and was not sent yet, and the bytes under way.
 *
 * The core names ranges; consecutive ones are merged here, so that a slow link or reader gets few large messages. A range that does not follow the one waiting
 * replaces it: the core went back (rejection, reset) and believes nothing of what was before.
 */
import { assert } from '../std/assert.ts';
import type { LogIndex, ReplicaId, Term } from '../std/brands.ts';
import type { Entry } from '../wal/replica-storage.ts';
import type { AppendEntries, AppendRange } from './core/types.ts';
import { payloadBytes } from './entry-checksum.ts';
import { Fifo } from './fifo.ts';
import type { GroupReplica } from './group-replica.ts';
import type { Peer } from './peer.ts';

export class AppendStream {
  readonly replica: GroupReplica;
  readonly follower: ReplicaId;
  readonly peer: Peer;
  #range: AppendRange | undefined;
  /** Grows when the range is replaced or dropped: what was read for an older one is not sent. */
  generation = 0;
  /** Entries are being read from the disk. */
  reading = false;
  readonly #inFlight = new Fifo<{ readonly lastIndex: LogIndex; readonly bytes: number }>();
  inFlightBytes = 0;

  constructor(replica: GroupReplica, follower: ReplicaId, peer: Peer) {
    this.replica = replica;
    this.follower = follower;
    this.peer = peer;
  }

  /** What is left to send. */
  get range(): AppendRange | undefined {
    return this.#range;
  }

  offer(range: AppendRange): void {
    const waiting = this.#range;
    if (waiting !== undefined && waiting.term === range.term && waiting.lastIndex === range.prevIndex) {
      this.#range = {
        ...waiting,
        lastIndex: range.lastIndex,
        commitIndex: range.commitIndex,
        probe: waiting.probe || range.probe,
      };
      return;
    }
    this.generation++;
    this.#range = range;
  }

  /** Entries read for the range leave: gives the message and shortens the range. With no entries the whole (empty) range leaves. */
  take(entries: readonly Entry[]): AppendEntries {
    const range = this.#range;
    assert(range !== undefined, 'Nothing waits to be sent');
    const last = entries[entries.length - 1];
    assert(last === undefined || entries[0]!.index === range.prevIndex + 1, 'Entries must continue what was sent');
    const { from, to, term, prevIndex, prevTerm, commitIndex, probe } = range;
    if (last === undefined || last.index >= range.lastIndex) this.#range = undefined;
    else this.#range = { ...range, prevIndex: last.index, prevTerm: last.term };
    if (last !== undefined) {
      let bytes = 0;
      for (const entry of entries) bytes += payloadBytes(entry);
      this.#inFlight.push({ lastIndex: last.index, bytes });
      this.inFlightBytes += bytes;
    }
    return { kind: 'appendEntries', from, to, term, prevIndex, prevTerm, entries, commitIndex, probe };
  }

  /** The follower flushed everything up to `matchIndex`. */
  acknowledged(matchIndex: LogIndex): void {
    for (let first = this.#inFlight.peek(); first !== undefined && first.lastIndex <= matchIndex; ) {
      this.inFlightBytes -= first.bytes;
      this.#inFlight.shift();
      first = this.#inFlight.peek();
    }
  }

  /** The follower rejected something, or the core starts again: nothing counts as under way. */
  forgetInFlight(): void {
    this.#inFlight.clear();
    this.inFlightBytes = 0;
  }

  /** Nothing is to be sent any more. */
  reset(): void {
    this.generation++;
    this.#range = undefined;
    this.forgetInFlight();
  }

  /** Is the range still what the replica would send? */
  isCurrent(term: Term): boolean {
    return this.replica.role === 'leader' && this.replica.currentTerm === term;
  }
}
