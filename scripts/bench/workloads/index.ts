/** All workloads, in the order in which they run: those that share warm clusters stand together. */
import type { Workload } from '../workload.ts';
import { clients, connections, fanOut } from './clients.ts';
import { consume } from './consume.ts';
import { failover } from './failover.ts';
import { floor } from './floor.ts';
import { fsync } from './fsync.ts';
import { latency } from './latency.ts';
import { many, restart, start } from './lifecycle.ts';
import { logSize } from './log-size.ts';
import { batchSize, brokers, keys, partitions, produce, recordSize } from './produce.ts';
import { tools, toolsLatency } from './tools.ts';

export const WORKLOADS: readonly Workload[] = [
  latency,
  toolsLatency,
  produce,
  keys,
  consume,
  tools,
  fsync,
  connections,
  clients,
  fanOut,
  recordSize,
  batchSize,
  partitions,
  logSize,
  start,
  failover,
  restart,
  many,
  brokers,
  floor,
];
