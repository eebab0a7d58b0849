/** Cross-check with the tools of the other system on both systems, and what their client itself costs: the script runs them as `produce` and `consume`. */
import { usageBetween } from '../machine.ts';
import { runPeerTool } from '../peer-system.ts';
import type { Cell, Context, Figure, Outcome, Workload } from '../workload.ts';
import { cpuPerGigabyte, megabytesPerSecond, milliseconds, recordsPerSecond } from './figures.ts';

const RECORD_BYTES = 1024;
/** How many records a run sends for each of its seconds: what takes longer is measured longer. */
const RECORDS_PER_SECOND = 40_000;

async function runTools(context: Context, partitions: number): Promise<Outcome> {
  const script = context.toolScript;
  if (script === undefined) throw new Error('The tools are in the script of the peer: --peer-script');
  const { topic } = await context.createTopic(partitions);
  const count = RECORDS_PER_SECOND * context.seconds;
  const properties = [`bootstrap.servers=${context.bootstrap}`, 'acks=all', 'linger.ms=5', 'batch.size=65536'];
  const size = ['--num-records', `${count}`, '--record-size', `${RECORD_BYTES}`];
  const common = ['--topic', topic, '--throughput', '-1', '--producer-props', ...properties];
  const beforeProduce = context.takeSnapshot();
  const produced = await runPeerTool(script, ['produce', ...size, ...common]);
  const produceUsage = usageBetween(beforeProduce, context.takeSnapshot());
  const last = produced.trim().split('\n').at(-1) ?? '';
  const match = /([\d.]+) records\/sec .*? ([\d.]+) ms 50th, .*? ([\d.]+) ms 99th/.exec(last);
  if (match === null) throw new Error(`The producer's last line is not understood: ${last}`);
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
      recordsPerSecond(Number(match[1])),
      milliseconds('p50', Number(match[2])),
      milliseconds('p99', Number(match[3])),
      ...cpuPerGigabyte(context, produceUsage, bytes).map(named('producing')),
      ...parseConsumed(consumed),
      ...cpuPerGigabyte(context, consumeUsage, bytes).map(named('consuming')),
    ],
  };
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
  cells: (scale) => (scale === 'short' ? [12] : [1, 12, 100, 1000]).map(toolsCell),
};
