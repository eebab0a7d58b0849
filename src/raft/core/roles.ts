/** What each role knows, and only it: a follower has no progress of others, a leader has no election deadline. Transitions are in replica.ts, election.ts and leader.ts. */
import type { LogIndex, ReplicaId } from '../../std/brands.ts';
import type { Progress } from './progress.ts';

export interface FollowerState {
  readonly kind: 'follower';
  /** Leader of this term as far as known, 0 if none: then this replica sticks to nobody. */
  leaderId: ReplicaId | 0;
  /** The driver answers for the leader's life (DECISIONS L1): no election deadline. */
  held: boolean;
  /** Counts unless held. */
  deadlineMs: number;
  /** How far a sign of the leader puts the deadline off. */
  readonly timeoutMs: number;
  /** The log equals this leader's up to here. */
  verifiedIndex: LogIndex;
  /** The leader waits for an acknowledgement of what is verified. */
  ackOwed: boolean;
  /** Highest index acknowledged to this leader. */
  ackedIndex: LogIndex;
}

export interface CandidateState {
  readonly kind: 'preCandidate' | 'candidate';
  /** Asked by the leader to take over: others shall not stick to it. */
  readonly transfer: boolean;
  readonly votes: Map<ReplicaId, boolean>;
  readonly deadlineMs: number;
  /** Candidate: its own vote is in this write, nobody is asked and nothing is counted before it is flushed (bug R2). 0 once that happened. */
  voteWrite: number;
}

export interface PendingRead {
  readonly requestId: number;
  readonly index: LogIndex;
  readonly round: number;
}

export interface LeaderState {
  readonly kind: 'leader';
  /** Everybody else in the membership. */
  readonly progress: Map<ReplicaId, Progress>;
  /** The no-op of this term: what lies before is committed with it, never alone (Raft paper, section 5.4.2). */
  readonly ownTermIndex: LogIndex;
  /** Leadership is going there, 0 if nowhere. */
  transferee: ReplicaId | 0;
  transferDeadlineMs: number;
  timeoutNowSent: boolean;
  /** Oldest first; their rounds never decrease. */
  reads: PendingRead[];
}

export type RoleState = FollowerState | CandidateState | LeaderState;
