/** The commands that change what runs: start, kill, pause, resume, restart, stop, wipe. Each throws a ClusterError when it did not do what it says. */
import { existsSync, rmdirSync, rmSync } from 'node:fs';
import { join, relative } from 'node:path';
import { BrokerProcess } from './broker-process.ts';
import { ClusterError } from './cluster-error.ts';
import { ClusterFiles } from './cluster-files.ts';
import { brokers, capital, confirm, print, progress, seconds, style } from './terminal.ts';

const READY_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 30_000;
const KILL_TIMEOUT_MS = 10_000;
/** An election takes less; after that the brokers that are not running are what is missing. */
const LEADERLESS_MS = 5_000;

export async function start(options: {
  nodes: number | undefined;
  properties: Readonly<Record<string, string>>;
}): Promise<void> {
  const begin = performance.now();
  const before = ClusterFiles.plan(process.env, { nodes: options.nodes, properties: {} });
  const files = ClusterFiles.plan(process.env, options);
  const all = files.ids.map((id) => new BrokerProcess(files, id));
  const paused = all.filter((broker) => broker.live()?.stopped === true);
  if (paused.length > 0) {
    throw new ClusterError(`${capital(brokers(idsOf(paused)))} cannot be started while paused; resume first`);
  }
  const missing = all.filter((broker) => broker.live() === undefined);
  if (missing.length < all.length && Object.keys(options.properties).length > 0) {
    throw new ClusterError('Properties are given, but brokers are running that would not take them; stop them first');
  }
  if (missing.length > 0) files.write();
  try {
    await startBrokers(missing);
    await waitUntilReady(all, 'in the cluster');
  } catch (error) {
    // Half a cluster helps nobody. One that is only late stays, so that one can look at it.
    if (missing.some((broker) => broker.failed)) {
      await stopBrokers(missing.filter((broker) => broker.live() !== undefined));
      // What it failed with, a bad property perhaps, shall not make every later start fail too.
      before.write();
    }
    throw error;
  }
  printCluster(files, missing.length, performance.now() - begin);
}

export async function restart(id: number): Promise<void> {
  const begin = performance.now();
  const files = ClusterFiles.open(process.env);
  files.checkId(id);
  const broker = new BrokerProcess(files, id);
  if (broker.live() !== undefined) {
    broker.require();
    await stopBrokers([broker]);
  }
  await startBrokers([broker]);
  progress(`Waiting for broker ${id} ...`);
  if (!(await broker.waitFor(() => broker.acceptsConnections(), READY_TIMEOUT_MS))) {
    throw new ClusterError(`Broker ${id} runs but accepted no connection within ${READY_TIMEOUT_MS / 1000} s`);
  }
  const state = hasQuorum(files)
    ? await waitForWhatCanBe(broker, files)
    : 'accepts connections, and waits for a quorum of the cluster';
  progress('');
  print(`Broker ${id} ${state} ${style('dim', `(${seconds(performance.now() - begin)})`)}`);
}

/** Waits until the broker is ready, or until what is missing can only come with brokers that do not run. Says which. */
async function waitForWhatCanBe(broker: BrokerProcess, files: ClusterFiles): Promise<string> {
  let leaderlessSince: number | undefined;
  let reason = '';
  const settled = await broker.waitFor(async () => {
    if (await broker.isReady()) {
      reason = '';
      return true;
    }
    reason = (await broker.status())?.reason ?? reason;
    if (!isLeaderless(reason) || absentBrokers(files).length === 0) leaderlessSince = undefined;
    else leaderlessSince ??= performance.now();
    return leaderlessSince !== undefined && performance.now() - leaderlessSince > LEADERLESS_MS;
  }, READY_TIMEOUT_MS);
  if (!settled) {
    throw new ClusterError(
      `Broker ${broker.id} did not become ready within ${READY_TIMEOUT_MS / 1000} s; ./cluster.sh logs ${broker.id} shows why`,
    );
  }
  if (reason === '') return 'is ready';
  const absent = absentBrokers(files);
  return `serves what it can: ${reason.charAt(0).toLowerCase()}${reason.slice(1)} while ${brokers(absent)} ${absent.length === 1 ? 'is' : 'are'} not running`;
}

/** Whether a broker's reason for not being ready is a group without enough replicas to choose a leader. */
function isLeaderless(reason: string): boolean {
  return reason.endsWith('has no known leader');
}

function absentBrokers(files: ClusterFiles): number[] {
  return files.ids.filter((id) => new BrokerProcess(files, id).live()?.stopped !== false);
}

export async function kill(ids: readonly number[]): Promise<void> {
  const chosen = choose(ids, { paused: true });
  for (const broker of chosen) broker.signal('SIGKILL');
  for (const broker of chosen) {
    if (!(await broker.waitForEnd(KILL_TIMEOUT_MS))) {
      throw new ClusterError(`Broker ${broker.id} got SIGKILL but is still there`);
    }
  }
  print(`${capital(brokers(ids))} killed`);
}

export function pause(ids: readonly number[]): void {
  const chosen = choose(ids);
  for (const broker of chosen) broker.signal('SIGSTOP');
  print(`${capital(brokers(ids))} paused`);
}

export function resume(ids: readonly number[]): void {
  const chosen = choose(ids, { paused: true });
  for (const broker of chosen) {
    if (broker.live()?.stopped !== true) throw new ClusterError(`Broker ${broker.id} is not paused`);
  }
  for (const broker of chosen) broker.signal('SIGCONT');
  print(`${capital(brokers(ids))} resumed`);
}

