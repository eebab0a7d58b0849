/** Reads at the start, the middle and the end of a large partition: from the disk, and again from memory. */
import { fetchApi } from '../../../src/kafka-protocol/messages/fetch.ts';
import { fill } from '../fill.ts';
import { Histogram } from '../histogram.ts';
import { usageBetween } from '../machine.ts';
import { evictFiles } from '../page-cache.ts';
import { RawConnection } from '../raw-client.ts';
import type { Context, Figure, Outcome, Workload } from '../workload.ts';
import { milliseconds, residentMemory } from './figures.ts';

const FETCH_VERSION = 11;
const FETCH_BYTES = 64 * 1024;
const READS = 100;
/** Reads at one place are spread over this share of the log, so that they are not one read and its echoes. */
const SPREAD = 0.02;

async function runLogSize(context: Context, megabytes: number): Promise<Outcome> {
  const target = await context.createTopic(1);
  const records = (await fill(target, megabytes * 1e6)).get(0)!;
  if (context.system.dataDirectory !== undefined) await evictFiles(context.system.dataDirectory, target.topic);
  const connection = await RawConnection.open(target.leaders.get(0)!);
  const before = context.takeSnapshot();
  const figures: Figure[] = [];
  const readAt = async (offset: number): Promise<void> => {
    const { responses } = await connection.request(fetchApi, FETCH_VERSION, {
      maxWaitMs: 0,
      minBytes: 1,
      maxBytes: FETCH_BYTES,
      topics: [
        {
          topic: target.topic,
          partitions: [{ partition: 0, fetchOffset: offset, partitionMaxBytes: FETCH_BYTES }],
        },
      ],
      forgottenTopicsData: [],
    });
    const answer = responses[0]?.partitions[0];
    if (answer?.errorCode !== 0 || answer.records === null || answer.records.length === 0) {
      throw new Error(`Nothing was read at offset ${offset}: error ${answer?.errorCode}`);
    }
  };
  for (const [place, share] of [
    ['start', 0],
    ['middle', 0.5],
    ['end', 1 - SPREAD],
  ] as const) {
    for (const temperature of ['cold', 'warm']) {
      const histogram = new Histogram();
      for (let i = 0; i < READS; i++) {
        // A step that visits all places in an order without runs.
        const within = ((i * 37) % READS) / READS;
        const startedMs = performance.now();
        await readAt(Math.floor(records * (share + within * SPREAD)));
        histogram.record(performance.now() - startedMs);
      }
      figures.push(milliseconds(`${place}, ${temperature}, p50`, histogram.quantileMs(0.5)));
      figures.push(milliseconds(`${place}, ${temperature}, p99`, histogram.quantileMs(0.99)));
    }
  }
  connection.close();
  return { usage: usageBetween(before, context.takeSnapshot()), figures: [...figures, ...residentMemory(context)] };
}

export const logSize: Workload = {
  name: 'log-size',
  about:
    'Fetch of 64 KB at the start, the middle and the end of one large partition, cold (files evicted from the page cache) and warm',
  everyday: false,
  curve: {
    title: 'Fetch over log size',
    xLabel: 'MB in the partition',
    figures: ['start, cold, p50', 'middle, cold, p50', 'end, cold, p50'],
  },
  cells: (scale) =>
    (scale === 'short' ? [100, 1000] : [100, 1000, 10_000]).map((megabytes) => ({
      id: `log-size-${megabytes}`,
      label: `${megabytes} MB`,
      x: megabytes,
      roundsMax: 1,
      limitSeconds: 120 + megabytes / 20,
      run: (context) => runLogSize(context, megabytes),
    })),
};
