/** How the commands look: colour on terminals only, tables, one line that changes while something is waited for. */
import { styleText } from 'node:util';

type Style = Parameters<typeof styleText>[0];

const isTerminal = process.stdout.isTTY === true;
const hasColor = isTerminal && process.env.NO_COLOR === undefined;

export function style(format: Style, text: string): string {
  return hasColor ? styleText(format, text) : text;
}

export function print(text = ''): void {
  process.stdout.write(`${text}\n`);
}

/** Overwrites the current line on a terminal; elsewhere nothing. An empty text clears it. */
export function progress(text: string): void {
  if (isTerminal) process.stdout.write(`\r\u001b[2K${style('dim', text)}`);
}

export interface Column<Row> {
  readonly title: string;
  readonly align?: 'right';
  text(row: Row): string;
  format?(row: Row): Style | undefined;
}

export function table<Row>(columns: readonly Column<Row>[], rows: readonly Row[]): string {
  const widths = columns.map((column) => Math.max(column.title.length, ...rows.map((row) => column.text(row).length)));
  const pad = (text: string, i: number): string =>
    columns[i]?.align === 'right' ? text.padStart(widths[i] as number) : text.padEnd(widths[i] as number);
  const lines = [columns.map((column, i) => style('dim', pad(column.title, i))).join('  ')];
  for (const row of rows) {
    const cells = columns.map((column, i) => {
      const format = column.format?.(row);
      const text = pad(column.text(row), i);
      return format === undefined ? text : style(format, text);
    });
    lines.push(cells.join('  ').trimEnd());
  }
  return lines.join('\n');
}

export function megabytes(bytes: number | null): string {
  return bytes === null ? '-' : `${(bytes / 2 ** 20).toFixed(0)} MB`;
}

export function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(2)} s`;
}

/** 1 → "broker 1", 1 and 3 → "brokers 1 and 3". */
export function brokers(ids: readonly number[]): string {
  const last = ids.at(-1);
  if (ids.length === 1) return `broker ${last}`;
  return `brokers ${ids.slice(0, -1).join(', ')} and ${last}`;
}

export function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** Asks on a terminal; true without asking elsewhere. */
export async function confirm(question: string): Promise<boolean> {
  if (!isTerminal || process.stdin.isTTY !== true) return true;
  const { createInterface } = await import('node:readline/promises');
  const lines = createInterface({ input: process.stdin, output: process.stdout });
  try {
    return /^y(es)?$/i.test((await lines.question(`${question} [y/N] `)).trim());
  } finally {
    lines.close();
  }
}
