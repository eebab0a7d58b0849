import { beforeEach, describe, expect, test } from 'vitest';
import { FakeBroker } from '../../../test/fakes/fake-broker.ts';
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import type { FetchResponse } from '../../kafka-protocol/messages/fetch.ts';
import { fetchHandler } from './fetch.ts';

interface Wanted {
  topic?: string;
  topicId?: string;
  partition?: number;
  fetchOffset?: number;
  partitionMaxBytes?: number;
  currentLeaderEpoch?: number;
  lastFetchedEpoch?: number;
}

let broker: FakeBroker;
beforeEach(() => {
  broker = new FakeBroker();
  broker.addTopic('t', [1, 1, 1]);
});

const request = (wanted: Wanted[], more: object = {}) => ({
  maxWaitMs: 500,
  minBytes: 1,
  maxBytes: 1_000_000,
  isolationLevel: 0,
  sessionId: 0,
  sessionEpoch: -1,
  topics: wanted.map((one) => ({
    topic: one.topic ?? 't',
    topicId: one.topicId ?? '',
    partitions: [
      {
        partition: one.partition ?? 0,
        currentLeaderEpoch: one.currentLeaderEpoch ?? -1,
        fetchOffset: one.fetchOffset ?? 0,
        lastFetchedEpoch: one.lastFetchedEpoch ?? -1,
        partitionMaxBytes: one.partitionMaxBytes ?? 1_000_000,
      },
    ],
  })),
  ...more,
});

function start(wanted: Wanted[], more: object = {}, version = 12, handler = fetchHandler(broker.services)) {
  const context = broker.context(version);
  const state: { response?: FetchResponse | undefined; settled: boolean } = { settled: false };
  void Promise.resolve(handler.handle(request(wanted, more), context)).then((response) => {
    state.response = response as FetchResponse | undefined;
    state.settled = true;
  });
  return { context, state };
}

async function fetch(wanted: Wanted[], more: object = {}, version = 12, handler = fetchHandler(broker.services)) {
  const { state } = start(wanted, { maxWaitMs: 0, ...more }, version, handler);
  await broker.time.runFor(1_000);
  expect(state.settled).toBe(true);
  return state.response!;
}
const partitionsOf = (response: FetchResponse) => response.responses.map(({ partitions }) => partitions[0]!);
const sizes = (response: FetchResponse) =>
  partitionsOf(response).map(({ records }) => (records as Uint8Array[]).reduce((sum, piece) => sum + piece.length, 0));
const error = async (wanted: Wanted, version = 12) => partitionsOf(await fetch([wanted], {}, version))[0]!.errorCode;

