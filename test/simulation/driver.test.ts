import { describe, expect, it } from 'vitest';
import type { ProposalOutcome } from '../../src/raft/raft-group.ts';
import { CHANNEL } from '../../src/raft/transport.ts';
import { groupId, METADATA_GROUP_ID, replicaId } from '../../src/std/brands.ts';
import { encodeCommand } from './list-state-machine.ts';
import type { SimulatedBroker } from './simulated-broker.ts';
import { smallCluster } from './small-cluster.ts';

const GROUP = groupId(1);

/** One group on three brokers; the leader first. */
async function oneGroup(seed: number, config: Parameters<typeof smallCluster>[2] = {}) {
  const cluster = await smallCluster(seed, 1, config);
  const leader = cluster.brokers.find((broker) => broker.driver?.get(GROUP)?.role === 'leader')!;
  const followers = cluster.brokers.filter((broker) => broker !== leader) as [SimulatedBroker, SimulatedBroker];
  const outcomes: ProposalOutcome[] = [];
  let nextId = 1;
  const propose = (options?: { requiredFlushes?: number; isRefusedOnFullDisk?: boolean }): void => {
    const done = (outcome: ProposalOutcome) => outcomes.push(outcome);
    leader.driver!.get(GROUP)!.propose([encodeCommand(nextId++, 2_000)], done, options);
  };
  return { ...cluster, leader, followers, outcomes, propose };
}

const kinds = (outcomes: readonly ProposalOutcome[]) =>
  outcomes.map((outcome) => (outcome.kind === 'refused' ? outcome.reason : outcome.kind));

