/** What a seed decides before its run begins: the cluster, its properties, the clients, which faults there are and how often (swarm testing: seeds differ in kind, not only in order). */
import type { BrokerConfig } from '../../../src/broker/config/broker-config.ts';
import type { SeededRandom } from '../../../src/std/seeded-random.ts';

const FAULTS = [
  'kill',
  'powerLoss',
  'killInDiskOperation',
  'gracefulRestart',
  'allDown',
  'pause',
  'breakLink',
  'isolate',
  'isolateFromPeers',
  'blockOneWay',
  'blockClients',
  'breakConnections',
  'slowDisk',
  'stalledDisk',
  'failedDisk',
  'clockJump',
  'transferLeadership',
  'recreateTopic',
  'addPartitions',
  'groupChurn',
  'wipe',
] as const;
/** Drawn last, so that older seeds stay what they were. */
const LATER_FAULTS = [
  'damageWal',
  'fullDisk',
  'pauseIsolated',
  'killAtFailpoint',
  'killOnCommit',
  'killOnGeneration',
  'cutLeader',
  'amnesia',
  'reassign',
  'damageFiles',
  'staleSectors',
  'misdirectedWrites',
  'corruptWire',
  'longSlowDisk',
  'recreateIsolated',
  'deleteRecords',
] as const;
/** Drawn after all that a plan has. */
const LATEST_FAULTS = ['loseFiles', 'muteChannel'] as const;
export const CLUSTER_FAULTS = [...FAULTS, ...LATER_FAULTS, ...LATEST_FAULTS] as const;
export type ClusterFault = (typeof CLUSTER_FAULTS)[number];

export interface ClusterPlan {
  readonly brokers: number;
  readonly voters: readonly number[];
  readonly replicationFactor: number;
  readonly properties: Readonly<Record<string, string>>;
  readonly overrides: Partial<BrokerConfig>;
  /** Multiplies all latencies of the network. */
  readonly latencyScale: number;
  readonly budgetBytes: number;
  readonly faults: readonly ClusterFault[];
  readonly faultEveryMs: number;
  readonly chaosMs: number;
  /** Length of a stretch in the middle in which little is done and little goes wrong; mostly none. */
  readonly calmMs: number;
  /** Faults begin while the cluster forms. */
  readonly chaosFromStart: boolean;
  /** A broker stays as broken as it is when everything else heals. */
  readonly leavesMinorityBroken: boolean;
  readonly topics: number;
  readonly partitions: number;
  readonly recordBytesMax: number;
  readonly senderPaceMs: number;
  readonly requestTimeoutMs: number;
  readonly groupMembers: number;
  /** Members of groups have names that outlive their processes. */
  readonly hasStaticMembers: boolean;
  /** Producers compress some of their batches. */
  readonly compresses: boolean;
  /** A topic that loses its oldest records by size, by time and on request. */
  readonly trims: boolean;
  /** How fast the clocks of each broker run; 1 is right. */
  readonly clockRates: readonly number[];
  /** Length of what a consumer says beside each offset that it commits; 0: nothing. With long ones a coordinator's state does not fit into a frame of the WAL. */
  readonly commitNoteBytes: number;
  /** Share of the batches before which an idempotent producer begins anew, so that partitions know many of them. */
  readonly newProducers: number;
}

/** Brokers whose stores may be lost or damaged at a time: a minority of every group. */
export function minorityOf({ voters, replicationFactor }: ClusterPlan): number {
  return Math.floor((Math.min(voters.length, replicationFactor) - 1) / 2);
}

const KIB = 1024;
/** Share of the runs that have a calm stretch. */
const LONG_RUNS = 0.14;
/** Share of the clusters with five brokers that all vote for metadata in which every partition has five replicas, too. */
const FIVE_REPLICAS = 0.7;
/** What a broker does for itself is most of what happens in a calm cluster. Each of these is slower than in other runs by about the same factor. */
const SLOW_BEAT = {
  'raft.election.timeout.ms': '4000',
  'raft.heartbeat.interval.ms': '1000',
  'raft.liveness.timeout.ms': '4000',
  'scrub.interval.ms': '30000',
  'log.retention.check.interval.ms': '5000',
  'offsets.retention.check.interval.ms': '5000',
};
/** The dense part of a run that has a calm stretch, too, is short. */
const LONG_RUN_CHAOS_MS = 2_500;
/** Long enough for an old leader to be missed, replaced, and back. */
const ELECTIONS_MS = 4_000;

