/**
 * The vocabulary of the Raft core: what goes in (events), what comes out (effects), what travels between replicas (messages).
 *
 * The core is one replica's state machine: `step(event) → effects`, synchronous, without timer, socket, promise, disk or payload. It keeps the terms of
 * its log, never bytes: effects name ranges, the driver fetches them. Same events, same effects, always.
 *
 * Peers are {@link ReplicaId}s, not brokers: an id names one placement on one store and is never reused, so a wiped broker can't speak for its past (DECISIONS I1, I3).
 */
import type { BrokerId, LogIndex, ReplicaId, Term } from '../../std/brands.ts';
import type { Entry, EntryKind, HardState } from '../../wal/replica-storage.ts';

export interface Member {
  readonly replicaId: ReplicaId;
  readonly brokerId: BrokerId;
  /** Store the replica was placed on, hex; a message from or to another store of that broker is dropped. */
  readonly storeId: string;
}

/** Who votes. Joint (Raft thesis, section 4.3) while `votersOutgoing` is not empty: then a quorum is a majority of both sets. */
export interface Membership {
  readonly voters: readonly Member[];
  readonly votersOutgoing: readonly Member[];
  /** Receive entries, never vote and never count. */
  readonly learners: readonly Member[];
}

/** Payload of a proposal, without index and term: the core gives those. */
export interface ProposedEntry {
  readonly kind: EntryKind;
  readonly payload: readonly Uint8Array[];
}

// ---------------------------------------------------------------- messages

interface MessageBase {
  readonly from: ReplicaId;
  readonly to: ReplicaId;
  /** The sender's currentTerm; of a pre-vote (request): the term it would campaign in. */
  readonly term: Term;
}

export type RaftMessage =
  | (MessageBase & { kind: 'preVote' | 'requestVote'; lastIndex: LogIndex; lastTerm: Term; /** Leadership transfer: overrides leader stickiness. */ transfer: boolean })
  | (MessageBase & { kind: 'preVoteResponse' | 'requestVoteResponse'; granted: boolean })
  | (MessageBase & {
      kind: 'appendEntries';
      prevIndex: LogIndex;
      prevTerm: Term;
      /** Entries prevIndex + 1 … ; may be empty (probe, or news of the commit index). */
      entries: readonly Entry[];
      commitIndex: LogIndex;
    })
  | (MessageBase & {
      kind: 'appendEntriesResponse';
      /** Accepted: everything up to matchIndex is flushed here and equals the leader's log. */
      accepted: boolean;
      matchIndex: LogIndex;
      /** Rejected: the prevIndex that did not match, and where the leader shall try next (term hint as in etcd: largest index with a term ≤ the leader's at that point). */
      rejectedIndex: LogIndex;
      hintIndex: LogIndex;
      hintTerm: Term;
      /** Rejected because the receiver is over its budget (DECISIONS L3), not because of the log: retry from matchIndex after a pause. */
      overloaded: boolean;
    })
  | (MessageBase & { kind: 'timeoutNow' });

/** A message the driver has to complete: AppendEntries names a range of the own log, everything else is ready to go. */
export type OutboundMessage =
  | Exclude<RaftMessage, { kind: 'appendEntries' }>
  | (Omit<Extract<RaftMessage, { kind: 'appendEntries' }>, 'kind' | 'entries'> & {
      kind: 'appendRange';
      /** Send entries prevIndex + 1 … lastIndex (none if equal to prevIndex). */
      lastIndex: LogIndex;
    });

// ---------------------------------------------------------------- events

