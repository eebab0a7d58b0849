/** Partition files of one replica are damaged, while its broker is down or runs: it takes no part until it has everything back from its peers, and then it is as the others are. */

import { describe, expect, it } from 'vitest';
import { groupId } from '../../src/std/brands.ts';
import { SeededRandom } from '../../src/std/seeded-random.ts';
import { encodeCommand } from './list-state-machine.ts';
import type { SimulatedBroker } from './simulated-broker.ts';
import { smallCluster } from './small-cluster.ts';

const GROUP = groupId(1);
const random = new SeededRandom(1);

/** One partition on three brokers, `count` records of which are acknowledged and in a checkpoint everywhere. */
async function writtenCluster(seed: number, count: number, commandBytes: number) {
  const cluster = await smallCluster(seed, 1, {}, 'partition');
  const { time, brokers } = cluster;
  let acked = 0;
  const leading = (): SimulatedBroker | undefined => brokers.find((broker) => broker.driver?.get(GROUP)?.isReady);
  const write = async (records: number): Promise<void> => {
    for (let left = records; left > 0; left--) {
      const before = acked;
      leading()!
        .driver!.get(GROUP)!
        .propose([encodeCommand(acked + 1, commandBytes)], ({ kind }) => {
          if (kind === 'applied') acked++;
        });
      await time.runUntilTrue(() => acked > before, 10_000);
    }
  };
  const checkpointAll = async (): Promise<void> => {
    await time.runFor(500);
    for (const broker of brokers) broker.driver?.checkpoint(GROUP);
    await time.runFor(500);
  };
  await write(count);
  await checkpointAll();
  /** All three hold all that was acknowledged, in memory and in their files. */
  const expectSame = async (): Promise<void> => {
    // One that was just started is linked again within moments, not at once.
    await time.runFor(3_000);
    for (const broker of brokers) {
      const list = broker.listOf(GROUP)!;
      expect(list.items.map(({ id }) => id)).toEqual(Array.from({ length: acked }, (_, at) => at + 1));
      expect(await time.settle(list.readLog!(acked))).toEqual(list.items);
      expect(broker.driver!.damagedReplicas()).toEqual([]);
    }
  };
  const restart = async (broker: SimulatedBroker): Promise<void> => {
    broker.start();
    await time.runUntilTrue(() => broker.driver !== undefined, 10_000);
  };
  /** Nothing is in memory any more but what the files hold. */
  const restartAll = async (): Promise<void> => {
    for (const broker of brokers) broker.crash(random, true);
    for (const broker of brokers) await restart(broker);
    await time.runUntilTrue(() => leading() !== undefined, 30_000);
  };
  return { ...cluster, restartAll, leading, write, checkpointAll, expectSame, restart };
}

const logFiles = (broker: SimulatedBroker): string[] =>
  broker.disk.paths().filter((path) => /^topics\/.*\.log$/.test(path));

const faults: Record<string, (broker: SimulatedBroker) => void> = {
  'a lost file': (broker) => broker.disk.loseFile(logFiles(broker)[0]!),
  'a flipped bit': (broker) => broker.disk.flipBit(logFiles(broker)[0]!, 1_000, 3),
  'all files lost': (broker) => {
    for (const path of broker.disk.paths()) if (path.startsWith('topics/')) broker.disk.loseFile(path);
  },
};

