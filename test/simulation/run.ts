/** Seeds of the simulation; `npm run simulate -- --help` says how. */
import { Command, InvalidArgumentError, Option } from 'commander';
import { commaList, positiveNumber, seedRange, wholeNumber } from '../../scripts/option-values.ts';
import { CLUSTER_FAULTS } from './cluster/cluster-plan.ts';
import type { PlanLimits } from './cluster/plan-limits.ts';
import { runCluster } from './cluster/run-cluster.ts';
import { serveSeeds, WORKER_OPTION } from './cluster/seed-workers.ts';
import { PLAIN_SCENARIOS } from './plain-scenarios.ts';
import { runPlain } from './run-plain.ts';

interface Options {
  readonly scenario: string;
  readonly seed?: number;
  readonly seeds: readonly [first: number, last: number];
  readonly minutes?: number;
  readonly trace: boolean;
  readonly repeatEvery: number;
  readonly keepGoing: boolean;
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

const CLUSTER = 'cluster';
/** Options that mean something with any scenario. */
const COMMON = new Set(['scenario', 'seed', 'seeds', 'minutes', 'trace', 'repeatEvery', 'keepGoing']);

const command = new Command('npm run simulate --')
  .description(
    'Runs seeds of the simulation: whole brokers and their clients under faults, or a smaller scenario (drivers and WALs with lists or partitions on them, or one of the stories).',
  )
  .addOption(
    new Option('--scenario <NAME>', 'what a seed decides')
      .choices([CLUSTER, ...Object.keys(PLAIN_SCENARIOS)])
      .default(CLUSTER),
  )
  .option('--seed <N>', 'this one only', wholeNumber(0))
  .option('--seeds <FIRST..LAST>', 'these', seedRange, [1, 100] as const)
  .option('--minutes <M>', 'from the first of --seeds on until the time is over', positiveNumber)
  .option('--trace', 'tell what happens', false)
  .option(
    '--repeat-every <K>',
    'every K-th seed runs twice and must do exactly the same; 0 for none',
    wholeNumber(0),
    50,
  )
  .option('--keep-going', 'a failed seed does not end the run', false)
  .option('--jobs <N>', 'processes (this and all below: cluster only)', wholeNumber(1), 1)
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

const { scenario: name, minutes, trace, repeatEvery, keepGoing } = options;
const [first, lastGiven] = options.seed === undefined ? options.seeds : [options.seed, options.seed];
const last = minutes === undefined || options.seed !== undefined ? lastGiven : Number.POSITIVE_INFINITY;
const range = { first, last, minutes, trace, repeatEvery, keepGoing };
process.exit((await run()) === 0 ? 0 : 1);

/** Gives the number of failed seeds. */
function run(): Promise<number> {
  const scenario = PLAIN_SCENARIOS[name];
  if (scenario !== undefined) {
    refuseClusterOptions();
    return runPlain({ ...range, scenario, name });
  }
  return runCluster({
    ...range,
    totalsPath: options.totals,
    commit: options.commit,
    jobs: options.jobs,
    hashes: options.hashes,
    shrink: options.shrink,
    limits: limitsGiven(),
  });
}

function refuseClusterOptions(): void {
  for (const option of command.options) {
    const key = option.attributeName();
    if (COMMON.has(key) || command.getOptionValueSource(key) !== 'cli') continue;
    command.error(`error: option '${option.long}' is for --scenario ${CLUSTER} only`);
  }
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
  const known: readonly string[] = CLUSTER_FAULTS;
  for (const fault of commaList(text)) {
    if (!known.includes(fault)) throw new InvalidArgumentError(`"${fault}" is none of ${known.join(', ')}.`);
  }
  return commaList(text);
}
