/**
 * The vocabulary of the Raft core: what goes in (events), what comes out (effects), what travels between replicas (messages).
 *
 * The core is one replica's state machine: `step(event) → effects`, synchronous, without timer, socket, promise, disk or payload. It keeps the terms of
 * its log, never bytes: effects name ranges, the driver fetches them. Same events, same effects, always.
 *
 * Peers are {@link ReplicaId}s, not brokers: an id names one placement on one store and is never reused, so a wiped broker can't speak for its past (DECISIONS I1, I3).
 */
import type { BrokerId, LogIndex, ReplicaId, Term } from '../../std/brands.ts';
import type { Entry, EntryKind, HardState, TermRun } from '../../wal/replica-storage.ts';

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
  /** Receive entries, never vote and never count. One that is also outgoing votes until the joint configuration is left (demotion). */
  readonly learners: readonly Member[];
}

/** A membership and the index of the entry (or checkpoint, or 0 for the initial one) that holds it. */
export interface Configuration {
  readonly index: LogIndex;
  readonly membership: Membership;
}

/** Payload of a proposal, without index and term: the core gives those. */
export interface ProposedEntry {
  readonly kind: EntryKind;
  readonly payload: readonly Uint8Array[];
}

// ---------------------------------------------------------------- options

export interface RaftCoreOptions {
  readonly replicaId: ReplicaId;
  /** As flushed. */
  readonly hardState: HardState;
  /** Entries up to here are in the checkpoint; 0 and 0 if there is none. The log starts behind it. */
  readonly checkpointIndex: LogIndex;
  readonly checkpointTerm: Term;
  /** Last flushed entry, `checkpointIndex` if there are none behind it. */
  readonly lastIndex: LogIndex;
  /** Terms of the entries checkpointIndex + 1 … lastIndex. */
  readonly termRuns: readonly TermRun[];
  /** Configuration of the checkpoint (or the initial one) first, then every one in the log, ascending. The last one is in force. */
  readonly configurations: readonly Configuration[];
  /** Known committed: the checkpoint's index or a higher commit hint, at most lastIndex. */
  readonly commitIndex: LogIndex;
  /** Applied so far; at least checkpointIndex. */
  readonly appliedIndex: LogIndex;
  /** See the event of that name. */
  readonly barred?: boolean;
  readonly nowMs: number;
  /** Uniform in [0, 1), from the broker's seeded generator. */
  readonly random: () => number;
  /** Makes the entry with its checksum (DECISIONS W8). Pure. The payload is shared, never copied. */
  readonly sealEntry: (index: LogIndex, term: Term, kind: EntryKind, payload: readonly Uint8Array[]) => Entry;
  /** Payload of configuration entries (raft/membership-codec.ts). `decode` throws on bytes it does not understand: that stops the replica (DECISIONS I4). */
  readonly membershipCodec: {
    readonly encode: (membership: Membership) => Uint8Array;
    readonly decode: (payload: readonly Uint8Array[]) => Membership;
  };
  /** A replica without leader starts a pre-vote after 1 … 2 times this. */
  readonly electionTimeoutMs: number;
  /** Limits and pauses of replication; the defaults are in options.ts. */
  readonly limits?: Partial<ReplicationLimits>;
}

export interface ReplicationLimits {
  /** appendRange messages that may wait for an acknowledgement, per peer. The driver limits bytes. */
  readonly appendsInFlightMax: number;
  /** Entries in one appendRange. The driver splits a range that has too many bytes for one message. */
  readonly appendEntriesMax: number;
  /** Entries in a probe: its prevIndex may be rejected, then they were sent in vain. */
  readonly probeEntriesMax: number;
  /** A peer that answered nothing for this long although something is in flight is probed again. */
  readonly appendRetryMs: number;
  /** Pause after a rejection for lack of memory (DECISIONS L3) lasts 1 … 2 times this. */
  readonly overloadPauseMs: number;
  /** Pause after a failed catch-up before it is asked for again. */
  readonly snapshotRetryMs: number;
}

// ---------------------------------------------------------------- messages

interface MessageBase {
  readonly from: ReplicaId;
  readonly to: ReplicaId;
  /** The sender's currentTerm; of a pre-vote (request, and its grant): the term it would campaign in. */
  readonly term: Term;
}

