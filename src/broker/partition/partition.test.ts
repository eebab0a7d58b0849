import { beforeEach, describe, expect, it } from 'vitest';
import { FakeRaftGroup } from '../../../test/support/fake-raft-group.ts';
import { PartitionFixture, splitBatches, testBatch } from '../../../test/support/partition-fixture.ts';
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import { RecordBatch } from '../../kafka-protocol/record-batch.ts';
import { brokerId, offset, term } from '../../std/brands.ts';
import type { TopicSettings } from '../config/topic-settings.ts';
import { Partition } from './partition.ts';
import type { ProduceOptions, ProduceResult, ReadResult } from './partition-log.ts';

const SETTINGS: TopicSettings = {
  cleanupPolicy: 'delete',
  retentionMs: 1_000,
  retentionBytes: -1,
  segmentBytes: 1 << 30,
  segmentMs: 10_000,
  indexIntervalBytes: 4_096,
  maxMessageBytes: 10_000,
  timestampType: 'CreateTime',
  timestampBeforeMaxMs: Number.MAX_SAFE_INTEGER,
  timestampAfterMaxMs: Number.MAX_SAFE_INTEGER,
  minInsyncReplicas: 1,
};

let fixture: PartitionFixture;
let group: FakeRaftGroup;
let partition: Partition;
let settings: TopicSettings;

beforeEach(async () => {
  settings = SETTINGS;
  fixture = new PartitionFixture();
  await fixture.start();
  group = new FakeRaftGroup(fixture.machine);
  partition = new Partition({
    group,
    machine: fixture.machine,
    resources: fixture.resources,
    topic: 'orders',
    topicId: 'AAAAAAAAAAAAAAAAAAAAAQ',
    partition: 3,
    settings: () => settings,
    producerIdExpirationMs: 5_000,
  });
});

/** Answers in the order they came. */
function produce(records: Uint8Array, options: Partial<ProduceOptions> = {}): { result: ProduceResult | undefined } {
  const answer: { result: ProduceResult | undefined } = { result: undefined };
  partition.produce(records, { acks: -1, timeoutMs: 30_000, apiVersion: 9, ...options }, (result) => {
    expect(answer.result).toBeUndefined();
    answer.result = result;
  });
  return answer;
}

const turn = (): Promise<void> => fixture.time.runFor(0);

async function read(fetchOffset: number, maxBytes = 1_000_000): Promise<ReadResult> {
  const result = partition.read(fetchOffset, maxBytes, true);
  return result instanceof Promise ? await fixture.time.settle(result) : result;
}