export type RaftEvent =
  /** Driver time passed the deadline of the last effects. */
  | { kind: 'time'; nowMs: number }
  | { kind: 'message'; nowMs: number; message: RaftMessage }
  | { kind: 'propose'; nowMs: number; entries: readonly ProposedEntry[] }
  /** Everything appended up to (term, index) is flushed; `term` is the term of the entry at `index` when it was appended: stale completions are ignored (bug R7). */
  | { kind: 'persisted'; nowMs: number; index: LogIndex; term: Term; hardState: boolean }
  /** The state machine applied up to index. */
  | { kind: 'applied'; index: LogIndex }
  /** A live peer's announcement names `leader` as leader of this group in `term` (DECISIONS L1). While held, the core has no election deadline. */
  | { kind: 'leaderAnnounced'; nowMs: number; leader: ReplicaId; term: Term }
  /** The leader's broker is dead, silent, or no longer names this group: stickiness ends and an election starts after `delayMs` (rank, DECISIONS L4). */
  | { kind: 'leaderLost'; nowMs: number; delayMs: number }
  /** Leader only: which replicas' brokers live and follow this group now; without a quorum of them the leader steps down (CheckQuorum). Sent when that set shrinks. */
  | { kind: 'quorumCheck'; nowMs: number; active: ReadonlySet<ReplicaId> }
  /** The link to a replica's broker was re-established, or the replica says that it follows after an exception: what was in flight is lost, probe. */
  | { kind: 'peerReset'; nowMs: number; replica: ReplicaId }
  /** Leader only: wants to read at a confirmed index (ReadIndex, thesis 6.4). `round` is the driver's next confirmation round for this group. */
  | { kind: 'read'; nowMs: number; requestId: number; round: number }
  /** A replica confirmed in `round` (or later) that it follows this leader in this term. */
  | { kind: 'readConfirmed'; nowMs: number; replica: ReplicaId; round: number }
  | { kind: 'transferLeadership'; nowMs: number; target: ReplicaId }
  /** Start an election now (first leader of a new group; operator). */
  | { kind: 'campaign'; nowMs: number }
  /** Leave leadership without a successor in mind (stalled disk, DECISIONS W11). */
  | { kind: 'resign'; nowMs: number }
  /** Leader only: propose this membership (simple change of one voter, of learners, or a joint one). Refused unless the own-term entry is committed and no change is pending. */
  | { kind: 'changeMembership'; nowMs: number; membership: Membership; payload: Uint8Array }
  /** The catch-up of a replica ended at checkpoint `index`, or failed (index undefined). */
  | { kind: 'snapshotSent'; nowMs: number; replica: ReplicaId; index: LogIndex | undefined }
  /** This replica installed a checkpoint from its leader: the log starts behind it. */
  | { kind: 'snapshotInstalled'; nowMs: number; index: LogIndex; term: Term; membership: Membership }
  /** Entries below firstIndex can no longer be read from the WAL. */
  | { kind: 'compacted'; firstIndex: LogIndex; }
  /** Damage was found or repaired (DECISIONS W6). `barred` replicas neither vote, pre-vote, campaign nor lead. */
  | { kind: 'barred'; nowMs: number; barred: boolean };

// ---------------------------------------------------------------- effects

export interface Effects {
  /** Write first, in this order, one flush for all of it; then report `persisted`. */
  readonly hardState: HardState | undefined;
  readonly truncateFrom: LogIndex | undefined;
  readonly append: readonly Entry[];
  /** May leave at any time. */
  readonly send: readonly OutboundMessage[];
  /** Votes and acknowledgements: only once everything above is flushed (asserted by the driver). The core emits them again from `persisted` or lists them here; see raft-core.ts. */
  readonly sendAfterPersist: readonly OutboundMessage[];
  /** Entries up to here are committed; monotone. */
  readonly commitIndex: LogIndex;
  /** role, leader or term changed in this step. */
  readonly leadershipChanged: boolean;
  /** Membership in force changed (configurations act from append on). */
  readonly membershipChanged: boolean;
  /** Replicas whose next entry was compacted away: start a catch-up. */
  readonly needSnapshot: readonly ReplicaId[];
  /** Reads whose index is confirmed: answer once `index` is applied; undefined: not leader any more. */
  readonly reads: readonly { requestId: number; index: LogIndex | undefined }[];
  /** Index given to each proposed entry, in order; empty if the proposal was refused (not leader, transfer running). */
  readonly proposed: { readonly firstIndex: LogIndex; readonly term: Term; readonly count: number } | undefined;
  /** A refused event, with the reason for the log and the caller. */
  readonly refusal: string | undefined;
  /** When this core wants `time` next (driver milliseconds); Infinity when idle. */
  readonly deadlineMs: number;
}

export type Role = 'follower' | 'preCandidate' | 'candidate' | 'leader';
