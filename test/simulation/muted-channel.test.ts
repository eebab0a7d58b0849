/** A channel of a link breaks while the others work: with real sockets, a flipped bit in a length makes the receiver wait for bytes that never come (found by the chaos scenario corrupt-network). */
import { expect, it } from 'vitest';
import { RAFT_DRIVER_DEFAULTS } from '../../src/raft/raft-driver-config.ts';
import { CHANNEL } from '../../src/raft/transport.ts';
import { groupId } from '../../src/std/brands.ts';
import type { SimulatedBroker } from './simulated-broker.ts';
import { smallCluster } from './small-cluster.ts';

const SILENCE_MAX_MS = RAFT_DRIVER_DEFAULTS.channelSilenceMaxMs;

for (const channel of [CHANNEL.append, CHANNEL.bulk]) {
  it(`ends a link whose channel ${channel} brings nothing although heartbeats do, and only then`, async () => {
    const { time, network, brokers } = await smallCluster(3, 3);
    const group = groupId(1);
    const leader = brokers.find((broker) => broker.driver!.get(group)!.role === 'leader')!;
    const follower = brokers.find((broker) => broker !== leader)!;
    const links = (broker: SimulatedBroker): number => broker.driver!.metrics.linksUp;
    // An hour in which there is nothing to carry ends no link.
    const before = brokers.map(links);
    await time.runFor(3_600_000);
    expect(brokers.map(links)).toEqual(before);

    expect(network.muteChannel(leader.brokerId, follower.brokerId, channel)).toBe(true);
    let applied = false;
    leader.driver!.get(group)!.propose([new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0])], ({ kind }) => {
      applied = kind === 'applied';
    });
    const isEven = (): boolean =>
      applied && follower.driver!.get(group)!.appliedIndex === leader.driver!.get(group)!.lastIndex;
    const mutedMs = time.now;
    await time.runUntilTrue(() => links(follower) === links(leader) && links(leader) > before[0]!, 2 * SILENCE_MAX_MS);
    expect(time.now - mutedMs).toBeGreaterThan(SILENCE_MAX_MS - 2_000);
    expect(time.now - mutedMs).toBeLessThan(SILENCE_MAX_MS + 2_000);
    await time.runUntilTrue(isEven, 5_000);
    expect(brokers.map(links).toSorted()).toEqual([before[0]!, before[0]! + 1, before[0]! + 1]);
  });
}
