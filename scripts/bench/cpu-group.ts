/**
 * Puts this process, and so everything that it starts, into one scheduling group.
 *
 * Linux shares the CPU between sessions first (autogroup) and between the threads of a session second. Brokers that were started detached are a session each, those of another system perhaps
 * all in one with the load generator: the same load would then get different shares. In a control group of its own the whole measurement is one group, whoever started what.
 */
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Version 1 of control groups; with version 2 a login session is a group already, and autogroup has no say. */
const CPU_CONTROLLER = '/sys/fs/cgroup/cpu';
/** As much as three brokers and a client would have as sessions of their own. */
const SHARES = 4 * 1024;

export class CpuGroup {
  /** For the environment of the results. */
  readonly description: string;
  readonly #directory: string | undefined;

  private constructor(description: string, directory: string | undefined) {
    this.description = description;
    this.#directory = directory;
  }

  static enter(): CpuGroup {
    if (existsSync(join(CPU_CONTROLLER, 'cgroup.procs'))) {
      const directory = join(CPU_CONTROLLER, `flotilla-bench-${process.pid}`);
      try {
        mkdirSync(directory);
        writeFileSync(join(directory, 'cpu.shares'), `${SHARES}`);
        writeFileSync(join(directory, 'cgroup.procs'), `${process.pid}`);
        return new CpuGroup('one control group for all brokers and clients', directory);
      } catch {
        // Not allowed: only root may.
      }
    }
    return new CpuGroup(
      autogroupIsOn()
        ? 'autogroup: sessions share the CPU, so systems whose brokers are sessions of their own may get more of a busy machine'
        : 'no groups: all threads share the CPU alike',
      undefined,
    );
  }

  leave(): void {
    if (this.#directory === undefined) return;
    try {
      writeFileSync(join(CPU_CONTROLLER, 'cgroup.procs'), `${process.pid}`);
      rmdirSync(this.#directory);
    } catch {
      // A process that we started still ends; an empty group does nobody harm.
    }
  }
}

function autogroupIsOn(): boolean {
  try {
    return readFileSync('/proc/sys/kernel/sched_autogroup_enabled', 'utf8').trim() === '1';
  } catch {
    // A kernel without it.
    return false;
  }
}
