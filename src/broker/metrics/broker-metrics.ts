/** Every metric of a broker, in a registry of its own, by name, meaning and source. */
import { Registry } from 'prom-client';
import { errorName } from '../../kafka-protocol/error-codes.ts';
import type { MemoryPool } from '../../std/memory-pool.ts';
import type { PartitionLog } from '../partition/partition-log.ts';
import { registerCounter, registerGauge, registerHistogram, type Sample } from './collected-metric.ts';
import type { MetricSources } from './metric-sources.ts';

const SECONDS_PER_MS = 0.001;

export function createMetricsRegistry(sources: MetricSources): Registry {
  const registry = new Registry();
  registerRequests(registry, sources);
  registerWal(registry, sources);
  registerRaft(registry, sources);
  registerPartitions(registry, sources);
  registerScrub(registry, sources);
  registerProcess(registry, sources);
  return registry;
}

function registerRequests(registry: Registry, sources: MetricSources): void {
  const { requests, records, driver, commitBoundsMs } = sources;
  registerHistogram(
    registry,
    {
      name: 'request_duration_seconds',
      help: 'Time from the last byte of a request to its answer, by API',
      scale: SECONDS_PER_MS,
    },
    function* () {
      for (const { apiName, latency } of requests.apis()) yield { labels: { api: apiName }, histogram: latency };
    },
  );
  registerCounter(
    registry,
    {
      name: 'responses_total',
      help: 'Error codes answered, by API; a response has one for each topic, partition or group',
    },
    function* () {
      for (const { apiName, errorCounts } of requests.apis()) {
        for (const [code, value] of errorCounts) yield { labels: { api: apiName, error: errorName(code) }, value };
      }
    },
  );
  registerCounter(registry, { name: 'request_bytes_total', help: 'Bytes of requests' }, () => requests.requestBytes);
  registerCounter(registry, { name: 'response_bytes_total', help: 'Bytes of responses' }, () => requests.responseBytes);
  registerCounter(
    registry,
    { name: 'records_in_total', help: 'Records acknowledged to producers' },
    () => records.recordsIn,
  );
  registerCounter(
    registry,
    { name: 'record_bytes_in_total', help: 'Bytes of record batches acknowledged to producers' },
    () => records.recordBytesIn,
  );
  registerCounter(
    registry,
    { name: 'record_bytes_out_total', help: 'Bytes of record batches given to consumers' },
    () => records.recordBytesOut,
  );
  registerHistogram(
    registry,
    {
      name: 'commit_duration_seconds',
      help: 'Time from the proposal of an entry to its application, flushed on a quorum',
      scale: SECONDS_PER_MS,
    },
    () => [{ histogram: { bounds: commitBoundsMs, counts: driver.commitCounts, sum: driver.commitMsTotal } }],
  );
  registerGauge(registry, { name: 'connections', help: 'Open connections of clients' }, () => requests.connectionsOpen);
  registerCounter(
    registry,
    { name: 'connections_opened_total', help: 'Connections of clients accepted' },
    () => requests.connectionsOpened,
  );
  registerMemoryPools(registry, sources);
}

function registerMemoryPools(registry: Registry, { memoryPools }: MetricSources): void {
  const samples = (read: (pool: MemoryPool) => number): Sample[] =>
    Array.from(memoryPools(), (pool) => ({ labels: { pool: pool.name }, value: read(pool) }));
  registerGauge(
    registry,
    { name: 'memory_pool_used_bytes', help: 'Memory held for clients, other brokers and disks' },
    () => samples(({ usedBytes }) => usedBytes),
  );
  registerGauge(registry, { name: 'memory_pool_limit_bytes', help: 'How much may be held before it waits' }, () =>
    samples(({ limitBytes }) => limitBytes),
  );
}

function registerWal(registry: Registry, { wal, walFlush, walBatch }: MetricSources): void {
  registerHistogram(
    registry,
    { name: 'wal_flush_duration_seconds', help: 'Time of one write and fsync of the WAL', scale: SECONDS_PER_MS },
    () => [{ histogram: walFlush }],
  );
  registerHistogram(
    registry,
    { name: 'wal_flush_size_bytes', help: 'Bytes that one fsync of the WAL made durable', scale: 1 },
    () => [{ histogram: walBatch }],
  );
  registerCounter(
    registry,
    { name: 'wal_flushed_frames_total', help: 'Frames made durable, of all Raft groups' },
    () => wal.flushedFrames,
  );
  registerCounter(
    registry,
    { name: 'wal_segments_reused_total', help: 'WAL segments begun on an old file' },
    () => wal.segmentsReused,
  );
  registerGauge(registry, { name: 'wal_segments', help: 'Files of the WAL' }, () => wal.segments);
  registerGauge(
    registry,
    { name: 'wal_used_bytes', help: 'Bytes of the WAL that are still needed' },
    () => wal.bytesInUse,
  );
  registerGauge(registry, { name: 'wal_limit_bytes', help: 'Bytes that the WAL may take' }, () => wal.bytesLimit);
}

