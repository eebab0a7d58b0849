import { beforeEach, describe, expect, it } from 'vitest';
import { FakeBroker } from '../../../test/fakes/fake-broker.ts';
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import { CONSUMER_OFFSETS_TOPIC, GroupCoordinator } from './group-coordinator.ts';
import type { GroupShard } from './group-shard.ts';

let broker: FakeBroker;
let coordinator: GroupCoordinator;
let ensured: number;
beforeEach(() => {
  broker = new FakeBroker();
  ensured = 0;
  const { cluster, groups, timers } = broker.services;
  coordinator = new GroupCoordinator({
    cluster,
    groups,
    timers,
    config: {} as never,
    ensureTopic: () => {
      ensured++;
      broker.addTopic(CONSUMER_OFFSETS_TOPIC, [2]);
      return Promise.resolve(ErrorCode.NONE);
    },
  });
});

describe('locate', () => {
  it('creates the topic on first use and names the leader of the partition', async () => {
    expect(await coordinator.locate('g')).toMatchObject({ brokerId: 2, host: 'host2' });
    expect(await coordinator.locate('g')).toMatchObject({ brokerId: 2 });
    expect(ensured).toBe(1);
  });

  it('sends nobody to a broker that is not in the Metadata list', async () => {
    broker.addTopic(CONSUMER_OFFSETS_TOPIC, [2]);
    broker.live.delete(2);
    expect(await coordinator.locate('g')).toBe(ErrorCode.COORDINATOR_NOT_AVAILABLE);
  });
});

describe('positions', () => {
  it('are compared with the topic that they were committed for, and no other one of its name', () => {
    const { topicId } = broker.addTopic('t', [1]);
    broker.partition('t').append(1);
    const value = { offset: 1, leaderEpoch: 0, metadata: '', topicId, commitTimestampMs: 0 };
    const committed = [value, { ...value, topicId: 'another' }].map((each) => ({
      groupId: 'g',
      topic: 't',
      partition: 0,
      value: each,
    }));
    coordinator.addShard(0, {
      availability: () => ErrorCode.NONE,
      committedOffsets: () => committed,
    } as unknown as GroupShard);
    expect([...coordinator.positions()].map(({ highWatermark }) => highWatermark)).toEqual([1, undefined]);
  });
});
