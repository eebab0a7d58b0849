import fc from 'fast-check';
import { expect, test } from 'vitest';
import { brokerId, logIndex, replicaId } from '../../std/brands.ts';
import {
  allMembers,
  allVoters,
  ConfigurationHistory,
  changeProblem,
  isMember,
  isVoter,
  leaveJoint,
} from './membership.ts';
import { isQuorum } from './quorum.ts';
import type { Membership } from './types.ts';

const members = (ids: readonly number[]): Membership['voters'] =>
  ids.map((id) => ({ replicaId: replicaId(id), brokerId: brokerId(id), storeId: '' }));
const group = (voters: number[], votersOutgoing: number[] = [], learners: number[] = []): Membership => ({
  voters: members(voters),
  votersOutgoing: members(votersOutgoing),
  learners: members(learners),
});
const ids = (minLength: number): fc.Arbitrary<number[]> =>
  fc.uniqueArray(fc.integer({ min: 1, max: 6 }), { minLength, maxLength: 5 });
const subset = fc.uniqueArray(fc.integer({ min: 1, max: 6 })).map((list) => new Set(list.map(replicaId)));

test('any two quorums of a membership and one that may follow it share a replica', () => {
  fc.assert(
    fc.property(ids(1), ids(1), fc.boolean(), subset, subset, (old, next, joint, left, right) => {
      const current = group(old);
      const proposed = group(next, joint ? old : []);
      fc.pre(changeProblem(current, proposed) === undefined);
      for (const after of joint ? [proposed, leaveJoint(proposed)] : [proposed]) {
        const before = after === proposed ? current : proposed;
        fc.pre(isQuorum(before, (id) => left.has(id)) && isQuorum(after, (id) => right.has(id)));
        expect([...left].some((id) => right.has(id))).toBe(true);
      }
    }),
    { numRuns: 500 },
  );
});

test('changeProblem() names what is wrong', () => {
  const current = group([1, 2, 3]);
  expect(changeProblem(current, group([1, 2, 3, 4]))).toBeUndefined();
  expect(changeProblem(current, group([1, 2], [], [3, 4, 5]))).toBeUndefined();
  expect(changeProblem(current, group([4, 5], [3, 2, 1]))).toBeUndefined();
  expect(changeProblem(current, group([1, 2, 4]))).toMatch(/More than one voter/);
  expect(changeProblem(current, group([4, 5], [1, 2]))).toMatch(/outgoing/);
  expect(changeProblem(current, group([]))).toMatch(/at least one voter/);
  expect(changeProblem(current, group([1, 2, 2]))).toMatch(/twice/);
  expect(changeProblem(current, group([1, 2, 3], [], [3]))).toMatch(/voter and learner/);
  expect(changeProblem(group([1], [2]), group([1]))).toMatch(/joint configuration is in force/);
});

test('members and voters of both halves are named once', () => {
  const membership = group([1, 2], [2, 3], [3, 4]);
  expect(allMembers(membership).map((member) => member.replicaId)).toEqual([1, 2, 3, 4]);
  expect(allVoters(membership).map((member) => member.replicaId)).toEqual([1, 2, 3]);
  expect([1, 2, 3, 4, 5].map((id) => isVoter(membership, replicaId(id)))).toEqual([true, true, true, false, false]);
  expect([1, 2, 3, 4, 5].map((id) => isMember(membership, replicaId(id)))).toEqual([true, true, true, true, false]);
});

test('the last configuration in the log is in force, and truncation brings back the one before', () => {
  const history = new ConfigurationHistory([{ index: logIndex(0), membership: group([1]) }]);
  history.append({ index: logIndex(4), membership: group([1, 2]) });
  history.append({ index: logIndex(7), membership: group([1, 2, 3]) });
  expect(history.truncateFrom(logIndex(8))).toBe(false);
  expect(history.truncateFrom(logIndex(7))).toBe(true);
  expect(history.current.index).toBe(4);
  history.committed(logIndex(5));
  expect(history.possible.map((configuration) => configuration.index)).toEqual([4]);
  expect(() => history.truncateFrom(logIndex(3))).toThrow(/never truncated/);
});

test('an installed checkpoint replaces the history (bug R13)', () => {
  const history = new ConfigurationHistory([{ index: logIndex(0), membership: group([1]) }]);
  history.append({ index: logIndex(4), membership: group([1, 2]) });
  history.reset({ index: logIndex(3), membership: group([5]) });
  expect(history.possible).toEqual([{ index: 3, membership: group([5]) }]);
});