function registerRaft(registry: Registry, { groups, driver, cluster }: MetricSources): void {
  registerGauge(registry, { name: 'raft_groups', help: 'Replicas of this broker by role' }, () => {
    const counts = new Map<string, number>([
      ['leader', 0],
      ['follower', 0],
    ]);
    for (const { role } of groups.all()) counts.set(role, (counts.get(role) ?? 0) + 1);
    return [...counts].map(([role, value]): Sample => ({ labels: { role }, value }));
  });
  registerGauge(registry, { name: 'raft_term_max', help: 'Highest term of all groups of this broker' }, () => {
    let highest = 0;
    for (const { currentTerm } of groups.all()) highest = Math.max(highest, currentTerm);
    return highest;
  });
  registerGauge(
    registry,
    { name: 'raft_uncommitted_entries', help: 'Entries in the logs of this broker that are not known committed' },
    () => sumOf(groups.all(), ({ lastIndex, commitIndex }) => Math.max(0, lastIndex - commitIndex)),
  );
  registerGauge(
    registry,
    { name: 'raft_unapplied_entries', help: 'Entries known committed that are not applied yet' },
    () => sumOf(groups.all(), ({ commitIndex, appliedIndex }) => Math.max(0, commitIndex - appliedIndex)),
  );
  const counters = {
    raft_elections_total: ['Elections started by replicas of this broker', 'electionsStarted'],
    raft_leaderships_won_total: ['Times that a replica of this broker became leader', 'leadershipsWon'],
    raft_leaderships_lost_total: ['Times that a replica of this broker stopped being leader', 'leadershipsLost'],
    raft_proposals_total: ['Entries proposed here', 'proposals'],
    raft_proposals_refused_total: ['Proposals that never entered the log', 'proposalsRefused'],
    raft_proposals_unknown_total: ['Proposals whose outcome stayed unknown', 'proposalsUnknown'],
    raft_entries_applied_total: ['Entries applied', 'entriesApplied'],
    raft_bytes_applied_total: ['Bytes of entries applied', 'bytesApplied'],
    raft_append_bytes_sent_total: ['Bytes of entries sent to followers', 'appendBytesSent'],
    raft_read_rounds_total: ['Confirmations of leadership for linearizable reads', 'readRounds'],
    raft_checkpoints_total: ['Checkpoints made', 'checkpoints'],
    raft_catch_ups_sent_total: ['Followers caught up from segment files', 'catchUpsSent'],
    raft_catch_ups_installed_total: ['Catch-ups received', 'catchUpsInstalled'],
    raft_links_lost_total: ['Connections to other brokers that broke', 'linksLost'],
    raft_disk_stalls_total: ['Times that leaderships were given up because the disk stalled', 'diskStalls'],
    raft_checksum_failures_total: ['Entries from other brokers or disk that failed their checksum', 'checksumFailures'],
  } as const;
  for (const [name, [help, field]] of Object.entries(counters)) {
    registerCounter(registry, { name, help }, () => driver[field]);
  }
  registerGauge(registry, { name: 'cluster_live_brokers', help: 'Brokers with a live session, as seen here' }, () => {
    return cluster.liveBrokers().length;
  });
  registerGauge(registry, { name: 'cluster_is_controller', help: '1 on the broker that leads cluster metadata' }, () =>
    cluster.controllerId === cluster.brokerId ? 1 : 0,
  );
  registerGauge(
    registry,
    { name: 'cluster_metadata_applied_index', help: 'Index of the last metadata entry applied here' },
    () => cluster.image.appliedIndex,
  );
}

