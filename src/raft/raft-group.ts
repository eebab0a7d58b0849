/**
 * What the broker sees of one replica of one group, and of all of them. Implemented by the driver (raft-driver.ts), which runs the pure cores of all groups of
 * this broker on the WAL and the transport.
 */
import type { BrokerId, GroupId, LogIndex, ReplicaId, Term } from '../std/brands.ts';
import type { Membership, Role } from './core/types.ts';
import type { StateMachine } from './state-machine.ts';

/** How a proposal ends; exactly once (DECISIONS P6). */
export type ProposalOutcome =
  /** Applied at its (index, term); `result` is what {@link StateMachine.apply} returned. */
  | { kind: 'applied'; index: LogIndex; term: Term; result: unknown }
  /** Never entered the log: not leader, not ready, over the limit of uncommitted bytes, or larger than an entry can ever be. Nothing was written. */
  | { kind: 'refused'; reason: 'notLeader' | 'notReady' | 'overloaded' | 'tooLarge' | 'diskFull' }
  /** Overwritten or stepped down: may or may not be in the log of the next leader. */
  | { kind: 'unknown' };

export interface RaftGroup {
  readonly groupId: GroupId;
  readonly replicaId: ReplicaId;
  readonly role: Role;
  readonly currentTerm: Term;
  readonly leader: BrokerId | undefined;
  /** Leader whose own-term entry is committed and applied: only then may it decide anything (DECISIONS L6). */
  readonly isReady: boolean;
  readonly membership: Membership;
  readonly commitIndex: LogIndex;
  readonly appliedIndex: LogIndex;
  readonly lastIndex: LogIndex;
  /** What this store knew committed when it started, 0 for a replica made since. More than {@link appliedIndex} where damage took some of it: this store may have acted on what it does not know now. */
  readonly commitIndexAtStart: LogIndex;
  /** Leader only: brokers of voters with a live session that are no more than replica.lag.time.max.ms behind, itself included (DECISIONS L7). */
  readonly inSyncBrokers: readonly BrokerId[];
  readonly uncommittedBytes: number;
  readonly stateMachine: StateMachine;

  /**
   * Proposes one command, given in pieces that must never change again. Synchronous up to the WAL's buffer: commands are logged in call order. `done` is called exactly once, never before
   * propose returns. `requiredFlushes` > majority delays `applied` until so many voters flushed it (min.insync.replicas, DECISIONS L7).
   * `isRefusedOnFullDisk`: for what clients write. Everything else goes on below the first mark, as only that makes room again (DECISIONS W10).
   */
  propose(
    payload: readonly Uint8Array[],
    done: (outcome: ProposalOutcome) => void,
    options?: { requiredFlushes?: number; isRefusedOnFullDisk?: boolean },
  ): void;
  /** Whether a proposal of so many bytes would be taken now and not be refused as `overloaded`. */
  hasRoomFor(bytes: number): boolean;
  /** Calls back once, when there may be room again after {@link hasRoomFor} said no; who waits longer is called earlier. */
  whenRoom(callback: () => void): void;
  /** Linearizable read: calls back with true once everything committed before the call is applied here and leadership was confirmed by a quorum afterwards (ReadIndex, DECISIONS L5). */
  readBarrier(done: (confirmed: boolean) => void): void;
  /** Resolves when the transfer took effect or failed. Without target: the most caught-up live voter, preferred brokers first. */
  transferLeadership(target?: BrokerId): Promise<boolean>;
  /** Starts an election now; used by the preferred replica of a new group. Called again before it has a majority of pre-votes, it asks again; a candidate or leader is left alone. */
  campaign(): void;
  /**
   * Leader only: moves the group to `target` voters: learners, catch-up, joint configuration, final (DECISIONS C3). `learners` are who stays a learner in the final configuration (brokers that only
   * follow the metadata group); default none. With `target` equal to the voters in force only the learners change, in one simple step that does not wait for their catch-up. Resolves true once the
   * final configuration is committed (at once if it is in force already), false when leadership was lost, another change is pending or it was refused: the caller tries again.
   */
  changeVoters(target: Membership['voters'], learners?: Membership['learners']): Promise<boolean>;
}

/** Who leads a group, as its leader announced it to this broker (DECISIONS C2); the highest term wins. */
export interface LeaderAnnouncement {
  readonly groupId: GroupId;
  readonly leader: BrokerId;
  readonly term: Term;
  readonly ready: boolean;
  readonly inSync: readonly BrokerId[];
}

export interface CreateGroup {
  readonly groupId: GroupId;
  readonly replicaId: ReplicaId;
  readonly membership: Membership;
  /** Given back to the state-machine factory on restart: what the state machine is (topic id, partition …), opaque to the driver. */
  readonly descriptor: Uint8Array;
}

/** All groups of one broker. */
export interface RaftGroups {
  get(groupId: GroupId): RaftGroup | undefined;
  all(): Iterable<RaftGroup>;
  /** Creates a replica (durable before it takes part). A replica id that exists already is returned as it is. */
  create(group: CreateGroup): RaftGroup;
  /** Deletes a replica and its data; only on a committed tombstone. Resolves when frames and files are gone durably. */
  remove(groupId: GroupId, replicaId: ReplicaId): Promise<void>;
  /** Latest announcement; undefined if none was heard, or if the leader's broker died, or its link is down, since. */
  leaderOf(groupId: GroupId): LeaderAnnouncement | undefined;
  /** Called after announcements changed (batched per loop turn). */
  onLeadersChanged(listener: (groups: readonly GroupId[]) => void): void;
  isBrokerLive(broker: BrokerId): boolean;
  onBrokerLivenessChanged(listener: (broker: BrokerId, live: boolean) => void): void;

  /** Request to another broker over the control channel; rejects on time-out or when the link goes down. Handlers answer; errors travel as error text. */
  request(to: BrokerId, service: string, payload: Uint8Array, timeoutMs: number): Promise<Uint8Array>;
  serve(service: string, handler: (from: BrokerId, payload: Uint8Array) => Promise<Uint8Array>): void;

  /** Resigns all leaderships to live voters; for a graceful stop. Resolves when done or after timeoutMs. */
  transferAll(timeoutMs: number): Promise<void>;
}
