/**
 * Where new partitions go: replicas on different racks first, then on the brokers that hold least, and preferred leaders spread evenly. Pure: the same input and random sequence give the same
 * placement.
 */
import { assert } from '../../std/assert.ts';
import type { BrokerId } from '../../std/brands.ts';
import type { Random } from '../../std/environment.ts';
import type { MetadataImage, TopicImage } from './metadata-image.ts';

export interface PlacementBroker {
  readonly brokerId: BrokerId;
  /** Null: the broker stands for a rack of its own. */
  readonly rack: string | null;
}

/** How much each broker holds already. */
export interface PlacementLoad {
  readonly replicas: Map<BrokerId, number>;
  /** Partitions it is the preferred leader of. */
  readonly leaders: Map<BrokerId, number>;
}

/** Counts what `image` places, over all topics. */
export function loadOf(image: MetadataImage): PlacementLoad {
  const load: PlacementLoad = { replicas: new Map(), leaders: new Map() };
  for (const topic of image.topics.values()) addTopic(load, topic);
  return load;
}

function addTopic(load: PlacementLoad, topic: TopicImage): void {
  for (const partition of topic.partitions) {
    for (const [position, replica] of partition.replicas.entries()) {
      increment(load.replicas, replica.brokerId);
      if (position === 0) increment(load.leaders, replica.brokerId);
    }
  }
}

/**
 * Brokers for `partitionCount` partitions, preferred leader first. `brokers` must be at least as many as the replication factor. `load` is brought up to date, so that several topics can be placed
 * one after the other.
 */
export function placePartitions(
  brokers: readonly PlacementBroker[],
  partitionCount: number,
  replicationFactor: number,
  load: PlacementLoad,
  random: Random,
): BrokerId[][] {
  assert(replicationFactor >= 1, 'A replication factor must be at least 1');
  assert(replicationFactor <= brokers.length, 'There are fewer brokers than replicas');
  const placed: BrokerId[][] = [];
  for (let i = 0; i < partitionCount; i++) {
    const chosen = chooseReplicas(brokers, replicationFactor, load, random);
    for (const id of chosen) increment(load.replicas, id);
    increment(load.leaders, chosen[0] as BrokerId);
    placed.push(chosen);
  }
  balanceLeaders(placed, load);
  return placed;
}

interface Candidate {
  readonly id: BrokerId;
  readonly rack: string;
  readonly replicas: number;
  readonly leaders: number;
  /** Replicas per broker of its rack. */
  rackLoad: number;
  readonly tieBreak: number;
}

/** Brokers of one partition: never twice from one rack while another rack has fewer of it, the least loaded among those allowed; the one that leads least comes first. */
function chooseReplicas(
  brokers: readonly PlacementBroker[],
  count: number,
  load: PlacementLoad,
  random: Random,
): BrokerId[] {
  const usesOfRack = new Map<string, number>();
  const racks = new Map<string, { brokers: number; replicas: number }>();
  const candidates: Candidate[] = brokers.map((broker) => {
    // A broker without a rack can not share one: '\0' never starts a configured name.
    const rack = broker.rack ?? `\0${broker.brokerId}`;
    const replicas = load.replicas.get(broker.brokerId) ?? 0;
    const sum = racks.get(rack) ?? { brokers: 0, replicas: 0 };
    racks.set(rack, { brokers: sum.brokers + 1, replicas: sum.replicas + replicas });
    const leaders = load.leaders.get(broker.brokerId) ?? 0;
    return { id: broker.brokerId, rack, replicas, leaders, rackLoad: 0, tieBreak: random.next() };
  });
  for (const candidate of candidates) {
    const sum = racks.get(candidate.rack);
    candidate.rackLoad = sum === undefined ? 0 : sum.replicas / sum.brokers;
  }
  const chosen: Candidate[] = [];
  while (chosen.length < count) {
    let best: Candidate | undefined;
    for (const candidate of candidates) {
      if (chosen.includes(candidate)) continue;
      if (best === undefined || compare(candidate, best, usesOfRack) < 0) best = candidate;
    }
    assert(best !== undefined, 'A broker is left to choose');
    chosen.push(best);
    usesOfRack.set(best.rack, (usesOfRack.get(best.rack) ?? 0) + 1);
  }
  return chosen.sort((a, b) => a.leaders - b.leaders || a.tieBreak - b.tieBreak).map((candidate) => candidate.id);
}

function compare(a: Candidate, b: Candidate, usesOfRack: ReadonlyMap<string, number>): number {
  const byRack = (usesOfRack.get(a.rack) ?? 0) - (usesOfRack.get(b.rack) ?? 0);
  // Between equal brokers the emptier rack: it gets only so many replicas of a partition, so it must not fall behind.
  return byRack || a.replicas - b.replicas || a.rackLoad - b.rackLoad || a.tieBreak - b.tieBreak;
}

/**
 * Evens out preferred leaders among the partitions just placed. Choosing one after the other can end uneven although an even choice exists, so leaderships move along chains (broker A hands one to
 * B, B one to C) from a broker with most to one with at least two fewer, until no such chain is left: then no other choice is more even.
 */
function balanceLeaders(placed: BrokerId[][], load: PlacementLoad): void {
  const leadersOf = (id: BrokerId): number => load.leaders.get(id) ?? 0;
  for (;;) {
    const sources = [...new Set(placed.map((brokers) => brokers[0] as BrokerId))].sort(
      (a, b) => leadersOf(b) - leadersOf(a) || a - b,
    );
    const moved = sources.some((source) => moveOneLeader(placed, load, source, leadersOf(source) - 2));
    if (!moved) return;
  }
}

/** Moves one leadership from `source`, through a chain, to a broker with at most `limit`. False: there is no such chain. */
function moveOneLeader(placed: BrokerId[][], load: PlacementLoad, source: BrokerId, limit: number): boolean {
  const cameBy = new Map<BrokerId, number>([[source, -1]]);
  const queue = [source];
  for (let from = queue.shift(); from !== undefined; from = queue.shift()) {
    for (const [index, brokers] of placed.entries()) {
      if (brokers[0] !== from) continue;
      for (const to of brokers) {
        if (cameBy.has(to)) continue;
        cameBy.set(to, index);
        queue.push(to);
        if ((load.leaders.get(to) ?? 0) > limit) continue;
        walkBack(placed, cameBy, to);
        increment(load.leaders, to);
        load.leaders.set(source, (load.leaders.get(source) ?? 0) - 1);
        return true;
      }
    }
  }
  return false;
}

function walkBack(placed: BrokerId[][], cameBy: ReadonlyMap<BrokerId, number>, target: BrokerId): void {
  for (let to = target, index = cameBy.get(to) as number; index !== -1; index = cameBy.get(to) as number) {
    const brokers = placed[index] as BrokerId[];
    const from = brokers[0] as BrokerId;
    placed[index] = [to, ...brokers.filter((id) => id !== to)];
    to = from;
  }
}

function increment(counts: Map<BrokerId, number>, id: BrokerId): void {
  counts.set(id, (counts.get(id) ?? 0) + 1);
}
