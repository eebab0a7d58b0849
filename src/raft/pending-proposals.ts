/**
 * The proposals of one replica on their way from `propose` to their one outcome (DECISIONS P6): queued → in the log → applied, or unknown, or refused.
 *
 * Order is the whole structure: proposals are queued, logged and applied in the order of the calls, so each stage is a queue.
 */
import { assert } from '../std/assert.ts';
import type { LogIndex, Term } from '../std/brands.ts';
import { Fifo } from './fifo.ts';
import type { ProposalOutcome } from './raft-group.ts';

export interface Proposal {
  readonly payload: readonly Uint8Array[];
  readonly bytes: number;
  readonly done: (outcome: ProposalOutcome) => void;
  /** Voters that must have flushed it; 0: the majority that commits it is enough. */
  readonly requiredFlushes: number;
  readonly proposedMs: number;
}

interface Logged {
  readonly proposal: Proposal;
  readonly index: LogIndex;
  readonly term: Term;
}

interface AwaitingFlushes {
  readonly logged: Logged;
  readonly result: unknown;
}

export class PendingProposals {
  readonly #queued = new Fifo<Proposal>();
  readonly #logged = new Fifo<Logged>();
  readonly #awaitingFlushes = new Fifo<AwaitingFlushes>();
  /** Of everything without an outcome. */
  #bytes = 0;
  readonly #released: (bytes: number) => void;

  /** `released` is told the bytes of each proposal that leaves. */
  constructor(released: (bytes: number) => void) {
    this.#released = released;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get hasQueued(): boolean {
    return this.#queued.size > 0;
  }

  get isAwaitingFlushes(): boolean {
    return this.#awaitingFlushes.size > 0;
  }

  queue(proposal: Proposal): void {
    this.#bytes += proposal.bytes;
    this.#queued.push(proposal);
  }

  /** Takes everything queued, to be logged or refused. */
  takeQueued(): Proposal[] {
    return this.#queued.takeAll();
  }

  /** They are in the log from `firstIndex` on. */
  logged(proposals: readonly Proposal[], firstIndex: LogIndex, term: Term): void {
    let index = firstIndex as number;
    for (const proposal of proposals) this.#logged.push({ proposal, index: index++ as LogIndex, term });
  }

  /** They never entered the log. */
  refuse(proposals: readonly Proposal[], reason: Extract<ProposalOutcome, { kind: 'refused' }>['reason']): void {
    for (const proposal of proposals) {
      this.#release(proposal);
      proposal.done({ kind: 'refused', reason });
    }
  }

  /** The entry at (index, term) was applied with `result`. Gives the proposal it was, if it is one of ours. `isFlushedBy`: did so many voters flush it? */
  applied(
    index: LogIndex,
    term: Term,
    result: unknown,
    isFlushedBy: (required: number) => boolean,
  ): Proposal | undefined {
    const first = this.#logged.peek();
    if (first === undefined || first.index > index) return undefined;
    assert(first.index === index && first.term === term, 'Proposals must be applied in their order, in their term');
    this.#logged.shift();
    if (first.proposal.requiredFlushes > 0 && !isFlushedBy(first.proposal.requiredFlushes)) {
      this.#awaitingFlushes.push({ logged: first, result });
      return undefined;
    }
    this.#release(first.proposal);
    first.proposal.done({ kind: 'applied', index, term, result });
    return first.proposal;
  }

  /**
   * More voters flushed, or there are others now; `isFlushedBy`: did so many flush everything up to index? What waits for more voters than the group still has ends unknown: it is committed, but will never be
   * what was asked for, and would count against the group's limit for good.
   */
  flushesAdvanced(voters: number, isFlushedBy: (required: number, index: LogIndex) => boolean): void {
    for (let first = this.#awaitingFlushes.peek(); first !== undefined; first = this.#awaitingFlushes.peek()) {
      const { logged, result } = first;
      const isPossible = logged.proposal.requiredFlushes <= voters;
      if (isPossible && !isFlushedBy(logged.proposal.requiredFlushes, logged.index)) return;
      this.#awaitingFlushes.shift();
      this.#release(logged.proposal);
      if (!isPossible) logged.proposal.done({ kind: 'unknown' });
      else logged.proposal.done({ kind: 'applied', index: logged.index, term: logged.term, result });
    }
  }

  /** Leadership is lost: what is logged may or may not survive; what was only queued was never written. Gives how many ended unknown. */
  abandon(): number {
    const waiting = this.#awaitingFlushes.takeAll();
    const logged = this.#logged.takeAll();
    const queued = this.#queued.takeAll();
    for (const { logged: done } of waiting) this.#release(done.proposal);
    for (const { proposal } of logged) this.#release(proposal);
    // Oldest first, as their proposers expect.
    for (const { logged: done } of waiting) done.proposal.done({ kind: 'unknown' });
    for (const { proposal } of logged) proposal.done({ kind: 'unknown' });
    this.refuse(queued, 'notLeader');
    return waiting.length + logged.length;
  }

  #release(proposal: Proposal): void {
    this.#bytes -= proposal.bytes;
    this.#released(proposal.bytes);
  }
}
