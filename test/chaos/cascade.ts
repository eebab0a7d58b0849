/**
 * The experiment of the cascading failure: brokers die one after the other, all at once, or in turn, and come back in some order, under the load of one ordered producer on one partition with a
 * replica on every broker. One row each: produced, acknowledged, read back, longest gap, recovery.
 */
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { checkHistory } from './checker/check-history.ts';
import { Keys } from './clients/keys.ts';
import { ClientNetwork, pause } from './clients/network.ts';
import { readEverything } from './clients/reader.ts';
import { SequencedProducer } from './clients/sequenced-producer.ts';
import { ChaosCluster } from './cluster/chaos-cluster.ts';
import { Mark } from './history/history.ts';
import { Recorder } from './history/recorder.ts';
import { measure } from './report/measure.ts';

export interface CascadeOptions {
  readonly sizes: readonly number[];
  readonly outDirectory: string;
  readonly port: number;
  /** cluster.sh of what is tested. */
  readonly program: string;
  readonly say: (line: string) => void;
}

export interface CascadeRow {
  readonly brokers: number;
  readonly name: string;
  readonly produced: number;
  readonly acknowledged: number;
  readonly readBack: number;
  readonly longestGapMs: number;
  /** From the first restart until the first acknowledgement of something sent after it. */
  readonly recoveryMs: number | null;
  readonly problems: readonly string[];
}

interface Case {
  readonly name: string;
  readonly act: (cluster: ChaosCluster, mark: (f: string) => void) => Promise<void>;
  /** Brokers that are dead at the end of the case. */
  readonly absent?: readonly number[];
}

const PAUSE_MS = 1_000;
const LOAD_MS = 2_000;
const RESTARTED = 'restarted';
const READY_TIMEOUT_MS = 60_000;

export async function runCascade(options: CascadeOptions): Promise<CascadeRow[]> {
  mkdirSync(options.outDirectory, { recursive: true });
  const rows: CascadeRow[] = [];
  for (const brokers of options.sizes) {
    const cluster = await ChaosCluster.create({
      directory: join(options.outDirectory, `work-${options.port}`),
      chaosDirectory: join(options.outDirectory, `chaos-${options.port}`),
      port: options.port,
      nodes: brokers,
      properties: { 'offsets.topic.num.partitions': '1' },
      seed: 1,
      shim: undefined,
      journal: false,
      brokerLinks: false,
      clientLinks: false,
      program: options.program,
    });
    await cluster.wipe().catch(() => undefined);
    await cluster.start();
    for (const [i, experiment] of casesFor(cluster.ids).entries()) {
      const row = await runCase(options, cluster, experiment, `cascade-${brokers}-${i}`);
      rows.push(row);
      options.say(describe(row));
    }
    await cluster.stopAll();
    for (const id of cluster.ids) {
      copyFileSync(cluster.logFile(id), join(options.outDirectory, `cascade-${brokers}-broker-${id}.log`));
    }
    await cluster.destroy();
  }
  writeFileSync(join(options.outDirectory, 'cascade.md'), cascadeTable(rows));
  return rows;
}

function casesFor(ids: readonly number[]): Case[] {
  const orders = ids.length <= 3 ? permutations(ids) : [ids, [...ids].reverse(), [...ids.slice(2), ...ids.slice(0, 2)]];
  const restartInOrder = async (cluster: ChaosCluster, order: readonly number[], mark: (f: string) => void) => {
    mark(RESTARTED);
    // The next one is started when the one before runs: with too few of them none can be ready.
    const restarted: Promise<void>[] = [];
    for (const id of order) {
      restarted.push(cluster.restart(id));
      while (cluster.pid(id) === undefined) await pause(10);
    }
    await Promise.all(restarted);
  };
  return [
    {
      name: 'one after the other until none is left, restarted in the same order',
      act: async (cluster, mark) => {
        const majority = Math.floor(ids.length / 2) + 1;
        for (const [i, id] of ids.entries()) {
          await cluster.kill(id);
          if (ids.length - i - 1 === majority - 1) mark(Mark.quorumLost);
          await pause(PAUSE_MS);
        }
        mark(Mark.quorumBack);
        await restartInOrder(cluster, ids, mark);
      },
    },
    ...orders.map(
      (order): Case => ({
        name: `all at once, restarted in the order ${order.join(' ')}`,
        act: async (cluster, mark) => {
          await cluster.kill(...ids);
          mark(Mark.quorumLost);
          await pause(PAUSE_MS);
          mark(Mark.quorumBack);
          await restartInOrder(cluster, order, mark);
        },
      }),
    ),
    {
      name: 'each in turn, killed and restarted',
      act: async (cluster, mark) => {
        mark(RESTARTED);
        for (const id of ids) {
          await cluster.kill(id);
          await pause(PAUSE_MS);
          await cluster.restart(id);
          await awaitReady(cluster);
        }
      },
    },
    {
      name: 'all at once, and one never returns',
      act: async (cluster, mark) => {
        await cluster.kill(...ids);
        mark(Mark.quorumLost);
        await pause(PAUSE_MS);
        mark(Mark.quorumBack);
        await restartInOrder(cluster, ids.slice(1), mark);
      },
      absent: [ids[0]!],
    },
  ];
}