describe('produce', () => {
  it('makes one entry of everything that arrives in one loop turn, and answers each request in order after apply', async () => {
    const answers = [produce(testBatch({ records: 2 })), produce(testBatch()), produce(testBatch(), { acks: 1 })];
    expect(group.proposals).toHaveLength(0);
    await turn();
    expect(group.proposals).toHaveLength(1);
    expect(answers.every(({ result }) => result === undefined)).toBe(true);
    group.commit();
    expect(answers.map(({ result }) => [result!.errorCode, result!.baseOffset])).toEqual([
      [0, 0],
      [0, 2],
      [0, 3],
    ]);
    expect(partition.highWatermark).toBe(4);
    expect(partition.metrics).toMatchObject({ recordsIn: 4, batchesIn: 3, batchesRejected: 0 });
  });

  it('gives every batch of an entry an outcome of its own', async () => {
    const sequenced = (baseSequence: number) =>
      testBatch({ options: { producerId: 4, producerEpoch: 0, baseSequence } });
    const answers = [produce(sequenced(0)), produce(sequenced(5)), produce(sequenced(0)), produce(sequenced(1))];
    await turn();
    group.commit();
    expect(answers.map(({ result }) => [result!.errorCode, result!.baseOffset])).toEqual([
      [0, 0],
      [45, -1],
      [0, 0],
      [0, 1],
    ]);
    expect(partition.metrics).toMatchObject({ recordsIn: 2, batchesDuplicate: 1, batchesRejected: 1 });
  });

  it('refuses what Kafka refuses, before the log', () => {
    settings = { ...SETTINGS, timestampAfterMaxMs: 1_000 };
    const late = testBatch({ timestampMs: fixture.time.wallMs() + 5_000 });
    const corrupt = Buffer.from(testBatch());
    corrupt[70]! ^= 1;
    const cases: [Uint8Array, number][] = [
      [testBatch({ valueBytes: 20_000 }), ErrorCode.MESSAGE_TOO_LARGE],
      [Buffer.concat([testBatch(), testBatch()]), ErrorCode.INVALID_RECORD],
      [new Uint8Array(0), ErrorCode.INVALID_RECORD],
      [corrupt, ErrorCode.CORRUPT_MESSAGE],
      [late, ErrorCode.INVALID_TIMESTAMP],
      [testBatch({ options: { isControl: true } }), ErrorCode.INVALID_RECORD],
      [
        testBatch({ options: { isTransactional: true, producerId: 1, producerEpoch: 0, baseSequence: 0 } }),
        ErrorCode.INVALID_TXN_STATE,
      ],
    ];
    for (const [records, errorCode] of cases) {
      expect(produce(records).result).toMatchObject({ errorCode, baseOffset: -1 });
    }
    expect(
      produce(testBatch({ options: { compression: { codec: 4, compress: (bytes) => bytes } } }), { apiVersion: 6 })
        .result,
    ).toMatchObject({
      errorCode: ErrorCode.UNSUPPORTED_COMPRESSION_TYPE,
    });
    expect(group.proposals).toEqual([]);
  });

  it('refuses with 6 where it does not lead', () => {
    group.become('follower', false);
    expect(produce(testBatch()).result).toMatchObject({ errorCode: ErrorCode.NOT_LEADER_OR_FOLLOWER });
  });

  it('stamps the time of the append with a valid checksum', async () => {
    settings = { ...SETTINGS, timestampType: 'LogAppendTime' };
    fixture.clusterTimeMs = 123_456;
    const answer = produce(testBatch({ records: 2 }));
    await turn();
    group.commit();
    expect(answer.result).toMatchObject({ errorCode: 0, logAppendTimeMs: 123_456 });
    const [stored] = splitBatches((await read(0)).records);
    const batch = RecordBatch.at(stored!.bytes)!;
    expect([batch.isLogAppendTime, batch.maxTimestamp, batch.isCrcValid()]).toEqual([true, 123_456, true]);
    const retry = produce(testBatch({ records: 2 }));
    expect(retry.result).toBeUndefined();
  });

  it('answers 7 when no quorum commits in time, and nothing more when it does later', async () => {
    const slow = produce(testBatch(), { timeoutMs: 1_000 });
    const slower = produce(testBatch(), { timeoutMs: 3_000 });
    await fixture.time.runFor(1_500);
    expect(slow.result).toMatchObject({ errorCode: ErrorCode.REQUEST_TIMED_OUT, baseOffset: -1 });
    expect(slower.result).toBeUndefined();
    group.commit();
    expect(slower.result).toMatchObject({ errorCode: 0, baseOffset: 1 });
    expect(partition.metrics).toMatchObject({ recordsIn: 2, batchesUnknown: 1 });
  });

  it("answers 6 when leadership is lost: the batch may be in the next leader's log", async () => {
    const answer = produce(testBatch());
    await turn();
    group.become('follower', false);
    group.end({ kind: 'unknown' });
    expect(answer.result).toMatchObject({ errorCode: ErrorCode.NOT_LEADER_OR_FOLLOWER });
  });

  it('answers what the group refuses with a retriable code, unless it could never be written', async () => {
    for (const [reason, errorCode] of [
      ['overloaded', 19],
      ['tooLarge', 10],
      ['diskFull', 56],
      ['notLeader', 6],
    ] as const) {
      const answer = produce(testBatch());
      await turn();
      group.end({ kind: 'refused', reason });
      expect(answer.result).toMatchObject({ errorCode });
    }
  });

  it('lets producers wait while WAL or disk is behind, in order, and answers 7 to those whose time is up', async () => {
    group.hasRoom = false;
    const answers = [produce(testBatch({ records: 2 })), produce(testBatch(), { timeoutMs: 1_000 })];
    await fixture.time.runFor(900);
    answers.push(produce(testBatch()));
    await fixture.time.runFor(600);
    expect(group.proposals).toEqual([]);
    expect(answers.map(({ result }) => result?.errorCode)).toEqual([undefined, ErrorCode.REQUEST_TIMED_OUT, undefined]);
    group.makeRoom();
    await turn();
    group.commit();
    expect(answers.map(({ result }) => result!.baseOffset)).toEqual([0, -1, 2]);
    expect(partition.pendingBytes).toBe(0);
  });

  it('refuses only what would wait behind a lot that does not move', async () => {
    group.hasRoom = false;
    const large = testBatch({ valueBytes: 1_000_000 });
    settings = { ...SETTINGS, maxMessageBytes: 2_000_000 };
    const answers = Array.from({ length: 20 }, () => produce(large, { timeoutMs: 60_000 }));
    await fixture.time.runFor(1_900);
    expect(answers.every(({ result }) => result === undefined)).toBe(true);
    await fixture.time.runFor(200);
    expect(produce(large).result).toMatchObject({ errorCode: ErrorCode.NOT_ENOUGH_REPLICAS });
    for (group.makeRoom(); partition.pendingBytes > 0; group.commit()) await turn();
    expect(answers.every(({ result }) => result?.errorCode === 0)).toBe(true);
  });

  it('refuses acks=all with 19 before the append while too few replicas are in sync', async () => {
    settings = { ...SETTINGS, minInsyncReplicas: 2 };
    group.inSyncBrokers = [brokerId(1)];
    expect(produce(testBatch()).result).toMatchObject({ errorCode: ErrorCode.NOT_ENOUGH_REPLICAS });
    const one = produce(testBatch(), { acks: 1 });
    await turn();
    group.commit();
    expect(one.result).toMatchObject({ errorCode: 0 });
  });

  it('waits for more flushes than a majority where min.insync.replicas says so, and answers 20 on time-out', async () => {
    settings = { ...SETTINGS, minInsyncReplicas: 3 };
    const all = produce(testBatch(), { timeoutMs: 100 });
    const one = produce(testBatch(), { acks: 1, timeoutMs: 200 });
    await turn();
    expect(group.proposals.map(({ options }) => options)).toEqual([
      { requiredFlushes: 3, isRefusedOnFullDisk: true },
      { requiredFlushes: 0, isRefusedOnFullDisk: true },
    ]);
    await fixture.time.runFor(300);
    expect(all.result).toMatchObject({ errorCode: ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND });
    expect(one.result).toMatchObject({ errorCode: ErrorCode.REQUEST_TIMED_OUT });
  });
});

