/** Starts, restarts after a kill of everything, and clusters with many partitions. */
import { metadataApi } from '../../../src/kafka-protocol/messages/metadata.ts';
import { fill } from '../fill.ts';
import { untilFirstRecord } from '../first-record.ts';
import { cpuSecondsOf, rssMegabytesOf, usageBetween } from '../machine.ts';
import { type Endpoint, RawConnection } from '../raw-client.ts';
import { type Cell, type Context, type Figure, type Outcome, sleep, type Workload } from '../workload.ts';
import { residentMemory } from './figures.ts';

const METADATA_VERSION = 8;
const POLL_MS = 50;
const POLL_TIMEOUT_MS = 120_000;
const IDLE_SECONDS = 8;

const seconds = (name: string, ms: number): Figure => ({ name, unit: 's', better: 'lower', value: ms / 1000 });

/** Starts the cluster and waits for one acknowledged record of a topic made for that. */
async function startAndSend(context: Context, topic: string): Promise<{ startedMs: number; firstMs: number }> {
  const startMs = performance.now();
  const starting = context.system.start();
  const [startedMs, firstMs] = await Promise.all([
    starting,
    untilFirstRecord(context.system.endpoints, topic, { startMs, create: context.replicationFactor }),
  ]);
  return { startedMs, firstMs };
}

async function idleCpu(context: Context): Promise<Figure> {
  const { pids } = context;
  const before = cpuSecondsOf(pids);
  await sleep(IDLE_SECONDS * 1000);
  const value = ((cpuSecondsOf(pids) - before) / IDLE_SECONDS / pids.length) * 100;
  return { name: 'idle CPU of a broker', unit: '% of a core', better: 'lower', value };
}

export const start: Workload = {
  name: 'start',
  about:
    'An empty cluster from the first process to the first acknowledged record, topic creation included; then it idles',
  everyday: true,
  cells: () => [
    {
      id: 'start-empty',
      label: 'empty cluster',
      ownCluster: true,
      run: async (context) => {
        const before = context.takeSnapshot();
        const { startedMs, firstMs } = await startAndSend(context, 'start');
        const usage = usageBetween(before, context.takeSnapshot());
        await sleep(2_000);
        const idle = await idleCpu(context);
        return {
          usage,
          figures: [
            seconds('first acknowledged record', firstMs),
            seconds('all brokers ready', startedMs),
            idle,
            { ...residentMemory(context)[0]!, name: 'RSS of the largest broker, idle' },
          ],
        };
      },
    },
  ],
};

/** One metric of a broker of ours; undefined if there is none. */
async function metricOf(context: Context, broker: number, name: string): Promise<number | undefined> {
  const text = await context.system.metrics(broker);
  const line = text?.split('\n').find((candidate) => candidate.startsWith(`${name} `));
  return line === undefined ? undefined : Number(line.split(' ')[1]);
}

/** The curve is over the size of the log. */
const CURVE_PARTITIONS = 12;

function restartCell(partitions: number, megabytes: number): Cell {
  return {
    id: `restart-${partitions}-${megabytes}`,
    label: `${megabytes} MB in ${partitions} partitions`,
    ...(partitions === CURVE_PARTITIONS ? { x: megabytes } : {}),
    ownCluster: true,
    run: async (context) => {
      await startAndSend(context, 'first');
      const target = await context.createTopic(partitions);
      if (megabytes > 0) await fill(target, megabytes * 1e6);
      const walBytes = await metricOf(context, 1, 'flotilla_wal_used_bytes');
      const { pids } = context;
      for (const pid of pids) process.kill(pid, 'SIGKILL');
      while (rssMegabytesOf(pids).some((megabytesLeft) => megabytesLeft > 0)) await sleep(5);
      const startMs = performance.now();
      const before = context.takeSnapshot();
      const [readyMs, firstMs, allLedMs] = await Promise.all([
        context.system.start(),
        untilFirstRecord(context.system.endpoints, target.topic, { startMs }),
        untilAllLed(context.system.endpoints, target.topic, { startMs, partitions, except: undefined }),
      ]);
      const usage = usageBetween(before, context.takeSnapshot());
      const figures = [
        seconds('first acknowledged record', firstMs),
        seconds('all partitions led', allLedMs),
        seconds('all brokers ready', readyMs),
        ...residentMemory(context),
      ];
      if (walBytes !== undefined) {
        figures.push({ name: 'WAL in use before the kill', unit: 'MB', better: undefined, value: walBytes / 1e6 });
      }
      return { usage, figures };
    },
  };
}