export function drawPlan(random: SeededRandom): ClusterPlan {
  const brokers = random.pick([1, 3, 3, 3, 3, 4, 5]);
  const voters = Array.from(
    { length: brokers === 1 ? 1 : brokers === 5 && random.chance(0.5) ? 5 : 3 },
    (_, i) => i + 1,
  );
  const electionMs = random.pick([300, 1_000]);
  const heartbeatMs = random.pick([50, 100]);
  const segmentBytes = KIB * random.pick([128, 256]);
  const faults = FAULTS.filter(() => random.chance(0.35));
  const plan = {
    brokers,
    voters,
    properties: {
      'auto.create.topics.enable': 'false',
      'offsets.topic.num.partitions': `${random.pick([1, 2])}`,
      'group.initial.rebalance.delay.ms': `${random.pick([0, 100])}`,
      'group.min.session.timeout.ms': '100',
      'raft.election.timeout.ms': `${electionMs}`,
      'raft.heartbeat.interval.ms': `${heartbeatMs}`,
      'raft.liveness.timeout.ms': `${Math.max(3 * heartbeatMs, electionMs)}`,
      'raft.disk.stall.limit.ms': `${random.pick([500, 3_000])}`,
      'replica.lag.time.max.ms': `${random.pick([1_000, 10_000])}`,
      'min.insync.replicas': `${Math.min(random.pick([1, 1, 2]), brokers)}`,
      'log.retention.check.interval.ms': '1000',
      'scrub.interval.ms': '5000',
      'offsets.retention.check.interval.ms': '1000',
      'disk.free.min.bytes': `${64 * KIB}`,
      'shutdown.transfer.timeout.ms': '1000',
    },
    overrides: {
      'wal.segment.bytes': segmentBytes,
      'wal.max.bytes': segmentBytes * random.pick([6, 16]),
      'log.tail.cache.bytes': KIB * random.pick([16, 256, 4_096]),
      'log.segment.bytes': KIB * random.pick([8, 64, 1_024]),
      'raft.group.max.uncommitted.bytes': KIB * random.pick([32, 1_024]),
      'connection.max.in.flight.requests': random.pick([2, 256]),
      'connection.max.buffered.response.bytes': KIB * random.pick([16, 8_192]),
      'queued.max.request.bytes': KIB * random.pick([128, 4_096]),
      'fetch.max.buffered.bytes': KIB * random.pick([32, 4_096]),
      'raft.max.uncommitted.bytes': KIB * random.pick([64, 4_096]),
    },
    latencyScale: random.pick([1, 1, 5, 20]),
    budgetBytes: random.pick([64 * KIB, 2_048 * KIB]),
    faults,
    faultEveryMs: random.pick([80, 200, 500]),
    chaosMs: random.pick([800, 1_500, 1_500, 2_500, 2_500, 3_500, 6_000]),
    calmMs: 0,
    chaosFromStart: random.chance(0.25),
    leavesMinorityBroken: brokers >= 3 && random.chance(0.25),
    topics: random.between(1, 2),
    partitions: random.between(1, 3),
    recordBytesMax: random.pick([100, 1_000, 6_000]),
    senderPaceMs: random.pick([15, 40, 120]),
    requestTimeoutMs: random.pick([400, 1_500]),
    groupMembers: random.pick([0, 2, 3]),
  };
  const laterFaults = LATER_FAULTS.filter(() => random.chance(0.3));
  const drift = random.pick([0, 0, 0.001, 0.1, 0.5]);
  const isLong = random.chance(LONG_RUNS);
  // Others must be elected before an old leader's answers are wrong.
  const chaosMs = laterFaults.includes('pauseIsolated') ? Math.max(plan.chaosMs, ELECTIONS_MS) : plan.chaosMs;
  const calmMs = isLong ? random.between(240_000, 900_000) : 0;
  const hasStaticMembers = random.chance(0.4);
  const compresses = random.chance(0.4);
  const trims = random.chance(0.4) || laterFaults.includes('deleteRecords');
  const clockRates = Array.from({ length: brokers }, () => 1 + drift * (2 * random.next() - 1));
  const replicationFactor = voters.length === 5 && random.chance(FIVE_REPLICAS) ? 5 : Math.min(3, brokers);
  const latestFaults = LATEST_FAULTS.filter(() => random.chance(0.3));
  const reserveBytes = KIB * random.pick([0, 0, 128]);
  const commitNoteBytes = random.pick([0, 0, 1_500]);
  const newProducers = random.pick([0, 0, 0.5]);
  return {
    ...plan,
    replicationFactor,
    faults: [...faults, ...laterFaults, ...latestFaults],
    properties: {
      ...plan.properties,
      'default.replication.factor': `${replicationFactor}`,
      'offsets.topic.replication.factor': `${replicationFactor}`,
      'disk.reserve.bytes': `${reserveBytes}`,
      ...(isLong ? SLOW_BEAT : {}),
    },
    chaosMs: isLong ? Math.min(chaosMs, LONG_RUN_CHAOS_MS) : chaosMs,
    calmMs,
    hasStaticMembers,
    compresses,
    trims,
    clockRates,
    commitNoteBytes,
    newProducers,
  };
}
