/** Open-loop latency: single records at fixed rates, and batches at half of what the system could take. */
import { produceApi } from '../../../src/kafka-protocol/messages/produce.ts';
import { encodeRecordBatch } from '../../../src/kafka-protocol/records.ts';
import { Histogram } from '../histogram.ts';
import { shareOut } from '../leader-lanes.ts';
import { usageBetween } from '../machine.ts';
import { openLoop } from '../open-loop.ts';
import { produceLatency } from '../produce-latency.ts';
import { produceThroughput } from '../produce-throughput.ts';
import { RawConnection } from '../raw-client.ts';
import { type Cell, type Context, type Outcome, sleep, syncDisks, type Workload } from '../workload.ts';
import { cpuPerGigabyte, quantiles, recordsPerSecond, remarkOf, residentMemory } from './figures.ts';

const RECORD_BYTES = 100;
const PRODUCE_VERSION = 7;

/** Records a second, and seconds: what makes a fresh cluster hot without leaving it much to write back. */
const HEAT = {
  short: [[2000, 6]],
  full: [
    [2000, 14],
    [200, 4],
  ],
} as const;
/** The maximum is measured with code that has hardly seen such load before. */
const MAXIMUM_HEAT_SECONDS = { short: 4, full: 12 };
/** Pause for what the brokers do after the load of the maximum. */
const CALM_MS = 5_000;

export async function heatLatency(context: Context): Promise<void> {
  for (const [recordsPerSecond, seconds] of HEAT[context.scale]) {
    const { topic, leaders } = await context.createTopic(1, { ready: 'empty' });
    const load = { topic, recordBytes: RECORD_BYTES, recordsPerSecond, durationMs: seconds * 1000, warmupMs: 0 };
    await produceLatency({ leaders }, { ...load, takeSnapshot: () => context.takeSnapshot() });
  }
  await context.deleteTopics();
}

function rateCell(rate: number): Cell {
  return {
    id: `latency-${rate}`,
    label: `${RECORD_BYTES} B at ${rate}/s`,
    run: async (context) => {
      const { topic, leaders } = await context.createTopic(1, { ready: 'empty' });
      const result = await produceLatency(
        { leaders },
        {
          topic,
          recordBytes: RECORD_BYTES,
          recordsPerSecond: rate,
          durationMs: context.seconds * 1000,
          warmupMs: context.warmupSeconds * 1000,
          takeSnapshot: () => context.takeSnapshot(),
        },
      );
      const usage = usageBetween(result.before, result.after);
      const figures = [
        ...quantiles('acknowledged', result.acknowledged),
        ...quantiles('end to end', result.consumed),
        ...residentMemory(context),
      ];
      return { usage, remark: remarkOf(result.errors), figures };
    },
  };
}

/** Half of the maximum: 12 partitions, a request has a batch of 16 records of 1 KB for each partition of its leader. The maximum is measured before, with requests of the same shape. */
const HALF = { partitions: 12, recordBytes: 1024, batchBytes: 16 * 1024, inFlight: 5 };

async function runHalf(context: Context): Promise<Outcome> {
  const maximumTopic = await context.createTopic(HALF.partitions);
  const maximum = await produceThroughput(maximumTopic, {
    ...HALF,
    topic: maximumTopic.topic,
    durationMs: context.seconds * 1000,
    warmupMs: MAXIMUM_HEAT_SECONDS[context.scale] * 1000,
    partitionsPerRequest: HALF.partitions,
    takeSnapshot: () => context.takeSnapshot(),
  });
  await context.deleteTopics();
  await syncDisks();
  const { topic, leaders } = await context.createTopic(HALF.partitions);
  await sleep(CALM_MS);
  const recordsPerBatch = HALF.batchBytes / HALF.recordBytes;
  const value = Buffer.alloc(HALF.recordBytes, 'x');
  const timestamp = Date.now();
  const records = encodeRecordBatch(Array.from({ length: recordsPerBatch }, () => ({ timestamp, value })));
  const senders = await Promise.all(
    shareOut({ leaders }, 1).map(async ({ endpoint, partitions }) => ({
      connection: await RawConnection.open(endpoint),
      partitionData: partitions.map((index) => ({ index, records })),
    })),
  );
  const recordsPerRequest = (HALF.partitions * recordsPerBatch) / senders.length;
  const perSecond = maximum.recordsPerSecond / 2 / recordsPerRequest;
  const warmup = Math.floor(context.warmupSeconds * perSecond);
  const total = warmup + Math.floor(context.seconds * perSecond);
  const histogram = new Histogram();
  const errors = new Map(maximum.errors);
  let answered = 0;
  let before = context.takeSnapshot();
  await new Promise<void>((resolve, reject) => {
    openLoop({ perSecond, total }, (index, dueMs) => {
      if (index === warmup) before = context.takeSnapshot();
      const { connection, partitionData } = senders[index % senders.length]!;
      connection.send(
        produceApi,
        PRODUCE_VERSION,
        { acks: -1, timeoutMs: 30_000, topicData: [{ name: topic, partitionData }] },
        ({ responses }) => {
          for (const { errorCode } of responses.flatMap(({ partitionResponses }) => partitionResponses)) {
            if (errorCode !== 0) errors.set(errorCode, (errors.get(errorCode) ?? 0) + 1);
          }
          if (index >= warmup) histogram.record(performance.now() - dueMs);
          answered += 1;
          if (answered === total) resolve();
        },
        reject,
      );
    }).catch(reject);
  });
  const usage = usageBetween(before, context.takeSnapshot());
  for (const { connection } of senders) connection.close();
  const bytes = (total - warmup) * recordsPerRequest * HALF.recordBytes;
  return {
    usage,
    remark: remarkOf(errors),
    figures: [
      { ...recordsPerSecond(maximum.recordsPerSecond), name: 'maximum' },
      ...quantiles('acknowledged', histogram.quantiles()),
      ...cpuPerGigabyte(context, usage, bytes),
    ],
  };
}

export const latency: Workload = {
  name: 'latency',
  about:
    'Open loop; 1 partition and a record a request, or half of the own maximum with 12 partitions and batches of 16 KB; clusters alone on the machine',
  everyday: true,
  heatAlone: heatLatency,
  cells: () => [
    rateCell(200),
    rateCell(2000),
    { id: 'latency-half', label: 'at half of the own maximum', roundsMax: 1, run: runHalf },
  ],
};
