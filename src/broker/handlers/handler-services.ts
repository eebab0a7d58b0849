/** What handlers work with. One object per broker, made by main.ts. */
import type { RaftGroups } from '../../raft/raft-group.ts';
import type { Clock, Timers } from '../../std/environment.ts';
import type { Cluster } from '../cluster/cluster.ts';
import type { BrokerConfig } from '../config/broker-config.ts';
import type { MemoryBudget } from '../network/memory-budget.ts';

/** Plain sums for metrics. */
export interface RecordCounters {
  recordsIn: number;
  recordBytesIn: number;
  recordBytesOut: number;
}

export interface HandlerServices {
  readonly cluster: Cluster;
  readonly groups: RaftGroups;
  readonly config: BrokerConfig;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly records: RecordCounters;
  /** Bytes of responses made and not yet sent, of all connections. */
  readonly responseMemory: MemoryBudget;
  /** Bytes of the file system that the data directory is on. */
  space(): Promise<{ freeBytes: number; totalBytes: number }>;
}
