/** Cross-check with the tools of the other system on both systems, and what their client itself costs: the script runs them as `produce` and `consume`. */
import { usageBetween } from '../machine.ts';
import { runPeerTool } from '../peer-system.ts';
import type { Cell, Context, Figure, Outcome, Workload } from '../workload.ts';
import { cpuPerGigabyte, megabytesPerSecond, milliseconds, recordsPerSecond } from './figures.ts';

const NO_TOOLS = 'The tools are in the script of the peer: --peer-script';
const RECORD_BYTES = 1024;
/** How many records a run sends for each of its seconds: what takes longer is measured longer. */
const RECORDS_PER_SECOND = 40_000;

async function runTools(context: Context, partitions: number): Promise<Outcome> {
  const script = context.toolScript;
  if (script === undefined) throw new Error(NO_TOOLS);
  const { topic } = await context.createTopic(partitions);
  const count = RECORDS_PER_SECOND * context.seconds;
  const properties = [`bootstrap.servers=${context.bootstrap}`, 'acks=all', 'linger.ms=5', 'batch.size=65536'];
  const size = ['--num-records', `${count}`, '--record-size', `${RECORD_BYTES}`];
  const common = ['--topic', topic, '--throughput', '-1', '--producer-props', ...properties];
  const beforeProduce = context.takeSnapshot();
  const produced = await runPeerTool(script, ['produce', ...size, ...common]);
  const produceUsage = usageBetween(beforeProduce, context.takeSnapshot());
  const summary = parseProduced(produced);
  const beforeConsume = context.takeSnapshot();
  const consumed = await runPeerTool(script, [
    'consume',
    ...['--bootstrap-server', context.bootstrap, '--topic', topic, '--num-records', `${count}`],
    ...['--timeout', '60000'],
  ]);
  const consumeUsage = usageBetween(beforeConsume, context.takeSnapshot());
  const bytes = count * RECORD_BYTES;
  return {
    usage: produceUsage,
    figures: [
      recordsPerSecond(summary.recordsPerSecond),
      milliseconds('p50', summary.p50Ms),
      milliseconds('p99', summary.p99Ms),
      ...cpuPerGigabyte(context, produceUsage, bytes).map(named('producing')),
      ...parseConsumed(consumed),
      ...cpuPerGigabyte(context, consumeUsage, bytes).map(named('consuming')),
    ],
  };
}

/** Small records at a fixed rate, without linger. What starts cold in the tool's own process is in its tail. */
async function runRate(context: Context, rate: number): Promise<Outcome> {
  const script = context.toolScript;
  if (script === undefined) throw new Error(NO_TOOLS);
  const { topic } = await context.createTopic(1);
  const count = rate * context.seconds * 2;
  const properties = [`bootstrap.servers=${context.bootstrap}`, 'acks=all', 'linger.ms=0'];
  const load = ['--num-records', `${count}`, '--record-size', '100', '--throughput', `${rate}`];
  const before = context.takeSnapshot();
  const output = await runPeerTool(script, ['produce', '--topic', topic, ...load, '--producer-props', ...properties]);
  const usage = usageBetween(before, context.takeSnapshot());
  const { p50Ms, p99Ms } = parseProduced(output);
  return { usage, figures: [milliseconds('p50', p50Ms), milliseconds('p99', p99Ms)] };
}

/** The last line of the producer's output. */
function parseProduced(output: string): { recordsPerSecond: number; p50Ms: number; p99Ms: number } {
  const last = output.trim().split('\n').at(-1) ?? '';
  const match = /([\d.]+) records\/sec .*? ([\d.]+) ms 50th, .*? ([\d.]+) ms 99th/.exec(last);
  if (match === null) throw new Error(`The producer's last line is not understood: ${last}`);
  return { recordsPerSecond: Number(match[1]), p50Ms: Number(match[2]), p99Ms: Number(match[3]) };
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
    run: (context) => runTools(context, partitions),
  };
}

export const tools: Workload = {
  name: 'tools',
  about: "Kafka's own producer and consumer tools on both: 1 KB records, acks=all, linger 5 ms, 64 KB batches",
  everyday: false,
  cells: (scale) => [
    ...(scale === 'short' ? [12] : [1, 12, 100, 1000]).map(toolsCell),
    ...(scale === 'short' ? [] : [200, 2000]).map((rate) => ({
      id: `tools-latency-${rate}`,
      label: `100 B at ${rate}/s, 1 partition, linger 0`,
      run: (context: Context) => runRate(context, rate),
    })),
  ],
};
