/**
 * `npx tsx scripts/bench/many-partitions.ts`: what thousands of partitions cost a cluster of its own on this machine, and how soon they serve again. In this order: an empty start, creation, load, idle CPU
 * and memory, `kill -9` of one broker, its return, `kill -9` of all, and a graceful restart of all. "Served" is always an acknowledged record: each partition is probed over the raw protocol until it takes one.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { BenchCluster } from './bench-cluster.ts';
import { loadPartitions } from './load-partitions.ts';
import { PartitionProbe } from './partition-probe.ts';
import { createTopic, leadersOf } from './raw-client.ts';

const TOPIC = 'many';
const FIRST_TOPIC = 'first';
const CREATE_ATTEMPTS = 200;
const CREATE_AGAIN_MS = 10;
const IDLE_SETTLE_MS = 3_000;
/** Killed brokers that are needed for nothing else get this long before the next step. */
const SETTLE_MS = 1_000;

const COMMAND = fileURLToPath(new URL('../../dist/src/flotilla-broker.js', import.meta.url));

const options = new Command()
  .name('many-partitions')
  .description('Starts three brokers, measures them with many partitions, and deletes them')
  .option('--partitions <N>', 'partitions of replication factor 3', Number, 1000)
  .option(
    '--load-seconds <S>',
    'how long to produce before the failures; 0 leaves the partitions nearly empty',
    Number,
    5,
  )
  .option('--idle-seconds <S>', 'how long to measure the idle cluster', Number, 8)
  .option('--port <PORT>', 'first of the ports; uses PORT to PORT+2, and 100 and 200 above', Number, 23000)
  .option('--main <FILE>', 'the broker to run', COMMAND)
  .option(
    '--directory <DIR>',
    'where the data goes, on the disk that is to be measured (default: a temporary directory)',
  )
  .option('--skip <STEPS>', 'steps to leave out: idle, failover, crash, restart', (text: string) => text.split(','), [])
  .option('--profile <DIR>', 'write CPU profiles of brokers that end gracefully')
  .option('--keep', 'keep data and logs', false)
  .option('--json <FILE>', 'write the figures')
  .parse()
  .opts<{
    partitions: number;
    loadSeconds: number;
    idleSeconds: number;
    port: number;
    main: string;
    directory?: string;
    skip: string[];
    profile?: string;
    keep: boolean;
    json?: string;
  }>();

const figures: { what: string; value: number; unit: string }[] = [];

function note(what: string, value: number, unit: string): void {
  figures.push({ what, value, unit });
  console.log(`${what.padEnd(72)} ${value.toFixed(unit === 'ms' || unit === 'MB' ? 0 : 2).padStart(8)} ${unit}`);
}

