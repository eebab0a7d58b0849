/** What a run executes: cluster.sh and a built copy of the brokers, taken once, so that all runs test the same code however long they take and whatever happens to the sources meanwhile. */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const REPOSITORY = fileURLToPath(new URL('../../..', import.meta.url));
/** What decides what a run does. */
const TESTED = ['src', 'scripts', 'test/chaos', 'cluster.sh', 'package-lock.json'];

export interface Snapshot {
  /** cluster.sh of the copy. */
  readonly program: string;
  /** Of the repository; with "+" if files differ from it. */
  readonly commit: string;
}

/** Builds what is out of date and copies it into `directory`. */
export function takeSnapshot(directory: string): Snapshot {
  const program = join(directory, 'cluster.sh');
  execFileSync(join(REPOSITORY, 'cluster.sh'), ['help'], { stdio: ['ignore', 'ignore', 'inherit'] });
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
  for (const name of ['cluster.sh', 'package.json', 'dist']) {
    cpSync(join(REPOSITORY, name), join(directory, name), { recursive: true });
  }
  // Without sources beside it cluster.sh builds nothing.
  symlinkSync(join(REPOSITORY, 'node_modules'), join(directory, 'node_modules'));
  return { program, commit: commitOf() };
}

function commitOf(): string {
  try {
    const git = (...args: string[]): string =>
      execFileSync('git', ['-C', REPOSITORY, ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
    const isChanged = git('status', '--porcelain', '--', ...TESTED).trim() !== '';
    return `${git('rev-parse', '--short=10', 'HEAD').trim()}${isChanged ? '+' : ''}`;
  } catch {
    // Not a clone, or no git.
    return 'unknown';
  }
}
