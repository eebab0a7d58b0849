/**
 * `npm run canaries [-- --only NAME[,NAME]] [--seeds N] [--first N] [--minutes M] [--jobs N]`: puts each known bug into a bundle of the sources and runs the simulation on it until a check finds it. Prints a
 * table: which check, in how many seeds. Exit code 1 if one was not caught, or does not fit the code any more.
 */
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import type { Plugin } from 'esbuild';
import { commaList, positiveNumber, wholeNumber } from '../../scripts/option-values.ts';
import { bundleProgram } from '../simulation/bundle-program.ts';
import { CANARIES, type Canary } from './canaries.ts';

const command = new Command('npm run canaries --')
  .description('Shows that each known mistake, planted on purpose, is caught.')
  .option('--only <NAMES>', 'these canaries, with commas between them', commaList)
  .option('--seeds <N>', 'most seeds that a canary gets', wholeNumber(1), 300)
  .option('--first <SEED>', 'the first of them', wholeNumber(0), 1)
  .option('--minutes <M>', 'most time that a canary gets', positiveNumber, 10)
  .option('--jobs <N>', 'canaries at a time', wholeNumber(1), 1)
  .allowExcessArguments(false)
  .parse();
const options = command.opts<{
  only?: readonly string[];
  seeds: number;
  first: number;
  minutes: number;
  jobs: number;
}>();

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const SIMULATION = 'test/simulation/run.ts';
/** The program, and its options. */
const COMMANDS: Record<Canary['harness'], readonly [string, ...string[]]> = {
  core: ['test/canaries/core-seeds.ts'],
  story: [SIMULATION, '--repeat-every', '0'],
  raft: [SIMULATION, '--repeat-every', '0', '--scenario', 'raft'],
  partition: [SIMULATION, '--repeat-every', '0', '--scenario', 'partition'],
  cluster: [SIMULATION, '--repeat-every', '0'],
};
const RANKS: Record<Canary['harness'], number> = { cluster: 0, core: 1, raft: 2, partition: 3, story: 4 };
/** Seeds of cores cost next to nothing. */
const CORE_SEEDS_FACTOR = 10;

type Outcome =
  | { readonly kind: 'caught'; readonly seeds: number; readonly check: string }
  | { readonly kind: 'missed'; readonly why: string };

const chosen = options.only?.map(canaryNamed) ?? CANARIES;
// What takes longest comes first, so that no job is left alone with it at the end.
const waiting = chosen.toSorted((some, other) => RANKS[some.harness] - RANKS[other.harness]);
const startedMs = performance.now();
let missed = 0;
console.log('| canary | bug | harness | seeds | caught by |\n|---|---|---|---|---|');
await Promise.all(Array.from({ length: options.jobs }, work));
const caught = chosen.length - missed;
console.log(`\n${caught} of ${chosen.length} caught in ${secondsSince(startedMs)} s`);
process.exit(missed === 0 ? 0 : 1);

function canaryNamed(name: string): Canary {
  const canary = CANARIES.find((candidate) => candidate.name === name);
  return (
    canary ??
    command.error(`error: there is no canary "${name}"; these are: ${CANARIES.map((any) => any.name).join(', ')}`)
  );
}

async function work(): Promise<void> {
  for (let canary = waiting.shift(); canary !== undefined; canary = waiting.shift()) {
    const beganMs = performance.now();
    const outcome = await release(canary);
    console.error(`${canary.name}: ${secondsSince(beganMs)} s`);
    if (outcome.kind === 'missed') missed++;
    const result =
      outcome.kind === 'caught' ? `${outcome.seeds} | ${outcome.check}` : `– | **not caught**: ${outcome.why}`;
    console.log(`| ${canary.name} | ${canary.bug} | ${canary.harness} | ${result} |`);
  }
}

function secondsSince(ms: number): number {
  return Math.round((performance.now() - ms) / 1000);
}

async function release(canary: Canary): Promise<Outcome> {
  const texts = new Map<string, string>();
  for (const { file, find, replace } of [canary, ...(canary.also ?? [])]) {
    const path = join(ROOT, file);
    const text = texts.get(path) ?? readFileSync(path, 'utf8');
    const found = text.split(find).length - 1;
    if (found !== 1) return { kind: 'missed', why: `${file} has its place ${found} times` };
    texts.set(
      path,
      text.replace(find, () => replace),
    );
  }
  // Inside of the project, where packages are found.
  mkdirSync(join(ROOT, 'dist'), { recursive: true });
  const directory = mkdtempSync(join(ROOT, 'dist', 'canary-'));
  const program = join(directory, 'seeds.js');
  try {
    await bundleProgram(COMMANDS[canary.harness][0], program, [withBug(texts)]);
    return await hunt(canary, program);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Only the bundle has the bug; no file of the sources is touched. */
function withBug(texts: ReadonlyMap<string, string>): Plugin {
  return {
    name: 'canary',
    setup: ({ onLoad }) => {
      onLoad({ filter: /\.ts$/ }, ({ path }) => {
        const contents = texts.get(path);
        return contents === undefined ? undefined : { contents, loader: 'ts' };
      });
    },
  };
}

/** Runs seeds until one fails. */
function hunt(canary: Canary, program: string): Promise<Outcome> {
  const { first, minutes } = options;
  const seeds = options.seeds * (canary.harness === 'core' ? CORE_SEEDS_FACTOR : 1);
  const range = `${first}..${first + seeds - 1}`;
  const programOptions = COMMANDS[canary.harness].slice(1);
  if (canary.story !== undefined) programOptions.push('--scenario', canary.story);
  const child = spawn(process.execPath, ['--max-semi-space-size=32', program, ...programOptions, '--seeds', range], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      output += chunk;
    });
  }
  let isTooLate = false;
  const timer = setTimeout(() => {
    isTooLate = true;
    child.kill('SIGKILL');
  }, minutes * 60_000);
  return new Promise((resolve) => {
    child.on('close', (code) => {
      clearTimeout(timer);
      const failure = /^seed (\d+) (?:failed|FAILED): *(.*)$/m.exec(output);
      if (failure !== null) {
        resolve({ kind: 'caught', seeds: Number(failure[1]) - first + 1, check: checkOf(failure[2]!) });
      } else if (isTooLate) resolve({ kind: 'missed', why: `nothing in ${minutes} minutes` });
      else if (code === 0) resolve({ kind: 'missed', why: `nothing in ${seeds} seeds` });
      else resolve({ kind: 'caught', seeds: 1, check: `the process ends: ${output.trim().split('\n').at(-1) ?? ''}` });
    });
  });
}

/** Without what differs from run to run, and with nothing that would break a table. */
function checkOf(message: string): string {
  return message
    .replaceAll('|', '/')
    .replace(/\s*\(?\{.*$/, '')
    .slice(0, 110);
}
