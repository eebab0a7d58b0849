/**
 * What a leader knows of one other replica, and when it may send to it.
 *
 * - `probe`: where the logs agree is unknown. One message at a time, then wait for the answer.
 * - `replicate`: they agree up to nextIndex - 1 as far as sent. Messages follow each other without waiting, up to a window; nextIndex moves on sending.
 * - `snapshot`: the entries it needs are gone from the WAL; the driver runs a catch-up, nothing is sent until it ends.
 *
 * probe → replicate: an acceptance. replicate → probe: a rejection, a reset link, silence. probe, replicate → snapshot: next entry compacted. snapshot → probe: catch-up ended or failed.
 *
 * matchIndex is a claim about the other's disk. It only grows, except that a replica in probe state may deny what it confirmed (its disk was damaged and cut): lower is always safe.
 */

import { assert } from '../../std/assert.ts';
import { type LogIndex, logIndex, type ReplicaId } from '../../std/brands.ts';
import { RETRY_BACKOFF_MAX } from './options.ts';
import type { ReplicationLimits } from './types.ts';

export class Progress {
  readonly replicaId: ReplicaId;
  readonly #limits: ReplicationLimits;
  #state: 'probe' | 'replicate' | 'snapshot' = 'probe';
  #matchIndex: LogIndex = logIndex(0);
  #nextIndex: LogIndex;
  /** Last indexes of the messages that wait for an acknowledgement, ascending (state replicate). */
  readonly #inFlight: LogIndex[] = [];
  /** The one message of state probe is under way, with entries up to #probeLastIndex. */
  #probeSent = false;
  #probeLastIndex: LogIndex = logIndex(0);
  /** Nothing is sent before (state probe). */
  #pausedUntilMs = Number.NEGATIVE_INFINITY;
  /** When silence is taken for loss; Infinity while nothing is under way. */
  #retryAtMs = Number.POSITIVE_INFINITY;
  #retries = 0;
  /** Commit index of the last message sent since the link is believed: higher news are due. */
  #commitSent: LogIndex = logIndex(0);
  /** Highest round in which it confirmed to follow (ReadIndex). */
  confirmedRound = Number.NEGATIVE_INFINITY;
  /** When it has reached markIndex, it had at markMs everything the leader had at markMs. */
  #markIndex: LogIndex;
  #markMs: number;
  #caughtUpMs = Number.NEGATIVE_INFINITY;

  constructor(replicaId: ReplicaId, lastIndex: LogIndex, nowMs: number, limits: ReplicationLimits) {
    this.replicaId = replicaId;
    this.#nextIndex = logIndex(lastIndex + 1);
    this.#markIndex = lastIndex;
    this.#markMs = nowMs;
    this.#limits = limits;
  }

  get state(): 'probe' | 'replicate' | 'snapshot' {
    return this.#state;
  }

  get matchIndex(): LogIndex {
    return this.#matchIndex;
  }

  get nextIndex(): LogIndex {
    return this.#nextIndex;
  }

  get commitSent(): LogIndex {
    return this.#commitSent;
  }

  get appendsInFlight(): number {
    return this.#state === 'probe' ? Number(this.#probeSent) : this.#inFlight.length;
  }

  /** May a message with entries (or a probe) leave now? */
  canSend(nowMs: number): boolean {
    switch (this.#state) {
      case 'probe':
        return !this.#probeSent && nowMs >= this.#pausedUntilMs;
      case 'replicate':
        return this.#inFlight.length < this.#limits.appendsInFlightMax;
      case 'snapshot':
        return false;
    }
  }