const directory = mkdtempSync(join(resolve(options.directory ?? tmpdir()), 'flotilla-bench-'));
const cluster = new BenchCluster({
  directory,
  port: options.port,
  main: options.main,
  nodeArguments: options.profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${resolve(options.profile)}`],
});
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    // Brokers are sessions of their own: nobody else would end them.
    void cluster.kill(cluster.ids).then(() => process.exit(1));
  });
}
const skips = (step: string): boolean => options.skip.includes(step);

/** Partitions of the topic as a list. */
const all = Array.from({ length: options.partitions }, (_, partition) => partition);

async function measureStart(what: string): Promise<void> {
  const startedMs = performance.now();
  cluster.startAll();
  const probe = new PartitionProbe(cluster.endpoints, TOPIC, all, startedMs);
  const readyMs = cluster.allReadyMs(startedMs);
  const { firstMs, lastMs, quantileMs } = await probe.run();
  note(`${what}: first acknowledged record`, firstMs, 'ms');
  note(`${what}: half of the partitions acknowledged`, quantileMs(0.5), 'ms');
  note(`${what}: every partition acknowledged`, lastMs, 'ms');
  note(`${what}: all brokers ready`, await readyMs, 'ms');
  note(`${what}: CPU of all brokers so far`, cluster.cpuSeconds(), 's');
  for (const id of cluster.ids) note(`${what}: broker ${id}, highest RSS`, cluster.peakRssMb(id), 'MB');
}

/** The other brokers may not be known yet to the first one that is ready. */
async function createFirstTopic(): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    try {
      await createTopic(cluster.endpoints[0]!, { name: FIRST_TOPIC, partitions: 1, replicationFactor: 3 });
      return;
    } catch (error) {
      if (attempt === CREATE_ATTEMPTS) throw error;
      await sleep(CREATE_AGAIN_MS);
    }
  }
}

try {
  const emptyMs = performance.now();
  cluster.startAll();
  const ready = cluster.allReadyMs(emptyMs);
  await cluster.firstReady();
  await createFirstTopic();
  const first = await new PartitionProbe(cluster.endpoints, FIRST_TOPIC, [0], emptyMs).run();
  note('empty start: first acknowledged record (topic created for it)', first.firstMs, 'ms');
  note('empty start: all brokers ready', await ready, 'ms');
  note('empty start: CPU of all brokers', cluster.cpuSeconds(), 's');
  await sleep(SETTLE_MS);

  const cpuBeforeCreate = cluster.cpuSeconds();
  const createMs = performance.now();
  const creation = createTopic(cluster.endpoints[0]!, {
    name: TOPIC,
    partitions: options.partitions,
    replicationFactor: 3,
  }).then(() => performance.now() - createMs);
  const created = await new PartitionProbe(cluster.endpoints, TOPIC, all, createMs).run();
  note(`${options.partitions} partitions created: all have leaders`, await creation, 'ms');
  note(`${options.partitions} partitions created: every one acknowledged a record`, created.lastMs, 'ms');
  note(`${options.partitions} partitions created: CPU of all brokers`, cluster.cpuSeconds() - cpuBeforeCreate, 's');

  if (options.loadSeconds > 0) {
    const target = await leadersOf(cluster.endpoints[0]!, TOPIC);
    const load = await loadPartitions(target, TOPIC, options.loadSeconds * 1000);
    note('load', load.megabytes, 'MB');
    note('load: batches refused', load.refused, '');
  }

  if (!skips('idle')) {
    await sleep(IDLE_SETTLE_MS);
    const before = cluster.ids.map((id) => cluster.cpuSeconds([id]));
    await sleep(options.idleSeconds * 1000);
    for (const [i, id] of cluster.ids.entries()) {
      const share = (cluster.cpuSeconds([id]) - before[i]!) / options.idleSeconds;
      note(`idle: broker ${id}, CPU`, share * 100, '% of a core');
      note(`idle: broker ${id}, RSS`, cluster.rssMb(id), 'MB');
    }
  }

  if (!skips('failover')) {
    const victim = cluster.ids.at(-1)!;
    const led = await leadersOf(cluster.endpoints[0]!, TOPIC);
    const victims = all.filter((partition) => led.leaders.get(partition)?.port === cluster.endpoints[victim - 1]!.port);
    const survivors = cluster.ids.filter((id) => id !== victim);
    const cpuBefore = cluster.cpuSeconds(survivors);
    const killedMs = performance.now();
    await cluster.kill([victim]);
    const probe = new PartitionProbe(
      survivors.map((id) => cluster.endpoints[id - 1]!),
      TOPIC,
      victims,
      killedMs,
    );
    const { firstMs, lastMs, quantileMs } = await probe.run();
    note(`broker killed, ${victims.length} leaders: first acknowledged record`, firstMs, 'ms');
    note(`broker killed, ${victims.length} leaders: half of the partitions acknowledged`, quantileMs(0.5), 'ms');
    note(`broker killed, ${victims.length} leaders: every partition acknowledged`, lastMs, 'ms');
    note('broker killed: CPU of the survivors', cluster.cpuSeconds(survivors) - cpuBefore, 's');
    await sleep(SETTLE_MS);
    const returnMs = performance.now();
    cluster.start(victim);
    note('the killed broker again: ready', await cluster.readyMs(victim, returnMs), 'ms');
    note('the killed broker again: its CPU', cluster.cpuSeconds([victim]), 's');
    await sleep(SETTLE_MS);
  }

  if (!skips('crash')) {
    await cluster.kill(cluster.ids);
    note('WAL segments of a broker', cluster.walMb(1), 'MB');
    await measureStart('all killed');
    await sleep(SETTLE_MS);
  }

  if (!skips('restart')) {
    const stopMs = performance.now();
    await cluster.stopAll();
    note('graceful stop of all', performance.now() - stopMs, 'ms');
    await measureStart('all stopped');
  }
  if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(figures, null, 2)}\n`);
} finally {
  await cluster.kill(cluster.ids);
  if (options.keep) console.log(`Data and logs are in ${directory}`);
  else rmSync(directory, { recursive: true, force: true });
}
