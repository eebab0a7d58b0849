/**
 * Which process a pid means. A pid alone means nothing after it was reused, so a process is its pid together with its start
 * time: from /proc where there is one, from ps elsewhere.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';

export interface ProcessState {
  /** Equal for two looks at the same process, different for any other. */
  readonly identity: string;
  readonly stopped: boolean;
  readonly rssBytes: number;
}

const hasProc = existsSync('/proc/self/stat');

/** Undefined if there is no such process, or only its zombie. */
export function inspectProcess(pid: number): ProcessState | undefined {
  return hasProc ? inspectProc(pid) : inspectPs(pid);
}

function inspectProc(pid: number): ProcessState | undefined {
  let stat: string;
  let status: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    status = readFileSync(`/proc/${pid}/status`, 'utf8');
  } catch {
    // No such process: the usual case.
    return undefined;
  }
  // The name, in parentheses, may hold anything.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state, startTicks] = [fields[0] ?? '', fields[19] ?? ''];
  if (state === 'Z' || state === 'X') return undefined;
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  return {
    identity: `${pid} ${startTicks} ${boot}`,
    stopped: state === 'T' || state === 't',
    rssBytes: Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024,
  };
}

function inspectPs(pid: number): ProcessState | undefined {
  let line: string;
  try {
    line = execFileSync('ps', ['-o', 'state=,rss=,lstart=', '-p', `${pid}`], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    // ps fails when there is no such process.
    return undefined;
  }
  const match = /^(\S+)\s+(\d+)\s+(.+)$/.exec(line);
  if (match === null || match[1]?.startsWith('Z')) return undefined;
  return {
    identity: `${pid} ${match[3]}`,
    stopped: match[1]?.startsWith('T') === true,
    rssBytes: Number(match[2]) * 1024,
  };
}
