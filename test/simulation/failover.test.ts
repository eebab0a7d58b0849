import { describe, expect, it } from 'vitest';
import { brokerId, groupId, replicaId } from '../../src/std/brands.ts';
import { SeededRandom } from '../../src/std/seeded-random.ts';
import { RaftOracle } from './raft-oracle.ts';
import { SimulatedBroker } from './simulated-broker.ts';
import { SimulatedTime } from './simulated-clock.ts';
import { SimulatedNetwork } from './simulated-network.ts';

const IDS = [1, 2, 3].map(brokerId);

/** Three brokers with `groups` groups of three replicas, whose first leaders are spread over them. */
async function cluster(seed: number, groups: number) {
  const time = new SimulatedTime();
  const random = new SeededRandom(seed);
  const network = new SimulatedNetwork(time, random.fork());
  let failure: unknown;
  let started = 0;
  const brokers = IDS.map(
    (id) =>
      new SimulatedBroker({
        time,
        network,
        oracle: new RaftOracle(),
        random: random.fork(),
        brokerId: id,
        peers: IDS.filter((other) => other !== id),
        wal: { segmentBytes: 2 ** 20, bytesLimit: 16 * 2 ** 20, cacheBytes: 2 ** 20 },
        config: {},
        failed: (error) => {
          failure ??= error;
        },
        started: () => started++,
      }),
  );
  for (const broker of brokers) broker.start();
  await time.runUntilTrue(() => started === 3);
  const startMs = time.now;
  let nextReplica = 1;
  for (let group = 1; group <= groups; group++) {
    const voters = brokers.map((broker) => ({
      replicaId: replicaId(nextReplica++),
      brokerId: broker.brokerId,
      storeId: broker.storeIdText,
    }));
    brokers.forEach((broker, at) => {
      const created = broker.driver!.create({
        groupId: groupId(group),
        replicaId: voters[at]!.replicaId,
        membership: { voters, votersOutgoing: [], learners: [] },
        descriptor: new Uint8Array(0),
      });
      if (at === group % 3) created.campaign();
    });
  }
  const readyOn = (some: readonly SimulatedBroker[]): number => {
    if (failure !== undefined) throw failure;
    let ready = 0;
    for (let group = 1; group <= groups; group++) {
      if (some.some((broker) => broker.driver?.get(groupId(group))?.isReady)) ready++;
    }
    return ready;
  };
  /** Milliseconds until every group has a ready leader on one of `some`. */
  const untilReady = async (some: readonly SimulatedBroker[], sinceMs: number): Promise<number> => {
    await time.runUntilTrue(() => readyOn(some) === groups, 30_000);
    return time.now - sinceMs;
  };
  const createdMs = await untilReady(brokers, startMs);
  await time.runFor(2_000);
  return { time, random, network, brokers, createdMs, untilReady, readyOn };
}

describe('RaftDriver, when a leader goes away', () => {
  it('has leaders for new groups at once', async () => {
    expect((await cluster(1, 40)).createdMs).toBeLessThan(100);
  });

  it('replaces all leaders of a killed process within 200 ms, with about one election per group', async () => {
    for (const seed of [1, 2, 3]) {
      const { time, random, brokers, untilReady } = await cluster(seed, 60);
      const [dead, ...survivors] = brokers as [SimulatedBroker, ...SimulatedBroker[]];
      const led = [...dead.driver!.all()].filter((group) => group.role === 'leader').length;
      expect(led).toBeGreaterThan(0);
      const elections = (): number =>
        survivors.reduce((sum, broker) => sum + broker.driver!.metrics.electionsStarted, 0);
      const before = elections();
      const killedMs = time.now;
      dead.crash(random, false);
      expect(await untilReady(survivors, killedMs)).toBeLessThan(200);
      expect(elections() - before).toBeLessThanOrEqual(2 * led);
    }
  });

  it('replaces a leader that is cut off within two liveness timeouts, and the old one does not answer reads', async () => {
    const { time, network, brokers, untilReady } = await cluster(4, 30);
    const [first, cut, third] = brokers as [SimulatedBroker, SimulatedBroker, SimulatedBroker];
    const led = [...cut.driver!.all()].filter((group) => group.role === 'leader');
    expect(led.length).toBeGreaterThan(0);
    for (const other of [first, third]) {
      network.block(cut.brokerId, other.brokerId);
      network.block(other.brokerId, cut.brokerId);
    }
    const answers: boolean[] = [];
    for (const group of led) group.readBarrier((confirmed) => answers.push(confirmed));
    const cutMs = time.now;
    expect(await untilReady([first, third], cutMs)).toBeLessThan(2_000);
    await time.runFor(1_000);
    expect(answers).toEqual(led.map(() => false));
    expect([...cut.driver!.all()].filter((group) => group.role === 'leader')).toEqual([]);
  });

  it('gives up its leaderships when its disk stalls', async () => {
    const { time, brokers } = await cluster(5, 12);
    const [stalled, ...others] = brokers as [SimulatedBroker, ...SimulatedBroker[]];
    const led = [...stalled.driver!.all()].filter((group) => group.role === 'leader');
    stalled.stalledUntilMs = time.now + 60_000;
    for (const group of led) group.propose([new Uint8Array(8)], () => undefined);
    const leadsElsewhere = (): boolean =>
      led.every(({ groupId: id }) => others.some((broker) => broker.driver!.get(id)?.isReady));
    await time.runUntilTrue(leadsElsewhere, 6_000);
    expect([...stalled.driver!.all()].filter((group) => group.role === 'leader')).toEqual([]);
  });

  it('spends nothing on groups in which nothing happens', async () => {
    const messages: number[] = [];
    const passes: number[] = [];
    for (const groups of [3, 90]) {
      const { time, network, brokers } = await cluster(6, groups);
      await time.runFor(2_000);
      const before = network.messages;
      const passesBefore = brokers[0]!.driver!.metrics.passes;
      await time.runFor(10_000);
      messages.push(network.messages - before);
      passes.push(brokers[0]!.driver!.metrics.passes - passesBefore);
    }
    // Heartbeats and their answers, whatever the number of groups.
    expect(messages[1]).toBeLessThan(messages[0]! * 1.1);
    expect(passes[1]).toBeLessThan(passes[0]! * 1.1);
  });
});