/** Without ids: all that run. */
export async function stop(ids: readonly number[]): Promise<void> {
  if (ids.length > 0) {
    await stopBrokers(choose(ids, { paused: true }));
    print(`${capital(brokers(ids))} stopped`);
    return;
  }
  const running = runningBrokers(ClusterFiles.open(process.env));
  await stopBrokers(running);
  print(running.length === 0 ? 'No broker was running' : `${capital(brokers(idsOf(running)))} stopped`);
}

export async function wipe(): Promise<void> {
  const files = ClusterFiles.open(process.env);
  if (!(await confirm(`Stop all brokers and delete all data in ${files.directory}?`))) {
    throw new ClusterError('Nothing was deleted');
  }
  const running = runningBrokers(files);
  // Nothing of theirs is kept, so nothing needs to be finished.
  for (const broker of running) broker.signal('SIGKILL');
  for (const broker of running) {
    if (!(await broker.waitForEnd(KILL_TIMEOUT_MS))) {
      throw new ClusterError(`Broker ${broker.id} got SIGKILL but is still there; nothing was deleted`);
    }
  }
  for (const id of files.ids) rmSync(files.brokerDirectory(id), { recursive: true, force: true });
  rmSync(join(files.directory, 'cluster.json'), { force: true });
  removeIfEmpty(files.directory);
  print(`The cluster in ${files.directory} is deleted`);
}

async function startBrokers(all: readonly BrokerProcess[]): Promise<void> {
  for (const broker of all) broker.spawn();
  // A process that could not even be spawned says so in the next turn.
  await new Promise((resolve) => setImmediate(resolve));
  for (const broker of all) broker.checkAlive();
}

async function waitUntilReady(all: readonly BrokerProcess[], what: string): Promise<void> {
  const ready = new Set<number>();
  const show = (): void => progress(`Waiting for the brokers (${ready.size} of ${all.length} ${what}) ...`);
  show();
  const outcomes = await Promise.allSettled(
    all.map(async (broker) => {
      const isReady = await broker.waitFor(() => broker.isReady(), READY_TIMEOUT_MS);
      if (isReady) ready.add(broker.id);
      show();
    }),
  );
  progress('');
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  const late = all.filter((broker) => !ready.has(broker.id));
  if (late.length === 0) return;
  throw new ClusterError(
    `${capital(brokers(idsOf(late)))} did not become ready within ${READY_TIMEOUT_MS / 1000} s; ./cluster.sh logs ${late[0]?.id} shows why`,
  );
}

async function stopBrokers(all: readonly BrokerProcess[]): Promise<void> {
  for (const broker of all) {
    broker.signal('SIGTERM');
    // A paused process takes the signal only when it goes on.
    if (broker.live()?.stopped === true) broker.signal('SIGCONT');
  }
  progress('Stopping ...');
  const late: number[] = [];
  for (const broker of all) {
    if (await broker.waitForEnd(STOP_TIMEOUT_MS)) broker.forget();
    else late.push(broker.id);
  }
  progress('');
  if (late.length > 0) {
    throw new ClusterError(`${capital(brokers(late))} did not stop within ${STOP_TIMEOUT_MS / 1000} s`);
  }
}

/** The brokers with these ids, all checked before anything is done to one. */
function choose(ids: readonly number[], options: { paused?: boolean } = {}): BrokerProcess[] {
  const files = ClusterFiles.open(process.env);
  return ids.map((id) => {
    files.checkId(id);
    const broker = new BrokerProcess(files, id);
    broker.require(options);
    return broker;
  });
}

function runningBrokers(files: ClusterFiles): BrokerProcess[] {
  return files.ids.map((id) => new BrokerProcess(files, id)).filter((broker) => broker.live() !== undefined);
}

/** Whether enough metadata voters run for the cluster to answer. */
function hasQuorum(files: ClusterFiles): boolean {
  const running = files.voters.filter((id) => new BrokerProcess(files, id).live()?.stopped === false);
  return running.length > files.voters.length / 2;
}

function printCluster(files: ClusterFiles, started: number, durationMs: number): void {
  const subject = files.nodes === 1 ? 'A cluster of 1 broker' : `A cluster of ${files.nodes} brokers`;
  const news =
    started === 0 ? 'was up already' : started === files.nodes ? 'is up' : `is up again (${started} started)`;
  const directory = relative(process.cwd(), files.directory);
  const rows = [
    ['bootstrap servers', files.bootstrapServers],
    ['metrics', files.ids.map((id) => files.url(id, '/metrics')).join('\n')],
    ['data and logs', directory.startsWith('..') ? files.directory : directory],
  ] as const;
  print(`${style('green', '●')} ${style('bold', `${subject} ${news}`)} ${style('dim', `(${seconds(durationMs)})`)}`);
  print();
  for (const [title, text] of rows) {
    for (const [i, line] of text.split('\n').entries()) {
      print(`  ${style('dim', (i === 0 ? title : '').padEnd(17))}  ${line}`);
    }
  }
  print();
}

function idsOf(all: readonly BrokerProcess[]): number[] {
  return all.map((broker) => broker.id);
}

function removeIfEmpty(directory: string): void {
  if (!existsSync(directory)) return;
  try {
    rmdirSync(directory);
  } catch (error) {
    // Something else lies there; it is not ours to delete.
    if ((error as NodeJS.ErrnoException).code !== 'ENOTEMPTY') throw error;
  }
}
