/** One run: start, load, faults, heal, read everything, judge, report. */
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SeededRandom } from '../../src/std/seeded-random.ts';
import type { Capabilities } from './capabilities.ts';
import { checkHistory, type Verdict } from './checker/check-history.ts';
import { compareReplicas, type ReplicaComparison } from './checker/compare-replicas.ts';
import { ClientNetwork, pause } from './clients/network.ts';
import { ChaosCluster } from './cluster/chaos-cluster.ts';
import { Recorder } from './history/recorder.ts';
import { type FaultRecord, NemesisContext } from './nemesis/nemesis.ts';
import { draw, type Picture } from './report/draw.ts';
import { type Measurement, measure, quantile, type Stall } from './report/measure.ts';
import type { Scenario } from './scenarios.ts';
import { TOPIC, Workload } from './workload/workload.ts';

export interface RunOptions {
  readonly scenario: Scenario;
  readonly seconds: number;
  readonly seed: number;
  /** Where the report goes. */
  readonly outDirectory: string;
  /** Data of the brokers. */
  readonly workDirectory: string;
  /** On a memory file system. */
  readonly chaosDirectory: string;
  readonly port: number;
  readonly capabilities: Capabilities;
  /** cluster.sh of what is tested. */
  readonly program: string;
  readonly say: (line: string) => void;
}

export interface RunResult {
  readonly scenario: string;
  readonly seed: number;
  readonly seconds: number;
  readonly nodes: number;
  readonly verdict: Verdict;
  /** Sentences; empty if the promise was kept. */
  readonly failures: readonly string[];
  /** Why the run proves nothing; empty if it does. */
  readonly invalid: readonly string[];
  readonly faults: readonly FaultRecord[];
  readonly longestGapMs: number;
  readonly recoveriesMs: readonly number[];
  readonly recoveryP50Ms: number | null;
  readonly recoveryP99Ms: number | null;
  readonly latencyP50Ms: number;
  readonly latencyP99Ms: number;
  /** The longest time for which the machine kept the harness itself from running; such times are not counted in gaps and recoveries. */
  readonly harnessStallMs: number;
  /** Where the time of the run went, by phase. */
  readonly phasesMs: Readonly<Record<string, number>>;
  readonly notes: readonly string[];
  /** Bytes of partition files that were found equal on several brokers after the run. */
  readonly comparedReplicaBytes: number;
  /** Distinct messages of warnings and errors in brokers' logs, with counts. */
  readonly logs: Readonly<Record<string, number>>;
  readonly capabilities: Capabilities;
}

const PARTITIONS = 4;
const WARM_UP_MS = 1_000;
const AFTER_MS = 2_000;
const READY_TIMEOUT_MS = 60_000;
const FINAL_READ_TIMEOUT_MS = 60_000;
/** A run with fewer acknowledgements a second proves little. */
const ACKNOWLEDGED_PER_SECOND_MIN = 20;
const WATCH_MS = 50;
/** A timer that is so late was not run because the harness was not; less is what a busy machine does to everybody, brokers included. */
const STALL_MIN_MS = 250;
const STALL_NOTED_MS = 500;
const INTERRUPTS = ['SIGINT', 'SIGTERM'] as const;
const LOG_MESSAGES_MAX = 30;

