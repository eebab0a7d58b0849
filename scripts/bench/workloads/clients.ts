/** Many clients: idle connections, hundreds of producers and consumers, and one topic read by many. */

import { produceApi } from '../../../src/kafka-protocol/messages/produce.ts';
import { encodeRecordBatch } from '../../../src/kafka-protocol/records.ts';
import { Histogram } from '../histogram.ts';
import { shareOut } from '../leader-lanes.ts';
import { usageBetween } from '../machine.ts';
import { openLoop } from '../open-loop.ts';
import { produceThroughput } from '../produce-throughput.ts';
import { RawConnection } from '../raw-client.ts';
import { tailPartitions } from '../tail-reader.ts';
import { type Cell, type Context, type Outcome, sleep, type Workload } from '../workload.ts';
import {
  cpuPerGigabyte,
  megabytesPerSecond,
  milliseconds,
  quantiles,
  recordsPerSecond,
  remarkOf,
  residentMemory,
} from './figures.ts';
import { runProduce } from './produce.ts';

const KIB = 1024;
const PRODUCE_VERSION = 7;

async function runWithIdle(context: Context, count: number): Promise<Outcome> {
  const idle: RawConnection[] = [];
  for (let i = 0; i < count; i++) {
    idle.push(await RawConnection.open(context.system.endpoints[i % context.system.endpoints.length]!));
  }
  try {
    const outcome = await runProduce(context, { partitions: 12, recordBytes: KIB, batchBytes: 64 * KIB });
    const lost = idle.filter(({ isOpen }) => !isOpen).length;
    return lost === 0 ? outcome : { ...outcome, remark: `${lost} of ${count} idle connections were closed` };
  } finally {
    for (const connection of idle) connection.close();
  }
}

export const connections: Workload = {
  name: 'connections',
  about: 'Produce to 12 partitions (1 KB records, 64 KB batches) beside idle connections',
  everyday: false,
  cells: () =>
    [0, 1000].map((count) => ({
      id: `connections-${count}`,
      label: `${count} idle connections`,
      run: (context) => runWithIdle(context, count),
    })),
};

/** `count` producers, each with one request open, and as many consumers that follow them; 200 partitions are shared out among them. */
function clientsCell(count: number): Cell {
  return {
    id: `clients-${count}`,
    label: `${count} producers and ${count} consumers`,
    run: async (context) => {
      const partitions = 200;
      const target = await context.createTopic(partitions);
      const connectionsPerLeader = Math.ceil(count / context.system.endpoints.length);
      let consumed = 0;
      const reader = await tailPartitions(
        target,
        (_, first, last) => {
          consumed += last - first + 1;
        },
        connectionsPerLeader,
      );
      let consumedBefore = 0;
      let snapshots = 0;
      const result = await produceThroughput(target, {
        topic: target.topic,
        recordBytes: KIB,
        batchBytes: 16 * KIB,
        // The same number of requests is open, whoever many clients there are.
        inFlight: Math.max(1, Math.round(partitions / Math.max(3, count))),
        durationMs: context.seconds * 1000,
        warmupMs: context.warmupSeconds * 1000,
        partitionsPerRequest: 1,
        connectionsPerLeader,
        takeSnapshot: () => {
          if (snapshots++ === 0) consumedBefore = consumed;
          else consumedBefore = consumed - consumedBefore;
          return context.takeSnapshot();
        },
      });
      reader.close();
      const usage = usageBetween(result.before, result.after);
      return {
        usage,
        remark: remarkOf(result.errors),
        figures: [
          recordsPerSecond(result.recordsPerSecond),
          { ...recordsPerSecond((consumedBefore * 1000) / usage.elapsedMs), name: 'consumed' },
          milliseconds('request p99', result.requestP99Ms),
          ...cpuPerGigabyte(context, usage, result.records * KIB),
          ...residentMemory(context),
        ],
      };
    },
  };
}

export const clients: Workload = {
  name: 'clients',
  about:
    'The same 200 open requests of 16 KB to 200 partitions from 3 or from 200 producers, read by as many consumers',
  everyday: false,
  cells: () => [clientsCell(3), clientsCell(200)],
};

