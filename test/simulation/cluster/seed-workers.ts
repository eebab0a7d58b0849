/** Seeds in several processes. Each is given one seed at a time, so that a long one keeps nobody waiting. */
import { type ChildProcess, fork } from 'node:child_process';
import { runSeed, type SeedOutcome, type SeedTask } from './seed-outcome.ts';

/** How a process is told that it is one of these. */
export const WORKER_OPTION = '--worker';

/** The life of such a process: runs what it is sent, until its parent is gone. */
export function serveSeeds(): void {
  process.on('disconnect', () => process.exit(0));
  process.on('message', (task: SeedTask) => {
    void runSeed(task).then((outcome) => process.send?.(outcome));
  });
}

/**
 * Runs tasks in `jobs` processes and gives their outcomes in the order of the tasks, whoever is done first. `next` gives undefined when there are no more; `done` says whether to go on.
 * Rejects if a process ends by itself.
 */
export function runInProcesses(
  jobs: number,
  next: () => SeedTask | undefined,
  done: (outcome: SeedOutcome) => boolean,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const order: number[] = [];
    const finished = new Map<number, SeedOutcome>();
    const children = new Set<ChildProcess>();
    let ending = false;
    const end = (settle: () => void): void => {
      ending = true;
      for (const child of children) child.kill('SIGKILL');
      settle();
    };
    const give = (child: ChildProcess): void => {
      const task = next();
      if (task !== undefined) {
        order.push(task.seed);
        child.send(task);
        return;
      }
      children.delete(child);
      child.kill('SIGKILL');
      if (children.size === 0) end(resolve);
    };
    const take = (outcome: SeedOutcome): boolean => {
      finished.set(outcome.seed, outcome);
      for (let first = finished.get(order[0]!); first !== undefined; first = finished.get(order[0]!)) {
        order.shift();
        finished.delete(first.seed);
        if (!done(first)) return false;
      }
      return true;
    };
    for (let job = 0; job < jobs; job++) {
      const child = fork(process.argv[1]!, [WORKER_OPTION]);
      children.add(child);
      child.on('message', (outcome: SeedOutcome) => {
        if (ending) return;
        if (take(outcome)) give(child);
        else end(resolve);
      });
      child.on('exit', (code) => {
        if (!ending && children.has(child)) end(() => reject(new Error(`A process of seeds ended with ${code}`)));
      });
      give(child);
    }
  });
}
