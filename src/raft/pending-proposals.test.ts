import { describe, expect, it } from 'vitest';
import type { LogIndex, Term } from '../std/brands.ts';
import { PendingProposals, type Proposal } from './pending-proposals.ts';
import type { ProposalOutcome } from './raft-group.ts';

const index = (value: number) => value as LogIndex;
const term = (value: number) => value as Term;

function setUp() {
  let released = 0;
  const pending = new PendingProposals((bytes) => {
    released += bytes;
  });
  const outcomes: [string, ProposalOutcome['kind']][] = [];
  const proposal = (name: string, requiredFlushes = 0): Proposal => ({
    payload: [],
    bytes: 10,
    done: (outcome) => outcomes.push([name, outcome.kind]),
    requiredFlushes,
    proposedMs: 0,
  });
  const log = (names: readonly string[], firstIndex: number, requiredFlushes = 0): void => {
    for (const name of names) pending.queue(proposal(name, requiredFlushes));
    pending.logged(pending.takeQueued(), index(firstIndex), term(1));
  };
  return { pending, outcomes, proposal, log, released: () => released };
}

describe('PendingProposals', () => {
  it('ends each proposal once, in order, as its entry is applied', () => {
    const { pending, outcomes, log, released } = setUp();
    log(['a', 'b'], 5);
    expect(pending.bytes).toBe(20);
    pending.applied(index(4), term(1), undefined, () => true);
    pending.applied(index(5), term(1), undefined, () => true);
    pending.applied(index(6), term(1), undefined, () => true);
    expect(outcomes).toEqual([
      ['a', 'applied'],
      ['b', 'applied'],
    ]);
    expect([pending.bytes, released()]).toEqual([0, 20]);
  });

  it('holds back what must be flushed by more voters until they did', () => {
    const { pending, outcomes, log } = setUp();
    log(['a', 'b'], 1, 3);
    for (const at of [1, 2]) pending.applied(index(at), term(1), undefined, () => false);
    expect(outcomes).toEqual([]);
    expect(pending.bytes).toBe(20);
    pending.flushesAdvanced(3, (required, at) => required === 3 && at <= 1);
    expect(outcomes).toEqual([['a', 'applied']]);
    pending.flushesAdvanced(3, () => true);
    expect(outcomes).toEqual([
      ['a', 'applied'],
      ['b', 'applied'],
    ]);
  });

  it('gives up on flushes of more voters than the group has left', () => {
    const { pending, outcomes, log, released } = setUp();
    log(['a', 'b'], 1, 3);
    for (const at of [1, 2]) pending.applied(index(at), term(1), undefined, () => false);
    pending.flushesAdvanced(2, (required, at) => required === 2 && at <= 2);
    expect(outcomes).toEqual([
      ['a', 'unknown'],
      ['b', 'unknown'],
    ]);
    expect(pending.bytes).toBe(0);
    expect(released()).toBe(20);
  });

  it('says unknown for what is in the log and refused for what never was, when leadership is lost', () => {
    const { pending, outcomes, proposal, log, released } = setUp();
    log(['applied'], 1, 3);
    pending.applied(index(1), term(1), undefined, () => false);
    log(['logged'], 2);
    pending.queue(proposal('queued'));
    expect(pending.abandon()).toBe(2);
    expect(outcomes).toEqual([
      ['applied', 'unknown'],
      ['logged', 'unknown'],
      ['queued', 'refused'],
    ]);
    expect([pending.bytes, released()]).toEqual([0, 30]);
  });

  it('stops rather than answer a proposal from an entry of another term', () => {
    const { pending, log } = setUp();
    log(['a'], 1);
    expect(() => pending.applied(index(1), term(2), undefined, () => true)).toThrow(/term/);
  });
});
