import { describe, expect, test } from 'vitest';
import { FakeBroker } from '../../../test/fakes/fake-broker.ts';
import { fetchApi } from '../../kafka-protocol/messages/fetch.ts';
import { heartbeatApi } from '../../kafka-protocol/messages/heartbeat.ts';
import { metadataApi } from '../../kafka-protocol/messages/metadata.ts';
import { RaftDriverMetrics } from '../../raft/raft-driver-metrics.ts';
import type { RaftGroup, RaftGroups } from '../../raft/raft-group.ts';
import { Histogram, SIZE_BOUNDS_BYTES } from '../../std/histogram.ts';
import { createMetricsRegistry } from './broker-metrics.ts';
import { EventLoopMonitor } from './event-loop-monitor.ts';
import { RequestMetrics } from './request-metrics.ts';

function setUp() {
  const broker = new FakeBroker();
  const requests = new RequestMetrics();
  const driver = new RaftDriverMetrics();
  const wal = {
    flushes: 0,
    flushedBytes: 0,
    flushedFrames: 0,
    segments: 2,
    segmentsReused: 0,
    bytesInUse: 0,
    bytesLimit: 9,
  };
  const walFlush = new Histogram();
  const walBatch = new Histogram(SIZE_BOUNDS_BYTES);
  const groups: Partial<RaftGroup>[] = [];
  const disk = { freeBytes: 5, totalBytes: 10, refusesProduce: false, damaged: 0 };
  const registry = createMetricsRegistry({
    requests,
    records: broker.services.records,
    cluster: broker.services.cluster,
    groups: { all: () => groups, leaderOf: () => undefined } as unknown as RaftGroups,
    driver,
    commitBoundsMs: [1, 2],
    wal,
    walFlush,
    walBatch,
    memoryPools: () => [
      { name: 'requests', usedBytes: 3, limitBytes: 30 },
      { name: 'tail', usedBytes: 4, limitBytes: 40 },
    ],
    process: () => ({
      residentBytes: 1,
      heapUsedBytes: 2,
      externalBytes: 3,
      cpuSeconds: 4,
      eventLoopDelayMs: new Histogram(),
    }),
    disk: () => disk,
    scrub: () => ({
      metrics: {
        bytes: 7,
        rangesVerified: 6,
        mismatches: 5,
        passes: 4,
        damageFound: 3,
        bytesRepaired: 2,
        replicasRepaired: 1,
      },
      damagedReplicas: disk.damaged,
      ageMs: 1500,
    }),
    replacedReplicas: () => 1,
    barredReplicas: () => disk.damaged - 1,
    groupLags: () => [{ group: 'g"1', topic: 't', partition: 0, lag: 6 }],
  });
  const value = async (name: string, labels = '') => {
    const line = (await registry.metrics()).split('\n').find((each) => each.startsWith(`flotilla_${name}${labels} `));
    return line === undefined ? undefined : Number(line.split(' ').at(-1));
  };
  return { broker, requests, driver, walFlush, groups, disk, registry, value };
}

