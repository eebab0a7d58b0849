/** All workloads, in the order in which they run. */
import type { Workload } from '../workload.ts';
import { consume } from './consume.ts';
import { latency } from './latency.ts';
import { batchSize, brokers, keys, partitions, produce, recordSize } from './produce.ts';

export const WORKLOADS: readonly Workload[] = [
  produce,
  keys,
  latency,
  consume,
  partitions,
  recordSize,
  batchSize,
  brokers,
];
