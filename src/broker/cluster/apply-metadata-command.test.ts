import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { arbitraryHistory } from '../../../test/fakes/metadata-commands.ts';
import { brokerId, type GroupId, METADATA_GROUP_ID, type ReplicaId, replicaId } from '../../std/brands.ts';
import { type Applied, type ApplyResult, applyMetadataCommand } from './apply-metadata-command.ts';
import { decodeMetadataCommand, encodeMetadataCommand, type MetadataCommand } from './metadata-command.ts';
import type { Tombstone } from './metadata-image.ts';
import { MetadataState } from './metadata-state.ts';
import { decodeMetadataState, encodeMetadataState } from './metadata-state-codec.ts';

const INITIAL = MetadataState.initial('cluster');

function run(commands: readonly MetadataCommand[], state = INITIAL): MetadataState {
  return commands.reduce((current, command) => applyMetadataCommand(current, command).state, state);
}

function register(id: number, storeId = `store-${id}`): MetadataCommand {
  const endpoints = { host: 'localhost', port: 1, raftHost: 'localhost', raftPort: 2, rack: null };
  return { kind: 'registerBroker', broker: { brokerId: brokerId(id), storeId, ...endpoints }, metadataReplicaId: 0 };
}

const TOPIC_ID = Buffer.alloc(16, 9).toString('base64url');

function createOrders(...brokers: number[]): MetadataCommand {
  const partitions = [brokers.map(brokerId), brokers.map(brokerId)];
  return {
    kind: 'createTopics',
    topics: [{ name: 'orders', topicId: TOPIC_ID, isInternal: false, partitions, configs: [] }],
  };
}

/** Partition 0 of the topic is to be on brokers 2 and 3 instead of 1 and 2. */
function moveOrders() {
  const created = run([register(1), register(2), register(3), createOrders(1, 2)]);
  const at = { topicId: TOPIC_ID, partition: 0 };
  const target = { ...at, version: 0, brokerIds: [2, 3].map(brokerId) };
  return { at, created, moved: run([{ kind: 'setReplicas', partitions: [target] }], created) };
}

function replicasOf(state: MetadataState): { id: ReplicaId; group: GroupId; broker: number; storeId: string }[] {
  return [...state.topics.values()].flatMap((topic) =>
    topic.partitions.flatMap(({ groupId, replicas, removing }) =>
      [...replicas, ...removing].map(({ replicaId, brokerId: broker, storeId }) => ({
        id: replicaId,
        group: groupId,
        broker,
        storeId,
      })),
    ),
  );
}

