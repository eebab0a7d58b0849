/**
 * `npm run chaos -- --scenario NAME --seconds S --seed N` and `--all`: real brokers under real faults, judged from what clients saw. Exit code 0 only if every run proved something and kept the
 * promise. `--cascade` is the experiment of the cascading failure.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { probeCapabilities } from './capabilities.ts';
import { cascadeTable, runCascade } from './cascade.ts';
import { type RunResult, runScenario } from './run-scenario.ts';
import { SCENARIOS, type Scenario } from './scenarios.ts';

const USAGE = `npm run chaos -- --scenario NAME[,NAME…] | --all [--seconds 60] [--seed N] [--runs 1] [--out DIR] [--port 26092]
       npm run chaos -- --cascade [--nodes 3,5,7]
       npm run chaos -- --list`;
const MEMORY_DIRECTORY = '/dev/shm';

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

async function main(): Promise<number> {
  if (options.list) {
    for (const { name, proves } of SCENARIOS) process.stdout.write(`${name.padEnd(24)} ${proves}\n`);
    return 0;
  }
  if (options.cascade) {
    const rows = await runCascade({
      sizes: options.nodes.split(',').map(Number),
      outDirectory: resolve(options.out),
      port: Number(options.port),
      say: (line) => process.stdout.write(`${line}\n`),
    });
    process.stdout.write(`\n${cascadeTable(rows)}`);
    return rows.every(({ problems }) => problems.length === 0) ? 0 : 1;
  }
  const scenarios = chosen();
  const seconds = Number(options.seconds);
  const firstSeed = options.seed === undefined ? Math.floor(Date.now() / 1000) : Number(options.seed);
  const port = Number(options.port);
  const out = resolve(options.out);
  const capabilities = probeCapabilities();
  for (const sentence of capabilities.missing) process.stdout.write(`${sentence}\n`);
  const results: RunResult[] = [];
  let skipped = 0;
  for (let run = 0; run < Number(options.runs); run++) {
    for (const scenario of scenarios) {
      if (scenario.shim === true && capabilities.shim === undefined) {
        process.stdout.write(`${scenario.name}: not run, this machine can not inject it\n`);
        skipped += 1;
        continue;
      }
      const seed = firstSeed + run;
      const began = performance.now();
      const outDirectory = join(out, `${scenario.name}-${seed}`);
      try {
        const result = await runScenario({
          scenario,
          seconds,
          seed,
          outDirectory,
          workDirectory: join(out, `work-${port}`),
          chaosDirectory: join(MEMORY_DIRECTORY, `flotilla-chaos-${port}`),
          port,
          capabilities,
          say: (line) => process.stderr.write(`  ${scenario.name}: ${line}\n`),
        });
        results.push(result);
        tell(result, (performance.now() - began) / 1000, outDirectory);
      } catch (error) {
        process.stdout.write(`${scenario.name} (seed ${seed}): NOT RUN: ${(error as Error).message}\n`);
        skipped += 1;
      }
    }
  }
  mkdirSync(out, { recursive: true });
  writeFileSync(join(out, 'summary.md'), table(results));
  if (results.length > 1) process.stdout.write(`\n${table(results)}`);
  const isGood = results.every(({ failures, invalid }) => failures.length === 0 && invalid.length === 0);
  return isGood && skipped === 0 ? 0 : 1;
}

function tell(result: RunResult, tookSeconds: number, directory: string): void {
  const { scenario, seed, failures, invalid, verdict, faults, notes } = result;
  const effective = faults.filter(({ evidence }) => evidence !== undefined).length;
  const word = failures.length > 0 ? 'BROKEN' : invalid.length > 0 ? 'PROVES NOTHING' : 'kept';
  process.stdout.write(
    `${scenario} (seed ${seed}): ${word}: ${verdict.statistics.acknowledgedRecords} acknowledged, ${effective} of ${faults.length} faults took effect, longest gap ${result.longestGapMs} ms, recovery median ${result.recoveryP50Ms} ms, p99 ${result.recoveryP99Ms} ms (${tookSeconds.toFixed(0)} s) ${directory}\n`,
  );
  for (const sentence of [...failures, ...invalid]) process.stdout.write(`    ${sentence}\n`);
  for (const { kind, detail } of verdict.examples.slice(0, 12)) process.stdout.write(`    ${kind}: ${detail}\n`);
  for (const note of notes) process.stdout.write(`    note: ${note}\n`);
  if (word !== 'kept') {
    process.stdout.write(
      `    again: npm run chaos -- --scenario ${scenario} --seconds ${result.seconds} --seed ${seed}\n`,
    );
  }
}

function table(results: readonly RunResult[]): string {
  const lines = [
    '| scenario | runs | faults that took effect | acknowledged | violations | longest gap | recovery p50 / p99 |',
    '|---|---|---|---|---|---|---|',
  ];
  for (const name of new Set(results.map(({ scenario }) => scenario))) {
    const runs = results.filter(({ scenario }) => scenario === name);
    const recoveries = runs.flatMap(({ recoveriesMs }) => recoveriesMs).sort((a, b) => a - b);
    const sum = (pick: (run: RunResult) => number): number => runs.reduce((total, run) => total + pick(run), 0);
    const at = (q: number): string =>
      recoveries.length === 0 ? '–' : `${recoveries[Math.max(0, Math.ceil(q * recoveries.length) - 1)]} ms`;
    lines.push(
      `| ${name} | ${runs.length} | ${sum(({ faults }) => faults.filter(({ evidence }) => evidence !== undefined).length)} | ${sum(({ verdict }) => verdict.statistics.acknowledgedRecords)} | ${sum(({ failures }) => failures.length)} | ${Math.max(...runs.map(({ longestGapMs }) => longestGapMs))} ms | ${at(0.5)} / ${at(0.99)} |`,
    );
  }
  return `${lines.join('\n')}\n`;
}

// Client libraries may keep sockets and timers of brokers that are gone.
process.exit(await main());