export async function runScenario(options: RunOptions): Promise<RunResult> {
  const { scenario, seed, outDirectory, say } = options;
  mkdirSync(outDirectory, { recursive: true });
  const nodes = scenario.nodes ?? 3;
  const cluster = await ChaosCluster.create({
    directory: options.workDirectory,
    chaosDirectory: options.chaosDirectory,
    port: options.port,
    nodes,
    properties: { 'group.initial.rebalance.delay.ms': '100', ...scenario.properties },
    seed,
    shim: scenario.shim === true ? options.capabilities.shim : undefined,
    journal: scenario.journal ?? false,
    brokerLinks: scenario.brokerLinks ?? false,
    clientLinks: scenario.clientLinks ?? false,
    program: options.program,
    ...(scenario.packets === true && options.capabilities.cable !== undefined
      ? { cable: options.capabilities.cable }
      : {}),
    ...(scenario.heapMegabytes === undefined ? {} : { heapMegabytes: scenario.heapMegabytes }),
  });
  const phases = new Phases();
  const recorder = new Recorder(join(outDirectory, 'history.jsonl'));
  const random = new SeededRandom(seed);
  const failures: string[] = [];
  let context: NemesisContext | undefined;
  // Brokers are detached processes: they would outlive a harness that is interrupted.
  const interrupted = (): void => void cluster.kill(...cluster.ids).then(() => process.exit(130));
  for (const signal of INTERRUPTS) process.on(signal, interrupted);
  let healedAtSeconds: number | undefined;
  const stalls: Stall[] = [];
  try {
    await cluster.wipe().catch(() => undefined);
    await cluster.start();
    phases.ended('start');
    const workload = new Workload({
      network: new ClientNetwork(cluster.bootstrap, (endpoint) => cluster.route(endpoint)),
      recorder,
      seed: random.uint32(),
      replicationFactor: 3,
      partitions: PARTITIONS,
      stepsPerSecond: 15,
      requestTimeoutMs: 2_000,
      hasLargeRecords: scenario.hasLargeRecords ?? false,
    });
    await workload.start();
    await pause(WARM_UP_MS);
    phases.ended('load');
    say(`load runs, faults begin`);
    const network = new ClientNetwork(cluster.bootstrap);
    context = new NemesisContext({
      cluster,
      network,
      recorder,
      random: random.fork(),
      durationMs: options.seconds * 1000,
      ...(scenario.churn === true ? { churn: workload.churn(random.fork()) } : {}),
      ...(scenario.shrinking === true ? { shrinking: workload.shrinking(random.fork()) } : {}),
    });
    const watcher = watch(cluster, recorder, failures, stalls);
    try {
      await scenario.act(context);
    } catch (error) {
      failures.push(`The nemesis failed: ${(error as Error).message}`);
    }
    phases.ended('faults');
    failures.push(...context.failures);
    say('healing');
    try {
      await cluster.heal();
      if (!(await context.awaitReady(READY_TIMEOUT_MS))) {
        const reasons = await context.reasonsNotReady();
        failures.push(`Not ready ${READY_TIMEOUT_MS / 1000} s after everything was healed: ${reasons}`);
      }
    } catch (error) {
      failures.push(`It could not be healed: ${(error as Error).message.trim()} (${await context.reasonsNotReady()})`);
    }
    healedAtSeconds = recorder.now() / 1e9;
    await pause(AFTER_MS);
    watcher.stop();
    phases.ended('heal');
    const late = await workload.stop();
    if (late.length > 0) context.notes.push(`Clients that did not end in time: ${late.join(', ')}`);
    phases.ended('stop clients');
    say('reading everything');
    const unread = await workload.readEverything(FINAL_READ_TIMEOUT_MS);
    if (unread.length > 0)
      failures.push(`Partitions ${unread.join(', ')} could not be read to their end after healing`);
    for (const id of cluster.diedUnasked) failures.push(`Broker ${id} ended by itself at the end`);
    phases.ended('read everything');
  } catch (error) {
    await cluster.kill(...cluster.ids);
    throw error;
  } finally {
    recorder.close();
    for (const signal of INTERRUPTS) process.off(signal, interrupted);
  }
  let comparison: ReplicaComparison = { comparedBytes: 0, differences: [] };
  try {
    await cluster.stopAll();
    phases.ended('stop brokers');
    comparison = compareReplicas(
      TOPIC,
      cluster.ids.map((broker) => ({ broker, dataDirectory: cluster.dataDirectory(broker) })),
    );
    failures.push(...comparison.differences);
  } catch (error) {
    failures.push(`It could not be stopped: ${(error as Error).message}`);
  }
  const logs = readLogs(cluster);
  for (const id of cluster.ids) copyFileSync(cluster.logFile(id), join(outDirectory, `broker-${id}.log`));
  await cluster.destroy();
  const { faults, notes } = context ?? { faults: [], notes: [] as string[] };
  const verdict = checkHistory(recorder.events);
  for (const [kind, count] of Object.entries(verdict.counts)) failures.push(`${count} × ${kind}`);
  const { lateAnswers } = verdict.statistics;
  if (lateAnswers > 0)
    notes.push(
      `${lateAnswers} times kafkajs gave a consumer what it had asked for from behind records that it had given it before`,
    );
  const measurement = measure(recorder.events, faults, stalls);
  for (const { key, spans } of measurement.partitions.slice(0, PARTITIONS)) {
    if (healedAtSeconds === undefined || (spans.at(-1)?.to ?? 0) > healedAtSeconds) continue;
    failures.push(`Partition ${key} acknowledged nothing after everything was healed`);
  }
  const harnessStallMs = Math.round(Math.max(0, ...stalls.map(({ from, to }) => (to - from) / 1e6)));
  if (harnessStallMs > STALL_NOTED_MS)
    notes.push(`The harness itself stood still for up to ${harnessStallMs} ms, ${stalls.length} times`);
  phases.ended('check');
  const invalid = judgeValidity(options, verdict, faults);
  const recoveries = [...measurement.recoveriesMs].sort((a, b) => a - b);
  const result: RunResult = {
    scenario: scenario.name,
    seed,
    seconds: options.seconds,
    nodes,
    verdict,
    failures,
    invalid,
    faults,
    longestGapMs: Math.round(measurement.longestGapMs),
    recoveriesMs: measurement.recoveriesMs.map(Math.round),
    recoveryP50Ms: recoveries.length === 0 ? null : Math.round(quantile(recoveries, 0.5)),
    recoveryP99Ms: recoveries.length === 0 ? null : Math.round(quantile(recoveries, 0.99)),
    latencyP50Ms: measurement.latencyP50Ms,
    latencyP99Ms: measurement.latencyP99Ms,
    harnessStallMs,
    phasesMs: phases.durationsMs,
    notes,
    comparedReplicaBytes: comparison.comparedBytes,
    logs,
    capabilities: options.capabilities,
  };
  writeReport(options, result, measurement, { brokers: cluster.ids, healedAtSeconds, stalls });
  return result;
}

