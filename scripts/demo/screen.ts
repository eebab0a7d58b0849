/** What the demo shows: a live line while something runs, a line when it is done, a table at the end. */
import { styleText } from 'node:util';

const isTerminal = process.stdout.isTTY === true;

export interface Row {
  readonly phase: string;
  readonly alive: string;
  readonly produced: string;
  readonly acknowledged: string;
  readonly readBack: string;
  readonly extra: string;
  readonly recovery: string;
  readonly problems: readonly string[];
}

const COLUMNS = [
  ['phase', 'phase'],
  ['alive', 'brokers'],
  ['produced', 'produced'],
  ['acknowledged', 'acked'],
  ['readBack', 'read back'],
  ['extra', 'unacked but present'],
  ['recovery', 'recovery'],
] as const;

export function title(text: string): void {
  process.stdout.write(`\n${styleText('bold', text)}\n`);
}

export function say(text: string): void {
  clear();
  process.stdout.write(`  ${text}\n`);
}

/** Overwrites the current line on a terminal; elsewhere nothing, so that logs stay readable. */
export function progress(text: string): void {
  if (!isTerminal) return;
  clear();
  process.stdout.write(styleText('dim', `  ${text}`));
}

function clear(): void {
  if (isTerminal) process.stdout.write('\r\u001b[2K');
}

export function table(rows: readonly Row[]): void {
  const widths = COLUMNS.map(([key, heading]) => Math.max(heading.length, ...rows.map((row) => row[key].length)));
  const line = (cells: readonly string[]) =>
    cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join('  ');
  process.stdout.write(`\n${styleText('bold', line(COLUMNS.map(([, heading]) => heading)))}\n`);
  process.stdout.write(`${line(widths.map((width) => '─'.repeat(width)))}\n`);
  for (const row of rows) {
    const mark = row.problems.length === 0 ? styleText('green', '✓') : styleText('red', '✗');
    process.stdout.write(`${line(COLUMNS.map(([key]) => row[key]))}  ${mark}\n`);
    for (const problem of row.problems) process.stdout.write(styleText('red', `    ${problem}\n`));
  }
}
