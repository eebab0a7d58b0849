/** Closed-loop producers: how much the brokers take, and what it costs them, over partitions, record size and batch size. */
import { usageBetween } from '../machine.ts';
import { produceThroughput } from '../produce-throughput.ts';
import type { Cell, Context, Outcome, Workload } from '../workload.ts';
import {
  cpuPerGigabyte,
  megabytesPerSecond,
  milliseconds,
  recordsPerSecond,
  remarkOf,
  residentMemory,
} from './figures.ts';

const IN_FLIGHT = 5;
const KIB = 1024;
const PARTITIONS_PER_REQUEST_MAX = 8;
/** Bytes that one producer has under way to one leader at most, so that large batches do not ask for more memory than clients have (Kafka's `buffer.memory` is 32 MB in all). */
const IN_FLIGHT_BYTES_MAX = 10_000_000;

export interface ProduceLoad {
  readonly partitions: number;
  readonly recordBytes: number;
  readonly batchBytes: number;
  readonly partitionsPerRequest?: number;
}

export async function runProduce(context: Context, load: ProduceLoad): Promise<Outcome> {
  const { topic, leaders } = await context.createTopic(load.partitions);
  const sizeBytes = Math.max(load.batchBytes, load.recordBytes);
  const partitionsPerRequest =
    load.partitionsPerRequest ??
    Math.max(1, Math.min(PARTITIONS_PER_REQUEST_MAX, Math.floor(IN_FLIGHT_BYTES_MAX / IN_FLIGHT / sizeBytes)));
  const result = await produceThroughput(
    { leaders },
    {
      topic,
      recordBytes: load.recordBytes,
      batchBytes: load.batchBytes,
      inFlight: IN_FLIGHT,
      durationMs: context.seconds * 1000,
      warmupMs: context.warmupSeconds * 1000,
      partitionsPerRequest,
      takeSnapshot: () => context.takeSnapshot(),
    },
  );
  const usage = usageBetween(result.before, result.after);
  return {
    usage,
    remark: remarkOf(result.errors),
    figures: [
      recordsPerSecond(result.recordsPerSecond),
      megabytesPerSecond(result.megabytesPerSecond),
      milliseconds('request p50', result.requestP50Ms),
      milliseconds('request p99', result.requestP99Ms),
      ...cpuPerGigabyte(context, usage, result.records * load.recordBytes),
      ...residentMemory(context),
    ],
  };
}

function produceCell(id: string, label: string, x: number, load: ProduceLoad): Cell {
  return { id, label, x, run: (context) => runProduce(context, load) };
}

const partitionsLabel = (partitions: number): string => `${partitions} partition${partitions === 1 ? '' : 's'}`;
const sizeLabel = (bytes: number): string => (bytes < 1000 ? `${bytes} B` : `${Math.round(bytes / 1000)} KB`);
const CURVE_FIGURES = ['throughput in bytes', 'CPU of all brokers'];

export const produce: Workload = {
  name: 'produce',
  about: '1 KB records in batches of 64 KB',
  everyday: true,
  cells: (scale) =>
    (scale === 'short' ? [12, 100] : [1, 12, 100, 1000]).map((partitions) =>
      produceCell(`produce-${partitions}`, partitionsLabel(partitions), partitions, {
        partitions,
        recordBytes: KIB,
        batchBytes: 64 * KIB,
      }),
    ),
};

export const keys: Workload = {
  name: 'keys',
  about: '1 KB records with random keys: 4 records a batch, a request has a batch for every partition of its leader',
  everyday: true,
  cells: (scale) =>
    (scale === 'short' ? [12] : [12, 100]).map((partitions) =>
      produceCell(`keys-${partitions}`, partitionsLabel(partitions), partitions, {
        partitions,
        recordBytes: KIB,
        batchBytes: 4 * KIB,
        partitionsPerRequest: partitions,
      }),
    ),
};

export const partitions: Workload = {
  name: 'partitions',
  about: 'Cost over the number of partitions: 1 KB records in batches of 64 KB',
  everyday: false,
  curve: { title: 'Produce over partitions', xLabel: 'partitions', figures: CURVE_FIGURES },
  cells: (scale) =>
    (scale === 'short' ? [1, 12, 100, 1000] : [1, 4, 12, 40, 100, 400, 1000, 4000]).map((count) =>
      produceCell(`partitions-${count}`, partitionsLabel(count), count, {
        partitions: count,
        recordBytes: KIB,
        batchBytes: 64 * KIB,
      }),
    ),
};

export const recordSize: Workload = {
  name: 'record-size',
  about: 'Cost over the size of records: 12 partitions, batches of 64 KB or of one larger record',
  everyday: false,
  curve: { title: 'Produce over record size', xLabel: 'bytes of a record', figures: CURVE_FIGURES },
  cells: () =>
    [100, 1000, 10_000, 100_000, 1_000_000].map((recordBytes) =>
      produceCell(`record-size-${recordBytes}`, `records of ${sizeLabel(recordBytes)}`, recordBytes, {
        partitions: 12,
        recordBytes,
        batchBytes: 64 * KIB,
      }),
    ),
};

export const batchSize: Workload = {
  name: 'batch-size',
  about: 'Cost over the size of batches: 12 partitions, 1 KB records',
  everyday: false,
  curve: { title: 'Produce over batch size', xLabel: 'KiB of a batch', figures: CURVE_FIGURES },
  cells: () =>
    [1, 4, 16, 64, 256, 960].map((kib) =>
      produceCell(`batch-size-${kib}`, `batches of ${kib} KiB`, kib, {
        partitions: 12,
        recordBytes: KIB,
        batchBytes: kib * KIB,
      }),
    ),
};

export const brokers: Workload = {
  name: 'brokers',
  about: 'Cost over the number of brokers: 12 partitions with 3 replicas, 1 KB records in batches of 64 KB',
  everyday: false,
  curve: { title: 'Produce over brokers', xLabel: 'brokers', figures: CURVE_FIGURES },
  cells: () =>
    [3, 5, 7].map((nodes) => ({
      id: `brokers-${nodes}`,
      label: `${nodes} brokers`,
      x: nodes,
      nodes,
      ownCluster: true,
      run: async (context) => {
        await context.system.start();
        const load: ProduceLoad = { partitions: 12, recordBytes: KIB, batchBytes: 64 * KIB };
        // What a fresh process compiles is not what is compared.
        await runProduce(context, load);
        return runProduce(context, load);
      },
    })),
};
