/** Cross-check with the tools of the other system on both systems, and what their client itself costs: the script runs them as `produce` and `consume`. */
import { type CpuSnapshot, usageBetween } from '../machine.ts';
import { runPeerTool, watchPeerTool } from '../peer-system.ts';
import type { Cell, Context, Figure, Outcome, Workload } from '../workload.ts';
import { cpuPerGigabyte, megabytesPerSecond, milliseconds, recordsPerSecond } from './figures.ts';
import { heatLatency } from './latency.ts';

const NO_TOOLS = 'The tools are in the script of the peer: --peer-script';
const RECORD_BYTES = 1024;
/** The tool's own virtual machine starts cold, on the cores that the brokers need: what it does in the first seconds does not count. */
const TOOL_HEAT_SECONDS = { short: 5, full: 10 };
const MEASURED_SECONDS = { short: 5, full: 15 };
/** A tool reports every 5 s, if something was acknowledged. */
const REPORT_SECONDS_MAX = 30;
/** Nobody sends so many; the tool is ended when enough was seen. */
const ENDLESS = 1_000_000_000;

interface Produced {
  readonly records: number;
  readonly meanMs: number;
  readonly before: CpuSnapshot;
  readonly after: CpuSnapshot;
}

async function runTools(context: Context, partitions: number): Promise<Outcome> {
  const script = context.toolScript;
  if (script === undefined) throw new Error(NO_TOOLS);
  const { topic } = await context.createTopic(partitions);
  const { produced, total } = await produceForAWhile(context, script, topic);
  const produceUsage = usageBetween(produced.before, produced.after);
  const beforeConsume = context.takeSnapshot();
  const consumed = await runPeerTool(script, [
    'consume',
    ...['--bootstrap-server', context.bootstrap, '--topic', topic, '--num-records', `${total}`],
    ...['--timeout', '60000'],
  ]);
  const consumeUsage = usageBetween(beforeConsume, context.takeSnapshot());
  return {
    usage: produceUsage,
    figures: [
      recordsPerSecond((produced.records * 1000) / produceUsage.elapsedMs),
      milliseconds('mean, with the wait in the client', produced.meanMs),
      ...cpuPerGigabyte(context, produceUsage, produced.records * RECORD_BYTES).map(named('producing')),
      ...parseConsumed(consumed),
      ...cpuPerGigabyte(context, consumeUsage, total * RECORD_BYTES).map(named('consuming')),
    ],
  };
}

/** Whole intervals of the tool's own reports, the first ones left out; and all records that were acknowledged, those included. */
async function produceForAWhile(
  context: Context,
  script: string,
  topic: string,
): Promise<{ produced: Produced; total: number }> {
  const properties = [`bootstrap.servers=${context.bootstrap}`, 'acks=all', 'linger.ms=5', 'batch.size=65536'];
  const size = ['--num-records', `${ENDLESS}`, '--record-size', `${RECORD_BYTES}`];
  const args = ['produce', ...size, '--topic', topic, '--throughput', '-1', '--producer-props', ...properties];
  const heatSeconds = TOOL_HEAT_SECONDS[context.scale];
  const measuredSeconds = MEASURED_SECONDS[context.scale];
  let total = 0;
  let records = 0;
  let latencyMs = 0;
  let before: CpuSnapshot | undefined;
  let after: CpuSnapshot | undefined;
  const startedMs = performance.now();
  await watchPeerTool(script, args, {
    timeoutMs: (heatSeconds + measuredSeconds + 2 * REPORT_SECONDS_MAX) * 1000,
    onLine: (line) => {
      const report = parseReport(line);
      if (report === undefined) return false;
      total += report.records;
      if (before === undefined) {
        // The report comes with the first record after its interval, so its last moment is now.
        if (performance.now() - startedMs >= heatSeconds * 1000) before = context.takeSnapshot();
        return false;
      }
      records += report.records;
      latencyMs += report.records * report.meanMs;
      after = context.takeSnapshot();
      // Intervals are not exactly as long as they should be.
      return after.atMs - before.atMs >= (measuredSeconds - 1) * 1000;
    },
  });
  return { produced: { records, meanMs: latencyMs / records, before: before!, after: after! }, total };
}

