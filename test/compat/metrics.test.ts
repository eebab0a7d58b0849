/** Every metric that a broker has, by what makes it move. A metric that no test moves fails here. */
import { closeSync, openSync, readdirSync, readSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import kafkajs from 'kafkajs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { TestCluster, until } from './test-cluster.ts';

const TOPIC = 'measured';

let cluster: TestCluster;
let kafka: InstanceType<typeof kafkajs.Kafka>;
const seen = new Set<string>();

beforeAll(async () => {
  cluster = await TestCluster.start(3, { 'fetch.max.bytes': 1_000_000 });
  kafka = new kafkajs.Kafka({
    brokers: cluster.bootstrap,
    logLevel: kafkajs.logLevel.NOTHING,
    retry: { retries: 20, initialRetryTime: 50, maxRetryTime: 300 },
  });
});
afterAll(() => cluster.close());

async function total(name: string): Promise<number> {
  seen.add(name);
  return cluster.total(name);
}

/** Does something and waits until each metric has grown by it. */
async function grows(names: readonly string[], action: () => Promise<unknown>): Promise<void> {
  const before = new Map<string, number>();
  for (const name of names) before.set(name, await total(name));
  await action();
  for (const name of names) await until(async () => (await total(name)) > before.get(name)!);
}

async function produce(count: number): Promise<void> {
  const producer = kafka.producer({ createPartitioner: kafkajs.Partitioners.DefaultPartitioner });
  await producer.connect();
  await producer.send({ topic: TOPIC, messages: Array.from({ length: count }, (_, index) => ({ value: `${index}` })) });
  await producer.disconnect();
}

describe('metrics', () => {
  test('count topics, partitions and leaders', async () => {
    const admin = kafka.admin();
    await admin.connect();
    await grows(
      [
        'partitions',
        'partitions_led',
        'raft_groups',
        'cluster_metadata_applied_index',
        'raft_leaderships_won_total',
        'raft_elections_total',
      ],
      () => admin.createTopics({ topics: [{ topic: TOPIC, numPartitions: 3 }], waitForLeaders: false }),
    );
    await admin.disconnect();
    expect(await total('partitions')).toBe(9);
    expect(await total('partitions_led')).toBe(3);
    expect(await total('cluster_is_controller')).toBe(1);
    expect(await total('cluster_live_brokers')).toBe(9);
    expect(await total('partitions_leaderless')).toBe(0);
    expect(await total('raft_term_max')).toBeGreaterThanOrEqual(3);
    const roles = await cluster.metric(1, 'raft_groups');
    expect(roles.get('role="leader"')! + roles.get('role="follower"')!).toBe(4);
  });

  test('count requests, errors, bytes, records and flushes', async () => {
    await grows(
      [
        'request_duration_seconds_count',
        'request_duration_seconds_sum',
        'request_duration_seconds_bucket',
        'responses_total',
        'request_bytes_total',
        'response_bytes_total',
        'record_bytes_in_total',
        'commit_duration_seconds_count',
        'commit_duration_seconds_sum',
        'commit_duration_seconds_bucket',
        'connections_opened_total',
        'wal_flush_duration_seconds_count',
        'wal_flush_duration_seconds_sum',
        'wal_flush_duration_seconds_bucket',
        'wal_flush_size_bytes_count',
        'wal_flush_size_bytes_sum',
        'wal_flush_size_bytes_bucket',
        'wal_flushed_frames_total',
        'raft_proposals_total',
        'raft_entries_applied_total',
        'raft_bytes_applied_total',
        'raft_append_bytes_sent_total',
        'partition_size_bytes',
        'event_loop_delay_seconds_count',
        'event_loop_delay_seconds_sum',
        'event_loop_delay_seconds_bucket',
        'process_cpu_seconds_total',
      ],
      () => produce(30),
    );
    expect(await total('records_in_total')).toBe(30);
    expect(await total('partition_high_watermark')).toBe(30);
    expect(await total('partition_log_start_offset')).toBe(0);
    expect(await total('partition_leader_epoch')).toBeGreaterThanOrEqual(3);
    const errors = await cluster.metric(1, 'responses_total');
    expect([...errors.keys()].some((labels) => labels.includes('error="NONE"'))).toBe(true);
  });

  test('count errors under their names', async () => {
    const admin = kafka.admin();
    await admin.connect();
    await admin.createTopics({ topics: [{ topic: TOPIC }] });
    await admin.disconnect();
    await until(async () => {
      const labels = [
        ...(await cluster.metric(1, 'responses_total')).keys(),
        ...(await cluster.metric(2, 'responses_total')).keys(),
        ...(await cluster.metric(3, 'responses_total')).keys(),
      ];
      return labels.includes('api="CreateTopics",error="TOPIC_ALREADY_EXISTS"');
    });
  });

  test('show consumers, what they read and how far behind their groups are', async () => {
    const consumer = kafka.consumer({ groupId: 'measured-group', maxWaitTimeInMs: 100 });
    await consumer.connect();
    await consumer.subscribe({ topic: TOPIC, fromBeginning: true });
    let messages = 0;
    await grows(['record_bytes_out_total', 'raft_read_rounds_total', 'connections'], async () => {
      await consumer.run({ autoCommitThreshold: 1, eachMessage: () => Promise.resolve(void messages++) });
      await until(() => messages === 30);
    });
    await until(async () => (await groupLabels()).length === 3 && (await total('consumer_group_lag')) === 0);
    await consumer.disconnect();
    await produce(12);
    await until(async () => (await total('consumer_group_lag')) === 12);
    expect(await groupLabels()).toContain(`group="measured-group",topic="${TOPIC}",partition="0"`);
  });

  test('show replicas that are missing, and leaders that changed', async () => {
    expect(await total('partitions_under_replicated')).toBe(0);
    const [lost, moved] = [await total('raft_leaderships_lost_total'), await total('raft_links_lost_total')];
    await cluster.stopBroker(3);
    await until(async () => (await total('partitions_under_replicated')) > 0);
    await until(async () => (await total('raft_links_lost_total')) > moved);
    expect(lost).toBeGreaterThanOrEqual(0);
    await cluster.startBroker(3);
    await cluster.untilReady(3);
    await until(async () => (await total('partitions_under_replicated')) === 0);
  });

  test('count what brings a broker back that was away for longer than the WAL remembers', async () => {
    const names = ['wal_segments_reused_total', 'raft_checkpoints_total', 'raft_catch_ups_sent_total'];
    await grows([...names, 'raft_catch_ups_installed_total'], async () => {
      const before = await total('wal_segments_reused_total');
      await cluster.stopBroker(3);
      const producer = kafka.producer({ createPartitioner: kafkajs.Partitioners.DefaultPartitioner });
      await producer.connect();
      const value = Buffer.alloc(500_000, 1);
      // Until every segment of the WAL was used again at least once.
      while ((await total('wal_segments_reused_total')) - before < 40) {
        await producer.send({ topic: TOPIC, messages: [0, 1, 2].map((partition) => ({ partition, value })) });
      }
      await producer.disconnect();
      await cluster.startBroker(3);
      await cluster.untilReady(3);
    });
    await until(async () => (await total('partitions_under_replicated')) === 0);
  });

  test('count what a search for damage reads, compares, finds and repairs', async () => {
    const names = ['scrub_bytes_total', 'scrub_ranges_verified_total', 'scrub_damage_found_total'];
    await grows([...names, 'scrub_bytes_repaired_total', 'replicas_repaired_total'], async () => {
      flipByte(join(cluster.dataDirectory(2), 'topics'));
      for (const id of cluster.ids) await cluster.http(id, '/scrub/now');
    });
    expect(await total('scrub_age_seconds')).toBeGreaterThanOrEqual(0);
  });

  test('show memory, disk and the WAL', async () => {
    for (const name of [
      'process_resident_memory_bytes',
      'process_heap_used_bytes',
      'process_external_memory_bytes',
      'disk_free_bytes',
      'disk_total_bytes',
      'wal_segments',
      'wal_used_bytes',
      'wal_limit_bytes',
    ]) {
      expect(await total(name), name).toBeGreaterThan(0);
    }
  });

  test('have no metric that is not asserted somewhere', async () => {
    const { text } = await cluster.http(1, '/metrics');
    const names = [...text.matchAll(/^flotilla_(\w+)/gm)].map(([, name]) => name!);
    expect([...new Set(names)].filter((name) => !seen.has(name) && !ASSERTED_ELSEWHERE.has(name))).toEqual([]);
  });
});

/** In the first batch of the largest log file below `directory`. */
function flipByte(directory: string): void {
  const files = readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.log'))
    .map((name) => join(directory, name))
    .sort((some, other) => statSync(other).size - statSync(some).size);
  const file = openSync(files[0]!, 'r+');
  const byte = Buffer.alloc(1);
  readSync(file, byte, 0, 1, 100);
  byte[0]! ^= 1;
  writeSync(file, byte, 0, 1, 100);
  closeSync(file);
}

async function groupLabels(): Promise<string[]> {
  const labels = await Promise.all(cluster.ids.map((id) => cluster.metric(id, 'consumer_group_lag')));
  return labels.flatMap((values) => [...values.keys()]);
}

/** Moved by tests of the parts that count them. */
const ASSERTED_ELSEWHERE: ReadonlySet<string> = new Set([
  // src/broker/metrics/broker-metrics.test.ts, test/compat/hostile-clients.test.ts
  'memory_pool_used_bytes',
  'memory_pool_limit_bytes',
  'disk_refuses_produce',
  'partitions_damaged',
  'replicas_barred',
  'raft_uncommitted_entries',
  'raft_unapplied_entries',
  'raft_proposals_refused_total',
  'raft_proposals_unknown_total',
  'raft_disk_stalls_total',
  'raft_checksum_failures_total',
  'scrub_mismatches_total',
  'replicas_replaced_total',
]);
