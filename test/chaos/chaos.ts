/**
 * `npm run chaos -- --scenario NAME --seconds S --seed N` and `--all`: real brokers under real faults, judged from what clients saw. Exit code 0 only if every run proved something and kept the
 * promise. `--cascade` is the experiment of the cascading failure.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { CLIENT_PORT_FIRST } from '../../scripts/cluster/free-port.ts';
import { probeCapabilities } from './capabilities.ts';
import { cascadeTable, runCascade } from './cascade.ts';
import { type Outcome, PORTS_PER_SLOT, runAll, type Task } from './release/run-all.ts';
import { takeSnapshot } from './release/snapshot.ts';
import { addTotal, type RunTotal, readTotals, totalOf, totalsTable } from './release/totals.ts';
import type { RunResult } from './run-scenario.ts';
import { SCENARIOS, type Scenario } from './scenarios.ts';

const USAGE = `npm run chaos -- --scenario NAME[,NAME…] | --all [--seconds 60] [--seed N] [--runs 1] [--jobs 1] [--totals FILE] [--out DIR] [--port 26092]
       npm run chaos -- --cascade [--nodes 3,5,7]
       npm run chaos -- --list`;

const { values: options } = parseArgs({
  options: {
    scenario: { type: 'string' },
    all: { type: 'boolean', default: false },
    list: { type: 'boolean', default: false },
    cascade: { type: 'boolean', default: false },
    nodes: { type: 'string', default: '3,5,7' },
    seconds: { type: 'string', default: '60' },
    seed: { type: 'string' },
    runs: { type: 'string', default: '1' },
    jobs: { type: 'string', default: '1' },
    totals: { type: 'string' },
    out: { type: 'string', default: join(tmpdir(), 'flotilla-chaos') },
    port: { type: 'string', default: '26092' },
  },
});

function chosen(): Scenario[] {
  if (options.all) return [...SCENARIOS];
  return (options.scenario ?? '').split(',').map((name) => {
    const scenario = SCENARIOS.find((candidate) => candidate.name === name);
    if (scenario === undefined) throw new Error(`There is no scenario "${name}"; --list shows them\n${USAGE}`);
    return scenario;
  });
}

function portOf(text: string, slots: number): number {
  const port = Number(text);
  const last = CLIENT_PORT_FIRST - slots * PORTS_PER_SLOT;
  if (Number.isInteger(port) && port > 0 && port <= last) return port;
  throw new Error(
    `--port is ${text}; ${slots} slots need it between 1 and ${last}: from ${CLIENT_PORT_FIRST} on the kernel gives ports to clients, which may then hold a broker's\n${USAGE}`,
  );
}

const print = (line: string): void => {
  process.stdout.write(`${line}\n`);
};

async function main(): Promise<number> {
  if (options.list) {
    for (const { name, proves } of SCENARIOS) print(`${name.padEnd(24)} ${proves}`);
    return 0;
  }
  const out = resolve(options.out);
  const port = portOf(options.port, options.cascade ? 1 : Number(options.jobs));
  const seconds = Number(options.seconds);
  const scenarios = options.cascade ? [] : chosen();
  const built = join(out, `built-${port}`);
  mkdirSync(out, { recursive: true });
  const { program, commit } = takeSnapshot(built);
  try {
    if (options.cascade) return await cascade(out, port, program, commit);
    const capabilities = probeCapabilities(join(built, 'native'));
    for (const sentence of capabilities.missing) print(sentence);
    const path = options.totals === undefined ? undefined : resolve(options.totals);
    const totals = path === undefined ? [] : readTotals(path, commit, seconds);
    if (totals.length > 0) print(`${totals.length} runs of ${commit} are in ${path} already`);
    let isGood = true;
    await runAll({
      tasks: openTasks(scenarios, totals),
      seconds,
      jobs: Number(options.jobs),
      out,
      port,
      program,
      capabilities,
      say: (line) => process.stderr.write(`${line}\n`),
      done: (task, outcome, tookSeconds) => {
        tell(task, outcome, tookSeconds);
        const total = toTotal(commit, seconds, task, outcome);
        if (total === undefined || total.failures.length + total.invalid.length > 0) isGood = false;
        if (total === undefined) return;
        totals.push(total);
        if (path !== undefined) addTotal(path, total);
      },
    });
    const table = totalsTable(
      totals,
      scenarios.map(({ name }) => name),
    );
    writeFileSync(join(out, 'summary.md'), table);
    if (totals.length > 1) print(`\nCommit ${commit}, ${new Date().toISOString().slice(0, 10)}\n\n${table}`);
    return isGood ? 0 : 1;
  } finally {
    rmSync(built, { recursive: true, force: true });
  }
}

async function cascade(outDirectory: string, port: number, program: string, commit: string): Promise<number> {
  const sizes = options.nodes.split(',').map(Number);
  const rows = await runCascade({ sizes, outDirectory, port, program, say: print });
  print(`\nCommit ${commit}\n\n${cascadeTable(rows)}`);
  return rows.every(({ problems }) => problems.length === 0) ? 0 : 1;
}

/** The runs that are missing, all scenarios once before any of them twice; seeds that were used are not used again. */
function openTasks(scenarios: readonly Scenario[], totals: readonly RunTotal[]): Task[] {
  const firstSeed = options.seed === undefined ? Math.floor(Date.now() / 1000) : Number(options.seed);
  const tasks: Task[] = [];
  for (let run = 0; run < Number(options.runs); run++) {
    for (const scenario of scenarios) {
      const done = totals.filter((total) => total.scenario === scenario.name);
      if (done.length > run) continue;
      const used = new Set([...done.map(({ seed }) => seed)]);
      let seed = firstSeed + run;
      while (used.has(seed)) seed += Number(options.runs);
      tasks.push({ scenario, seed });
    }
  }
  return tasks;
}

