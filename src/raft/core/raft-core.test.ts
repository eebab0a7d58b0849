import { expect, test } from 'vitest';
import { brokerId, logIndex, replicaId, term } from '../../std/brands.ts';
import { ENTRY_KIND, type Entry } from '../../wal/replica-storage.ts';
import { membershipCodec } from '../membership-codec.ts';
import { RaftCore } from './raft-core.ts';
import type { AppendEntries, Membership, RaftCoreOptions, RaftEvent } from './types.ts';

const MEMBERSHIP: Membership = {
  voters: [1, 2, 3].map((id) => ({ replicaId: replicaId(id), brokerId: brokerId(id), storeId: '' })),
  votersOutgoing: [],
  learners: [],
};

function start(options: Partial<RaftCoreOptions> = {}): RaftCore {
  return new RaftCore({
    replicaId: replicaId(1),
    hardState: { currentTerm: term(2), votedFor: 0 },
    checkpointIndex: logIndex(0),
    checkpointTerm: term(0),
    lastIndex: logIndex(3),
    termRuns: [{ firstIndex: logIndex(1), term: term(2) }],
    configurations: [{ index: logIndex(0), membership: MEMBERSHIP }],
    commitIndex: logIndex(2),
    appliedIndex: logIndex(0),
    nowMs: 0,
    random: () => 0,
    sealEntry: (index, entryTerm, kind, payload) => ({ index, term: entryTerm, kind, payload, checksum: 0 }),
    membershipCodec,
    electionTimeoutMs: 100,
    ...options,
  });
}

const entry = (index: number, entryTerm: number): Entry => ({
  index: logIndex(index),
  term: term(entryTerm),
  kind: ENTRY_KIND.command,
  payload: [],
  checksum: 0,
});

function append(prev: [number, number], entries: Entry[], overrides: Partial<AppendEntries> = {}): RaftEvent {
  return {
    kind: 'message',
    nowMs: 0,
    message: {
      kind: 'appendEntries',
      from: replicaId(2),
      to: replicaId(1),
      term: term(3),
      prevIndex: logIndex(prev[0]),
      prevTerm: term(prev[1]),
      entries,
      commitIndex: logIndex(0),
      probe: true,
      ...overrides,
    },
  };
}

test('an entry that contradicts a committed one stops the replica (bug R9)', () => {
  expect(() => start().step(append([1, 2], [entry(2, 3)]))).toThrow(/committed entry must never be truncated/);
  expect(() => start().step(append([2, 1], []))).toThrow(/committed entry cannot differ/);
});

test('a hole, a falling term and a term of the future stop the replica (bug R14)', () => {
  expect(() => start().step(append([3, 2], [entry(5, 3)]))).toThrow(/follow each other/);
  expect(() => start().step(append([3, 2], [entry(4, 3), entry(5, 2)]))).toThrow(/never decrease/);
  expect(() => start().step(append([3, 2], [entry(4, 4)]))).toThrow(/never decrease/);
});

test('two leaders of one term stop the replica', () => {
  const core = start();
  core.step(append([3, 2], []));
  expect(() => core.step(append([3, 2], [], { from: replicaId(3) }))).toThrow(/one leader in a term/);
});

test('what was not committed and flushed cannot be applied', () => {
  expect(() => start().step({ kind: 'applied', index: logIndex(3) })).toThrow(/committed and flushed/);
});

test('a checkpoint must not take away entries that match, or committed ones', () => {
  const install = (index: number, indexTerm: number): RaftEvent => ({
    kind: 'snapshotInstalled',
    nowMs: 0,
    index: logIndex(index),
    term: term(indexTerm),
    membership: MEMBERSHIP,
  });
  expect(() => start().step(install(1, 2))).toThrow(/committed entries away/);
  expect(() => start().step(install(2, 2))).toThrow(/may have been acknowledged/);
});

test('a start state that cannot be is refused', () => {
  expect(() => start({ commitIndex: logIndex(4) })).toThrow(/in the log/);
  expect(() => start({ hardState: { currentTerm: term(1), votedFor: 0 } })).toThrow(/flushed before entries/);
  expect(() => start({ appliedIndex: logIndex(3) })).toThrow(/committed entries are applied/);
});

test('a message for another replica is refused and changes nothing', () => {
  const core = start();
  const effects = core.step(append([3, 2], [entry(4, 3)], { to: replicaId(9) }));
  expect([effects.refusal, effects.write, core.term]).toEqual(['A message for another replica', 0, 2]);
});

test('an idle follower of a held leader, and an idle leader, want no timer', () => {
  const follower = start();
  expect(follower.deadlineMs).toBe(100);
  follower.step({ kind: 'leaderAnnounced', nowMs: 0, leader: replicaId(2), term: term(3) });
  expect(follower.deadlineMs).toBe(Number.POSITIVE_INFINITY);
  expect(follower.step({ kind: 'time', nowMs: 1e9 }).send).toEqual([]);

  const only: Membership = { ...MEMBERSHIP, voters: MEMBERSHIP.voters.slice(0, 1) };
  const leader = start({ configurations: [{ index: logIndex(0), membership: only }] });
  const { write } = leader.step({ kind: 'campaign', nowMs: 0 });
  leader.step({ kind: 'persisted', nowMs: 0, write });
  expect([leader.role, leader.deadlineMs]).toEqual(['leader', Number.POSITIVE_INFINITY]);
});

test('flushedBy() tells how far so many voters are (min.insync.replicas)', () => {
  const core = start();
  const grant = (from: number, kind: 'preVoteResponse' | 'requestVoteResponse'): RaftEvent => ({
    kind: 'message',
    nowMs: 0,
    message: { kind, from: replicaId(from), to: replicaId(1), term: term(3), granted: true },
  });
  core.step({ kind: 'campaign', nowMs: 0 });
  const vote = core.step(grant(2, 'preVoteResponse'));
  core.step({ kind: 'persisted', nowMs: 0, write: vote.write });
  const elected = core.step(grant(2, 'requestVoteResponse'));
  const ack = (from: number, matchIndex: number): RaftEvent => ({
    kind: 'message',
    nowMs: 0,
    message: {
      kind: 'appendEntriesResponse',
      from: replicaId(from),
      to: replicaId(1),
      term: term(3),
      accepted: true,
      matchIndex: logIndex(matchIndex),
      rejectedIndex: logIndex(0),
      hintIndex: logIndex(0),
      hintTerm: term(0),
      overloaded: false,
    },
  });
  core.step(ack(2, 4));
  expect([1, 2, 3, 4].map((count) => core.flushedBy(count))).toEqual([4, 3, 0, 0]);
  core.step({ kind: 'persisted', nowMs: 0, write: elected.write });
  core.step(ack(3, 3));
  expect([1, 2, 3].map((count) => core.flushedBy(count))).toEqual([4, 4, 3]);
  expect(core.commitIndex).toBe(4);
});