describe('a leader that is not ready', () => {
  beforeEach(() => group.become('leader', false));

  it('parks requests and proposes them in arrival order once it is', async () => {
    const parked = [produce(testBatch({ records: 2 })), produce(testBatch())];
    await fixture.time.runFor(300);
    expect(group.proposals).toHaveLength(0);
    group.become('leader', true);
    const later = produce(testBatch());
    await turn();
    group.commit();
    expect([...parked, later].map(({ result }) => result!.baseOffset)).toEqual([0, 2, 3]);
    await fixture.time.runFor(1_000);
  });

  it('refuses all it parked with 6 after 500 ms', async () => {
    const parked = [produce(testBatch())];
    await fixture.time.runFor(400);
    parked.push(produce(testBatch()));
    await fixture.time.runFor(101);
    expect(parked.map(({ result }) => result!.errorCode)).toEqual([6, 6]);
    group.become('leader', true);
    await turn();
    expect(group.proposals).toHaveLength(0);
  });

  it('refuses all it parked when it stops being leader, or when there is too much', () => {
    const parked = produce(testBatch());
    group.become('follower', false);
    expect(parked.result).toMatchObject({ errorCode: 6 });
    group.become('leader', false);
    settings = { ...SETTINGS, maxMessageBytes: 5_000_000 };
    const large = Array.from({ length: 3 }, () => produce(testBatch({ valueBytes: 4_000_000 })));
    expect(large.map(({ result }) => result?.errorCode)).toEqual([6, 6, 6]);
  });
});