/** Undefined if the harness itself failed: such a run is to be repeated. */
function toTotal(commit: string, seconds: number, { scenario, seed }: Task, outcome: Outcome): RunTotal | undefined {
  if (outcome.kind === 'ran') return totalOf(commit, outcome.result);
  if (outcome.kind === 'failed') return undefined;
  return {
    commit,
    scenario: scenario.name,
    seed,
    seconds,
    acknowledged: 0,
    faults: 0,
    faultsEffective: 0,
    failures: [],
    invalid: [],
    longestGapMs: 0,
    recoveriesMs: [],
    harnessStallMs: 0,
    skipped: outcome.why,
  };
}

function tell({ scenario: { name }, seed }: Task, outcome: Outcome, tookSeconds: number): void {
  if (outcome.kind === 'ran') tellResult(outcome.result, tookSeconds, outcome.directory);
  else if (outcome.kind === 'skipped') print(`${name}: not run, ${outcome.why}`);
  else print(`${name} (seed ${seed}): NOT RUN: ${outcome.why}`);
}

function tellResult(result: RunResult, tookSeconds: number, directory: string): void {
  const { scenario, seed, failures, invalid, verdict, faults, notes } = result;
  const effective = faults.filter(({ evidence }) => evidence !== undefined).length;
  const word = failures.length > 0 ? 'BROKEN' : invalid.length > 0 ? 'PROVES NOTHING' : 'kept';
  const recovery =
    result.recoveryP50Ms === null
      ? 'nothing to recover from'
      : `recovery median ${result.recoveryP50Ms} ms, p99 ${result.recoveryP99Ms} ms`;
  print(
    `${scenario} (seed ${seed}): ${word}: ${verdict.statistics.acknowledgedRecords} acknowledged, ${effective} of ${faults.length} faults took effect, longest gap ${result.longestGapMs} ms, ${recovery} (${tookSeconds.toFixed(0)} s) ${directory}`,
  );
  for (const sentence of [...failures, ...invalid]) print(`    ${sentence}`);
  for (const { kind, detail } of verdict.examples.slice(0, 12)) print(`    ${kind}: ${detail}`);
  for (const note of notes) print(`    note: ${note}`);
  if (word !== 'kept') {
    print(`    again: npm run chaos -- --scenario ${scenario} --seconds ${result.seconds} --seed ${seed}`);
  }
}

process.exit(await main());
