/**
 * `npm run bench -- --bootstrap HOST:PORT[,…]`: throughput, latency and consumption of a running cluster, Flotilla or any other that speaks Kafka. Given several
 * `--bootstrap NAME=HOST:PORT`, it alternates between them and prints ratios to the first: machines differ, ratios on one machine less so.
 */
import { writeFile } from 'node:fs/promises';
import { Command } from 'commander';
import { consumeThroughput } from './consume-throughput.ts';
import { cpuSecondsOf } from './process-cpu.ts';
import { produceLatency } from './produce-latency.ts';
import { produceThroughput } from './produce-throughput.ts';
import { createTopic, parseEndpoints, type TopicLeaders } from './raw-client.ts';

interface Target {
  readonly name: string;
  readonly bootstrap: string;
  /** Its brokers' processes, if they run on this machine and were named. */
  readonly pids: readonly number[];
}

/** One measured number; `higherIsBetter` says how a ratio reads. */
interface Measurement {
  readonly workload: string;
  readonly unit: string;
  readonly higherIsBetter: boolean;
  readonly value: number;
}

interface Plan {
  readonly partitions: readonly number[];
  readonly smallPartitions: readonly number[];
  readonly smallBatchRecords: number;
  readonly rates: readonly number[];
  readonly recordBytes: number;
  readonly batchBytes: number;
  readonly inFlight: number;
  readonly seconds: number;
  readonly warmupSeconds: number;
  readonly replicationFactor: number;
}

const SETTLE_MS = 1_000;

let topicsMade = 0;

async function newTopic(target: Target, plan: Plan, partitions: number): Promise<TopicLeaders & { topic: string }> {
  const topic = `bench-${process.pid}-${topicsMade++}`;
  const [bootstrap] = parseEndpoints(target.bootstrap);
  const leaders = await createTopic(bootstrap!, {
    name: topic,
    partitions,
    replicationFactor: plan.replicationFactor,
  });
  // Kafka's metadata names leaders a moment before they serve.
  await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
  return { ...leaders, topic };
}

/** Batches of `batchBytes` to `partitions` partitions; then all of it is read back. */
async function measureThroughput(
  target: Target,
  plan: Plan,
  run: { readonly partitions: number; readonly batchBytes: number; readonly partitionsPerRequest: number },
): Promise<Measurement[]> {
  const { partitions, batchBytes } = run;
  const { topic, leaders } = await newTopic(target, plan, partitions);
  const result = await produceThroughput(
    { leaders },
    {
      topic,
      recordBytes: plan.recordBytes,
      batchBytes,
      inFlight: plan.inFlight,
      durationMs: plan.seconds * 1000,
      warmupMs: plan.warmupSeconds * 1000,
      partitionsPerRequest: run.partitionsPerRequest,
      brokerCpuSeconds: target.pids.length > 0 ? () => cpuSecondsOf(target.pids) : undefined,
    },
  );
  if (result.errors.size > 0) console.error(`${target.name}: errors ${JSON.stringify([...result.errors])}`);
  const what = `${plan.recordBytes} B in batches of ${Math.round(batchBytes / 1024)} KB, ${partitions} partitions`;
  const consumed = await consumeThroughput({ leaders }, topic);
  const cpu = result.brokerCpuSecondsPerGigabyte;
  return [
    ...(cpu === undefined
      ? []
      : [{ workload: `produce ${what}, CPU of all brokers`, unit: 's/GB', higherIsBetter: false, value: cpu }]),
    { workload: `produce ${what}`, unit: 'records/s', higherIsBetter: true, value: result.recordsPerSecond },
    { workload: `produce ${what}, request p99`, unit: 'ms', higherIsBetter: false, value: result.requestP99Ms },
    { workload: `consume ${what}`, unit: 'MB/s', higherIsBetter: true, value: consumed.megabytesPerSecond },
  ];
}

async function measureLatency(target: Target, plan: Plan, rate: number): Promise<Measurement[]> {
  const { topic, leaders } = await newTopic(target, plan, 1);
  const result = await produceLatency(
    { leaders },
    {
      topic,
      recordBytes: 100,
      recordsPerSecond: rate,
      durationMs: plan.seconds * 1000,
      warmupMs: plan.warmupSeconds * 1000,
    },
  );
  if (result.errors > 0) console.error(`${target.name}: ${result.errors} records refused`);
  const measurements: Measurement[] = [];
  for (const [name, quantiles] of [
    ['acknowledged', result.acknowledged],
    ['consumed', result.consumed],
  ] as const) {
    for (const quantile of ['p50Ms', 'p99Ms', 'maxMs'] as const) {
      const workload = `${name}, 100 B at ${rate}/s, ${quantile.slice(0, -2)}`;
      measurements.push({ workload, unit: 'ms', higherIsBetter: false, value: quantiles[quantile] });
    }
  }
  return measurements;
}