export type RaftMessage =
  | (MessageBase & {
      readonly kind: 'preVote' | 'requestVote';
      readonly lastIndex: LogIndex;
      readonly lastTerm: Term;
      /** Leadership transfer: overrides leader stickiness. */
      readonly transfer: boolean;
    })
  | (MessageBase & { readonly kind: 'preVoteResponse' | 'requestVoteResponse'; readonly granted: boolean })
  | (MessageBase & {
      readonly kind: 'appendEntries';
      readonly prevIndex: LogIndex;
      readonly prevTerm: Term;
      /** Entries prevIndex + 1 … ; may be empty (probe, or news of the commit index). */
      readonly entries: readonly Entry[];
      readonly commitIndex: LogIndex;
      /** The leader waits for an answer even if there are no entries. Without entries and probe an accepted message is not answered. */
      readonly probe: boolean;
    })
  | (MessageBase & {
      readonly kind: 'appendEntriesResponse';
      /** Accepted: everything up to matchIndex is flushed here and equals the leader's log. */
      readonly accepted: boolean;
      readonly matchIndex: LogIndex;
      /** Rejected: the prevIndex that did not match, and where the leader shall try next (largest index here with a term ≤ prevTerm). */
      readonly rejectedIndex: LogIndex;
      readonly hintIndex: LogIndex;
      readonly hintTerm: Term;
      /** Rejected because the receiver is over its budget (DECISIONS L3), not because of the log: the leader pauses, then probes. */
      readonly overloaded: boolean;
    })
  | (MessageBase & { readonly kind: 'timeoutNow' });

export type AppendEntries = Extract<RaftMessage, { kind: 'appendEntries' }>;
export type AppendEntriesResponse = Extract<RaftMessage, { kind: 'appendEntriesResponse' }>;
export type VoteRequest = Extract<RaftMessage, { kind: 'preVote' | 'requestVote' }>;
export type VoteResponse = Extract<RaftMessage, { kind: 'preVoteResponse' | 'requestVoteResponse' }>;

/**
 * An AppendEntries that the driver completes: it fetches the entries (WAL or cache) and sends them; if that takes time it drops the message when the core's
 * term or role changed meanwhile. It may split a range into several consecutive messages (prevTerm of the later ones = term of the entry before), but
 * ranges to one peer must leave in the order given, and a range that can't be read must be answered with `peerReset`, or the peer waits for
 * `appendRetryMs`.
 */
export interface AppendRange extends MessageBase {
  readonly kind: 'appendRange';
  readonly prevIndex: LogIndex;
  readonly prevTerm: Term;
  /** Send entries prevIndex + 1 … lastIndex (none if equal to prevIndex). */
  readonly lastIndex: LogIndex;
  readonly commitIndex: LogIndex;
  readonly probe: boolean;
}

/** Everything but AppendRange is ready to go as it is. */
export type OutboundMessage = Exclude<RaftMessage, AppendEntries> | AppendRange;

// ---------------------------------------------------------------- events

export type RaftEvent =
  /** Driver time passed the deadline of the last effects. Early or late is harmless. */
  | { readonly kind: 'time'; readonly nowMs: number }
  /** A message of a peer, its entries verified (checksum, DECISIONS W8). Duplicates and reordering are harmless. */
  | { readonly kind: 'message'; readonly nowMs: number; readonly message: RaftMessage }
  /** The driver threw an appendEntries of `from` away because of its budget (DECISIONS L3): the core answers it as `overloaded`. */
  | { readonly kind: 'appendRefused'; readonly nowMs: number; readonly from: ReplicaId; readonly term: Term }
  | { readonly kind: 'propose'; readonly nowMs: number; readonly entries: readonly ProposedEntry[] }
  /**
   * A flush ended that covers the writes of all effects up to and including the one with this `write` number. Numbers, not (index, term): a completion can't be
   * mistaken for that of an entry that replaced another and was replaced again (bug R7, the ABA case). May skip numbers, never runs ahead of a flush.
   */
  | { readonly kind: 'persisted'; readonly nowMs: number; readonly write: number }
  /** The state machine applied up to index. */
  | { readonly kind: 'applied'; readonly index: LogIndex }
  /**
   * A live peer's announcement names `leader` as leader of this group in `term` (DECISIONS L1). Held from then on: no election deadline, no vote for others
   * until `leaderLost`. Ignored (and answered with our term, if higher) when the term is over.
   */
  | { readonly kind: 'leaderAnnounced'; readonly nowMs: number; readonly leader: ReplicaId; readonly term: Term }
  /** The leader's broker is dead, silent, or no longer names this group: stickiness ends and an election starts after `delayMs` (rank, DECISIONS L4). */
  | { readonly kind: 'leaderLost'; readonly nowMs: number; readonly delayMs: number }
  /** Leader only: which replicas' brokers live and follow this group now; without a quorum of them the leader steps down (CheckQuorum). Sent when that set shrinks. */
  | { readonly kind: 'quorumCheck'; readonly nowMs: number; readonly active: ReadonlySet<ReplicaId> }
  /** The link to a replica's broker was re-established, or the replica says that it follows after an exception: what was in flight is lost, probe. */
  | { readonly kind: 'peerReset'; readonly nowMs: number; readonly replica: ReplicaId }
  /** Leader only: wants to read at a confirmed index (ReadIndex, thesis 6.4). `round` is the driver's next confirmation round for this group, not started before this event. */
  | { readonly kind: 'read'; readonly nowMs: number; readonly requestId: number; readonly round: number }
  /** A replica confirmed in `round` (or later) that it follows this leader in this term (`term`: ignored unless it is the current one). */
  | {
      readonly kind: 'readConfirmed';
      readonly nowMs: number;
      readonly replica: ReplicaId;
      readonly term: Term;
      readonly round: number;
    }
  | { readonly kind: 'transferLeadership'; readonly nowMs: number; readonly target: ReplicaId }
  /** Start an election now, pre-vote first (first leader of a new group; operator). A pre-candidate asks again; nothing happens if this replica leads, is a candidate or was announced a leader. */
  | { readonly kind: 'campaign'; readonly nowMs: number }
  /** Leave leadership without a successor in mind (stalled disk, DECISIONS W11). */
  | { readonly kind: 'resign'; readonly nowMs: number }
  /**
   * Leader only: propose this membership (one voter more or less, any learners; or a joint one, which is left by the core itself once committed).
   * Refused unless the own-term entry is committed and no change is pending. Accepted: `proposed` names its index.
   */
  | { readonly kind: 'changeMembership'; readonly nowMs: number; readonly membership: Membership }
  /** The catch-up of a replica ended at checkpoint `index`, or failed (index undefined). */
  | {
      readonly kind: 'snapshotSent';
      readonly nowMs: number;
      readonly replica: ReplicaId;
      readonly index: LogIndex | undefined;
    }
  /** This replica installed and flushed a checkpoint from its leader: its log is empty and starts behind it. Never for an index inside the log that matches. */
  | {
      readonly kind: 'snapshotInstalled';
      readonly nowMs: number;
      readonly index: LogIndex;
      readonly term: Term;
      readonly membership: Membership;
    }
  /** Entries below firstIndex can no longer be read from the WAL. */
  | { readonly kind: 'compacted'; readonly firstIndex: LogIndex }
  /**
   * Entries were lost to damage, or are repaired (DECISIONS W6). A barred replica takes entries but neither votes, pre-votes, campaigns nor leads. Where damage
   * may have hidden a term or vote, being barred is not enough: such a replica must not acknowledge either, it rejoins as a learner under a new id.
   */
  | { readonly kind: 'barred'; readonly nowMs: number; readonly barred: boolean };

