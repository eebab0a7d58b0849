import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type BrokerId, brokerId } from '../../std/brands.ts';
import { SeededRandom } from '../../std/seeded-random.ts';
import { type PlacementBroker, type PlacementLoad, placePartitions } from './placement.ts';

const emptyLoad = (): PlacementLoad => ({ replicas: new Map(), leaders: new Map() });

/** Racks of equal size; one broker a rack and a rack of null when `brokersPerRack` is 0. */
function makeBrokers(racks: number, brokersPerRack: number): PlacementBroker[] {
  const brokers: PlacementBroker[] = [];
  for (let rack = 0; rack < racks; rack++) {
    for (let i = 0; i < Math.max(1, brokersPerRack); i++) {
      brokers.push({ brokerId: brokerId(brokers.length + 1), rack: brokersPerRack === 0 ? null : `rack-${rack}` });
    }
  }
  return brokers;
}

const clusters = fc
  .record({ racks: fc.integer({ min: 1, max: 5 }), perRack: fc.integer({ min: 0, max: 4 }) })
  .map(({ racks, perRack }) => makeBrokers(racks, perRack))
  .chain((brokers) =>
    fc.record({ brokers: fc.constant(brokers), factor: fc.integer({ min: 1, max: brokers.length }) }),
  );

function spread(counts: ReadonlyMap<BrokerId, number>, brokers: readonly PlacementBroker[]): number {
  const values = brokers.map((broker) => counts.get(broker.brokerId) ?? 0);
  return Math.max(...values) - Math.min(...values);
}

describe('placePartitions()', () => {
  test('never places a partition twice on one broker and spreads it over as many racks as there are', () => {
    fc.assert(
      fc.property(clusters, fc.integer({ min: 1, max: 40 }), fc.integer(), ({ brokers, factor }, partitions, seed) => {
        const placed = placePartitions(brokers, partitions, factor, emptyLoad(), new SeededRandom(seed));
        const rackOf = new Map(brokers.map((broker) => [broker.brokerId, broker.rack ?? `own-${broker.brokerId}`]));
        const racks = new Set(rackOf.values()).size;
        expect(placed).toHaveLength(partitions);
        for (const replicas of placed) {
          expect(new Set(replicas).size).toBe(factor);
          const uses = new Map<string, number>();
          for (const id of replicas) uses.set(rackOf.get(id)!, (uses.get(rackOf.get(id)!) ?? 0) + 1);
          // Equal racks: each takes its share, rounded up or down.
          for (const count of uses.values()) expect(count).toBeLessThanOrEqual(Math.ceil(factor / racks));
        }
      }),
    );
  });

  test('balances replicas and preferred leaders of a topic within one', () => {
    fc.assert(
      fc.property(clusters, fc.integer({ min: 1, max: 60 }), fc.integer(), ({ brokers, factor }, partitions, seed) => {
        const load = emptyLoad();
        placePartitions(brokers, partitions, factor, load, new SeededRandom(seed));
        expect(spread(load.replicas, brokers)).toBeLessThanOrEqual(1);
        expect(spread(load.leaders, brokers)).toBeLessThanOrEqual(1);
      }),
    );
  });

  test('keeps many topics balanced: replicas within one, leaders within two as earlier ones stay', () => {
    const topics = fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(clusters, topics, fc.integer(), ({ brokers, factor }, partitionCounts, seed) => {
        const load = emptyLoad();
        const random = new SeededRandom(seed);
        for (const partitions of partitionCounts) placePartitions(brokers, partitions, factor, load, random);
        expect(spread(load.replicas, brokers)).toBeLessThanOrEqual(1);
        expect(spread(load.leaders, brokers)).toBeLessThanOrEqual(2);
      }),
    );
  });

  test('keeps the load it was given up to date', () => {
    const brokers = makeBrokers(3, 0);
    const load = emptyLoad();
    const placed = placePartitions(brokers, 7, 2, load, new SeededRandom(1));
    for (const { brokerId: id } of brokers) {
      expect(load.replicas.get(id)).toBe(placed.filter((replicas) => replicas.includes(id)).length);
      expect(load.leaders.get(id) ?? 0).toBe(placed.filter((replicas) => replicas[0] === id).length);
    }
  });

  test('gives the same placement for the same seed, and fills an empty broker first', () => {
    const brokers = makeBrokers(4, 0);
    const place = () => placePartitions(brokers, 12, 3, emptyLoad(), new SeededRandom(7));
    expect(place()).toEqual(place());
    const load: PlacementLoad = { replicas: new Map(), leaders: new Map() };
    for (const id of [1, 2, 3]) load.replicas.set(brokerId(id), 10);
    const placed = placePartitions(brokers, 5, 1, load, new SeededRandom(7));
    expect(placed).toEqual([[4], [4], [4], [4], [4]]);
  });
});
