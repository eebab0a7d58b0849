/** Consumers that read from the beginning, as fast as they get it: from memory (the hot tail), from the page cache, and from the disk. */
import { readAll } from '../consume-throughput.ts';
import { fill } from '../fill.ts';
import { usageBetween } from '../machine.ts';
import { evictFiles } from '../page-cache.ts';
import type { Cell, Context, Outcome, Workload } from '../workload.ts';
import { cpuPerGigabyte, megabytesPerSecond, residentMemory } from './figures.ts';

const PARTITIONS = 12;

export interface ConsumeLoad {
  readonly megabytes: number;
  /** The topic is read again and again for so long. */
  readonly seconds: number;
  /** Before each pass the files are taken out of the page cache. */
  readonly evict: boolean;
}

export async function runConsume(context: Context, { megabytes, seconds, evict }: ConsumeLoad): Promise<Outcome> {
  const target = await context.createTopic(PARTITIONS);
  await fill(target, megabytes * 1e6);
  if (!evict) await readAll(target, target.topic);
  let bytes = 0;
  let elapsedMs = 0;
  const directory = context.system.dataDirectory;
  if (evict && directory === undefined) throw new Error('Where the brokers have their files is not known');
  const before = context.takeSnapshot();
  do {
    if (evict) await evictFiles(directory!, target.topic);
    const startedMs = performance.now();
    bytes += (await readAll(target, target.topic)).bytes;
    elapsedMs += performance.now() - startedMs;
  } while (elapsedMs < seconds * 1000);
  const usage = usageBetween(before, context.takeSnapshot());
  return {
    usage,
    figures: [
      megabytesPerSecond(bytes / elapsedMs / 1000, 'throughput'),
      ...cpuPerGigabyte(context, usage, bytes),
      ...residentMemory(context),
    ],
  };
}

function consumeCell(id: string, label: string, megabytes: number, evict: boolean): Cell {
  return {
    id: `consume-${id}`,
    label: `${label} (${megabytes} MB)`,
    // To write so much takes longer than to read it.
    ...(megabytes > 100 ? { roundsMax: 1 } : {}),
    run: (context) => runConsume(context, { megabytes, seconds: context.seconds / 2, evict }),
  };
}

export const consume: Workload = {
  name: 'consume',
  about: `${PARTITIONS} partitions from the beginning`,
  everyday: true,
  cells: (scale) => {
    const large = scale === 'short' ? 400 : 1000;
    return [
      consumeCell('hot', 'newest records', 48, false),
      consumeCell('cached', 'files in the page cache', large, false),
      consumeCell('cold', 'files not in the page cache', large, true),
    ];
  },
};
