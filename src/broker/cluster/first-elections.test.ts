import { describe, expect, test } from 'vitest';
import { NullStateMachine } from '../../../test/fakes/fake-partition.ts';
import { FakeRaftNetwork } from '../../../test/fakes/fake-raft-groups.ts';
import { SimulatedTime } from '../../../test/simulation/simulated-clock.ts';
import type { Role } from '../../raft/core/types.ts';
import { brokerId, groupId, replicaId } from '../../std/brands.ts';
import { FirstElections } from './first-elections.ts';

/** A group of brokers 1 and 2 of which only broker 1 has a replica yet, so that nobody can be elected. */
function lonelyGroup() {
  const time = new SimulatedTime();
  const network = new FakeRaftNetwork({ timers: time, makeStateMachine: () => new NullStateMachine() });
  const groups = network.addBroker(brokerId(1));
  const other = network.addBroker(brokerId(2));
  const voters = [1, 2].map((id) => ({ replicaId: replicaId(id), brokerId: brokerId(id), storeId: `${id}` }));
  const membership = { voters, votersOutgoing: [], learners: [] };
  const creation = { groupId: groupId(7), membership, descriptor: new Uint8Array(0) };
  const group = groups.create({ ...creation, replicaId: replicaId(1) });
  const elections = new FirstElections(groups, time);
  return { time, groups, other, creation, group, elections };
}

describe('FirstElections', () => {
  test('asks a few times and leaves the rest to election timeouts', async () => {
    const { time, group, elections } = lonelyGroup();
    elections.begin(groupId(7));
    await time.runFor(60_000);
    expect(group.campaigns).toBe(7);
  });

  test('ends once there is a leader', async () => {
    const { time, other, creation, group, elections } = lonelyGroup();
    elections.begin(groupId(7));
    await time.runFor(15);
    other.create({ ...creation, replicaId: replicaId(2) });
    await time.runFor(60_000);
    expect(group.role).toBe('leader');
    expect(group.campaigns).toBe(3);
  });

  test('never disturbs a candidate that waits for its flush or for votes', async () => {
    const { time, group, elections } = lonelyGroup();
    elections.begin(groupId(7));
    const role: Role = 'candidate';
    Object.defineProperty(group, 'role', { get: () => role });
    await time.runFor(60_000);
    expect(group.campaigns).toBe(1);
  });
});