describe('A replica whose partition files are damaged', () => {
  // Large commands leave the WAL before the restart, so that the log alone does not suffice.
  for (const [how, commandBytes] of [
    ['by the log', 2_000],
    ['by a catch-up', 200_000],
  ] as const) {
    for (const [fault, damage] of Object.entries(faults)) {
      if (fault === 'all files lost' && how === 'by the log') continue;
      it(`while its broker is down, ${fault}: comes back ${how}`, { timeout: 60_000 }, async () => {
        const { brokers, leading, write, expectSame, restart } = await writtenCluster(3, 120, commandBytes);
        const victim = brokers.find((broker) => broker !== leading())!;
        victim.crash(random, true);
        victim.expectsDamage = true;
        damage(victim);
        await write(5);
        await restart(victim);
        const replica = victim.driver!.replicas.get(GROUP)!;
        expect(replica.core!.barred).toBe(true);
        expect(victim.driver!.damagedReplicas()).toMatchObject([{ groupId: 1, kind: 'entries' }]);
        await write(5);
        await expectSame();
        expect(victim.driver!.metrics.catchUpsInstalled).toBe(how === 'by a catch-up' ? 1 : 0);
        // For good.
        victim.crash(random, true, 'lose');
        await restart(victim);
        expect(victim.driver!.replicas.get(GROUP)!.core!.barred).toBe(false);
        await expectSame();
      });
    }
  }

  it('does not help to elect a leader that lacks what it forgot, through any number of restarts', async () => {
    const { time, brokers, leading, write, expectSame, restart } = await writtenCluster(5, 50, 2_000);
    const leader = leading()!;
    const [victim, behind] = brokers.filter((broker) => broker !== leader) as [SimulatedBroker, SimulatedBroker];
    behind.crash(random, true);
    await write(20);
    // Committed by leader and victim alone. Now the leader is away, and the victim forgets.
    leader.crash(random, true);
    victim.crash(random, true);
    victim.expectsDamage = true;
    faults['a lost file']!(victim);
    await restart(behind);
    for (let restarts = 0; restarts < 3; restarts++) {
      await restart(victim);
      await time.runFor(20_000);
      expect(leading()).toBeUndefined();
      const { core } = victim.driver!.replicas.get(GROUP)!;
      expect([
        core!.barred,
        core!.votedFor === 0 || core!.votedFor !== victim.driver!.replicas.get(GROUP)!.replicaId,
      ]).toEqual([true, true]);
      victim.crash(random, true);
    }
    await restart(victim);
    await restart(leader);
    await time.runUntilTrue(() => leading() !== undefined, 30_000);
    await write(5);
    await expectSame();
  });

  it('keeps its files and its log while no leader can give them back', async () => {
    const { time, brokers, leading, restart } = await writtenCluster(6, 300, 2_000);
    for (const broker of brokers) broker.crash(random, true);
    const [first, second, third] = brokers as [SimulatedBroker, SimulatedBroker, SimulatedBroker];
    const contents = [first, second].map((broker) => {
      const [lost, ...kept] = logFiles(broker);
      broker.expectsDamage = true;
      broker.disk.loseFile(lost!);
      return { broker, kept };
    });
    for (const broker of [first, second, third]) await restart(broker);
    await time.runFor(20_000);
    expect(leading()).toBeUndefined();
    for (const { broker, kept } of contents) {
      expect(kept.length).toBeGreaterThan(0);
      expect(logFiles(broker)).toEqual(kept);
      expect(broker.driver!.storage.lastIndex(broker.driver!.replicas.get(GROUP)!.replicaId)).toBeGreaterThan(300);
    }
  });
});

