/** Open-loop latency: single records at fixed rates, and batches at half of what the system could take. */
import { availableParallelism } from 'node:os';
import { produceApi } from '../../../src/kafka-protocol/messages/produce.ts';
import { encodeRecordBatch } from '../../../src/kafka-protocol/records.ts';
import { Histogram } from '../histogram.ts';
import { shareOut } from '../leader-lanes.ts';
import { usageBetween } from '../machine.ts';
import { openLoop } from '../open-loop.ts';
import { type LatencyResult, produceLatency } from '../produce-latency.ts';
import { produceThroughput } from '../produce-throughput.ts';
import { RawConnection } from '../raw-client.ts';
import { type Cell, type Context, type Outcome, sleep, syncDisks, type Workload } from '../workload.ts';
import { cpuPerGigabyte, quantiles, recordsPerSecond, remarkOf, residentMemory } from './figures.ts';

const RECORD_BYTES = 100;
const PRODUCE_VERSION = 7;

/**
 * A fresh cluster is hot when it has stopped to compile: when it is not busy with a load that it should hardly feel, and not less busy than in the stretch before. Three Java virtual machines on two
 * cores need most of a minute for that, and their latency is ten times as long until then.
 */
const HEAT_RATE = 2000;
const HEAT_STRETCH_SECONDS = 5;
const HEAT_STRETCHES = { short: { min: 1, max: 2 }, full: { min: 3, max: 8 } };
/** Of all cores. */
const BUSY_SHARE = 0.5;
const STEADY_SHARE = 0.93;
/** The maximum is measured with code that has hardly seen such load before. */
const MAXIMUM_HEAT_SECONDS = { short: 4, full: 15 };
/** Pause for what the brokers do after the load of the maximum. */
const CALM_MS = 5_000;

/** One stretch on a topic of its own, the first seconds of which do not count. */
async function measureRate(
  context: Context,
  load: { readonly rate: number; readonly seconds: number; readonly warmupSeconds: number; readonly consume: boolean },
): Promise<LatencyResult> {
  const { topic, leaders } = await context.createTopic(1, { ready: 'empty' });
  return produceLatency(
    { leaders },
    {
      topic,
      recordBytes: RECORD_BYTES,
      recordsPerSecond: load.rate,
      durationMs: load.seconds * 1000,
      warmupMs: load.warmupSeconds * 1000,
      consume: load.consume,
      takeSnapshot: () => context.takeSnapshot(),
    },
  );
}

export async function heatLatency(context: Context): Promise<void> {
  const { min, max } = HEAT_STRETCHES[context.scale];
  const load = { seconds: HEAT_STRETCH_SECONDS, warmupSeconds: 0, consume: true };
  let lastShare = 1;
  for (let stretch = 1; stretch <= max; stretch++) {
    const { before, after } = await measureRate(context, { ...load, rate: HEAT_RATE });
    const { brokersSeconds, elapsedMs } = usageBetween(before, after);
    const share = (brokersSeconds * 1000) / elapsedMs / availableParallelism();
    if (stretch >= min && share < BUSY_SHARE && share > lastShare * STEADY_SHARE) break;
    lastShare = share;
  }
  await measureRate(context, { ...load, rate: 200 });
  await context.deleteTopics();
}

function rateCell(rate: number): Cell {
  return {
    id: `latency-${rate}`,
    label: `${RECORD_BYTES} B at ${rate}/s`,
    run: async (context) => {
      const { seconds, warmupSeconds } = context;
      const alone = await measureRate(context, { rate, seconds, warmupSeconds, consume: false });
      const read = await measureRate(context, { rate, seconds, warmupSeconds, consume: true });
      const errors = new Map(alone.errors);
      for (const [code, count] of read.errors) errors.set(code, (errors.get(code) ?? 0) + count);
      return {
        usage: usageBetween(alone.before, read.after),
        remark: remarkOf(errors),
        figures: [
          ...quantiles('acknowledged', alone.acknowledged),
          ...quantiles('end to end', read.consumed),
          ...quantiles('acknowledged beside a consumer', read.acknowledged).slice(0, 2),
          ...residentMemory(context),
        ],
      };
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