function writeReport(
  { outDirectory, scenario, seed, seconds }: RunOptions,
  result: RunResult,
  measurement: Measurement,
  facts: Pick<Picture, 'brokers' | 'healedAtSeconds' | 'stalls'>,
): void {
  const { statistics, examples } = result.verdict;
  const isGood = result.failures.length === 0 && result.invalid.length === 0;
  const summary = `${statistics.acknowledgedRecords.toLocaleString('en-US')} records acknowledged, ${statistics.acknowledgedReadRecords.toLocaleString('en-US')} of them read back, ${result.faults.length} faults`;
  const problem = [...result.failures, ...result.invalid].join('; ');
  writeFileSync(join(outDirectory, 'result.json'), `${JSON.stringify(result, null, 2)}\n`);
  writeFileSync(
    join(outDirectory, 'report.svg'),
    draw({
      title: scenario.name,
      subtitle: `${scenario.proves}. Seed ${seed}, ${seconds} s of faults, ${facts.brokers.length} brokers; latency median ${result.latencyP50Ms.toFixed(1)} ms, p99 ${result.latencyP99Ms.toFixed(0)} ms`,
      isGood,
      verdict: isGood ? `Kept: ${summary}, no violation` : `Broken: ${problem.slice(0, 60)} (${summary})`,
      ...facts,
      faults: result.faults,
      violations: examples,
      measurement,
    }),
  );
}

function judgeValidity(options: RunOptions, verdict: Verdict, faults: readonly FaultRecord[]): string[] {
  const invalid: string[] = [];
  const { acknowledgedRecords } = verdict.statistics;
  if (acknowledgedRecords < options.seconds * ACKNOWLEDGED_PER_SECOND_MIN) {
    invalid.push(`Only ${acknowledgedRecords} records were acknowledged`);
  }
  if (options.scenario.isHealthy !== true && !faults.some(({ evidence }) => evidence !== undefined)) {
    invalid.push('No fault took effect');
  }
  return invalid;
}

class Phases {
  readonly durationsMs: Record<string, number> = {};
  #beganMs = performance.now();

  ended(phase: string): void {
    const now = performance.now();
    this.durationsMs[phase] = Math.round(now - this.#beganMs);
    this.#beganMs = now;
  }
}

/** Notes brokers that end although nobody ended them, and when the machine kept the harness itself from running. */
function watch(cluster: ChaosCluster, recorder: Recorder, failures: string[], stalls: Stall[]): { stop: () => void } {
  const known = new Set<number>();
  let last = recorder.now();
  const timer = setInterval(() => {
    const now = recorder.now();
    if (now - last > (WATCH_MS + STALL_MIN_MS) * 1e6) stalls.push({ from: last, to: now });
    last = now;
    const dead = cluster.diedUnasked;
    for (const id of dead) {
      if (known.has(id)) continue;
      known.add(id);
      failures.push(`Broker ${id} ended by itself: ${lastLines(cluster.logFile(id))}`);
    }
    for (const id of known) if (!dead.includes(id)) known.delete(id);
  }, WATCH_MS);
  return { stop: () => clearInterval(timer) };
}

function lastLines(path: string): string {
  return readFileSync(path, 'utf8').trim().split('\n').slice(-2).join(' | ').slice(0, 600);
}

function readLogs(cluster: ChaosCluster): Record<string, number> {
  const counts = new Map<string, number>();
  for (const id of cluster.ids) {
    let lines: string[];
    try {
      lines = readFileSync(cluster.logFile(id), 'utf8').split('\n');
    } catch {
      // It never started.
      continue;
    }
    for (const line of lines) {
      if (line === '') continue;
      const message = severeMessage(line);
      if (message !== undefined) counts.set(message, (counts.get(message) ?? 0) + 1);
    }
  }
  return Object.fromEntries([...counts].sort((a, b) => b[1] - a[1]).slice(0, LOG_MESSAGES_MAX));
}

/** The message of a warning or worse, or a line that is not JSON. */
function severeMessage(line: string): string | undefined {
  try {
    const { level, msg } = JSON.parse(line) as { level?: number; msg?: string };
    return level !== undefined && level >= 40 ? `${level >= 50 ? 'error' : 'warn'}: ${msg}` : undefined;
  } catch {
    // What Node prints itself when it ends.
    return line.trim().startsWith('at ') ? undefined : `text: ${line.slice(0, 160)}`;
  }
}