/** Milliseconds since `startMs` until some broker that answers names a leader, other than the broker on `except`, for every partition. */
async function untilAllLed(
  endpoints: readonly Endpoint[],
  topic: string,
  {
    startMs,
    partitions,
    except,
  }: { readonly startMs: number; readonly partitions: number; readonly except: Endpoint | undefined },
): Promise<number> {
  const candidates = endpoints.filter(({ port }) => port !== except?.port);
  for (let attempt = 0; performance.now() - startMs < POLL_TIMEOUT_MS; attempt++) {
    try {
      const connection = await RawConnection.open(candidates[attempt % candidates.length]!, 500);
      try {
        const answer = await connection.request(metadataApi, METADATA_VERSION, { topics: [{ name: topic }] });
        const gone = answer.brokers.find(({ port }) => port === except?.port)?.nodeId;
        const known = answer.topics[0]?.partitions ?? [];
        const led = known.filter(({ errorCode, leaderId }) => errorCode === 0 && leaderId >= 0 && leaderId !== gone);
        if (led.length === partitions) return performance.now() - startMs;
      } finally {
        connection.close();
      }
    } catch {
      // Not up yet.
    }
    await sleep(POLL_MS);
  }
  throw new Error(`Not all partitions had a leader within ${POLL_TIMEOUT_MS / 1000} s`);
}

export const restart: Workload = {
  name: 'restart',
  about: 'All brokers killed after load, then started: until records are acknowledged again',
  everyday: false,
  curve: {
    title: `Restart after a kill of all brokers, ${CURVE_PARTITIONS} partitions`,
    xLabel: 'MB written before the kill',
    figures: ['first acknowledged record', 'all partitions led'],
  },
  cells: (scale) =>
    scale === 'short'
      ? [restartCell(CURVE_PARTITIONS, 100)]
      : [
          restartCell(CURVE_PARTITIONS, 16),
          restartCell(CURVE_PARTITIONS, 100),
          restartCell(CURVE_PARTITIONS, 400),
          restartCell(CURVE_PARTITIONS, 1700),
          { ...restartCell(1100, 1700), roundsMax: 2 },
        ],
};

async function runMany(context: Context, partitions: number): Promise<Outcome> {
  await startAndSend(context, 'first');
  const createMs = performance.now();
  const { topic, leaders } = await context.createTopic(partitions, { ready: 'led' });
  const createdMs = performance.now() - createMs;
  await sleep(5_000);
  const idle = await idleCpu(context);
  const memory = residentMemory(context);
  const [victimEndpoint] = [...leaders.values()];
  const victim = context.system.endpoints.findIndex(({ port }) => port === victimEndpoint!.port) + 1;
  const led = [...leaders.values()].filter(({ port }) => port === victimEndpoint!.port).length;
  const startMs = performance.now();
  process.kill(context.system.pids().get(victim)!, 'SIGKILL');
  // The CPU time of a process that is gone cannot be seen, so the count begins without it.
  const before = context.takeSnapshot();
  const { endpoints } = context.system;
  const failoverMs = await untilAllLed(endpoints, topic, { startMs, partitions, except: victimEndpoint });
  return {
    usage: usageBetween(before, context.takeSnapshot()),
    figures: [
      seconds('created and led', createdMs),
      idle,
      ...memory,
      seconds('all leaders of a killed broker replaced', failoverMs),
      { name: 'leaders of the killed broker', unit: 'partitions', better: undefined, value: led },
    ],
  };
}

export const many: Workload = {
  name: 'many',
  about: 'Idle partitions: what it takes to create, keep and fail over many',
  everyday: false,
  cells: (scale) =>
    (scale === 'short' ? [1000] : [1000, 4000]).map((partitions) => ({
      id: `many-${partitions}`,
      label: `${partitions} partitions`,
      ownCluster: true,
      roundsMax: 2,
      run: (context) => runMany(context, partitions),
    })),
};
