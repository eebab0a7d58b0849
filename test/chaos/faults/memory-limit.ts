/** Limits the memory of a process by a control group, of the first or the second version; counts what the limit did to it. */
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const ROOT = '/sys/fs/cgroup';

interface Version {
  readonly root: string;
  readonly limit: string;
  readonly usage: string;
  readonly unlimited: string;
  /** How often the limit was hit, from the group's files. */
  readonly hits: (directory: string) => number;
}

const VERSION_1: Version = {
  root: join(ROOT, 'memory'),
  limit: 'memory.limit_in_bytes',
  usage: 'memory.usage_in_bytes',
  unlimited: '-1',
  hits: (directory) => Number(readFileSync(join(directory, 'memory.failcnt'), 'utf8')),
};
const VERSION_2: Version = {
  root: ROOT,
  limit: 'memory.max',
  usage: 'memory.current',
  unlimited: 'max',
  hits: (directory) => Number(/^max (\d+)/m.exec(readFileSync(join(directory, 'memory.events'), 'utf8'))?.[1] ?? 0),
};

/** Which version works here, or why none does. */
export function findMemoryLimits(): { version: Version } | { missing: string } {
  const version = existsSync(join(VERSION_1.root, VERSION_1.limit))
    ? VERSION_1
    : existsSync(join(ROOT, 'cgroup.controllers'))
      ? VERSION_2
      : undefined;
  if (version === undefined) return { missing: 'There are no control groups for memory' };
  const directory = join(version.root, `flotilla-chaos-probe-${process.pid}`);
  try {
    mkdirSync(directory);
    const canLimit = existsSync(join(directory, version.limit));
    rmdirSync(directory);
    return canLimit ? { version } : { missing: 'The control group for memory is not given to this user' };
  } catch (error) {
    return { missing: (error as Error).message };
  }
}

export class MemoryLimit {
  readonly #version: Version;
  readonly #directory: string;

  /** Makes a group without a limit. `name` is unique on the machine. Throws if that can not be done. */
  constructor(name: string) {
    const found = findMemoryLimits();
    if ('missing' in found) throw new Error(found.missing);
    this.#version = found.version;
    this.#directory = join(found.version.root, name);
    mkdirSync(this.#directory, { recursive: true });
  }

  /** A process that writes its id here is in the group, with all that it starts. */
  get processesFile(): string {
    return join(this.#directory, 'cgroup.procs');
  }

  get usageBytes(): number {
    return Number(readFileSync(join(this.#directory, this.#version.usage), 'utf8'));
  }

  get hits(): number {
    return this.#version.hits(this.#directory);
  }

  /** Undefined: without a limit. False if the kernel refuses it because so much is in use and can not be taken away. */
  set(bytes: number | undefined): boolean {
    try {
      writeFileSync(
        join(this.#directory, this.#version.limit),
        bytes === undefined ? this.#version.unlimited : `${bytes}`,
      );
      return true;
    } catch {
      // EBUSY: nothing more can be taken from it.
      return false;
    }
  }

  /** After its process has ended or was moved away. */
  remove(): void {
    try {
      rmdirSync(this.#directory);
    } catch {
      // A process that is still ending keeps it for a moment; an empty group costs nothing.
    }
  }
}

export interface MemoryFacts {
  readonly residentBytes: number;
  /** Not backed by files, so it can not be taken away without swap. */
  readonly anonymousBytes: number;
  readonly majorFaults: number;
}

/** Undefined if there is no such process. */
export function memoryFacts(pid: number): MemoryFacts | undefined {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const kilobytes = (name: string): number =>
      Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1] ?? 0);
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return {
      residentBytes: kilobytes('VmRSS') * 1024,
      anonymousBytes: kilobytes('RssAnon') * 1024,
      majorFaults: Number(fields[9]),
    };
  } catch {
    // It ended.
    return undefined;
  }
}