  /** A message that ends at `lastIndex` and carries `commitIndex` leaves. */
  sent(lastIndex: LogIndex, commitIndex: LogIndex, nowMs: number): void {
    assert(this.#state !== 'snapshot' && lastIndex >= this.#nextIndex - 1, 'A message must not be sent out of turn');
    this.#commitSent = commitIndex;
    if (this.#state === 'probe') {
      this.#probeSent = true;
      this.#probeLastIndex = lastIndex;
      this.#retryAtMs = nowMs + this.#retryDelayMs();
    } else if (lastIndex >= this.#nextIndex) {
      this.#nextIndex = logIndex(lastIndex + 1);
      this.#inFlight.push(lastIndex);
      if (this.#inFlight.length === 1) this.#retryAtMs = nowMs + this.#retryDelayMs();
    }
  }

  /** It flushed everything up to `matchIndex` as the leader has it; the leader's log ends at `lastIndex`. True if that is news. */
  accepted(matchIndex: LogIndex, lastIndex: LogIndex, nowMs: number): boolean {
    const news = matchIndex > this.#matchIndex;
    if (news) this.#matchIndex = matchIndex;
    // Less than the probe's prevIndex: an answer to something older, or only a part of it is flushed yet.
    if (this.#state === 'probe' && matchIndex >= this.#nextIndex - 1) this.#becomeReplicate();
    if (this.#nextIndex <= this.#matchIndex) this.#nextIndex = logIndex(this.#matchIndex + 1);
    if (this.#state === 'replicate') {
      const inFlight = this.#inFlight;
      let done = 0;
      while (done < inFlight.length && inFlight[done]! <= this.#matchIndex) done++;
      if (done > 0) inFlight.splice(0, done);
      this.#retries = 0;
      this.#retryAtMs = inFlight.length === 0 ? Number.POSITIVE_INFINITY : nowMs + this.#retryDelayMs();
    }
    if (this.#matchIndex >= this.#markIndex) {
      this.#caughtUpMs = this.#markMs;
      this.#markIndex = lastIndex;
      this.#markMs = nowMs;
    }
    return news;
  }

  /**
   * It has no entry like ours at `rejectedIndex`; try again behind `hintIndex`. Ignored if stale: answers can be late and in any order (bug R11), so only what contradicts the
   * current belief counts. True if a probe is due.
   */
  rejected(rejectedIndex: LogIndex, hintIndex: LogIndex): boolean {
    if (this.#state === 'snapshot') return false;
    if (this.#state === 'replicate') {
      if (rejectedIndex <= this.#matchIndex) return false;
      this.becomeProbe(logIndex(this.#matchIndex + 1));
      return true;
    }
    if (rejectedIndex !== this.#nextIndex - 1) return false;
    const agreed = Math.max(Math.min(hintIndex, rejectedIndex - 1), 0);
    this.becomeProbe(logIndex(agreed + 1));
    if (this.#matchIndex > agreed) this.#matchIndex = logIndex(agreed);
    return true;
  }

  /** What was under way is lost or doubtful: start again behind what is confirmed, or at `nextIndex`. */
  becomeProbe(nextIndex: LogIndex = logIndex(this.#matchIndex + 1)): void {
    this.#state = 'probe';
    this.#nextIndex = nextIndex;
    this.#inFlight.length = 0;
    this.#probeSent = false;
    this.#pausedUntilMs = Number.NEGATIVE_INFINITY;
    this.#retryAtMs = Number.POSITIVE_INFINITY;
    this.#commitSent = logIndex(0);
  }

  /**
   * What was under way is lost. A probe goes on where it was: who acknowledged nothing in this term yet, because its broker comes up only now, most likely has all that came before it, and behind index 0 there
   * is nothing but a catch-up.
   */
  probeAgain(): void {
    this.becomeProbe(this.#state === 'probe' ? this.#nextIndex : logIndex(this.#matchIndex + 1));
  }

  /** The peer is back, or its catch-up failed: silence so far says nothing about the next message. */
  resetRetries(): void {
    this.#retries = 0;
  }

  pauseUntil(untilMs: number): void {
    assert(this.#state === 'probe' && !this.#probeSent, 'Only a probe can be put off');
    this.#pausedUntilMs = untilMs;
  }

  becomeSnapshot(): void {
    this.becomeProbe();
    this.#state = 'snapshot';
  }

  /** True if the answer to something under way is overdue; it is probed again then, less and less often. */
  takeTimeout(nowMs: number): boolean {
    if (nowMs < this.#retryAtMs) return false;
    this.probeAgain();
    this.#retries++;
    return true;
  }

  /** When this peer wants the leader's attention without a message of its own. */
  get deadlineMs(): number {
    if (this.#state === 'snapshot') return Number.POSITIVE_INFINITY;
    if (this.#state === 'probe' && !this.#probeSent) return this.#pausedUntilMs;
    return this.#retryAtMs;
  }

  /** See ReplicaProgress. */
  caughtUpMs(lastIndex: LogIndex, nowMs: number): number {
    return this.#matchIndex >= lastIndex ? nowMs : this.#caughtUpMs;
  }

  #becomeReplicate(): void {
    this.#state = 'replicate';
    this.#inFlight.length = 0;
    // The entries that the probe carried are under way.
    if (this.#probeSent && this.#probeLastIndex >= this.#nextIndex) {
      this.#nextIndex = logIndex(this.#probeLastIndex + 1);
      this.#inFlight.push(this.#probeLastIndex);
    }
    this.#probeSent = false;
  }

  #retryDelayMs(): number {
    return this.#limits.appendRetryMs * Math.min(2 ** this.#retries, RETRY_BACKOFF_MAX);
  }
}