/** A line for an interval; those of the summaries, which have percentiles, are none. */
export function parseReport(line: string): { records: number; meanMs: number } | undefined {
  const match =
    /^(\d+) records sent, [\d.]+ records\/sec \([^)]*\), ([\d.]+) ms avg latency, [\d.]+ ms max latency\.$/.exec(
      line.trim(),
    );
  return match === null ? undefined : { records: Number(match[1]), meanMs: Number(match[2]) };
}

/** Small records at a fixed rate, without linger. */
async function runRate(context: Context, rate: number): Promise<Outcome> {
  const script = context.toolScript;
  if (script === undefined) throw new Error(NO_TOOLS);
  const { topic } = await context.createTopic(1);
  const heat = rate * TOOL_HEAT_SECONDS[context.scale];
  const count = heat + rate * MEASURED_SECONDS[context.scale];
  const properties = [`bootstrap.servers=${context.bootstrap}`, 'acks=all', 'linger.ms=0'];
  const load = ['--num-records', `${count}`, '--record-size', '100', '--throughput', `${rate}`];
  const args = ['--topic', topic, ...load, '--warmup-records', `${heat}`, '--producer-props', ...properties];
  const before = context.takeSnapshot();
  const output = await runPeerTool(script, ['produce', ...args]);
  const usage = usageBetween(before, context.takeSnapshot());
  const { p50Ms, p99Ms } = parseSteadyState(output);
  return { usage, figures: [milliseconds('p50', p50Ms), milliseconds('p99', p99Ms)] };
}

/** The last summary of the producer: that of the records after its warm-up. */
export function parseSteadyState(output: string): { p50Ms: number; p99Ms: number } {
  const last = output.trim().split('\n').at(-1) ?? '';
  const match = / ([\d.]+) ms 50th, .*? ([\d.]+) ms 99th/.exec(last);
  if (match === null) throw new Error(`The producer's last line is not understood: ${last}`);
  return { p50Ms: Number(match[1]), p99Ms: Number(match[2]) };
}

const named =
  (suffix: string) =>
  (figure: Figure): Figure => ({ ...figure, name: `${figure.name}, ${suffix}` });

/** A header line with names and a line with values, separated by commas. */
function parseConsumed(output: string): Figure[] {
  const lines = output.trim().split('\n');
  const header = lines.findIndex((line) => line.includes('fetch.MB.sec'));
  const names = (lines[header] ?? '').split(',').map((name) => name.trim());
  const values = (lines[header + 1] ?? '').split(',').map((value) => value.trim());
  const column = (name: string): number => Number(values[names.indexOf(name)]);
  return [
    megabytesPerSecond(column('MB.sec'), 'consumed, with the start of the group'),
    megabytesPerSecond(column('fetch.MB.sec'), 'consumed, fetching alone'),
  ];
}

function toolsCell(partitions: number): Cell {
  return {
    id: `tools-${partitions}`,
    label: `${partitions} partition${partitions === 1 ? '' : 's'}`,
    roundsMax: 1,
    run: (context) => runTools(context, partitions),
  };
}

export const tools: Workload = {
  name: 'tools',
  about: `Kafka's own producer and consumer tools on both: 1 KB records, acks=all, linger 5 ms, 64 KB batches; ${MEASURED_SECONDS.full} s of the producer after its first ${TOOL_HEAT_SECONDS.full}`,
  everyday: false,
  cells: (scale) => (scale === 'short' ? [12] : [1, 12, 100, 1000]).map(toolsCell),
};

export const toolsLatency: Workload = {
  name: 'tools-latency',
  about: "Kafka's own producer tool at a fixed rate: 100 B, 1 partition, linger 0; clusters alone on the machine",
  everyday: false,
  heatAlone: heatLatency,
  cells: () =>
    [200, 2000].map((rate) => ({
      id: `tools-latency-${rate}`,
      label: `100 B at ${rate}/s`,
      run: (context: Context) => runRate(context, rate),
    })),
};
