/** The scrubber by itself on two replicas that differ, or not; what whole clusters do with it is in test/simulation/damaged-partition.test.ts. */
import { describe, expect, it } from 'vitest';
import { batchesCommand, PartitionFixture, testBatch } from '../../../test/support/partition-fixture.ts';
import type { Member } from '../../raft/core/types.ts';
import { type BrokerId, brokerId, groupId, replicaId } from '../../std/brands.ts';
import { SILENT_LOG } from '../../std/log.ts';
import type { ScrubTarget } from './partition-repair.ts';
import { Scrubber, type ScrubberOptions } from './scrubber.ts';
import { stampStoredBatch, storedSizeBytes } from './stored-batch.ts';

type Handler = (from: BrokerId, payload: Uint8Array) => Promise<Uint8Array>;

/** `count` replicas of one partition with the same 200 batches, on disks of their own; broker 1 leads, the last ones are learners. */
async function replicas(count: number, bytesPerSecond = 10 ** 9, learnerCount = 0) {
  const first = new PartitionFixture({ replicaId: 1, settings: { segmentBytes: 8_000 } });
  const { time } = first;
  const fixtures = [first];
  for (let id = 2; id <= count; id++) {
    // Files are cut differently.
    fixtures.push(new PartitionFixture({ replicaId: id, time, settings: { segmentBytes: 5_000 * id } }));
  }
  const handlers = new Map<string, Handler>();
  const members = fixtures.map(({ options }): Member => {
    const id = options.replicaId!;
    return { replicaId: replicaId(id), brokerId: brokerId(id), storeId: `${id}` };
  });
  const voters = members.slice(0, count - learnerCount);
  const membership = { voters, votersOutgoing: [], learners: members.slice(count - learnerCount) };
  const dead = new Set<number>();
  const again: number[] = [];
  const scrubbers: Scrubber[] = [];
  for (const [at, fixture] of fixtures.entries()) {
    await fixture.start();
    for (let i = 0; i < 200; i++) fixture.apply(batchesCommand([testBatch({ records: 1 + (i % 3), valueBytes: 150 })]));
    const checkpoint = await fixture.checkpoint();
    fixture.machine.checkpointDurable(checkpoint.index);
    const id = brokerId(at + 1);
    const { log } = fixture.machine;
    const target: ScrubTarget = {
      group: { groupId: groupId(5), replicaId: replicaId(at + 1), role: at === 0 ? 'leader' : 'follower', membership },
      name: 'orders-3',
      log,
      stateFlaw: () => fixture.machine.stateFlaw(),
    };
    const groups: ScrubberOptions['groups'] = {
      isBrokerLive: (broker) => !dead.has(broker),
      serve: (service, handler) => handlers.set(`${id} ${service}`, handler),
      request: async (to, service, payload) => {
        if (dead.has(to)) throw new Error('It is dead');
        return handlers.get(`${to} ${service}`)!(id, payload);
      },
    };
    const { resources } = fixture;
    const { clock, timers } = resources;
    scrubbers.push(
      new Scrubber({
        brokerId: id,
        groups,
        resources,
        clock,
        timers,
        log: SILENT_LOG,
        bytesPerSecond,
        intervalMs: 10_000,
        targets: () => [target],
        targetOf: () => target,
        checkpointAgain: () => again.push(id),
        fail: (error) => {
          throw error;
        },
      }),
    );
  }
  const logPaths = (at: number): string[] => fixtures[at]!.platter.paths().filter((path) => path.endsWith('.log'));
  const contents = (at: number): Buffer =>
    Buffer.concat(logPaths(at).map((path) => fixtures[at]!.platter.readBytes(path)));
  return { time, fixtures, scrubbers, logPaths, contents, dead, again };
}

