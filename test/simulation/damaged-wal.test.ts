/** Entries in the WAL that are found damaged while a broker runs, and the broker that is started again by whoever restarts processes. */

import { describe, expect, it } from 'vitest';
import { groupId } from '../../src/std/brands.ts';
import { SeededRandom } from '../../src/std/seeded-random.ts';
import { encodeCommand } from './list-state-machine.ts';
import type { SimulatedBroker } from './simulated-broker.ts';
import { smallCluster } from './small-cluster.ts';

const GROUP = groupId(1);
const COMMAND_BYTES = 2_000;
/** More than the cache holds, less than a checkpoint by size waits for. */
const COMMANDS = 900;
const random = new SeededRandom(1);

async function oneGroup(seed: number, config: Parameters<typeof smallCluster>[2] = {}) {
  const failures: { readonly broker: SimulatedBroker; readonly message: string }[] = [];
  const cluster = await smallCluster(seed, 1, config, 'list', (error, broker) => {
    failures.push({ broker, message: String(error) });
  });
  const { time, brokers } = cluster;
  const leading = (): SimulatedBroker | undefined => brokers.find((broker) => broker.driver?.get(GROUP)?.isReady);
  let acked = 0;
  let nextId = 1;
  const propose = (count: number): void => {
    for (let left = count; left > 0; left--) {
      const command = encodeCommand(nextId++, COMMAND_BYTES);
      leading()!
        .driver!.get(GROUP)!
        .propose([command], ({ kind }) => {
          if (kind === 'applied') acked++;
        });
    }
  };
  const write = async (count: number): Promise<void> => {
    const target = acked + count;
    while (acked < target) {
      const wanted = Math.min(50, target - acked);
      const before = acked;
      propose(wanted);
      await time.runUntilTrue(() => acked === before + wanted, 10_000);
    }
  };
  /** In the middle of the payload, wherever it lies in that broker's WAL. */
  const flipIn = (broker: SimulatedBroker, id: number): void => {
    const needle = Buffer.from(encodeCommand(id, COMMAND_BYTES).subarray(0, 60));
    for (const path of broker.disk.paths().filter((each) => /^wal\/[^/]*\.wal$/.test(each))) {
      const at = Buffer.from(broker.disk.readBytes(path)).indexOf(needle);
      if (at < 0) continue;
      broker.disk.flipBit(path, at + 20, 3);
      return;
    }
    throw new Error(`Command ${id} is not in the WAL`);
  };
  const restartAndHeal = async (broker: SimulatedBroker): Promise<void> => {
    broker.crash(random, false);
    broker.start();
    await time.runUntilTrue(() => broker.driver !== undefined, 10_000);
    const { core } = broker.driver!.replicas.get(GROUP)!;
    expect(core!.barred).toBe(true);
    await time.runUntilTrue(() => !core!.barred, 30_000);
    await time.runUntilTrue(() => leading() !== undefined, 30_000);
    await write(10);
    await time.runFor(3_000);
    const ids = Array.from({ length: nextId - 1 }, (_, at) => at + 1);
    for (const each of brokers) {
      expect(each.driver!.damagedReplicas()).toEqual([]);
      expect(each.listOf(GROUP)!.items.map(({ id }) => id)).toEqual(ids);
    }
    expect(failures).toHaveLength(1);
  };
  return { ...cluster, failures, leading, propose, write, flipIn, restartAndHeal };
}

describe('A damaged entry in the WAL that is met while the broker runs', () => {
  it('stops a leader that has to send it, which is whole again after a restart', async () => {
    const { time, brokers, failures, leading, write, flipIn, restartAndHeal } = await oneGroup(1);
    const leader = leading()!;
    const behind = brokers.find((broker) => broker !== leader)!;
    behind.crash(random, false);
    await write(COMMANDS);
    flipIn(leader, 20);
    behind.start();
    await time.runUntilTrue(() => failures.length > 0, 30_000);
    expect(failures).toMatchObject([{ broker: leader, message: expect.stringMatching(/damaged.*Start the broker/) }]);
    await restartAndHeal(leader);
  });

  it('stops a follower that has to apply it, which is whole again after a restart', async () => {
    const { time, brokers, failures, leading, propose, write, flipIn, restartAndHeal } = await oneGroup(2);
    const follower = brokers.find((broker) => broker !== leading())!;
    const group = follower.driver!.replicas.get(GROUP)!;
    // As if it waited for its disk, until the first entries have left the cache.
    group.applyReading = true;
    await write(COMMANDS);
    await time.runUntilTrue(() => group.commitIndex > COMMANDS, 10_000);
    expect(follower.listOf(GROUP)!.items).toEqual([]);
    flipIn(follower, 20);
    group.applyReading = false;
    propose(1);
    await time.runUntilTrue(() => failures.length > 0, 30_000);
    expect(failures).toMatchObject([{ broker: follower, message: expect.stringMatching(/damaged.*Start the broker/) }]);
    await restartAndHeal(follower);
  });
});
