/**
 * Runs scenarios, each in a process of its own, some side by side: every slot has its own ports and directories. A run that needs a network or mounts of its own gets namespaces, which end
 * with its last process.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { type Capabilities, missingFor } from '../capabilities.ts';
import type { RunResult } from '../run-scenario.ts';
import type { Scenario } from '../scenarios.ts';

const CHILD = fileURLToPath(new URL('./run-child.ts', import.meta.url));
const MEMORY_DIRECTORY = '/dev/shm';
/** Kafka, Raft and HTTP ports of a slot: 100 each. */
export const PORTS_PER_SLOT = 300;
/** Over the time for faults: start, final reads, checks, and whatever hangs. */
const OVERTIME_MS = 240_000;
const KILL_AFTER_MS = 15_000;

export interface Task {
  readonly scenario: Scenario;
  readonly seed: number;
}

export interface RunAllOptions {
  readonly tasks: readonly Task[];
  readonly seconds: number;
  readonly jobs: number;
  readonly out: string;
  readonly port: number;
  readonly program: string;
  readonly capabilities: Capabilities;
  readonly say: (line: string) => void;
  /** After each run; the order is that in which they end. */
  readonly done: (task: Task, outcome: Outcome, tookSeconds: number) => void;
}

export type Outcome =
  | { readonly kind: 'ran'; readonly result: RunResult; readonly directory: string }
  | { readonly kind: 'skipped'; readonly why: string }
  | { readonly kind: 'failed'; readonly why: string };

/** What a child is given, as JSON. */
export interface ChildOrder {
  readonly scenario: string;
  readonly seconds: number;
  readonly seed: number;
  readonly outDirectory: string;
  readonly workDirectory: string;
  readonly chaosDirectory: string;
  readonly port: number;
  readonly program: string;
  readonly capabilities: Capabilities;
}

export async function runAll(options: RunAllOptions): Promise<void> {
  const waiting = [...options.tasks];
  const children = new Set<ChildProcess>();
  const interrupted = (signal: NodeJS.Signals): void => {
    waiting.length = 0;
    for (const child of children) child.kill(signal);
    setTimeout(() => process.exit(130), KILL_AFTER_MS).unref();
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => interrupted(signal));
  const work = async (slot: number): Promise<void> => {
    for (let task = waiting.shift(); task !== undefined; task = waiting.shift()) {
      const began = performance.now();
      const outcome = await runOne(options, task, slot, children);
      options.done(task, outcome, (performance.now() - began) / 1000);
    }
  };
  await Promise.all(Array.from({ length: options.jobs }, (_, slot) => work(slot)));
}

function runOne(
  { seconds, out, port, program, capabilities, say }: RunAllOptions,
  { scenario, seed }: Task,
  slot: number,
  children: Set<ChildProcess>,
): Promise<Outcome> {
  const why = missingFor(scenario, capabilities);
  if (why !== undefined) return Promise.resolve({ kind: 'skipped', why });
  const directory = join(out, `${scenario.name}-${seed}`);
  rmSync(directory, { recursive: true, force: true });
  const slotPort = port + slot * PORTS_PER_SLOT;
  const order: ChildOrder = {
    scenario: scenario.name,
    seconds,
    seed,
    outDirectory: directory,
    workDirectory: join(out, `work-${slotPort}`),
    chaosDirectory: join(MEMORY_DIRECTORY, `flotilla-chaos-${slotPort}`),
    port: slotPort,
    program,
    capabilities,
  };
  const command = [process.execPath, '--import', import.meta.resolve('tsx'), CHILD, JSON.stringify(order)];
  const namespaces = ['unshare', '--net', '--mount', 'sh', '-c', 'ip link set lo up && exec "$@"', 'sh'];
  const [file, ...args] = scenario.namespaces === true ? [...namespaces, ...command] : command;
  return new Promise((resolve) => {
    const child = spawn(file!, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    children.add(child);
    const lines: string[] = [];
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on('line', (line) => {
        lines.push(line);
        if (lines.length > 20) lines.shift();
        say(`  ${scenario.name} ${seed}: ${line}`);
      });
    }
    const timer = setTimeout(
      () => {
        child.kill('SIGTERM');
        setTimeout(() => child.kill('SIGKILL'), KILL_AFTER_MS).unref();
      },
      seconds * 1000 + OVERTIME_MS,
    );
    child.on('error', (error) => resolve({ kind: 'failed', why: error.message }));
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      children.delete(child);
      if (code === 0) {
        const result = JSON.parse(readFileSync(join(directory, 'result.json'), 'utf8')) as RunResult;
        resolve({ kind: 'ran', result, directory });
      } else {
        resolve({ kind: 'failed', why: `The harness ended with ${signal ?? code}: ${lines.slice(-3).join(' | ')}` });
      }
    });
  });
}