describe('The scrubber', () => {
  it('finds nothing where there is nothing, and compares all of it', async () => {
    const { time, scrubbers, contents } = await replicas(3);
    await time.settle(scrubbers[0]!.scrubNow());
    const { pass, isRunning, rows } = scrubbers[0]!.report;
    expect([pass, isRunning]).toEqual([1, false]);
    expect(rows).toMatchObject([
      { name: 'orders-3', bytes: contents(0).length, found: 0, mismatches: 0, state: 'whole' },
    ]);
    expect(rows[0]!.rangesCompared).toBeGreaterThan(3);
    expect(scrubbers[0]!.metrics.rangesVerified).toBe(rows[0]!.rangesCompared);
    // Who was asked has read as much.
    expect(scrubbers.map(({ metrics }) => metrics.bytes)).toEqual(
      contents(0).length === 0 ? [] : Array(3).fill(contents(0).length),
    );
    expect(contents(1).equals(contents(0)) && contents(2).equals(contents(0))).toBe(true);
  });

  it('repairs any byte of a batch that is not what it was, wherever it is', async () => {
    const { time, fixtures, scrubbers, logPaths, contents } = await replicas(2);
    const whole = contents(1);
    const [path] = logPaths(0);
    const { length } = fixtures[0]!.platter.readBytes(path!);
    // All of the first header, and a sample of the rest.
    const positions = [
      ...Array(61).keys(),
      ...Array.from({ length: 15 }, (_, i) => Math.floor(((i + 1) * length) / 16)),
    ];
    for (const position of positions) {
      fixtures[0]!.platter.flipBit(path!, position, position % 8);
      await time.settle(scrubbers[0]!.scrubNow());
      expect(scrubbers[0]!.report.rows).toMatchObject([{ found: 1, repaired: 1, state: 'whole' }]);
      expect(contents(0).equals(whole), `byte ${position}`).toBe(true);
    }
    expect(scrubbers[0]!.metrics).toMatchObject({ mismatches: 0, replicasRepaired: positions.length });
  });

  it('says that a replica is damaged while no other one is there, leaves it as it is, and repairs it later', async () => {
    const { time, fixtures, scrubbers, logPaths, contents, dead } = await replicas(2);
    const whole = contents(1);
    fixtures[0]!.platter.flipBit(logPaths(0)[1]!, 500, 1);
    const damaged = contents(0);
    dead.add(2);
    await time.settle(scrubbers[0]!.scrubNow());
    expect(scrubbers[0]!.report.rows).toMatchObject([{ found: 1, repaired: 0, state: 'damaged' }]);
    await time.runFor(60_000);
    expect(scrubbers[0]!.damagedReplicas).toBe(1);
    expect(contents(0).equals(damaged)).toBe(true);
    dead.delete(2);
    await time.runFor(20_000);
    expect([scrubbers[0]!.damagedReplicas, scrubbers[0]!.metrics.replicasRepaired]).toEqual([0, 1]);
    expect(contents(0).equals(whole)).toBe(true);
  });

  it('ends although damage is left that nobody could repair', async () => {
    const { time, fixtures, scrubbers, logPaths, dead } = await replicas(2);
    fixtures[0]!.platter.flipBit(logPaths(0)[1]!, 500, 1);
    dead.add(2);
    await time.settle(scrubbers[0]!.scrubNow());
    scrubbers[0]!.stop();
    // What goes on without pauses never lets this come back.
    await time.runFor(20_000);
    expect([scrubbers[0]!.damagedReplicas, scrubbers[0]!.metrics.replicasRepaired]).toEqual([1, 0]);
  });

  it('tells who is wrong by majority where every checksum holds', async () => {
    for (const wrong of [0, 2]) {
      const { time, fixtures, scrubbers, logPaths, contents } = await replicas(3);
      const whole = contents(1);
      const { platter } = fixtures[wrong]!;
      const path = logPaths(wrong)[0]!;
      const other = testBatch({ records: 1, valueBytes: 150, timestampMs: 77 });
      stampStoredBatch(other, 0, 0, 1);
      expect(storedSizeBytes(platter.readBytes(path), 0)).toBe(other.length);
      platter.damage(path, 0, other);
      await time.settle(scrubbers[0]!.scrubNow());
      expect(scrubbers[0]!.report.rows).toMatchObject([{ found: 0, mismatches: 1, repaired: 1, state: 'whole' }]);
      expect(contents(wrong).equals(whole)).toBe(true);
      await time.settle(scrubbers[0]!.scrubNow());
      expect(scrubbers[0]!.report.rows).toMatchObject([{ found: 0, mismatches: 0, repaired: 0 }]);
    }
  });

  it('does not count learners, which have what a leader sent them', async () => {
    const { time, fixtures, scrubbers, logPaths, contents } = await replicas(4, 10 ** 9, 1);
    const whole = contents(1);
    const other = testBatch({ records: 1, valueBytes: 150, timestampMs: 77 });
    stampStoredBatch(other, 0, 0, 1);
    for (const wrong of [0, 3]) fixtures[wrong]!.platter.damage(logPaths(wrong)[0]!, 0, other);
    await time.settle(scrubbers[0]!.scrubNow());
    expect(scrubbers[0]!.report.rows).toMatchObject([{ mismatches: 1, repaired: 2 }]);
    for (const at of [0, 1, 2, 3]) expect(contents(at).equals(whole), `replica ${at}`).toBe(true);
  });

  it('leaves two replicas alone that differ, as nobody knows which one is right', async () => {
    const { time, fixtures, scrubbers, logPaths, contents } = await replicas(2);
    const other = testBatch({ records: 1, valueBytes: 150, timestampMs: 77 });
    stampStoredBatch(other, 0, 0, 1);
    fixtures[0]!.platter.damage(logPaths(0)[0]!, 0, other);
    const before = [contents(0), contents(1)];
    await time.settle(scrubbers[0]!.scrubNow());
    expect(scrubbers[0]!.report.rows).toMatchObject([{ mismatches: 1, repaired: 0 }]);
    expect([contents(0), contents(1)]).toEqual(before);
  });

  it('has another checkpoint made where the state file is damaged', async () => {
    const { time, fixtures, scrubbers, again } = await replicas(1);
    const { platter, machine } = fixtures[0]!;
    for (let id = 0; id < 100; id++) {
      const options = { producerId: id, producerEpoch: 0, baseSequence: 0 };
      fixtures[0]!.apply(batchesCommand([testBatch({ options })]));
    }
    machine.checkpointDurable((await fixtures[0]!.checkpoint()).index);
    await time.settle(scrubbers[0]!.scrubNow());
    expect(again).toEqual([]);
    platter.flipBit(platter.paths().find((path) => path.endsWith('.state'))!, 100, 1);
    await time.settle(scrubbers[0]!.scrubNow());
    expect(again).toEqual([1]);
    machine.checkpointDurable((await fixtures[0]!.checkpoint()).index);
    await time.settle(scrubbers[0]!.scrubNow());
    expect(again).toEqual([1]);
  });

  it('reads at its speed, is done with a follower that its leader asked for, and hurries when it is told to', async () => {
    const { time, scrubbers, contents } = await replicas(2, 20_000);
    const seconds = contents(0).length / 20_000;
    const startedMs = time.now;
    scrubbers[0]!.start();
    await time.runUntilTrue(() => scrubbers[1]!.metrics.bytes > 0, 60_000);
    scrubbers[1]!.start();
    await time.runUntilTrue(() => scrubbers[0]!.metrics.passes === 1 && !scrubbers[0]!.report.isRunning, 300_000);
    // The leader's own reading, then the follower's, range by range.
    expect(time.now - startedMs).toBeGreaterThan(10_000 + 2 * seconds * 1_000 * 0.9);
    expect(scrubbers[1]!.metrics.bytes).toBe(contents(0).length);
    await time.runUntilTrue(() => scrubbers[0]!.report.isRunning, 60_000);
    const hurriedMs = time.now;
    await time.settle(scrubbers[0]!.scrubNow());
    expect(time.now - hurriedMs).toBeLessThan(1.2 * seconds * 1_000);
    expect(scrubbers[0]!.metrics.passes).toBe(3);
    for (const scrubber of scrubbers) scrubber.stop();
  });
});