describe('RaftDriver', () => {
  it('ends a link over which an entry arrived damaged, stores nothing of it, and goes on', async () => {
    const { time, network, leader, followers, outcomes, propose } = await oneGroup(1);
    let flips = 1;
    network.onWire = (from, to, channel, bytes) => {
      if (from !== leader.brokerId || to !== followers[0].brokerId || channel !== CHANNEL.append || flips === 0) return;
      flips--;
      bytes[bytes.length - 1]! ^= 1;
    };
    propose();
    await time.runFor(1_000);
    const { metrics } = followers[0].driver!;
    expect([metrics.checksumFailures, metrics.linksLost]).toEqual([1, 1]);
    expect(kinds(outcomes)).toEqual(['applied']);
    expect(followers.map((follower) => follower.listOf(GROUP)!.items.length)).toEqual([1, 1]);
  });

  it('ends a link that carries anything but messages', async () => {
    const { time, network, leader, followers } = await oneGroup(2);
    let garbage = true;
    network.onWire = (from, to, _channel, bytes) => {
      if (!garbage || from !== leader.brokerId || to !== followers[0].brokerId) return;
      garbage = false;
      bytes.fill(255);
    };
    await time.runFor(1_000);
    expect(followers[0].driver!.metrics.linksLost).toBe(1);
    expect(followers[0].driver!.leaderOf(GROUP)?.leader).toBe(leader.brokerId);
  });

  it('refuses what clients write while its own disk or that of a follower is full', async () => {
    const { time, leader, followers, outcomes, propose } = await oneGroup(3);
    const fromClient = { isRefusedOnFullDisk: true };
    leader.driver!.diskFull = true;
    propose(fromClient);
    await time.runFor(1);
    leader.driver!.diskFull = false;
    followers[1].driver!.diskFull = true;
    await time.runFor(500);
    propose(fromClient);
    await time.runFor(1);
    // What makes room again goes on.
    propose();
    await time.runFor(100);
    followers[1].driver!.diskFull = false;
    await time.runFor(500);
    propose(fromClient);
    await time.runFor(100);
    expect(kinds(outcomes)).toEqual(['diskFull', 'diskFull', 'applied', 'applied']);
  });

  it('holds the answer back until as many voters flushed as the proposal asks for', async () => {
    const { time, followers, outcomes, propose } = await oneGroup(4);
    followers[0].pause();
    propose({ requiredFlushes: 3 });
    propose();
    await time.runFor(300);
    // The second is committed by two; the first waits for the third disk.
    expect(kinds(outcomes)).toEqual(['applied']);
    followers[0].resume();
    await time.runFor(2_000);
    expect(kinds(outcomes)).toEqual(['applied', 'applied']);
  });

  it('refuses what is above its limits and never logs it', async () => {
    const { time, outcomes, propose, leader } = await oneGroup(5, { groupProposedBytesMax: 5_000 });
    for (let at = 0; at < 4; at++) propose();
    await time.runFor(100);
    expect(kinds(outcomes).sort()).toEqual(['applied', 'applied', 'overloaded', 'overloaded']);
    expect(leader.listOf(GROUP)!.items.length).toBe(2);
    expect(leader.driver!.proposedBytes).toBe(0);
  });

  it('moves all leaderships away before a stop', async () => {
    const { time, brokers, readyOn } = await smallCluster(6, 30);
    const [leaving, ...others] = brokers as [SimulatedBroker, ...SimulatedBroker[]];
    await time.settle(leaving.driver!.transferAll(5_000));
    expect([...leaving.driver!.all()].filter((group) => group.role === 'leader')).toEqual([]);
    await time.runFor(100);
    expect(readyOn(others)).toBe(30);
  });

  it('confirms reads to a leader, and refuses them elsewhere', async () => {
    const { time, leader, followers } = await oneGroup(7);
    const answers: [string, boolean][] = [];
    leader.driver!.get(GROUP)!.readBarrier((confirmed) => answers.push(['leader', confirmed]));
    followers[0].driver!.get(GROUP)!.readBarrier((confirmed) => answers.push(['follower', confirmed]));
    const startMs = time.now;
    await time.runUntilTrue(() => answers.length === 2);
    expect(answers.sort()).toEqual([
      ['follower', false],
      ['leader', true],
    ]);
    // One round trip, not a heartbeat interval.
    expect(time.now - startMs).toBeLessThan(20);
  });

  it('carries requests and answers between brokers, and says so when there is none', async () => {
    const { time, network, brokers } = await oneGroup(8);
    const [some, other] = [brokers[0]!, brokers[1]!];
    other.driver!.serve('echo', async (from, payload) => Buffer.from(`${from}:${Buffer.from(payload)}`));
    other.driver!.serve('fail', async () => {
      throw new Error('Not today');
    });
    other.driver!.serve('hang', () => new Promise(() => undefined));
    const ask = (service: string, timeoutMs = 1_000): Promise<string> =>
      some.driver!.request(other.brokerId, service, Buffer.from('x'), timeoutMs).then(
        (answer) => Buffer.from(answer).toString(),
        (error: Error) => error.message,
      );
    expect(await time.settle(ask('echo'))).toBe(`${some.brokerId}:x`);
    expect(await time.settle(ask('fail'))).toBe('Not today');
    expect(await time.settle(ask('nobody'))).toMatch(/Unknown service/);
    expect(await time.settle(ask('hang'))).toMatch(/timed out/);
    const pending = ask('hang', 60_000);
    await time.runFor(10);
    network.breakLink(some.brokerId, other.brokerId);
    expect(await time.settle(pending)).toMatch(/went down/);
  });

  it('knows after a restart that what a removal followed from is committed, and never creates the replica again', async () => {
    const { time, random, brokers, leader, followers } = await oneGroup(9);
    const voters = brokers.map((broker, at) => ({
      replicaId: replicaId(100 + at),
      brokerId: broker.brokerId,
      storeId: broker.storeIdText,
    }));
    const membership = { voters, votersOutgoing: [], learners: [] };
    for (const [at, { driver }] of brokers.entries()) {
      const descriptor = new Uint8Array(0);
      driver!.create({ groupId: METADATA_GROUP_ID, replicaId: voters[at]!.replicaId, membership, descriptor });
    }
    leader.driver!.get(METADATA_GROUP_ID)!.campaign();
    await time.runFor(1_000);
    leader.driver!.get(METADATA_GROUP_ID)!.propose([encodeCommand(1, 100)], () => undefined);
    await time.runFor(1_000);
    const [follower] = followers;
    const { appliedIndex } = follower.driver!.replicas.get(METADATA_GROUP_ID)!;
    expect(appliedIndex).toBeGreaterThan(1);
    await time.settle(follower.driver!.remove(GROUP, follower.driver!.get(GROUP)!.replicaId));
    for (const broker of brokers) broker.crash(random, true);
    // Nobody is there who could tell it.
    follower.start();
    await time.runFor(1_000);
    expect(follower.driver!.get(GROUP)).toBeUndefined();
    expect(follower.driver!.replicas.get(METADATA_GROUP_ID)!.appliedIndex).toBe(appliedIndex);
  });
});
