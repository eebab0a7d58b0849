import fc from 'fast-check';
import { expect, test } from 'vitest';
import { brokerId, replicaId } from '../std/brands.ts';
import type { Membership } from './core/types.ts';
import { decodeMembership, encodeMembership, membershipCodec } from './membership-codec.ts';

const member = fc.record({
  replicaId: fc.maxSafeNat().map(replicaId),
  brokerId: fc.integer({ min: 0, max: 2 ** 32 - 1 }).map(brokerId),
  storeId: fc.uint8Array({ maxLength: 32 }).map((bytes) => Buffer.from(bytes).toString('hex')),
});
const members = fc.array(member, { maxLength: 9 });
const membership: fc.Arbitrary<Membership> = fc.record({ voters: members, votersOutgoing: members, learners: members });

const EXAMPLE: Membership = {
  voters: [{ replicaId: replicaId(258), brokerId: brokerId(3), storeId: 'a1b2' }],
  votersOutgoing: [],
  learners: [{ replicaId: replicaId(2 ** 32), brokerId: brokerId(4), storeId: '' }],
};
// version, one voter (id, broker, store), no outgoing voter, one learner
const EXAMPLE_HEX = '01 01 0000000000000102 00000003 02 a1b2 00 01 0000000100000000 00000004 00'.replaceAll(' ', '');

test('a membership reads back as it was written', () => {
  fc.assert(
    fc.property(membership, (value) => {
      expect(decodeMembership(encodeMembership(value))).toEqual(value);
    }),
  );
});

test('the format is the one that is written down', () => {
  expect(Buffer.from(encodeMembership(EXAMPLE)).toString('hex')).toBe(EXAMPLE_HEX);
  expect(decodeMembership(Buffer.from(EXAMPLE_HEX, 'hex'))).toEqual(EXAMPLE);
});

test('the codec reads a payload in pieces', () => {
  const bytes = membershipCodec.encode(EXAMPLE);
  expect(membershipCodec.decode([bytes.subarray(0, 5), bytes.subarray(5, 6), bytes.subarray(6)])).toEqual(EXAMPLE);
});

test('every cut and every surplus byte is an error', () => {
  const bytes = encodeMembership(EXAMPLE);
  for (let length = 0; length < bytes.length; length++)
    expect(() => decodeMembership(bytes.subarray(0, length))).toThrow(/cut short/);
  expect(() => decodeMembership(Uint8Array.of(...bytes, 0))).toThrow(/surplus/);
});

test('another version is an error', () => {
  const bytes = encodeMembership(EXAMPLE);
  bytes[0] = 2;
  expect(() => decodeMembership(bytes)).toThrow(/Unknown version 2/);
});

test('a store id that is no hex is not written', () => {
  const voters = [{ replicaId: replicaId(1), brokerId: brokerId(1), storeId: 'xyz' }];
  expect(() => encodeMembership({ voters, votersOutgoing: [], learners: [] })).toThrow(/hex/);
});