describe('applyMetadataCommand()', () => {
  test('is a pure function: every broker gets the same bytes and results, and no earlier state changes', () => {
    fc.assert(
      fc.property(arbitraryHistory, (history) => {
        let one = INITIAL;
        let other = INITIAL;
        const bytesBefore: { state: MetadataState; bytes: Uint8Array }[] = [];
        for (const command of history) {
          bytesBefore.push({ state: one, bytes: encodeMetadataState(one) });
          const here = applyMetadataCommand(one, command);
          const there = applyMetadataCommand(
            other,
            decodeMetadataCommand(Buffer.concat(encodeMetadataCommand(command))),
          );
          expect(there.result).toEqual(here.result);
          one = here.state;
          other = there.state;
        }
        expect(encodeMetadataState(other)).toEqual(encodeMetadataState(one));
        for (const { state, bytes } of bytesBefore) expect(encodeMetadataState(state)).toEqual(bytes);
      }),
      { numRuns: 60 },
    );
  });

  test('goes on from a decoded state at any point as from the original', () => {
    fc.assert(
      fc.property(arbitraryHistory, fc.nat(), (history, at) => {
        const cut = at % (history.length + 1);
        const state = run(history.slice(0, cut));
        const restored = decodeMetadataState(encodeMetadataState(state));
        expect(encodeMetadataState(restored)).toEqual(encodeMetadataState(state));
        expect(encodeMetadataState(run(history.slice(cut), restored))).toEqual(encodeMetadataState(run(history)));
      }),
    );
  });

  test('never gives out a group, replica or producer id twice, and keeps track of every replica until it is removed', () => {
    fc.assert(
      fc.property(arbitraryHistory, (history) => {
        let state = INITIAL;
        const owners = new Map<ReplicaId, string>();
        let producerIds = 0;
        for (const command of history) {
          const before = state;
          const applied = applyMetadataCommand(state, command);
          state = applied.state;
          const replicas = replicasOf(state);
          expect(new Set(replicas.map(({ id }) => id)).size).toBe(replicas.length);
          for (const { id, group, broker, storeId } of replicas) {
            const owner = `${group} ${broker} ${storeId}`;
            expect(owners.get(id) ?? owner).toBe(owner);
            owners.set(id, owner);
            expect(state.tombstones.has(id)).toBe(false);
          }
          // What is no longer placed has a tombstone, unless nobody is left to remove it.
          const placed = new Set(replicas.map(({ id }) => id));
          for (const { id, storeId } of replicasOf(before)) {
            if (!placed.has(id) && !state.retiredStores.has(storeId)) expect(state.tombstones.has(id)).toBe(true);
          }
          // Tombstones go only on acknowledgement or with their store.
          for (const [id, tombstone] of before.tombstones) {
            if (state.tombstones.has(id) || state.retiredStores.has(tombstone.storeId)) continue;
            expect(command.kind === 'replicasRemoved' && command.replicaIds.includes(id)).toBe(true);
          }
          for (const topic of state.topics.values()) expect(state.topicById(topic.topicId)).toBe(topic);
          expect(state.topicNames.size).toBe(state.topics.size);
          if (applied.result.kind === 'producerIds') {
            expect(applied.result.first).toBe(producerIds);
            producerIds += applied.result.count;
          }
        }
      }),
    );
  });

  test('refuses a name or topic id that is taken, unknown brokers and overtaken versions', () => {
    const outcomes = (state: MetadataState, command: MetadataCommand): ApplyResult =>
      applyMetadataCommand(state, command).result;
    const state = run([register(1), register(2), createOrders(1, 2)]);
    expect(outcomes(state, createOrders(1))).toEqual({ kind: 'items', outcomes: ['topicExists'] });
    const other = createOrders(1) as Extract<MetadataCommand, { kind: 'createTopics' }>;
    const renamed = { ...other, topics: other.topics.map((topic) => ({ ...topic, name: 'other' })) };
    expect(outcomes(state, renamed)).toEqual({ kind: 'items', outcomes: ['conflict'] });
    expect(outcomes(run([register(1)]), createOrders(1, 7))).toEqual({ kind: 'items', outcomes: ['unknownBroker'] });
    const target = { topicId: TOPIC_ID, partition: 0, version: 1, brokerIds: [brokerId(1)] };
    expect(outcomes(state, { kind: 'setReplicas', partitions: [target] })).toEqual({
      kind: 'items',
      outcomes: ['conflict'],
    });
  });

  test('buries a replica that was given out and is placed nowhere, and no other', () => {
    const { at, moved } = moveOrders();
    const { groupId, removing } = moved.topics.get('orders')!.partitions[0]!;
    const left = { ...removing[0]!, groupId };
    const bury = (state: MetadataState, tombstone: Tombstone): Applied =>
      applyMetadataCommand(state, { kind: 'buryReplicas', replicas: [tombstone] });
    const refused = { kind: 'items', outcomes: ['conflict'] };
    expect(bury(moved, left).result, 'on its way out').toEqual(refused);
    const final = run([{ kind: 'replicasFinal', partitions: [{ ...at, version: 1 }] }], moved);
    const gone = run([{ kind: 'replicasRemoved', replicaIds: [left.replicaId] }], final);
    expect(gone.tombstones.size).toBe(0);
    const buried = bury(gone, left);
    expect(buried.result).toEqual({ kind: 'items', outcomes: ['done'] });
    expect([...buried.state.tombstones.values()]).toEqual([left]);
    const placed = gone.topics.get('orders')!.partitions[0]!.replicas[0]!;
    expect(bury(gone, { ...placed, groupId }).result, 'placed').toEqual(refused);
    const future = { ...left, replicaId: replicaId(gone.nextReplicaId) };
    expect(bury(gone, future).result, 'not given out').toEqual(refused);
    expect(bury(gone, { ...left, groupId: METADATA_GROUP_ID }).result, 'of metadata').toEqual(refused);
    const other = { ...left, storeId: 'another' };
    expect(bury(gone, other).result).toEqual({ kind: 'items', outcomes: ['unknownBroker'] });
  });

  test('a moved partition keeps the replica that leaves until the final configuration is reported', () => {
    const { at, created, moved } = moveOrders();
    const before = created.topics.get('orders')!.partitions[0]!;
    const placement = moved.topics.get('orders')!.partitions[0]!;
    expect(placement.replicas.map((replica) => replica.brokerId)).toEqual([2, 3]);
    expect(placement.replicas[0]).toEqual(before.replicas[1]);
    expect(placement.removing).toEqual([before.replicas[0]]);
    expect(moved.tombstones.size).toBe(0);

    const final = run([{ kind: 'replicasFinal', partitions: [{ ...at, version: 1 }] }], moved);
    expect(final.topics.get('orders')!.partitions[0]!.removing).toEqual([]);
    expect([...final.tombstones.values()]).toEqual([{ ...before.replicas[0], groupId: before.groupId }]);

    // Taken back before it was final: the same replica goes on.
    const back = run(
      [{ kind: 'setReplicas', partitions: [{ ...at, version: 1, brokerIds: [1, 2].map(brokerId) }] }],
      moved,
    );
    expect(back.topics.get('orders')!.partitions[0]!.replicas).toEqual(before.replicas);
    expect(run([{ kind: 'replicasFinal', partitions: [{ ...at, version: 1 }] }], back)).toEqual(back);
  });

  test('a new store under an old broker id gets new replicas as targets, and the old store never counts again', () => {
    const created = run([register(1), register(2), createOrders(1, 2)]);
    const replaced = run([register(2, 'new')], created);
    for (const [index, placement] of replaced.topics.get('orders')!.partitions.entries()) {
      const before = created.topics.get('orders')!.partitions[index]!;
      expect(placement.replicas[0]).toEqual(before.replicas[0]);
      expect(placement.replicas[1]).toMatchObject({ brokerId: 2, storeId: 'new' });
      expect(placement.replicas[1]!.replicaId).not.toBe(before.replicas[1]!.replicaId);
      expect(placement.removing).toEqual([before.replicas[1]]);
      expect(placement.version).toBe(1);
    }
    expect(replaced.brokers.get(brokerId(2))!.metadataReplicaId).not.toBe(
      created.brokers.get(brokerId(2))!.metadataReplicaId,
    );
    expect(applyMetadataCommand(replaced, register(2))).toEqual({ state: replaced, result: { kind: 'storeRetired' } });
    // Registered again, e.g. with another port: nothing else changes.
    expect(run([register(2, 'new')], replaced).topics).toBe(replaced.topics);
  });

  test('cluster time and feature level never go back', () => {
    const state = run([
      { kind: 'clusterTime', timeMs: 50 },
      { kind: 'clusterTime', timeMs: 40 },
      { kind: 'featureLevel', level: 3 },
      { kind: 'featureLevel', level: 2 },
    ]);
    expect(state.clusterTimeMs).toBe(50);
    expect(state.featureLevel).toBe(3);
  });
});