const FAN_OUT = { partitions: 12, recordBytes: KIB, batchBytes: 16 * KIB, megabytesPerSecond: 5 };

/** A steady stream, read by `consumers` of all partitions each. */
async function runFanOut(context: Context, consumers: number): Promise<Outcome> {
  const target = await context.createTopic(FAN_OUT.partitions, { ready: 'empty' });
  const perSecond = (FAN_OUT.megabytesPerSecond * 1e6) / FAN_OUT.batchBytes;
  const total = Math.floor(perSecond * (context.seconds + context.warmupSeconds));
  const warmup = Math.floor(perSecond * context.warmupSeconds);
  const recordsPerBatch = FAN_OUT.batchBytes / FAN_OUT.recordBytes;
  const value = Buffer.alloc(FAN_OUT.recordBytes, 'x');
  const timestamp = Date.now();
  const records = encodeRecordBatch(Array.from({ length: recordsPerBatch }, () => ({ timestamp, value })));
  const latency = new Histogram();
  const dueMs = new Float64Array(total);
  const readers = await Promise.all(
    Array.from({ length: consumers }, () =>
      tailPartitions(target, (partition, first) => {
        const nowMs = performance.now();
        // Batches go round the partitions in turn, so its place tells which one it is.
        const index = (first / recordsPerBatch) * FAN_OUT.partitions + partition;
        if (index >= warmup && index < total) latency.record(nowMs - dueMs[index]!);
      }),
    ),
  );
  const byPartition = new Map<number, RawConnection>();
  for (const { endpoint, partitions } of shareOut(target, 1)) {
    const connection = await RawConnection.open(endpoint);
    for (const partition of partitions) byPartition.set(partition, connection);
  }
  const errors = new Map<number, number>();
  const received = (): number => readers.reduce((sum, { bytes }) => sum + bytes, 0);
  let before = context.takeSnapshot();
  let receivedBefore = 0;
  await openLoop({ perSecond, total }, (index, due) => {
    if (index === warmup) {
      before = context.takeSnapshot();
      receivedBefore = received();
    }
    dueMs[index] = due;
    const partition = index % FAN_OUT.partitions;
    byPartition.get(partition)!.send(
      produceApi,
      PRODUCE_VERSION,
      {
        acks: -1,
        timeoutMs: 30_000,
        topicData: [{ name: target.topic, partitionData: [{ index: partition, records }] }],
      },
      ({ responses }) => {
        const code = responses[0]?.partitionResponses[0]?.errorCode ?? -1;
        if (code !== 0) errors.set(code, (errors.get(code) ?? 0) + 1);
      },
      () => errors.set(-1, (errors.get(-1) ?? 0) + 1),
    );
  });
  const usage = usageBetween(before, context.takeSnapshot());
  const bytes = received() - receivedBefore;
  await sleep(200);
  for (const reader of readers) reader.close();
  for (const connection of new Set(byPartition.values())) connection.close();
  return {
    usage,
    remark: remarkOf(errors),
    figures: [
      megabytesPerSecond(bytes / usage.elapsedMs / 1000, 'delivered'),
      ...quantiles('end to end', latency.quantiles()).slice(0, 2),
      ...cpuPerGigabyte(context, usage, bytes),
      ...residentMemory(context),
    ],
  };
}

export const fanOut: Workload = {
  name: 'fan-out',
  about: `${FAN_OUT.megabytesPerSecond} MB/s into 12 partitions, all of it read by each of so many consumers; CPU per GB delivered`,
  everyday: false,
  curve: {
    title: 'One topic read by many',
    xLabel: 'consumers',
    figures: ['delivered', 'CPU of all brokers'],
  },
  cells: (scale) =>
    (scale === 'short' ? [1, 10] : [1, 5, 10, 25, 50]).map((consumers) => ({
      id: `fan-out-${consumers}`,
      label: `${consumers} consumer${consumers === 1 ? '' : 's'}`,
      x: consumers,
      run: (context) => runFanOut(context, consumers),
    })),
};
