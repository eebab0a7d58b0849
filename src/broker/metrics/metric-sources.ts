/** Where metrics are read from: plain counters that the parts of the broker keep anyway. */
import type { RaftDriverMetrics } from '../../raft/raft-driver-metrics.ts';
import type { RaftGroups } from '../../raft/raft-group.ts';
import type { HistogramView } from '../../std/histogram.ts';
import type { MemoryPool } from '../../std/memory-pool.ts';
import type { Cluster } from '../cluster/cluster.ts';
import type { ScrubMetrics } from '../partition/scrubber.ts';
import type { RequestMetrics } from './request-metrics.ts';

/** What the WAL counts (the broker does not import it). */
export interface WalCounters {
  readonly flushes: number;
  readonly flushedBytes: number;
  readonly flushedFrames: number;
  readonly segments: number;
  readonly segmentsReused: number;
  readonly bytesInUse: number;
  readonly bytesLimit: number;
}

/** Facts about this process and its disk. */
export interface ProcessFacts {
  readonly residentBytes: number;
  readonly heapUsedBytes: number;
  readonly externalBytes: number;
  readonly cpuSeconds: number;
  /** Delays of the event loop. */
  readonly eventLoopDelayMs: HistogramView;
}

export interface DiskFacts {
  readonly freeBytes: number;
  readonly totalBytes: number;
  readonly refusesProduce: boolean;
}

/** The search for damage in partition files, and its repair. */
export interface ScrubFacts {
  readonly metrics: ScrubMetrics;
  /** Replicas with damage that is not repaired yet. */
  readonly damagedReplicas: number;
  /** Milliseconds since the last complete pass, or since the start. */
  readonly ageMs: number;
}

export interface GroupLag {
  readonly group: string;
  readonly topic: string;
  readonly partition: number;
  readonly lag: number;
}

export interface MetricSources {
  readonly requests: RequestMetrics;
  readonly records: { recordsIn: number; recordBytesIn: number; recordBytesOut: number };
  readonly cluster: Cluster;
  readonly groups: RaftGroups;
  readonly driver: RaftDriverMetrics;
  /** Bounds of driver.commitCounts, in milliseconds. */
  readonly commitBoundsMs: readonly number[];
  readonly wal: WalCounters;
  readonly walFlush: HistogramView;
  readonly walBatch: HistogramView;
  memoryPools(): Iterable<MemoryPool>;
  process(): ProcessFacts;
  disk(): DiskFacts;
  /** Undefined until there are partitions. */
  scrub(): ScrubFacts | undefined;
  /** Replicas that lost something to a damaged disk and are not repaired yet. */
  barredReplicas(): number;
  /** Replicas that may have forgotten a vote and got a successor since the start. */
  replacedReplicas(): number;
  /** Of the groups that this broker coordinates. */
  groupLags(): Iterable<GroupLag>;
}