describe('bytes in flight', () => {
  it('are limited: what is above waits in order, then is refused with a retriable code', async () => {
    settings = { ...SETTINGS, maxMessageBytes: 5_000_000 };
    const offer = () => produce(testBatch({ valueBytes: 2_000_000 }));
    const answers = Array.from({ length: 8 }, offer);
    await fixture.time.runFor(2_100);
    expect(group.proposals).toHaveLength(5);
    answers.push(...Array.from({ length: 8 }, offer));
    expect(answers.map(({ result }) => result?.errorCode)).toEqual([
      ...Array.from({ length: 13 }, () => undefined),
      ...Array.from({ length: 3 }, () => ErrorCode.NOT_ENOUGH_REPLICAS),
    ]);
    const small = produce(testBatch());
    for (; partition.pendingBytes > 0; await turn()) group.commit();
    expect(answers.slice(0, 13).map(({ result }) => result?.baseOffset)).toEqual(
      Array.from({ length: 13 }, (_, i) => i),
    );
    expect(small.result).toMatchObject({ baseOffset: 13 });
  });
});

describe('read', () => {
  beforeEach(async () => {
    for (let i = 0; i < 5; i++) produce(testBatch({ records: 3 }));
    await turn();
    group.commit();
  });

  it('gives the batch that contains the offset, whole batches only, and at least one', async () => {
    const size = splitBatches((await read(0)).records)[0]!.bytes.length;
    const inside = await read(4, size * 2 + 10);
    expect(splitBatches(inside.records).map(({ baseOffset }) => baseOffset)).toEqual([3, 6]);
    expect(inside).toMatchObject({ errorCode: 0, highWatermark: 15, logStartOffset: 0, sizeBytes: size * 2 });
    expect(splitBatches((await read(4, 1)).records)).toHaveLength(1);
    expect(partition.read(4, 1, false)).toMatchObject({ errorCode: 0, records: [] });
    expect(await read(15)).toMatchObject({ errorCode: 0, records: [], highWatermark: 15 });
  });

  it('says out of range only where it knows', async () => {
    expect(await read(16)).toMatchObject({ errorCode: ErrorCode.OFFSET_OUT_OF_RANGE, highWatermark: -1, records: [] });
    group.become('follower', false);
    expect(await read(16)).toMatchObject({ errorCode: ErrorCode.NOT_LEADER_OR_FOLLOWER });
    expect(await read(-1)).toMatchObject({ errorCode: ErrorCode.OFFSET_OUT_OF_RANGE });
  });

  it('serves from files what a restart left there, and reports damage instead of serving it', async () => {
    const checkpoint = await fixture.checkpoint();
    const expected = Buffer.concat((await read(0)).records);
    fixture.platter.kill(fixture.platter.random);
    await fixture.start(checkpoint);
    group = new FakeRaftGroup(fixture.machine);
    partition = new Partition({
      group,
      machine: fixture.machine,
      resources: fixture.resources,
      topic: 'orders',
      topicId: 'x',
      partition: 3,
      settings: () => settings,
    });
    expect(Buffer.concat((await read(0)).records).equals(expected)).toBe(true);
    fixture.platter.flipBit(fixture.platter.paths()[0]!, expected.length / 5 + 100, 2);
    expect(splitBatches((await read(0)).records).map(({ nextOffset }) => nextOffset)).toEqual([3]);
    expect(await read(4)).toMatchObject({ errorCode: ErrorCode.KAFKA_STORAGE_ERROR, records: [] });
    expect(fixture.damages.map(({ path }) => path)).toEqual([fixture.platter.paths()[0]]);
  });

  it('counts the bytes that a fetch would find', () => {
    const size = partition.sizeBytes / 5;
    expect(partition.bytesAvailable(15, 1_000)).toBe(0);
    expect(partition.bytesAvailable(12, 100_000)).toBe(size);
    expect(partition.bytesAvailable(7, 100_000)).toBe(size * 3);
    expect(partition.bytesAvailable(0, 10)).toBe(10);
  });

  it('tells who listens once per loop turn', async () => {
    let calls = 0;
    const unsubscribe = partition.onChange(() => calls++);
    produce(testBatch());
    produce(testBatch());
    await turn();
    group.commit();
    group.become('follower', false);
    expect(calls).toBe(0);
    await turn();
    expect(calls).toBe(1);
    unsubscribe();
    group.become('leader', true);
    await turn();
    expect(calls).toBe(1);
  });

  it('knows where epochs end, also its own without a record', async () => {
    expect(partition.endOffsetForEpoch(1)).toEqual({ leaderEpoch: 1, endOffset: 15 });
    group.currentTerm = term(4);
    expect(partition.endOffsetForEpoch(4)).toEqual({ leaderEpoch: 4, endOffset: 15 });
    expect(partition.endOffsetForEpoch(3)).toEqual({ leaderEpoch: 1, endOffset: 15 });
    expect(partition.endOffsetForEpoch(5)).toEqual({ leaderEpoch: -1, endOffset: -1 });
    produce(testBatch());
    await turn();
    group.commit();
    expect(partition.endOffsetForEpoch(1)).toEqual({ leaderEpoch: 1, endOffset: 15 });
    expect(partition.endOffsetForEpoch(4)).toEqual({ leaderEpoch: 4, endOffset: 16 });
  });
});

