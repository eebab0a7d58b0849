/**
 * Runs seeds of the Raft simulation: `npm run simulate -- --seeds 1..1000`, or one with its story: `npm run simulate -- --seed 42 --trace`.
 * `--twice` runs each seed two times and compares the hashes of all they did.
 *
 * With `--cluster` whole brokers and clients take part: `--seeds A..B`, `--seed N --trace`, `--minutes M` (from the first of `--seeds` on), `--repeat-every K` (every K-th seed twice, 50),
 * `--totals FILE` (runs add up in it and go on where they ended; `--commit NAME` stands in it), `--jobs N` (processes), `--keep-going`, `--hashes`, `--shrink`, and what cuts a seed's plan down:
 * `--only-faults a,b|none`, `--seconds S`, `--calm-seconds S`, `--topics N`, `--partitions N`, `--group-members N`.
 */
import { parseArgs } from 'node:util';
import type { PlanLimits } from './cluster/plan-limits.ts';
import { runCluster } from './cluster/run-cluster.ts';
import { serveSeeds } from './cluster/seed-workers.ts';
import { RaftSimulation, type SimulationResult } from './raft-simulation.ts';

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    seeds: { type: 'string', default: '1..100' },
    machines: { type: 'string', default: 'list' },
    trace: { type: 'boolean', default: false },
    twice: { type: 'boolean', default: false },
    'keep-going': { type: 'boolean', default: false },
    cluster: { type: 'boolean', default: false },
    minutes: { type: 'string' },
    'repeat-every': { type: 'string', default: '50' },
    totals: { type: 'string' },
    commit: { type: 'string' },
    jobs: { type: 'string', default: '1' },
    worker: { type: 'boolean', default: false },
    hashes: { type: 'boolean', default: false },
    shrink: { type: 'boolean', default: false },
    'only-faults': { type: 'string' },
    seconds: { type: 'string' },
    'calm-seconds': { type: 'string' },
    topics: { type: 'string' },
    partitions: { type: 'string' },
    'group-members': { type: 'string' },
  },
});

const [first, last] = values.seed === undefined ? range(values.seeds) : [Number(values.seed), Number(values.seed)];
if (values.worker) {
  serveSeeds();
  await new Promise(() => undefined);
}
if (values.cluster) {
  const minutes = values.minutes === undefined ? undefined : Number(values.minutes);
  const failed = await runCluster({
    first,
    last: minutes === undefined || values.seed !== undefined ? last : Number.POSITIVE_INFINITY,
    minutes,
    trace: values.trace,
    repeatEvery: values.twice ? 1 : Number(values['repeat-every']),
    keepGoing: values['keep-going'],
    totalsPath: values.totals,
    commit: values.commit,
    jobs: Number(values.jobs),
    hashes: values.hashes,
    shrink: values.shrink,
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
    if (values.twice) {
      const again = await run(seed);
      if (again.hash !== result.hash) throw new Error('Two runs of the seed differ');
    }
    count(result);
    if (values.seed !== undefined) console.log(result);
  } catch (error) {
    failures++;
    console.error(`seed ${seed} failed:`, error);
    console.error(`replay: npm run simulate -- --seed ${seed} --trace`);
    if (!values['keep-going']) process.exit(1);
  }
  if ((seed - first + 1) % 100 === 0) report(seed);
}
report(last);
process.exit(failures === 0 ? 0 : 1);

function run(seed: number): Promise<SimulationResult> {
  const trace = values.trace ? { trace: (line: string) => console.log(line) } : {};
  const machines = values.machines === 'partition' ? 'partition' : 'list';
  return new RaftSimulation(seed, { ...trace, machines }).run();
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
  const number = <N extends string>(name: N, text: string | undefined, factor = 1): { [name in N]?: number } =>
    text === undefined ? {} : ({ [name]: Number(text) * factor } as { [name in N]: number });
  const faults = values['only-faults'];
  return {
    ...(faults === undefined ? {} : { faults: faults.split(',') }),
    ...number('chaosMs', values.seconds, 1000),
    ...number('calmMs', values['calm-seconds'], 1000),
    ...number('topics', values.topics),
    ...number('partitions', values.partitions),
    ...number('groupMembers', values['group-members']),
  };
}

function range(text: string): [number, number] {
  const match = /^(\d+)\.\.(\d+)$/.exec(text);
  if (match === null) throw new Error(`Not a range of seeds: ${text}`);
  return [Number(match[1]), Number(match[2])];
}