async function runCase(
  options: CascadeOptions,
  cluster: ChaosCluster,
  { name, act, absent = [] }: Case,
  topic: string,
): Promise<CascadeRow> {
  const recorder = new Recorder(join(options.outDirectory, `${topic}.jsonl`));
  const network = new ClientNetwork(cluster.bootstrap);
  const keys = new Keys();
  const problems: string[] = [];
  keys.addTopic(topic, 1);
  await network.createTopics([{ name: topic, partitions: 1, replicationFactor: cluster.ids.length }], READY_TIMEOUT_MS);
  const producer = new SequencedProducer({
    network,
    recorder,
    keys,
    key: 0,
    window: 5,
    requestTimeoutMs: 1_000,
    deadlineMs: READY_TIMEOUT_MS,
  });
  let isStopped = false;
  const load = (async () => {
    let value = 0;
    const open = new Set<Promise<void>>();
    while (!isStopped) {
      if (!(await producer.prepare())) continue;
      const sent = producer.submit([value++], 100).then(() => {
        open.delete(sent);
      });
      open.add(sent);
      if (open.size >= 5) await Promise.race(open);
      await pause(5);
    }
    await Promise.all(open);
  })();
  await pause(LOAD_MS);
  let restartedNs: number | undefined;
  await act(cluster, (f) => {
    recorder.nemesis(f, null);
    if (f === RESTARTED) restartedNs = recorder.now();
  });
  await awaitReady(cluster).catch((error: Error) => problems.push(error.message));
  await pause(LOAD_MS);
  isStopped = true;
  await load;
  producer.close();
  const unread = await readEverything({ network, recorder, keys, requestTimeoutMs: 2_000 }, READY_TIMEOUT_MS);
  if (unread.length > 0) problems.push('It could not be read to its end');
  recorder.close();
  for (const id of absent) await cluster.restart(id);
  await awaitReady(cluster).catch((error: Error) => problems.push(error.message));
  const { statistics, counts } = checkHistory(recorder.events);
  for (const [kind, count] of Object.entries(counts)) problems.push(`${count} × ${kind}`);
  const restart = { kind: RESTARTED, brokers: [], from: 0, to: restartedNs ?? 0, evidence: RESTARTED } as const;
  const { longestGapMs, recoveriesMs } = measure(recorder.events, [{ ...restart, recoverFrom: 'end' }]);
  return {
    brokers: cluster.ids.length,
    name,
    produced: statistics.attemptedRecords,
    acknowledged: statistics.acknowledgedRecords,
    readBack: statistics.acknowledgedReadRecords,
    longestGapMs: Math.round(longestGapMs),
    recoveryMs: recoveriesMs[0] === undefined ? null : Math.round(recoveriesMs[0]),
    problems,
  };
}

/** Until every running broker is ready. Throws if that takes too long. */
async function awaitReady(cluster: ChaosCluster): Promise<void> {
  const deadlineMs = performance.now() + READY_TIMEOUT_MS;
  for (;;) {
    const ready = await Promise.all(cluster.alive.map((id) => cluster.isReady(id)));
    if (ready.every((isReady) => isReady)) return;
    if (performance.now() > deadlineMs) throw new Error(`Not ready after ${READY_TIMEOUT_MS / 1000} s`);
    await pause(50);
  }
}

export function cascadeTable(rows: readonly CascadeRow[]): string {
  const lines = [
    '| brokers | what happens (kill -9) | produced | acknowledged | read back | longest gap | recovery | violations |',
    '|---|---|---|---|---|---|---|---|',
  ];
  for (const row of rows) {
    const recovery = row.recoveryMs === null ? '–' : `${row.recoveryMs} ms`;
    lines.push(
      `| ${row.brokers} | ${row.name} | ${row.produced} | ${row.acknowledged} | ${row.readBack} | ${row.longestGapMs} ms | ${recovery} | ${row.problems.length === 0 ? 0 : row.problems.join('; ')} |`,
    );
  }
  return `${lines.join('\n')}\n`;
}

function describe(row: CascadeRow): string {
  const word = row.problems.length === 0 ? 'kept' : `BROKEN: ${row.problems.join('; ')}`;
  return `${row.brokers} brokers, ${row.name}: ${word}: ${row.acknowledged} of ${row.produced} acknowledged, ${row.readBack} read back, longest gap ${row.longestGapMs} ms, recovery ${row.recoveryMs} ms`;
}

function permutations(items: readonly number[]): number[][] {
  if (items.length <= 1) return [[...items]];
  return items.flatMap((item) => permutations(items.filter((other) => other !== item)).map((rest) => [item, ...rest]));
}
