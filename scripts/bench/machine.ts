/**
 * What a figure needs beside it to be believed: the machine and versions it was measured with, and who used the CPU meanwhile. Reads /proc, so it sees Linux only; elsewhere everything that it
 * cannot see is undefined.
 */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, type as osType, release, totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';

const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url));
/** Ticks a second of /proc (USER_HZ), the same on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;
/** Parent of all kernel threads. */
const KTHREADD = 2;

export interface Environment {
  readonly date: string;
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGb: number;
  readonly kernel: string;
  readonly node: string;
  readonly java: string | undefined;
  readonly commit: string;
  /** How the scheduler shares the CPU between the processes measured. */
  readonly scheduling: string;
  readonly loadAtStart: number;
  loadAtEnd: number;
}

export function describeEnvironment(scheduling: string): Environment {
  return {
    date: new Date().toISOString().slice(0, 16).replace('T', ' '),
    cpu: (cpus()[0]?.model ?? 'unknown').trim(),
    cores: availableParallelism(),
    memoryGb: Math.round(totalmem() / 2 ** 30),
    kernel: `${osType()} ${release()}`,
    node: process.version,
    java: firstLineOf('java', ['-version'])?.replaceAll('"', ''),
    commit: describeCommit(),
    scheduling,
    loadAtStart: loadavg()[0]!,
    loadAtEnd: loadavg()[0]!,
  };
}

function describeCommit(): string {
  const commit = firstLineOf('git', ['-C', REPOSITORY, 'rev-parse', '--short', 'HEAD']);
  if (commit === undefined) return 'unknown';
  const changed = firstLineOf('git', ['-C', REPOSITORY, 'status', '--porcelain', '--untracked-files=no', 'src']);
  return changed === undefined || changed === '' ? commit : `${commit} with uncommitted changes`;
}

/** Java prints its version to stderr. */
function firstLineOf(command: string, args: readonly string[]): string | undefined {
  try {
    const both = execFileSync('/bin/sh', ['-c', '"$0" "$@" 2>&1', command, ...args], { encoding: 'utf8' });
    return both.split('\n')[0] ?? '';
  } catch {
    // Not installed, or not in a repository.
    return undefined;
  }
}

/** CPU time used until a moment, in seconds. */
export interface CpuSnapshot {
  readonly atMs: number;
  /** By process. */
  readonly brokers: ReadonlyMap<number, number>;
  readonly client: number;
  /** Brokers of systems that are up but not being measured. */
  readonly resting: ReadonlyMap<number, number>;
  readonly kernelThreads: number;
  readonly busy: number;
  readonly steal: number;
}

/** What was used between two snapshots: seconds, and shares (0…1) of what all cores could give. */
export interface CpuUsage {
  readonly elapsedMs: number;
  readonly brokersSeconds: number;
  readonly clientSeconds: number;
  /** By processes that have nothing to do with the measurement. */
  readonly othersShare: number;
  readonly restingShare: number;
  /** By kernel threads, mostly writing back what the measurement wrote. */
  readonly kernelShare: number;
  readonly stealShare: number;
}

export function takeSnapshot(brokerPids: readonly number[], restingPids: readonly number[]): CpuSnapshot {
  const total = (readFileSync('/proc/stat', 'utf8').split('\n')[0] ?? '').trim().split(/\s+/).slice(1).map(Number);
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = total;
  const notTools = new Set([...brokerPids, ...restingPids]);
  let kernelTicks = 0;
  let toolTicks = 0;
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const fields = statOf(Number(entry));
    if (fields === undefined) continue;
    const ticks = Number(fields[11]) + Number(fields[12]);
    if (Number(fields[1]) === KTHREADD) kernelTicks += ticks;
    if (Number(fields[1]) === process.pid && !notTools.has(Number(entry))) toolTicks += ticks;
  }
  return {
    atMs: performance.now(),
    brokers: cpuByProcess(brokerPids),
    client: ownCpuSeconds() + toolTicks / TICKS_PER_SECOND,
    resting: cpuByProcess(restingPids),
    kernelThreads: kernelTicks / TICKS_PER_SECOND,
    busy: (user + nice + system + irq + softirq) / TICKS_PER_SECOND,
    steal: steal / TICKS_PER_SECOND,
  };
}

export function usageBetween(before: CpuSnapshot, after: CpuSnapshot): CpuUsage {
  const elapsedMs = after.atMs - before.atMs;
  const capacity = (elapsedMs / 1000) * availableParallelism();
  const share = (seconds: number): number => Math.max(0, seconds) / capacity;
  const brokersSeconds = secondsBetween(before.brokers, after.brokers);
  const clientSeconds = after.client - before.client;
  const resting = secondsBetween(before.resting, after.resting);
  const kernel = after.kernelThreads - before.kernelThreads;
  return {
    elapsedMs,
    brokersSeconds,
    clientSeconds,
    othersShare: share(after.busy - before.busy - brokersSeconds - clientSeconds - resting - kernel),
    restingShare: share(resting),
    kernelShare: share(kernel),
    stealShare: share(after.steal - before.steal),
  };
}

/** CPU seconds, user and system, that these processes have used so far; those that are gone count nothing. */
export function cpuSecondsOf(pids: readonly number[]): number {
  let sum = 0;
  for (const seconds of cpuByProcess(pids).values()) sum += seconds;
  return sum;
}

function cpuByProcess(pids: readonly number[]): ReadonlyMap<number, number> {
  const used = new Map<number, number>();
  for (const pid of pids) {
    const fields = statOf(pid);
    if (fields !== undefined) used.set(pid, (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND);
  }
  return used;
}

/** Of processes that are still there; what was killed meanwhile cannot be seen any more, and what was started has used nothing before. */
function secondsBetween(before: ReadonlyMap<number, number>, after: ReadonlyMap<number, number>): number {
  let sum = 0;
  for (const [pid, seconds] of after) sum += seconds - (before.get(pid) ?? 0);
  return sum;
}

/** What share (0…1) of a core a thread gets that wants all of it: looks for 150 ms. */
export function ownedShare(): number {
  const before = process.cpuUsage();
  const startMs = performance.now();
  let elapsedMs = 0;
  while (elapsedMs < 150) elapsedMs = performance.now() - startMs;
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000 / elapsedMs;
}

/** Of this process and of those of its children that have ended. */
function ownCpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  const fields = statOf(process.pid);
  const children = fields === undefined ? 0 : Number(fields[13]) + Number(fields[14]);
  return (user + system) / 1e6 + children / TICKS_PER_SECOND;
}

export function rssMegabytesOf(pids: readonly number[]): number[] {
  return pids.flatMap((pid) => {
    try {
      return [Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1024];
    } catch {
      // It ended.
      return [];
    }
  });
}

/** The fields behind the program's name, which stands in brackets and may contain spaces: state, parent, … */
function statOf(pid: number): string[] | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  } catch {
    // It ended.
    return undefined;
  }
}