/** Zero or nothing stands for none. */
const numbers = (text: string) =>
  text
    .split(',')
    .map(Number)
    .filter((number) => number > 0);
const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!;

const options = new Command()
  .name('bench')
  .requiredOption('--bootstrap <TARGET...>', '[NAME=]HOST:PORT[,…] of each cluster to measure; several are alternated')
  .option(
    '--pids <LIST...>',
    '[NAME=]PID,… of the brokers of each cluster, in the order of --bootstrap: adds their CPU time',
  )
  .option('--partitions <LIST>', 'partition counts of the throughput runs', numbers, [1, 12, 100, 1000])
  .option('--small-partitions <LIST>', 'partition counts of the runs with small batches', numbers, [12, 100])
  .option('--small-batch-records <N>', 'records of a small batch, as random keys make them', Number, 4)
  .option('--rates <LIST>', 'records/s of the latency runs', numbers, [200, 2000])
  .option('--record-bytes <N>', 'record size', Number, 1024)
  .option('--batch-bytes <N>', 'batch size', Number, 65_536)
  .option('--in-flight <N>', 'open requests per connection', Number, 5)
  .option('--seconds <N>', 'length of one run', Number, 5)
  .option('--warmup-seconds <N>', 'before each run', Number, 2)
  .option('--rounds <N>', 'rounds, alternating between the clusters; medians are printed', Number, 1)
  .option('--replication-factor <N>', 'replicas of the topics', Number, 3)
  .option('--json <FILE>', 'write all measurements')
  .parse()
  .opts<Plan & { bootstrap: string[]; pids?: string[]; rounds: number; json?: string }>();

const targets: Target[] = options.bootstrap.map((text, i) => {
  const at = text.indexOf('=');
  const pids = numbers(options.pids?.[i]?.replace(/^.*=/, '') ?? '');
  return at < 0
    ? { name: `cluster ${i + 1}`, bootstrap: text, pids }
    : { name: text.slice(0, at), bootstrap: text.slice(at + 1), pids };
});
const results = new Map<string, { unit: string; higherIsBetter: boolean; values: Map<string, number[]> }>();

function note(target: Target, measurements: readonly Measurement[]): void {
  for (const { workload, unit, higherIsBetter, value } of measurements) {
    const entry = results.get(workload) ?? { unit, higherIsBetter, values: new Map() };
    entry.values.set(target.name, [...(entry.values.get(target.name) ?? []), value]);
    results.set(workload, entry);
    console.error(`${target.name.padEnd(12)} ${workload.padEnd(40)} ${value.toFixed(value < 100 ? 2 : 0)} ${unit}`);
  }
}

for (let round = 0; round < options.rounds; round++) {
  for (const rate of options.rates)
    for (const target of targets) note(target, await measureLatency(target, options, rate));
  for (const partitions of options.partitions) {
    const run = { partitions, batchBytes: options.batchBytes, partitionsPerRequest: Math.min(partitions, 8) };
    for (const target of targets) note(target, await measureThroughput(target, options, run));
  }
  for (const partitions of options.smallPartitions) {
    const batchBytes = options.smallBatchRecords * options.recordBytes;
    const run = { partitions, batchBytes, partitionsPerRequest: partitions };
    for (const target of targets) note(target, await measureThroughput(target, options, run));
  }
}

console.log(`\n| work | ${targets.map(({ name }) => name).join(' | ')} |${targets.length > 1 ? ' ratio |' : ''}`);
console.log(`|---|${targets.map(() => '---').join('|')}|${targets.length > 1 ? '---|' : ''}`);
for (const [workload, { unit, values }] of results) {
  const medians = targets.map(({ name }) => median(values.get(name) ?? [Number.NaN]));
  const cells = medians.map((value) => `${value.toFixed(value < 100 ? 2 : 0)} ${unit}`);
  const ratio = targets.length > 1 ? ` ${(medians[0]! / medians[1]!).toFixed(2)}x |` : '';
  console.log(`| ${workload} | ${cells.join(' | ')} |${ratio}`);
}
if (options.json !== undefined) {
  const all = [...results].map(([workload, { unit, values }]) => ({
    workload,
    unit,
    values: Object.fromEntries(values),
  }));
  await writeFile(options.json, `${JSON.stringify(all, null, 2)}\n`);
}
