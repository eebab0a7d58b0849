/** Random operations, leader changes, lost outcomes and broker deaths on a cluster in virtual time; afterwards everything must have come together. */
import { describe, expect, test } from 'vitest';
import { FakeMetadataCluster } from '../../../test/fakes/fake-metadata-cluster.ts';
import type { ProposalFault } from '../../../test/fakes/fake-raft-groups.ts';
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import { type BrokerId, brokerId, METADATA_GROUP_ID } from '../../std/brands.ts';
import { SeededRandom } from '../../std/seeded-random.ts';
import { encodeMetadataState } from './metadata-state-codec.ts';

const SEEDS = 25;
const OPERATIONS = 40;
const BROKERS = 3;
const NAMES = ['a', 'b', 'c', 'd'];
const FAULTS: readonly ProposalFault[] = ['unknownButCommitted', 'unknownAndLost', 'refused'];

class RandomRun {
  readonly #cluster: FakeMetadataCluster;
  readonly #random: SeededRandom;
  readonly #pending = new Set<Promise<void>>();
  #dead: BrokerId | undefined;
  /** Ids of topics whose creation was confirmed, and of those somebody tried to delete. */
  readonly created = new Map<string, string>();
  readonly deletionTried = new Set<string>();
  readonly deletionConfirmed = new Set<string>();
  readonly producerIds: number[] = [];

  constructor(cluster: FakeMetadataCluster, random: SeededRandom) {
    this.#cluster = cluster;
    this.#random = random;
  }

  async run(): Promise<void> {
    for (let i = 0; i < OPERATIONS; i++) {
      this.#step();
      await this.#cluster.time.runFor(this.#random.below(60));
    }
    if (this.#dead !== undefined) this.#cluster.network.setLive(this.#dead, true);
    this.#cluster.network.faults.length = 0;
    this.#elect(METADATA_GROUP_ID, brokerId(1 + this.#random.below(BROKERS)));
    await this.#cluster.time.settle(Promise.all(this.#pending));
    this.#healGroups();
    await this.#cluster.time.runFor(60_000);
  }

  #step(): void {
    const random = this.#random;
    const choice = random.below(100);
    if (choice < 35) this.#track(this.#create());
    else if (choice < 55) this.#track(this.#delete());
    else if (choice < 65) this.#track(this.#allocate());
    else if (choice < 75) this.#elect(METADATA_GROUP_ID, random.pick([1, 2, 3].map(brokerId)));
    else if (choice < 90) this.#cluster.network.faults.push(random.pick(FAULTS));
    else if (this.#dead === undefined) this.#kill(random.pick([1, 2, 3].map(brokerId)));
    else this.#revive();
  }

  #elect(groupId: typeof METADATA_GROUP_ID, broker: BrokerId): void {
    const live = broker === this.#dead ? brokerId((broker % BROKERS) + 1) : broker;
    this.#cluster.network.elect(groupId, live);
  }

  #kill(broker: BrokerId): void {
    this.#dead = broker;
    this.#cluster.network.setLive(broker, false);
    this.#elect(METADATA_GROUP_ID, broker);
    this.#healGroups();
  }

  #revive(): void {
    const broker = this.#dead as BrokerId;
    this.#dead = undefined;
    this.#cluster.network.setLive(broker, true);
    this.#healGroups();
  }

  /** What elections would do: partitions whose leader died get another one. */
  #healGroups(): void {
    const { network } = this.#cluster;
    for (const { groupId, leader, replicas } of network.shared.values()) {
      if (groupId === METADATA_GROUP_ID || leader !== undefined) continue;
      const successor = [...replicas.keys()].find((broker) => broker !== this.#dead);
      if (successor !== undefined) network.elect(groupId, successor);
    }
  }

  #track(operation: Promise<void>): void {
    this.#pending.add(operation);
  }

  async #create(): Promise<void> {
    const name = this.#random.pick(NAMES);
    const replicationFactor = 1 + this.#random.below(BROKERS);
    const [outcome] = await this.#any().createTopics(
      [{ name, partitionCount: 1 + this.#random.below(3), replicationFactor, assignments: [], configs: [] }],
      { validateOnly: false, timeoutMs: 5000 },
    );
    if (outcome?.errorCode === ErrorCode.NONE) this.created.set(outcome.topicId, name);
  }

  async #delete(): Promise<void> {
    const controller = this.#any();
    const topicId = controller.image.topics.get(this.#random.pick(NAMES))?.topicId;
    if (topicId === undefined) return;
    this.deletionTried.add(topicId);
    const [outcome] = await controller.deleteTopics([{ name: null, topicId }], 5000);
    if (outcome?.errorCode === ErrorCode.NONE) this.deletionConfirmed.add(topicId);
  }

  async #allocate(): Promise<void> {
    const { errorCode, producerId } = await this.#any().allocateProducerId(5000);
    if (errorCode === ErrorCode.NONE) this.producerIds.push(producerId);
  }

  #any() {
    const live = this.#cluster.brokers.filter(({ id }) => id !== this.#dead);
    return this.#random.pick(live).controller;
  }
}

describe('a cluster under faults', () => {
  test(`comes together again: nothing confirmed is lost, nothing deleted comes back (${SEEDS} seeds)`, async () => {
    let created = 0;
    let deleted = 0;
    for (let seed = 1; seed <= SEEDS; seed++) {
      const cluster = await FakeMetadataCluster.start({ tasks: true, brokers: BROKERS, seed });
      const run = new RandomRun(cluster, new SeededRandom(seed));
      await run.run();
      const context = `seed ${seed}`;
      const { image } = cluster.broker(1).controller;
      for (const broker of cluster.brokers) {
        expect(broker.failures, context).toEqual([]);
        expect(encodeMetadataState(broker.controller.image), context).toEqual(encodeMetadataState(image));
        // Local replicas are exactly what the image places here, and all of them are found.
        const placed = [...image.topics.values()].flatMap((topic) =>
          topic.partitions.filter(({ replicas }) => replicas.some((replica) => replica.brokerId === broker.id)),
        );
        const groups = [...broker.groups.all()].map(({ groupId }) => groupId).filter((id) => id !== METADATA_GROUP_ID);
        expect(groups.sort(), context).toEqual(placed.map(({ groupId }) => groupId).sort());
        expect([...broker.registry.all()].length, context).toBe(placed.length);
      }
      expect(image.tombstones.size, context).toBe(0);
      for (const [topicId, name] of run.created) {
        if (!run.deletionTried.has(topicId)) expect(image.topicById(topicId)?.name, context).toBe(name);
      }
      for (const topicId of run.deletionConfirmed) expect(image.topicById(topicId), context).toBeUndefined();
      expect(new Set(run.producerIds).size, context).toBe(run.producerIds.length);
      created += run.created.size;
      deleted += run.deletionConfirmed.size;
    }
    // The runs must have done something.
    expect(created).toBeGreaterThan(SEEDS);
    expect(deleted).toBeGreaterThan(SEEDS / 2);
  });
});