// ---------------------------------------------------------------- effects

export interface Effects {
  /** Write first, in this order, one flush for all of it; then report `persisted` with `write`. */
  readonly hardState: HardState | undefined;
  readonly truncateFrom: LogIndex | undefined;
  readonly append: readonly Entry[];
  /** Number of this step's writes, ascending; 0 if there is nothing to write. */
  readonly write: number;
  /**
   * May leave at once, all of them. What must wait for a flush (votes, acknowledgements, also rejections, and the request for votes, which counts the own
   * one) is kept by the core and comes out here in the step `persisted`; it is forgotten if the term changed meanwhile.
   */
  readonly send: readonly OutboundMessage[];
  /** Entries up to here are committed; monotone. For the commit hint of the WAL. */
  readonly commitIndex: LogIndex;
  /** Apply up to here: committed, and flushed by this replica itself (DECISIONS W7); monotone. */
  readonly applyIndex: LogIndex;
  /** role, leader, term or isReady changed in this step. */
  readonly leadershipChanged: boolean;
  /** Membership in force changed (configurations act from append on). */
  readonly membershipChanged: boolean;
  /** Replicas whose next entry was compacted away: start a catch-up, answer with `snapshotSent`. */
  readonly needSnapshot: readonly ReplicaId[];
  /** Reads whose index is confirmed: answer once `index` is applied; undefined: not leader any more. */
  readonly reads: readonly ConfirmedRead[];
  /** Index of the first of the proposed entries, they follow each other; undefined if the proposal was refused. */
  readonly proposed: { readonly firstIndex: LogIndex; readonly term: Term; readonly count: number } | undefined;
  /** Why the event was refused, for the log and the caller. */
  readonly refusal: string | undefined;
  /** When this core wants `time` next (driver milliseconds); Infinity when idle. */
  readonly deadlineMs: number;
}

export interface ConfirmedRead {
  readonly requestId: number;
  readonly index: LogIndex | undefined;
}

export type Role = 'follower' | 'preCandidate' | 'candidate' | 'leader';

/** What a leader knows of one replica: for metrics, in-sync replicas and catch-up of learners. */
export interface ReplicaProgress {
  readonly replicaId: ReplicaId;
  readonly voter: boolean;
  readonly state: 'probe' | 'replicate' | 'snapshot';
  readonly matchIndex: LogIndex;
  readonly nextIndex: LogIndex;
  readonly appendsInFlight: number;
  /** Latest time at which the replica had everything the leader had then; `nowMs` of the last step if it still has. -Infinity: never in this term. */
  readonly caughtUpMs: number;
}
