/** Seeds of the simulation; `npm run simulate -- --help` says how. */
import { Command, InvalidArgumentError, Option } from 'commander';
import { commaList, positiveNumber, seedRange, wholeNumber } from '../../scripts/option-values.ts';
import { CLUSTER_FAULTS, LATER_FAULTS } from './cluster/cluster-plan.ts';
import type { PlanLimits } from './cluster/plan-limits.ts';
import { runCluster } from './cluster/run-cluster.ts';
import { serveSeeds, WORKER_OPTION } from './cluster/seed-workers.ts';
import { RaftSimulation, type SimulationResult } from './raft-simulation.ts';

interface Options {
  readonly seed?: number;
  readonly seeds: readonly [first: number, last: number];
  readonly machines: 'list' | 'partition';
  readonly trace: boolean;
  readonly twice: boolean;
  readonly keepGoing: boolean;
  readonly cluster: boolean;
  readonly minutes?: number;
  readonly repeatEvery: number;
  readonly totals?: string;
  readonly commit?: string;
  readonly jobs: number;
  readonly hashes: boolean;
  readonly shrink: boolean;
  readonly onlyFaults?: readonly string[];
  readonly seconds?: number;
  readonly calmSeconds?: number;
  readonly topics?: number;
  readonly partitions?: number;
  readonly groupMembers?: number;
}

if (process.argv.includes(WORKER_OPTION)) {
  serveSeeds();
  await new Promise(() => undefined);
}

const command = new Command('npm run simulate --')
  .description('Runs seeds of the simulation: Raft alone, or with --cluster whole brokers and their clients.')
  .option('--seed <N>', 'this one only', wholeNumber(0))
  .option('--seeds <FIRST..LAST>', 'these', seedRange, [1, 100] as const)
  .option('--trace', 'tell what happens', false)
  .option('--twice', 'run each seed two times and compare the hashes of all they did', false)
  .option('--keep-going', 'a failed seed does not end the run', false)
  .addOption(new Option('--machines <KIND>', 'state machines of Raft').choices(['list', 'partition']).default('list'))
  .option('--cluster', 'whole brokers and clients; the options below are for these', false)
  .option('--minutes <M>', 'from the first of --seeds on until the time is over', positiveNumber)
  .option('--repeat-every <K>', 'every K-th seed runs twice; 0 for none', wholeNumber(0), 50)
  .option('--jobs <N>', 'processes', wholeNumber(1), 1)
  .option('--totals <FILE>', 'runs add up in it and go on where they ended')
  .option('--commit <NAME>', 'stands in --totals (default: what is checked out)')
  .option('--hashes', 'print the hash of each seed', false)
  .option('--shrink', 'look for a smaller plan under which a failing seed still fails', false)
  .option('--only-faults <A,B|none>', 'cuts the plan down: of its faults only these', faultList)
  .option('--seconds <S>', 'cuts the plan down: length of its dense part', positiveNumber)
  .option('--calm-seconds <S>', 'cuts the plan down: length of the calm stretch', positiveNumber)
  .option('--topics <N>', 'cuts the plan down', wholeNumber(1))
  .option('--partitions <N>', 'cuts the plan down', wholeNumber(1))
  .option('--group-members <N>', 'cuts the plan down', wholeNumber(0))
  .allowExcessArguments(false)
  .parse();
const options = command.opts<Options>();

const [first, last] = options.seed === undefined ? options.seeds : [options.seed, options.seed];
if (options.cluster) {
  const { minutes } = options;
  const failed = await runCluster({
    first,
    last: minutes === undefined || options.seed !== undefined ? last : Number.POSITIVE_INFINITY,
    minutes,
    trace: options.trace,
    repeatEvery: options.twice ? 1 : options.repeatEvery,
    keepGoing: options.keepGoing,
    totalsPath: options.totals,
    commit: options.commit,
    jobs: options.jobs,
    hashes: options.hashes,
    shrink: options.shrink,
    limits: limitsGiven(),
  });
  process.exit(failed === 0 ? 0 : 1);
}

const startedMs = performance.now();
const totals: Record<string, number> = {};
let failures = 0;
for (let seed = first; seed <= last; seed++) {
  try {
    const result = await run(seed);
    if (options.twice) {
      const again = await run(seed);
      if (again.hash !== result.hash) throw new Error('Two runs of the seed differ');
    }
    count(result);
    if (options.seed !== undefined) console.log(result);
  } catch (error) {
    failures++;
    console.error(`seed ${seed} failed:`, error);
    console.error(`replay: npm run simulate -- --seed ${seed} --trace`);
    if (!options.keepGoing) process.exit(1);
  }
  if ((seed - first + 1) % 100 === 0) report(seed);
}
report(last);
process.exit(failures === 0 ? 0 : 1);

function run(seed: number): Promise<SimulationResult> {
  const trace = options.trace ? { trace: (line: string) => console.log(line) } : {};
  return new RaftSimulation(seed, { ...trace, machines: options.machines }).run();
}

function count(result: SimulationResult): void {
  for (const [name, value] of Object.entries({ ...result, ...result.faults })) {
    if (typeof value === 'number' && name !== 'hash') totals[name] = (totals[name] ?? 0) + value;
  }
}

function report(seed: number): void {
  const seconds = (performance.now() - startedMs) / 1000;
  const simulated = (totals.simulatedMs ?? 0) / 1000;
  console.log(
    `seed ${seed}: ${failures} failed, ${seconds.toFixed(0)} s, ${(simulated / seconds).toFixed(0)}x real time, ${((totals.events ?? 0) / seconds / 1000).toFixed(0)}k events/s`,
    JSON.stringify(totals),
  );
}

function limitsGiven(): PlanLimits {
  const given = <N extends string>(name: N, value: number | undefined, factor = 1): { [name in N]?: number } =>
    value === undefined ? {} : ({ [name]: value * factor } as { [name in N]: number });
  return {
    ...(options.onlyFaults === undefined ? {} : { faults: options.onlyFaults }),
    ...given('chaosMs', options.seconds, 1000),
    ...given('calmMs', options.calmSeconds, 1000),
    ...given('topics', options.topics),
    ...given('partitions', options.partitions),
    ...given('groupMembers', options.groupMembers),
  };
}

function faultList(text: string): readonly string[] {
  if (text === 'none') return [];
  const known: readonly string[] = [...CLUSTER_FAULTS, ...LATER_FAULTS];
  for (const fault of commaList(text)) {
    if (!known.includes(fault)) throw new InvalidArgumentError(`"${fault}" is none of ${known.join(', ')}.`);
  }
  return commaList(text);
}