describe('Fetch', () => {
  test('gives whole records with the ends of the log', async () => {
    broker.partition('t').append(10);
    broker.partition('t').append(20);
    const [answer] = partitionsOf(await fetch([{ fetchOffset: 1 }]));
    expect(answer).toMatchObject({
      errorCode: 0,
      highWatermark: 2,
      lastStableOffset: 2,
      logStartOffset: 0,
      abortedTransactions: null,
    });
    expect((answer!.records as Uint8Array[]).map((piece) => piece.length)).toEqual([20]);
    expect(broker.services.records.recordBytesOut).toBe(20);
    expect(partitionsOf(await fetch([{}], { isolationLevel: 1 }))[0]!.abortedTransactions).toEqual([]);
  });

  test('answers each partition for itself', async () => {
    broker.addTopic('elsewhere', [2]);
    expect(await error({ topic: 'missing' })).toBe(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION);
    expect(await error({ partition: 9 })).toBe(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION);
    expect(await error({ topic: 'elsewhere' })).toBe(ErrorCode.NOT_LEADER_OR_FOLLOWER);
    expect(await error({ fetchOffset: 1 })).toBe(ErrorCode.OFFSET_OUT_OF_RANGE);
    expect(await error({ currentLeaderEpoch: 4 })).toBe(ErrorCode.FENCED_LEADER_EPOCH);
    expect(await error({ currentLeaderEpoch: 6 })).toBe(ErrorCode.UNKNOWN_LEADER_EPOCH);
    expect(await error({ topicId: Buffer.alloc(16, 9).toString('base64url') }, 13)).toBe(ErrorCode.UNKNOWN_TOPIC_ID);
    const failed = partitionsOf(await fetch([{ fetchOffset: 1 }]))[0];
    expect(failed).toMatchObject({ highWatermark: -1, lastStableOffset: -1, logStartOffset: -1, records: [] });
  });

  test('finds topics by id from version 13 on, and names the new leader in 16', async () => {
    const { topicId } = broker.addTopic('moved', [2]);
    const response = await fetch([{ topicId }], {}, 16);
    expect(partitionsOf(response)[0]).toMatchObject({ errorCode: 6, currentLeader: { leaderId: 2, leaderEpoch: 5 } });
    expect(response.nodeEndpoints).toEqual([{ nodeId: 2, host: 'host2', port: 9002, rack: null }]);
    expect(partitionsOf(await fetch([{ topicId }], {}, 15))[0]!.currentLeader).toBeUndefined();
    broker.live.delete(2);
    expect(partitionsOf(await fetch([{ topicId }], {}, 16))[0]!.currentLeader).toBeUndefined();
  });

  test('tells a reader whose log is another one where they parted', async () => {
    broker.partition('t').append(10);
    const [answer] = partitionsOf(await fetch([{ fetchOffset: 2, lastFetchedEpoch: 9 }]));
    expect(answer).toMatchObject({ errorCode: 0, divergingEpoch: { epoch: 5, endOffset: 1 }, records: [] });
  });

  test('takes an epoch that left no record for no disagreement', async () => {
    broker.partition('t').append(10);
    for (const fetchOffset of [0, 1]) {
      const [answer] = partitionsOf(await fetch([{ fetchOffset, lastFetchedEpoch: 9 }]));
      expect(answer).toMatchObject({ errorCode: 0, highWatermark: 1 });
      expect(answer!.divergingEpoch).toBeUndefined();
    }
  });

  test('says that an offset does not exist only when a quorum confirms the leader', async () => {
    broker.partition('t').append(10);
    expect(await error({ fetchOffset: 2 })).toBe(ErrorCode.OFFSET_OUT_OF_RANGE);
    broker.partition('t').confirms = false;
    expect(await error({ fetchOffset: 2 })).toBe(ErrorCode.NOT_LEADER_OR_FOLLOWER);
    expect(await error({ fetchOffset: 2, lastFetchedEpoch: 5 })).toBe(ErrorCode.NOT_LEADER_OR_FOLLOWER);
    expect(await error({ fetchOffset: 1 })).toBe(ErrorCode.NONE);
  });

  test('declines sessions', async () => {
    const full = await fetch([{}], { sessionEpoch: 0 });
    expect([full.errorCode, full.sessionId]).toEqual([0, 0]);
    for (const sessionId of [7, 0]) {
      const { errorCode } = await fetch([], { sessionId, sessionEpoch: 3 });
      expect(errorCode).toBe(ErrorCode.FETCH_SESSION_ID_NOT_FOUND);
    }
  });
});

describe('Fetch limits', () => {
  test('keeps to max bytes, but one record comes through whatever they are', async () => {
    for (const partition of [0, 1])
      for (let record = 0; record < 3; record++) broker.partition('t', partition).append(100);
    const handler = fetchHandler(broker.services);
    const both = [{ partition: 0 }, { partition: 1 }];
    expect((await fetch(both, { maxBytes: 1 }, 12, handler).then(sizes)).sort()).toEqual([0, 100]);
    expect((await fetch(both, { maxBytes: 350 }, 12, handler).then(sizes)).sort()).toEqual([0, 300]);
    expect(await fetch([{ partitionMaxBytes: 250 }, both[1]!], {}, 12, handler).then(sizes)).toEqual([200, 300]);
  });

  test('serves every partition in turn when a response has room for one', async () => {
    for (const partition of [0, 1, 2]) broker.partition('t', partition).append(100);
    const handler = fetchHandler(broker.services);
    const served = new Set<number>();
    for (let round = 0; round < 3; round++) {
      const wanted = [0, 1, 2].map((partition) => ({ partition }));
      served.add(sizes(await fetch(wanted, { maxBytes: 100 }, 12, handler)).indexOf(100));
    }
    expect(served).toEqual(new Set([0, 1, 2]));
  });

  test('gives one record only while too many bytes wait to be sent', async () => {
    for (let record = 0; record < 3; record++) broker.partition('t').append(100);
    broker.services.responseMemory.take(1_000_000);
    expect(sizes(await fetch([{}]))).toEqual([100]);
  });
});