describe('createMetricsRegistry()', () => {
  test('describes every metric, and only by our names', async () => {
    const { registry } = setUp();
    const text = await registry.metrics();
    const types = [...text.matchAll(/^# TYPE (\S+) (\w+)/gm)];
    expect(types.length).toBeGreaterThan(50);
    for (const [, name, type] of types) {
      expect(name).toMatch(/^flotilla_/);
      if (type === 'counter') expect(name, 'Counters end in _total').toMatch(/_total$/);
      expect(text).toMatch(new RegExp(`^# HELP ${name} \\w`, 'm'));
    }
  });

  test('counts entries that are not committed or not applied, over all groups', async () => {
    const { groups, value } = setUp();
    const group = (last: number, commit: number, applied: number) =>
      ({
        role: 'leader',
        currentTerm: 3,
        lastIndex: last,
        commitIndex: commit,
        appliedIndex: applied,
      }) as Partial<RaftGroup>;
    groups.push(group(10, 8, 5), group(4, 4, 4));
    expect(await value('raft_uncommitted_entries')).toBe(2);
    expect(await value('raft_unapplied_entries')).toBe(3);
    expect(await value('raft_term_max')).toBe(3);
    expect(await value('raft_groups', '{role="leader"}')).toBe(2);
    expect(await value('raft_groups', '{role="follower"}')).toBe(0);
  });

  test('shows what memory is held for', async () => {
    const { value } = setUp();
    expect(await value('memory_pool_used_bytes', '{pool="requests"}')).toBe(3);
    expect(await value('memory_pool_limit_bytes', '{pool="tail"}')).toBe(40);
  });

  test('reads the counters of the driver', async () => {
    const { driver, value } = setUp();
    driver.proposalsRefused = 1;
    driver.proposalsUnknown = 2;
    driver.diskStalls = 3;
    driver.checksumFailures = 4;
    expect(await value('raft_proposals_refused_total')).toBe(1);
    expect(await value('raft_proposals_unknown_total')).toBe(2);
    expect(await value('raft_disk_stalls_total')).toBe(3);
    expect(await value('raft_checksum_failures_total')).toBe(4);
  });

  test('counts leaderless partitions on the controller only', async () => {
    const { broker, value } = setUp();
    broker.addTopic('t', [1, 2]);
    expect(await value('partitions_leaderless')).toBe(0);
    Object.assign(broker.services.cluster, { controllerId: broker.services.cluster.brokerId });
    expect(await value('partitions_leaderless')).toBe(2);
    expect(await value('cluster_is_controller')).toBe(1);
  });

  test('shows what searches for damage did, and how long ago the last one ended', async () => {
    const { value } = setUp();
    expect(await value('scrub_bytes_total')).toBe(7);
    expect(await value('scrub_ranges_verified_total')).toBe(6);
    expect(await value('scrub_mismatches_total')).toBe(5);
    expect(await value('scrub_damage_found_total')).toBe(3);
    expect(await value('scrub_bytes_repaired_total')).toBe(2);
    expect(await value('replicas_repaired_total')).toBe(1);
    expect(await value('scrub_age_seconds')).toBe(1.5);
    expect(await value('replicas_replaced_total')).toBe(1);
  });

  test('says when produce is refused or files are damaged, and escapes labels', async () => {
    const { disk, value } = setUp();
    expect(await value('partitions_damaged')).toBe(0);
    disk.damaged = 2;
    expect(await value('partitions_damaged')).toBe(2);
    expect(await value('replicas_barred')).toBe(1);
    expect(await value('disk_refuses_produce')).toBe(0);
    disk.refusesProduce = true;
    expect(await value('disk_refuses_produce')).toBe(1);
    expect(await value('consumer_group_lag', '{group="g\\"1",topic="t",partition="0"}')).toBe(6);
  });

  test('cumulates histograms, in seconds', async () => {
    const { walFlush, value } = setUp();
    for (const ms of [0.1, 0.25, 3, 100_000]) walFlush.observe(ms);
    expect(await value('wal_flush_duration_seconds_bucket', '{le="0.00025"}')).toBe(2);
    expect(await value('wal_flush_duration_seconds_bucket', '{le="0.004"}')).toBe(3);
    expect(await value('wal_flush_duration_seconds_bucket', '{le="16.384"}')).toBe(3);
    expect(await value('wal_flush_duration_seconds_bucket', '{le="+Inf"}')).toBe(4);
    expect(await value('wal_flush_duration_seconds_count')).toBe(4);
    expect(await value('wal_flush_duration_seconds_sum')).toBeCloseTo(100.00335);
  });
});

describe('RequestMetrics', () => {
  test('finds error codes wherever the response has them', async () => {
    const { requests, value } = setUp();
    const partition = (errorCode: number) => ({ partitionIndex: 0, errorCode, highWatermark: 0, records: [] });
    requests.answered(
      fetchApi,
      { errorCode: 0, responses: [{ partitions: [partition(0), partition(6)] }, { partitions: [partition(6)] }] },
      5,
      100,
    );
    requests.answered(metadataApi, { topics: [{ errorCode: 3, partitions: [{ errorCode: 5 }] }] }, 1, 10);
    requests.answered(heartbeatApi, { errorCode: 27 }, 1, 10);
    requests.answered(heartbeatApi, undefined, 1, 10);
    expect(await value('responses_total', '{api="Fetch",error="NONE"}')).toBe(2);
    expect(await value('responses_total', '{api="Fetch",error="NOT_LEADER_OR_FOLLOWER"}')).toBe(2);
    expect(await value('responses_total', '{api="Metadata",error="UNKNOWN_TOPIC_OR_PARTITION"}')).toBe(1);
    expect(await value('responses_total', '{api="Metadata",error="LEADER_NOT_AVAILABLE"}')).toBe(1);
    expect(await value('responses_total', '{api="Heartbeat",error="REBALANCE_IN_PROGRESS"}')).toBe(1);
    expect(await value('request_duration_seconds_count', '{api="Heartbeat"}')).toBe(2);
    expect(await value('request_bytes_total')).toBe(130);
  });
});

describe('EventLoopMonitor', () => {
  test('observes how late its timer is', async () => {
    const { broker } = setUp();
    let lateMs = 0;
    const clock = { monotonicMs: () => broker.time.now + lateMs, wallMs: () => 0 };
    const monitor = new EventLoopMonitor(clock, broker.machine);
    monitor.start();
    await broker.time.runFor(100);
    expect([...monitor.delayMs.counts].reduce((sum, count) => sum + count)).toBe(1);
    expect(monitor.delayMs.sum).toBe(0);
    lateMs = 30;
    await broker.time.runFor(100);
    expect(monitor.delayMs.sum).toBe(30);
    monitor.stop();
    await broker.time.runFor(1_000);
    expect([...monitor.delayMs.counts].reduce((sum, count) => sum + count)).toBe(2);
  });
});
