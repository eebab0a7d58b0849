/** `logs N`: follows a broker's log; JSON lines become readable on a terminal and stay as they are in a pipe. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { ClusterError } from './cluster-error.ts';
import { ClusterFiles } from './cluster-files.ts';
import { print, style } from './terminal.ts';

const LINES_BEFORE = 100;

const LEVELS: Readonly<Record<number, readonly [name: string, color: 'dim' | 'green' | 'yellow' | 'red']>> = {
  20: ['debug', 'dim'],
  30: ['info', 'green'],
  40: ['warn', 'yellow'],
  50: ['error', 'red'],
  60: ['fatal', 'red'],
};
/** What every line has and nobody reads. */
const HIDDEN = new Set(['level', 'time', 'msg', 'pid', 'hostname', 'v', 'name']);

/** Ends when the reader does. */
export async function logs(id: number): Promise<void> {
  const files = ClusterFiles.open(process.env);
  files.checkId(id);
  const path = files.logFile(id);
  if (!existsSync(path)) throw new ClusterError(`Broker ${id} has no log yet`);
  const isTerminal = process.stdout.isTTY === true;
  const tail = spawn('tail', ['-n', `${LINES_BEFORE}`, '-F', path], { stdio: ['ignore', 'pipe', 'ignore'] });
  process.stdout.on('error', () => tail.kill());
  process.on('SIGINT', () => tail.kill());
  for await (const line of createInterface({ input: tail.stdout })) print(isTerminal ? readable(line) : line);
}

/** One line of the log as people read it. */
export function readable(line: string): string {
  let fields: Record<string, unknown>;
  try {
    fields = JSON.parse(line) as Record<string, unknown>;
  } catch {
    // What Node prints itself.
    return line;
  }
  const [level, color] = LEVELS[Number(fields.level)] ?? [`${fields.level}`, 'dim'];
  const time = typeof fields.time === 'number' ? new Date(fields.time).toISOString().slice(11, 23) : `${fields.time}`;
  const rest = Object.entries(fields)
    .filter(([name]) => !HIDDEN.has(name))
    .map(([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`);
  return `${style('dim', time)} ${style(color, level.padEnd(5))} ${fields.msg ?? ''} ${style('dim', rest.join(' '))}`.trimEnd();
}