describe('Fetch from files', () => {
  test('counts what it reads before the answer exists, so that many readers share the limit', async () => {
    const log = broker.partition('t');
    for (let record = 0; record < 10; record++) log.append(100_000);
    let arrive = (): void => {};
    log.files = new Promise((resolve) => {
      arrive = resolve;
    });
    const first = start([{}], { maxWaitMs: 0 });
    await broker.time.runFor(0);
    expect(broker.services.responseMemory.usedBytes).toBe(1_000_000);
    const second = start([{}], { maxWaitMs: 0 });
    await broker.time.runFor(0);
    arrive();
    await broker.time.runFor(0);
    expect(sizes(first.state.response!)).toEqual([1_000_000]);
    expect(sizes(second.state.response!)).toEqual([100_000]);
    expect(broker.services.responseMemory.usedBytes).toBe(0);
  });
});

describe('Fetch waits', () => {
  test('until enough bytes came, and unsubscribes', async () => {
    const { state } = start([{ partition: 0 }, { partition: 1 }], { minBytes: 150 });
    await broker.time.runFor(100);
    broker.partition('t', 0).append(100);
    await broker.time.runFor(100);
    expect(state.settled).toBe(false);
    broker.partition('t', 1).append(100);
    await broker.time.runFor(1);
    expect(sizes(state.response!)).toEqual([100, 100]);
    for (const partition of [0, 1]) expect(broker.partition('t', partition).listeners.size).toBe(0);
  });

  test('no longer than max wait, and then gives what there is', async () => {
    const { state } = start([{}], { minBytes: 150 });
    broker.partition('t').append(100);
    await broker.time.runFor(499);
    expect(state.settled).toBe(false);
    await broker.time.runFor(1);
    expect(sizes(state.response!)).toEqual([100]);
  });

  test('no longer than max bytes can be filled', async () => {
    broker.partition('t').append(100);
    const { state } = start([{}], { minBytes: 1_000, maxBytes: 100 });
    await broker.time.runFor(1);
    expect(sizes(state.response!)).toEqual([100]);
  });

  test('not at all if a partition has an error', async () => {
    const { state } = start([{}, { topic: 'missing' }]);
    await broker.time.runFor(0);
    expect(state.settled).toBe(true);
  });

  test('until the leadership moves', async () => {
    const { state } = start([{}]);
    await broker.time.runFor(100);
    const log = broker.partition('t');
    log.isLeader = false;
    log.isReady = false;
    log.changed();
    await broker.time.runFor(0);
    expect(partitionsOf(state.response!)[0]!.errorCode).toBe(ErrorCode.NOT_LEADER_OR_FOLLOWER);
  });

  test('for a leader that is about to be ready, up to half a second, even without max wait', async () => {
    const log = broker.partition('t');
    log.append(10);
    log.isReady = false;
    const { state } = start([{}], { maxWaitMs: 0 });
    await broker.time.runFor(400);
    expect(state.settled).toBe(false);
    log.isReady = true;
    log.changed();
    await broker.time.runFor(0);
    expect(sizes(state.response!)).toEqual([10]);
    log.isReady = false;
    const other = start([{}], { maxWaitMs: 60_000 });
    await broker.time.runFor(500);
    expect(partitionsOf(other.state.response!)[0]!.errorCode).toBe(ErrorCode.NOT_LEADER_OR_FOLLOWER);
  });

  test('not for a client that is gone', async () => {
    const { state, context } = start([{}], { maxWaitMs: 60_000 });
    await broker.time.runFor(10);
    context.disconnect();
    await broker.time.runFor(0);
    expect(state).toEqual({ settled: true, response: undefined });
    expect(broker.partition('t').listeners.size).toBe(0);
  });
});
