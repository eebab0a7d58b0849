import fc from 'fast-check';
import { expect, test } from 'vitest';
import { brokerId, type ReplicaId, replicaId } from '../../std/brands.ts';
import { isQuorum, majority, quorumValue, valueReachedBy, voteResult } from './quorum.ts';
import type { Membership } from './types.ts';

const members = (ids: readonly number[]): Membership['voters'] =>
  ids.map((id) => ({ replicaId: replicaId(id), brokerId: brokerId(id), storeId: '' }));
const idSet = (minLength: number): fc.Arbitrary<number[]> =>
  fc.uniqueArray(fc.integer({ min: 1, max: 9 }), { minLength, maxLength: 7 });
const membership = fc.record({ voters: idSet(1), outgoing: idSet(0) }).map(
  ({ voters, outgoing }): Membership => ({
    voters: members(voters),
    votersOutgoing: members(outgoing),
    learners: [],
  }),
);
const valuesById = fc.array(fc.nat(6), { minLength: 10, maxLength: 10 });
const subset = fc.uniqueArray(fc.integer({ min: 1, max: 9 })).map((ids) => new Set(ids.map(replicaId)));

/** The definition: the largest value that so many reached, found by trying. */
function reachedBy(voters: Membership['voters'], count: number, values: readonly number[]): number {
  const sorted = voters.map((member) => values[member.replicaId]!).sort((a, b) => b - a);
  return sorted[count - 1] ?? Number.NEGATIVE_INFINITY;
}

test('majority() of n overlaps with every other majority of n', () => {
  expect([1, 2, 3, 4, 5, 6, 7].map(majority)).toEqual([1, 2, 2, 3, 3, 4, 4]);
});

test('valueReachedBy() is the count-th largest value', () => {
  fc.assert(
    fc.property(idSet(1), fc.integer({ min: 1, max: 8 }), valuesById, (ids, count, values) => {
      expect(valueReachedBy(members(ids), count, (id) => values[id]!)).toBe(reachedBy(members(ids), count, values));
    }),
  );
});

test('quorumValue() is what a majority of each half reached', () => {
  fc.assert(
    fc.property(membership, valuesById, (group, values) => {
      const halves = [group.voters, group.votersOutgoing].filter((half) => half.length > 0);
      const expected = Math.min(...halves.map((half) => reachedBy(half, majority(half.length), values)));
      expect(quorumValue(group, (id) => values[id]!)).toBe(expected);
    }),
  );
});

test('any two quorums of one membership share a voter', () => {
  fc.assert(
    fc.property(membership, subset, subset, (group, left, right) => {
      fc.pre(isQuorum(group, (id) => left.has(id)) && isQuorum(group, (id) => right.has(id)));
      expect(group.voters.some(({ replicaId: id }) => left.has(id) && right.has(id))).toBe(true);
    }),
    { numRuns: 300 },
  );
});

test('an election is won by a quorum, lost when no quorum can come any more', () => {
  fc.assert(
    fc.property(
      membership,
      fc.array(fc.option(fc.boolean(), { nil: undefined }), { minLength: 10, maxLength: 10 }),
      (group, answers) => {
        const votes = new Map<ReplicaId, boolean>();
        answers.forEach((answer, id) => {
          if (answer !== undefined) votes.set(replicaId(id), answer);
        });
        const result = voteResult(group, votes);
        expect(result === 'won').toBe(isQuorum(group, (id) => votes.get(id) === true));
        expect(result === 'lost').toBe(!isQuorum(group, (id) => votes.get(id) !== false));
      },
    ),
  );
});

test('a membership without voters is a broken invariant', () => {
  expect(() => quorumValue({ voters: [], votersOutgoing: [], learners: [] }, () => 0)).toThrow(/at least one voter/);
});
