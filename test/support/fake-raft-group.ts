/**
 * A Raft group of one replica without Raft: tests decide when a proposal is applied, and how it ends.
 */
import type { Membership, Role } from '../../src/raft/core/types.ts';
import type { ProposalOutcome, RaftGroup } from '../../src/raft/raft-group.ts';
import type { StateMachine } from '../../src/raft/state-machine.ts';
import {
  type BrokerId,
  brokerId,
  groupId,
  type LogIndex,
  logIndex,
  replicaId,
  type Term,
  term,
} from '../../src/std/brands.ts';

export interface FakeProposal {
  readonly payload: Uint8Array;
  readonly options: Parameters<RaftGroup['propose']>[2];
  readonly done: (outcome: ProposalOutcome) => void;
}

export class FakeRaftGroup implements RaftGroup {
  readonly groupId = groupId(5);
  readonly replicaId = replicaId(7);
  readonly stateMachine: StateMachine;
  role: Role = 'leader';
  currentTerm: Term = term(1);
  leader: BrokerId | undefined = brokerId(1);
  isReady = true;
  inSyncBrokers: readonly BrokerId[] = [brokerId(1), brokerId(2), brokerId(3)];
  membership: Membership = {
    voters: [1, 2, 3].map((id) => ({ replicaId: replicaId(id + 6), brokerId: brokerId(id), storeId: '00' })),
    votersOutgoing: [],
    learners: [],
  };
  commitIndexAtStart = logIndex(0);
  uncommittedBytes = 0;
  hasRoom = true;
  readonly #awaitingRoom: (() => void)[] = [];
  /** Proposals that wait for the test. */
  readonly proposals: FakeProposal[] = [];
  #appliedIndex = 0;

  constructor(stateMachine: StateMachine) {
    this.stateMachine = stateMachine;
  }

  get commitIndex(): LogIndex {
    return logIndex(this.#appliedIndex);
  }

  get appliedIndex(): LogIndex {
    return logIndex(this.#appliedIndex);
  }

  get lastIndex(): LogIndex {
    return logIndex(this.#appliedIndex + this.proposals.length);
  }

  propose(
    payload: readonly Uint8Array[],
    done: (outcome: ProposalOutcome) => void,
    options?: FakeProposal['options'],
  ): void {
    this.proposals.push({ payload: Buffer.concat(payload), options, done });
  }

  hasRoomFor(): boolean {
    return this.hasRoom;
  }

  whenRoom(callback: () => void): void {
    this.#awaitingRoom.push(callback);
  }

  makeRoom(): void {
    this.hasRoom = true;
    for (const wake of this.#awaitingRoom.splice(0)) wake();
  }

  /** Applies the oldest `count` proposals. */
  commit(count = this.proposals.length): void {
    for (const { payload, done } of this.proposals.splice(0, count)) {
      const index = logIndex(++this.#appliedIndex);
      const result = this.stateMachine.apply({ index, term: this.currentTerm, payload });
      done({ kind: 'applied', index, term: this.currentTerm, result });
    }
  }

  end(outcome: ProposalOutcome): void {
    for (const { done } of this.proposals.splice(0)) done(outcome);
  }

  become(role: Role, isReady: boolean): void {
    this.role = role;
    this.isReady = isReady;
    this.stateMachine.leadershipChanged?.();
  }

  readBarrier(done: (confirmed: boolean) => void): void {
    done(this.isReady);
  }

  async transferLeadership(): Promise<boolean> {
    return false;
  }

  campaign(): void {}

  async changeVoters(): Promise<boolean> {
    return false;
  }
}
