/**
 * What a replicated state machine (metadata, partition, group coordinator) promises the Raft driver.
 *
 * `apply` is a pure function of (state, entry): no clock, configuration, file size or current term (DECISIONS P1). It is called in log order with entries that are
 * committed and flushed on this broker. It must not fail for any payload that a leader of a supported version can have proposed; if it throws, the broker stops.
 */
import type { LogIndex, Term } from '../std/brands.ts';

export interface AppliedEntry {
  readonly index: LogIndex;
  readonly term: Term;
  readonly payload: Uint8Array;
}

/** State up to `index`, durable: files named in `payload` are fsynced before this is returned (DECISIONS P2). */
export interface StateCheckpoint {
  readonly index: LogIndex;
  readonly term: Term;
  readonly payload: Uint8Array;
}

export interface StateMachine {
  /** Commands only (no-ops and configurations stay in the driver, which reports their index through {@link advance}). The result goes to the proposer if it is on this broker. */
  apply(entry: AppliedEntry): unknown;
  /** The applied index moved over entries that are no commands. */
  advance(index: LogIndex, term: Term): void;
  /**
   * Loads the state that a checkpoint describes; undefined: empty state at index 0. Anything on disk beyond the checkpoint is cut, not believed. Called once, before any apply; but if it
   * rejects with a {@link StateDamageError}, again with undefined: then what is left is removed, and the state comes from a leader.
   */
  restore(checkpoint: StateCheckpoint | undefined): Promise<void>;
  /** Makes the current state durable. Apply goes on meanwhile; the result describes some index ≥ the applied index at the call. At most one runs at a time. */
  checkpoint(): Promise<StateCheckpoint>;
  /** The checkpoint of `index` (also an installed catch-up's) is flushed in the WAL: no crash falls back behind it any more, and what it does not name can be removed. */
  checkpointDurable?(index: LogIndex): void;
  /** Bytes applied since the last checkpoint; the driver checkpoints when the WAL needs room, at shutdown and above a limit. */
  bytesSinceCheckpoint(): number;
  /** Called on every change of role, leader, term or readiness, after the change is visible in {@link RaftGroup}. */
  leadershipChanged?(): void;

  /** Follower side of a catch-up: says what this replica already has (DECISIONS P3), e.g. its own log end; opaque to the driver. */
  catchUpPosition(): Uint8Array;
  /** Leader side: pins the current state and streams what `position` lacks. Undefined if the follower applied more than this replica yet, so that there is nothing to give. */
  openCatchUp(position: Uint8Array): Promise<CatchUpSource | undefined>;
  /**
   * Follower side: takes the stream and makes it durable. No apply and no checkpoint runs between {@link catchUpPosition} and its settling. What it makes becomes current by a WAL frame after it
   * resolved; a restart before that restores the checkpoint from before. If it rejects (the stream failed, or with a {@link CatchUpDataError} its content does not hold), the state
   * from before goes on.
   */
  installCatchUp(source: CatchUpStream): Promise<StateCheckpoint>;

  /** Releases files; state stays on disk. */
  close(): Promise<void>;
  /** Removes everything of this replica from the disk; only after its committed deletion. */
  destroy(): Promise<void>;
}

/** The leader's end of a catch-up: the state at `index`. */
export interface CatchUpSource {
  readonly index: LogIndex;
  readonly term: Term;
  /** Next piece (≤ 1 MiB), undefined at the end. */
  next(): Promise<Uint8Array | undefined>;
  close(): Promise<void>;
}

/** The follower's end: the pieces in order. Rejects if the link or the leader fails: then nothing of the catch-up may be believed. */
export interface CatchUpStream {
  readonly index: LogIndex;
  readonly term: Term;
  pieces(): AsyncIterable<Uint8Array>;
}
