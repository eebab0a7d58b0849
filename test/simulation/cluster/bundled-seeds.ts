/** Seeds of the cluster in a process of its own, from one bundled file, as `npm run simulate` runs them: a test runner's module system would take twice the time. */
import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { bundleProgram } from '../bundle-program.ts';
import type { TotalsData } from './run-totals.ts';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const OUTPUT_BYTES_MAX = 64 * 2 ** 20;
const STORY_CHARACTERS = 8_000;

/** Gives what the run counted. Rejects with the story of the first seed that fails. */
export async function runBundledSeeds(first: number, last: number, options: readonly string[]): Promise<TotalsData> {
  // Inside of the project, where packages are found.
  const directory = `${ROOT}/dist/seeds-${first}-${last}-${process.pid}`;
  mkdirSync(directory, { recursive: true });
  try {
    await bundleProgram('test/simulation/run.ts', `${directory}/simulate.js`);
    const totals = `${directory}/totals.json`;
    const range = ['--seeds', `${first}..${last}`, '--totals', totals, '--commit', 'here'];
    await run([`${directory}/simulate.js`, ...range, ...options]);
    return JSON.parse(readFileSync(totals, 'utf8')) as TotalsData;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function run(parameters: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    execFile(process.execPath, [...parameters], { cwd: ROOT, maxBuffer: OUTPUT_BYTES_MAX }, (error, output, errors) => {
      if (error === null) resolve();
      else
        reject(new Error(`${error.message}\n${output.slice(-STORY_CHARACTERS)}\n${errors.slice(-STORY_CHARACTERS)}`));
    });
  });
}
