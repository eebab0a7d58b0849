/**
 * `npm run chaos -- --scenario NAME --seconds S --seed N` and `--all`: real brokers under real faults, judged from what clients saw. Exit code 0 only if every run proved something and kept the
 * promise. `--cascade` is the experiment of the cascading failure.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Command } from 'commander';
import { CLIENT_PORT_FIRST } from '../../scripts/cluster/free-port.ts';
import { commaList, wholeNumber } from '../../scripts/option-values.ts';
import { probeCapabilities } from './capabilities.ts';
import { cascadeTable, runCascade } from './cascade.ts';
import { type Outcome, PORTS_PER_SLOT, runAll, type Task } from './release/run-all.ts';
import { takeSnapshot } from './release/snapshot.ts';
import { addTotal, type RunTotal, readTotals, totalOf, totalsTable } from './release/totals.ts';
import type { RunResult } from './run-scenario.ts';
import { SCENARIOS, type Scenario } from './scenarios.ts';

interface Options {
  readonly scenario?: readonly string[];
  readonly all: boolean;
  readonly list: boolean;
  readonly cascade: boolean;
  readonly nodes: readonly number[];
  readonly seconds: number;
  readonly seed?: number;
  readonly runs: number;
  readonly jobs: number;
  readonly totals?: string;
  readonly out: string;
  readonly port: number;
}

const NODES_MAX = 9;

const command = new Command('npm run chaos --')
  .description('Real brokers under real faults, with clients whose history is checked.')
  .option('--scenario <NAMES>', 'these scenarios, with commas between them', commaList)
  .option('--all', 'all scenarios', false)
  .option('--list', 'show the scenarios', false)
  .option('--cascade', 'the cascading failures instead', false)
  .option('--nodes <N,…>', 'brokers of the cascades', nodeCounts, [3, 5, 7])
  .option('--seconds <S>', 'length of a run', wholeNumber(1), 60)
  .option('--seed <N>', 'of the first run (default: from the clock)', wholeNumber(0))
  .option('--runs <N>', 'of each scenario', wholeNumber(1), 1)
  .option('--jobs <N>', 'runs side by side', wholeNumber(1), 1)
  .option('--totals <FILE>', 'runs add up in it; what it has of this commit is not run again')
  .option('--out <DIR>', 'where histories and reports go', join(tmpdir(), 'flotilla-chaos'))
  .option('--port <PORT>', `first of the ports, ${PORTS_PER_SLOT} for each job`, wholeNumber(1), 26_092)
  .allowExcessArguments(false)
  .parse();
const options = command.opts<Options>();

function nodeCounts(text: string): readonly number[] {
  return commaList(text).map(wholeNumber(2, NODES_MAX));
}

function chosen(): Scenario[] {
  if (options.all) return [...SCENARIOS];
  if (options.scenario === undefined) return command.error('error: --scenario, --all, --cascade or --list is needed');
  return options.scenario.map((name) => {
    const scenario = SCENARIOS.find((candidate) => candidate.name === name);
    return scenario ?? command.error(`error: there is no scenario "${name}"; --list shows them`);
  });
}

/** From {@link CLIENT_PORT_FIRST} on the kernel gives ports to clients, which may then hold a broker's. */
function checkPorts(slots: number): void {
  const last = CLIENT_PORT_FIRST - slots * PORTS_PER_SLOT;
  if (options.port <= last) return;
  command.error(
    `error: --port is ${options.port}; ${slots} jobs need it to be ${last} at most, as clients get the ports from ${CLIENT_PORT_FIRST} on`,
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
  const { port, seconds, jobs } = options;
  checkPorts(options.cascade ? 1 : jobs);
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
      jobs,
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
  const rows = await runCascade({ sizes: options.nodes, outDirectory, port, program, say: print });
  print(`\nCommit ${commit}\n\n${cascadeTable(rows)}`);
  return rows.every(({ problems }) => problems.length === 0) ? 0 : 1;
}

/** The runs that are missing, all scenarios once before any of them twice; seeds that were used are not used again. */
function openTasks(scenarios: readonly Scenario[], totals: readonly RunTotal[]): Task[] {
  const firstSeed = options.seed ?? Math.floor(Date.now() / 1000);
  const tasks: Task[] = [];
  for (let run = 0; run < options.runs; run++) {
    for (const scenario of scenarios) {
      const done = totals.filter((total) => total.scenario === scenario.name);
      if (done.length > run) continue;
      const used = new Set([...done.map(({ seed }) => seed)]);
      let seed = firstSeed + run;
      while (used.has(seed)) seed += options.runs;
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
