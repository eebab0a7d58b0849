import { describe, expect, it } from 'vitest';
import { SimulatedTime } from '../../test/simulation/simulated-clock.ts';
import { brokerId, groupId, METADATA_GROUP_ID, replicaId } from '../std/brands.ts';
import { SILENT_LOG } from '../std/log.ts';
import { SeededRandom } from '../std/seeded-random.ts';
import type { ReplicaStorage } from '../wal/replica-storage.ts';
import { RaftDriver } from './raft-driver.ts';
import { encodeReplicaDescriptor } from './replica-codec.ts';
import type { Transport } from './transport.ts';

/** A driver whose store has one replica of that group, with that damage; nothing of it but the start is asked for. */
function driverWith(group: number, kind: 'entries' | 'identity') {
  const time = new SimulatedTime();
  const voters = [1, 2, 3].map((id) => ({
    replicaId: replicaId(id),
    brokerId: brokerId(id),
    storeId: `${id}`.repeat(32),
  }));
  const membership = { voters, votersOutgoing: [], learners: [] };
  const storage = {
    stats: { bytesLimit: 2 ** 24 },
    storeDamage: undefined,
    recovered: [
      {
        replicaId: replicaId(1),
        descriptor: encodeReplicaDescriptor({ groupId: groupId(group), membership, descriptor: new Uint8Array(0) }),
        damage: { kind, fromIndex: 3, reason: 'A frame is damaged' },
      },
    ],
  };
  const restored: number[] = [];
  const driver = new RaftDriver({
    brokerId: brokerId(1),
    storeId: '1'.repeat(32),
    clock: time,
    timers: time,
    random: new SeededRandom(1),
    log: SILENT_LOG,
    storage: storage as unknown as ReplicaStorage,
    transport: { setPeers: () => {} } as unknown as Transport,
    createStateMachine: (created) => {
      restored.push(created.groupId);
      throw new Error('It goes on to restore the replica');
    },
    fatal: () => {},
  });
  return { driver, restored };
}

describe('A store whose WAL is damaged', () => {
  it('does not start where the replica of cluster metadata may have forgotten a vote: nobody could name its successor', async () => {
    const { driver, restored } = driverWith(METADATA_GROUP_ID, 'identity');
    await expect(driver.start()).rejects.toThrow(/cluster metadata may have forgotten a vote.*empty data directory/);
    expect(restored).toEqual([]);
  });

  it.each([
    [7, 'identity'],
    [METADATA_GROUP_ID, 'entries'],
  ] as const)('goes on with a replica of group %d that lost %s', async (group, kind) => {
    const { driver, restored } = driverWith(group, kind);
    await expect(driver.start()).rejects.toThrow('It goes on to restore the replica');
    expect(restored).toEqual([group]);
  });
});