describe('A replica whose partition files are damaged while it runs', () => {
  /** Nothing was written for a while, and the next searches for damage find all of it. */
  const expectHealed = async (
    { time, brokers }: Awaited<ReturnType<typeof writtenCluster>>,
    victims: readonly SimulatedBroker[],
  ): Promise<void> => {
    for (const victim of victims) {
      await time.runUntilTrue(() => (victim.scrubber?.metrics.replicasRepaired ?? 0) > 0, 120_000);
    }
    await time.runFor(45_000);
    for (const { scrubber } of brokers) {
      expect(scrubber!.damagedReplicas).toBe(0);
      expect(scrubber!.metrics.mismatches).toBe(0);
    }
    // Byte by byte, whatever files each cut.
    const [first, ...others] = brokers.map((broker) =>
      Buffer.concat(logFiles(broker).map((path) => broker.disk.readBytes(path))),
    );
    expect(first!.length).toBeGreaterThan(10_000);
    for (const other of others) expect(other.equals(first!)).toBe(true);
  };

  for (const role of ['leader', 'follower'] as const) {
    for (const [fault, damage] of Object.entries(faults)) {
      it(`as ${role}, ${fault}: is found by nobody but the search, and has all back without a restart`, async () => {
        const cluster = await writtenCluster(7, 120, 2_000);
        const { brokers, leading, write, checkpointAll, expectSame } = cluster;
        const leader = leading()!;
        const victim = role === 'leader' ? leader : brokers.find((broker) => broker !== leader)!;
        const { term } = victim.driver!.replicas.get(GROUP)!.core!;
        victim.expectsDamage = true;
        damage(victim);
        await expectHealed(cluster, [victim]);
        // It never stopped to be what it was.
        expect(leading()).toBe(leader);
        expect(victim.driver!.replicas.get(GROUP)!.core!.term).toBe(term);
        expect(victim.driver!.damagedReplicas()).toEqual([]);
        await write(10);
        await checkpointAll();
        await expectSame();
        await cluster.restartAll();
        await expectSame();
      });
    }
  }

  it('as follower, in what its leader holds in memory only: is found all the same (seed 1100242)', async () => {
    const cluster = await writtenCluster(12, 120, 2_000);
    const { time, brokers, leading, write, expectSame } = cluster;
    await write(60);
    const victim = brokers.find((broker) => broker !== leading())!;
    const fileBytes = (): number => logFiles(victim).reduce((sum, path) => sum + victim.disk.readBytes(path).length, 0);
    // A follower that is asked for digests writes out what it has.
    const before = fileBytes();
    await time.runUntilTrue(() => fileBytes() > before, 60_000);
    const last = logFiles(victim).at(-1)!;
    victim.expectsDamage = true;
    victim.disk.flipBit(last, victim.disk.readBytes(last).length - 10, 3);
    await expectHealed(cluster, [victim]);
    await expectSame();
  });

  it('heals from the others although each of them is damaged at another place', async () => {
    const cluster = await writtenCluster(8, 120, 2_000);
    const { brokers, expectSame } = cluster;
    brokers.forEach((broker, at) => {
      broker.expectsDamage = true;
      broker.disk.flipBit(logFiles(broker)[0]!, 1_000 + 3_000 * at, 3);
    });
    await expectHealed(cluster, brokers);
    await expectSame();
  });

  it('has a place back that a reader met, at once', async () => {
    const cluster = await writtenCluster(9, 60, 2_000);
    const { time, leading, restartAll, expectSame } = cluster;
    await restartAll();
    const victim = leading()!;
    victim.expectsDamage = true;
    victim.disk.flipBit(logFiles(victim)[0]!, 1_000, 3);
    const { readLog } = victim.listOf(GROUP)!;
    expect(await time.settle(readLog!.call(victim.listOf(GROUP), 50))).toBeUndefined();
    await time.runUntilTrue(() => victim.scrubber!.metrics.replicasRepaired === 1, 2_000);
    expect(leading()).toBe(victim);
    await expectSame();
  });

  it('keeps what is left, and serves it, while no other replica is there; and heals when one is', async () => {
    const cluster = await writtenCluster(10, 60, 2_000);
    const { time, brokers, leading, restart, restartAll, write, expectSame } = cluster;
    await restartAll();
    const victim = leading()!;
    const others = brokers.filter((broker) => broker !== victim);
    for (const other of others) other.crash(random, true);
    victim.expectsDamage = true;
    victim.disk.flipBit(logFiles(victim)[0]!, 1_000, 3);
    const before = victim.disk.readBytes(logFiles(victim)[0]!);
    expect(await time.settle(victim.listOf(GROUP)!.readLog!(50))).toBeUndefined();
    await time.runFor(60_000);
    expect(victim.scrubber!.damagedReplicas).toBe(1);
    expect(Buffer.compare(victim.disk.readBytes(logFiles(victim)[0]!), before)).toBe(0);
    await restart(others[0]!);
    await time.runUntilTrue(() => leading() !== undefined, 30_000);
    await time.runUntilTrue(() => victim.scrubber!.damagedReplicas === 0, 30_000);
    await restart(others[1]!);
    await write(5);
    await expectSame();
  });

  it('does the same with the same seed', async () => {
    const story = async (): Promise<readonly unknown[]> => {
      const cluster = await writtenCluster(11, 120, 2_000);
      const victim = cluster.leading()!;
      victim.expectsDamage = true;
      victim.disk.flipBit(logFiles(victim)[0]!, 1_000, 3);
      await expectHealed(cluster, [victim]);
      return cluster.brokers.map(({ scrubber }) => scrubber!.metrics);
    };
    expect(await story()).toEqual(await story());
  });
});
