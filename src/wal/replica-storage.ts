/**
 * What the Raft driver gets from the WAL: one shared log for all replicas of a broker, with group commit.
 *
 * Four words, four promises: **append** puts a frame into the WAL's buffer, **flush** makes it durable. Nothing that was
 * only appended may be told to anybody. All mutating calls are synchronous appends; their order is the order on disk, so one
 * flush makes a vote, entries and a checkpoint durable together. `implementation: wal.ts`.
 */
import type { LogIndex, Lsn, ReplicaId, Term } from '../std/brands.ts';
import type { Histogram } from '../std/histogram.ts';

/** What an entry is for. The WAL does not interpret entries, except that it lists configurations on recovery. */
export const ENTRY_KIND = {
  /** Appended by every new leader: commits everything before it (Raft paper, section 5.4.2). No payload. */
  noop: 0,
  /** A membership of the group (codec: raft/membership). */
  configuration: 1,
  /** A command of the group's state machine. */
  command: 2,
} as const;
export type EntryKind = (typeof ENTRY_KIND)[keyof typeof ENTRY_KIND];

/** One Raft entry. `payload` must never change once the entry was proposed (DECISIONS W7): WAL, peers and apply share it. */
export interface Entry {
  readonly index: LogIndex;
  readonly term: Term;
  readonly kind: EntryKind;
  /** Concatenation of these is the payload; the leader may have it in pieces, a reader gets one piece. */
  readonly payload: readonly Uint8Array[];
  /** CRC-32C over (group id, index, term, kind, payload), computed once by the leader and checked before every WAL append and every apply (DECISIONS W8). */
  readonly checksum: number;
  /** CRC-32C of the payload alone, from when its bytes were made or arrived; unknown of an entry that was read from a disk. Frames derive theirs from it instead of reading the bytes again. */
  readonly payloadChecksum?: number;
}

export interface HardState {
  readonly currentTerm: Term;
  /** The replica voted for in `currentTerm`, 0 if none. */
  readonly votedFor: ReplicaId | 0;
}

/** A point from which the log can be replayed: all entries up to `index` are in the state that `payload` describes. */
export interface Checkpoint {
  readonly index: LogIndex;
  readonly term: Term;
  /** Opaque to the WAL (configuration and state-machine part, see raft/checkpoint codec). Kept small: large state goes into files that it names. */
  readonly payload: Uint8Array;
}

/** A run of entries of one term: from `firstIndex` until the next run. */
export interface TermRun {
  readonly firstIndex: LogIndex;
  readonly term: Term;
}

/** What recovery found for one replica that exists. */
export interface RecoveredReplica {
  readonly replicaId: ReplicaId;
  /** As given to {@link ReplicaStorage.createReplica}. */
  readonly descriptor: Uint8Array;
  readonly hardState: HardState;
  readonly checkpoint: Checkpoint | undefined;
  /** Last entry; equals the checkpoint's index (or 0) if there are none behind it. */
  readonly lastIndex: LogIndex;
  /** Terms of the entries from checkpoint.index + 1 to lastIndex. */
  readonly termRuns: readonly TermRun[];
  /** Indexes above the checkpoint that hold configuration entries, ascending. */
  readonly configurationIndexes: readonly LogIndex[];
  /**
   * Highest commit hint found: entries up to here are known committed and can be applied without waiting for a leader (DECISIONS W4). Behind the last entry if damage took what was committed: this store may
   * have acted on that.
   */
  readonly commitHint: LogIndex;
  /** Set if damage may have hidden entries, a vote, a term or a configuration of this replica (DECISIONS W6): it must not vote, campaign or count. */
  readonly damage: ReplicaDamage | undefined;
}

export interface ReplicaDamage {
  /** What may have been lost. `entries`: entries from `fromIndex` on; `identity`: possibly also votes, terms, configuration or existence. */
  readonly kind: 'entries' | 'identity';
  readonly fromIndex: LogIndex;
  readonly reason: string;
}

export interface WalStats {
  /** Flushes (fsync rounds) so far, bytes and frames they carried, milliseconds they took in sum. */
  flushes: number;
  flushedBytes: number;
  flushedFrames: number;
  flushMsTotal: number;
  /** The same, as distributions. */
  readonly flushDurationMs: Histogram;
  readonly flushSizeBytes: Histogram;
  segments: number;
  segmentsReused: number;
  bytesInUse: number;
  bytesLimit: number;
  /** Entries that no checkpoint covers, with their share of frames. */
  liveBytes: number;
  /** Bytes appended again so that a segment could be reused. */
  movedBytes: number;
  /** Segments that could not be created for want of space (DECISIONS W10); the log goes on with those it has. */
  segmentCreationFailures: number;
}

/** The storage of all replicas of a broker. Everything that rejects or reports failure through `onFailure` is final: the broker stops. */
export interface ReplicaStorage {
  /** What the last {@link open} recovered. Consumed once by the driver on start. */
  readonly recovered: readonly RecoveredReplica[];
  /** Set if damage may even have hidden which replicas exist: no replica of this store may vote, each rejoins with a new store id (DECISIONS W6). Stays set until the store is formatted anew. */
  readonly storeDamage: string | undefined;