function registerPartitions(
  registry: Registry,
  { cluster, groups, groupLags, barredReplicas, replacedReplicas }: MetricSources,
): void {
  registerGauge(
    registry,
    {
      name: 'replicas_barred',
      help: 'Replicas of this broker that neither vote nor lead because a disk lost something of them that is not repaired yet',
    },
    () => barredReplicas(),
  );
  registerCounter(
    registry,
    { name: 'replicas_replaced_total', help: 'Replicas that may have forgotten a vote and were given a successor' },
    () => replacedReplicas(),
  );
  registerGauge(registry, { name: 'partitions', help: 'Replicas of partitions on this broker' }, () =>
    sumOf(cluster.partitions(), () => 1),
  );
  registerGauge(registry, { name: 'partitions_led', help: 'Partitions that this broker leads' }, () =>
    sumOf(cluster.partitions(), ({ isLeader }) => Number(isLeader)),
  );
  registerGauge(
    registry,
    { name: 'partitions_under_replicated', help: 'Partitions led here with a replica that is not in sync' },
    () =>
      sumOf(cluster.partitions(), ({ isLeader, group }) =>
        Number(isLeader && group.inSyncBrokers.length < group.membership.voters.length),
      ),
  );
  registerGauge(
    registry,
    {
      name: 'partitions_leaderless',
      help: 'Partitions of the cluster without a known leader; counted by the controller only',
    },
    () => {
      if (cluster.controllerId !== cluster.brokerId) return 0;
      let count = 0;
      for (const { partitions } of cluster.image.topics.values()) {
        count += sumOf(partitions, ({ groupId }) => Number(groups.leaderOf(groupId) === undefined));
      }
      return count;
    },
  );
  const ofLedPartition = (name: string, help: string, read: (log: PartitionLog) => number): void =>
    registerGauge(registry, { name, help }, function* () {
      for (const log of cluster.partitions()) {
        if (log.isLeader) yield { labels: { topic: log.topic, partition: log.partition }, value: read(log) };
      }
    });
  ofLedPartition(
    'partition_high_watermark',
    'Offset behind the last record, of partitions led here',
    (log) => log.highWatermark,
  );
  ofLedPartition(
    'partition_log_start_offset',
    'Offset of the first record, of partitions led here',
    (log) => log.logStartOffset,
  );
  ofLedPartition('partition_size_bytes', 'Bytes of record batches, of partitions led here', (log) => log.sizeBytes);
  ofLedPartition('partition_leader_epoch', 'Raft term, of partitions led here', (log) => log.leaderEpoch);
  registerGauge(
    registry,
    { name: 'consumer_group_lag', help: 'Records behind the committed offset, of groups coordinated here' },
    function* () {
      for (const { group, topic, partition, lag } of groupLags())
        yield { labels: { group, topic, partition }, value: lag };
    },
  );
}

function registerScrub(registry: Registry, { scrub }: MetricSources): void {
  registerGauge(
    registry,
    {
      name: 'partitions_damaged',
      help: 'Replicas of this broker with damage in their files that is not repaired yet; what is damaged is not served',
    },
    () => scrub()?.damagedReplicas ?? 0,
  );
  registerGauge(
    registry,
    { name: 'scrub_age_seconds', help: 'Time since the last complete search for damage, or since the start' },
    () => (scrub()?.ageMs ?? 0) * SECONDS_PER_MS,
  );
  const counters = {
    scrub_bytes_total: ['Bytes of partition files that were read and checked', 'bytes'],
    scrub_ranges_verified_total: [
      'Ranges of partitions led here that all replicas that could tell hold alike',
      'rangesVerified',
    ],
    scrub_mismatches_total: ['Ranges that replicas hold differently although the checksums of each hold', 'mismatches'],
    scrub_damage_found_total: ['Damaged places found in partition files', 'damageFound'],
    scrub_bytes_repaired_total: ['Bytes of partition files replaced by those of a peer', 'bytesRepaired'],
    replicas_repaired_total: ['Times that a replica with damaged files became whole again', 'replicasRepaired'],
  } as const;
  for (const [name, [help, field]] of Object.entries(counters)) {
    registerCounter(registry, { name, help }, () => scrub()?.metrics[field] ?? 0);
  }
}

function registerProcess(registry: Registry, { process, disk }: MetricSources): void {
  registerHistogram(
    registry,
    { name: 'event_loop_delay_seconds', help: 'How late timers of the event loop were', scale: SECONDS_PER_MS },
    () => [{ histogram: process().eventLoopDelayMs }],
  );
  registerGauge(
    registry,
    { name: 'process_resident_memory_bytes', help: 'Memory of the process' },
    () => process().residentBytes,
  );
  registerGauge(
    registry,
    { name: 'process_heap_used_bytes', help: 'JavaScript heap in use' },
    () => process().heapUsedBytes,
  );
  registerGauge(
    registry,
    { name: 'process_external_memory_bytes', help: 'Buffers outside of the heap' },
    () => process().externalBytes,
  );
  registerCounter(
    registry,
    { name: 'process_cpu_seconds_total', help: 'CPU time of the process' },
    () => process().cpuSeconds,
  );
  registerGauge(
    registry,
    { name: 'disk_free_bytes', help: 'Free space where the data directory is' },
    () => disk().freeBytes,
  );
  registerGauge(
    registry,
    { name: 'disk_total_bytes', help: 'Size of the file system of the data directory' },
    () => disk().totalBytes,
  );
  registerGauge(
    registry,
    { name: 'disk_refuses_produce', help: '1 while produce is refused because space is short' },
    () => Number(disk().refusesProduce),
  );
}

function sumOf<Item>(items: Iterable<Item>, read: (item: Item) => number): number {
  let sum = 0;
  for (const item of items) sum += read(item);
  return sum;
}
