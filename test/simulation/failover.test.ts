import { describe, expect, it } from 'vitest';
import type { SimulatedBroker } from './simulated-broker.ts';
import type { SimulatedMachineTime } from './simulated-clock.ts';
import { smallCluster } from './small-cluster.ts';

describe('RaftDriver, when a leader goes away', () => {
  it('has leaders for new groups at once', async () => {
    expect((await smallCluster(1, 40)).createdMs).toBeLessThan(100);
  });

  it('replaces all leaders of a killed process within 200 ms, with about one election per group', async () => {
    for (const seed of [1, 2, 3]) {
      const { time, random, brokers, untilReady } = await smallCluster(seed, 60);
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
    const { time, network, brokers, untilReady } = await smallCluster(4, 30);
    const [first, cut, third] = brokers as [SimulatedBroker, SimulatedBroker, SimulatedBroker];
    const led = [...cut.driver!.all()].filter((group) => group.role === 'leader');
    expect(led.length).toBeGreaterThan(0);
    // Confirmations of the time before the cut must not count for reads of the time after it.
    let earlier = 0;
    for (const group of led) {
      group.readBarrier((confirmed) => {
        if (confirmed) earlier++;
      });
    }
    await time.runUntilTrue(() => earlier === led.length);
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

  it('knows from its peers that its own clock is behind', async () => {
    const { time, brokers } = await smallCluster(7, 3);
    const { driver } = brokers[0] as SimulatedBroker;
    (driver!.clock as SimulatedMachineTime).wallOffsetMs = -40 * 24 * 3_600_000;
    await time.runFor(1_000);
    expect(driver!.clock.wallMs()).toBeLessThan(time.wallMs() - 1_000_000);
    expect(Math.abs(driver!.latestWallMs() - time.wallMs())).toBeLessThan(60_000);
  });

  it('gives up its leaderships when its disk stalls', async () => {
    const { time, brokers } = await smallCluster(5, 12);
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
      const { time, network, brokers } = await smallCluster(6, groups);
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