describe('the log start', () => {
  it('moves by a committed command, for DeleteRecords and for retention on cluster time', async () => {
    for (let i = 0; i < 3; i++) produce(testBatch({ records: 2, timestampMs: 50_000 }));
    fixture.clusterTimeMs = 50_000;
    await turn();
    group.commit();
    const answers: ErrorCode[] = [];
    partition.moveLogStart(offset(3), (errorCode) => answers.push(errorCode));
    expect(partition.logStartOffset).toBe(0);
    group.commit();
    partition.moveLogStart(offset(7), (errorCode) => answers.push(errorCode));
    expect(answers).toEqual([0, ErrorCode.OFFSET_OUT_OF_RANGE]);
    expect(partition.logStartOffset).toBe(3);
    expect(await read(2)).toMatchObject({ errorCode: ErrorCode.OFFSET_OUT_OF_RANGE });

    fixture.clusterTimeMs = undefined;
    partition.maintain();
    fixture.clusterTimeMs = 59_000;
    partition.maintain();
    expect(group.proposals).toHaveLength(0);
    fixture.clusterTimeMs = 60_001;
    partition.maintain();
    group.commit();
    expect([partition.logStartOffset, partition.highWatermark]).toEqual([6, 6]);
  });

  it('keeps followers from deciding', () => {
    group.become('follower', false);
    const answers: ErrorCode[] = [];
    partition.moveLogStart(offset(0), (errorCode) => answers.push(errorCode));
    fixture.clusterTimeMs = 1e9;
    partition.maintain();
    expect(answers).toEqual([ErrorCode.NOT_LEADER_OR_FOLLOWER]);
    expect(group.proposals).toEqual([]);
  });
});

describe('producers', () => {
  it('are forgotten by a command when they were idle too long by cluster time', async () => {
    fixture.clusterTimeMs = 1_000;
    produce(testBatch({ options: { producerId: 1, producerEpoch: 0, baseSequence: 0 } }));
    await turn();
    group.commit();
    fixture.clusterTimeMs = 6_000;
    partition.maintain();
    expect(group.proposals).toHaveLength(0);
    fixture.clusterTimeMs = 6_001;
    partition.maintain();
    group.commit();
    expect(partition.producerCount).toBe(0);
  });

  it('stay bounded: the longest unused ones go, by a command', async () => {
    for (let id = 0; id < 8_000; id++) {
      produce(testBatch({ options: { producerId: id, producerEpoch: 0, baseSequence: 0 } }));
      if (id % 1_000 === 999) await turn();
      group.commit();
    }
    expect(partition.producerCount).toBe(8_000);
    produce(testBatch({ options: { producerId: 9_000, producerEpoch: 0, baseSequence: 0 } }));
    await turn();
    group.commit();
    expect(partition.producerCount).toBe(6_001);
    expect(fixture.machine.producers.has(1_999)).toBe(false);
    expect(fixture.machine.producers.has(2_000)).toBe(true);
  });
});

describe('a deleted partition', () => {
  it('answers what waits, and reads with 3', async () => {
    group.become('leader', false);
    const parked = produce(testBatch());
    await fixture.time.settle(fixture.machine.destroy());
    expect(parked.result).toMatchObject({ errorCode: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION });
    expect(await read(0)).toMatchObject({ errorCode: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION });
    expect(partition.isLeader).toBe(false);
  });
});