  /** Payload bytes that one entry may have. */
  readonly entryBytesMax: number;

  /** Registers a replica. `descriptor` is opaque (group id, initial configuration). */
  createReplica(replicaId: ReplicaId, descriptor: Uint8Array): Lsn;
  /** Forgets a replica and voids all its frames; only on a committed tombstone (DECISIONS I3). */
  removeReplica(replicaId: ReplicaId): Lsn;
  setHardState(replicaId: ReplicaId, hardState: HardState): Lsn;
  /** Entries must start at lastIndex + 1 and be contiguous. `commitHint` is the replica's commit index known now. */
  appendEntries(replicaId: ReplicaId, entries: readonly Entry[], commitHint: LogIndex): Lsn;
  /** Makes a restart find out that entries up to `index` are committed, as the `commitHint` of entries does where there are none to append. Costs nothing if that is known. */
  noteCommitted(replicaId: ReplicaId, index: LogIndex): Lsn;
  /** Voids all entries with index ≥ `fromIndex`; asserted above the checkpoint. Followed at once by the new entries or nothing. */
  truncate(replicaId: ReplicaId, fromIndex: LogIndex): Lsn;
  /**
   * Makes `checkpoint` current; entries up to its index are no longer needed. With `resetLog` all entries are voided and the log continues behind
   * the checkpoint (a snapshot was installed, DECISIONS P3); otherwise its index must lie inside the log.
   */
  setCheckpoint(replicaId: ReplicaId, checkpoint: Checkpoint, options?: { resetLog?: boolean }): Lsn;

  /** Forgets the damage of a replica: the driver has repaired from its peers whatever may have been lost. Until then every recovery reports it again. */
  repaired(replicaId: ReplicaId): Lsn;

  /**
   * Voids log and checkpoint of a replica whose state was lost, and records that it is damaged from its first entry on, in one frame: a crash finds both or neither. Term and vote stay, as promises
   * that were given. Only when a leader can give everything back.
   */
  lose(replicaId: ReplicaId, reason: string): Lsn;

  /** Term of an entry from firstIndex to lastIndex, and of the checkpoint's; undefined outside. */
  termAt(replicaId: ReplicaId, index: LogIndex): Term | undefined;
  /** First index that can be read: checkpoint index + 1, or lower while older entries are still in reused-later segments or held. */
  firstIndex(replicaId: ReplicaId): LogIndex;
  lastIndex(replicaId: ReplicaId): LogIndex;
  /**
   * Entries from `from` to `to` (inclusive), at least one, cut at `maxBytes` of payload. Answers at once when they are in the cache, which holds for
   * the recent tail; otherwise reads segments. Each is verified against its frame's checksum; a mismatch rejects with a {@link DamageError}.
   */
  readEntries(
    replicaId: ReplicaId,
    from: LogIndex,
    to: LogIndex,
    maxBytes: number,
  ): readonly Entry[] | Promise<readonly Entry[]>;

  /** Keeps entries ≥ `fromIndex` readable until released, whatever the checkpoint (last step of a catch-up, DECISIONS P3). At most one hold per (replica, holder). */
  hold(replicaId: ReplicaId, holder: string, fromIndex: LogIndex): void;
  release(replicaId: ReplicaId, holder: string): void;

  /** The driver has applied what was recovered: its payloads, all in memory until now so that replay needs no reads, are let go except for the recent tail. */
  endReplay(): void;

  /** Highest LSN appended / made durable. */
  readonly appendedLsn: Lsn;
  readonly flushedLsn: Lsn;
  /** Starts a flush of everything appended, now or as soon as the running one ends; one flush carries all frames that queued (group commit). */
  flush(): void;
  /** Milliseconds (monotonic) that the oldest unflushed flush request has been waiting, 0 if none: the sender's disk health in heartbeats (DECISIONS W11). */
  oldestFlushWaitMs(): number;

  /** Called after each flush, from a fresh stack, with the new flushedLsn. Set once by the driver. */
  onFlushed: (flushedLsn: Lsn) => void;
  /** Called when a write or fsync failed: nothing appended since flushedLsn may be believed. The broker stops. */
  onFailure: (error: Error) => void;
  /**
   * Called when the oldest segment is needed soon (bytes in use above the soft limit): the replicas whose un-checkpointed entries pin it, most bytes first.
   * The driver checkpoints them (DECISIONS W5).
   */
  onPressure: (replicas: readonly ReplicaId[]) => void;
  /**
   * Called when an entry that has to be moved is damaged. Its segment stays, and is not used again, until the entry is not needed any more: a checkpoint covers it, and no hold asks for it. The driver
   * sees to that, or stops the broker if the entry is not applied yet.
   */
  onDamage: (replicaId: ReplicaId, index: LogIndex, error: DamageError) => void;
  /** Bytes of un-checkpointed entries of one replica: what a checkpoint of it would let go. */
  pinnedBytes(replicaId: ReplicaId): number;

  readonly stats: WalStats;
  close(): Promise<void>;
}

/** Stored bytes that fail their checksum although they were flushed. Never truncated silently; repaired from peers. */
export class DamageError extends Error {
  override name = 'DamageError';
}
