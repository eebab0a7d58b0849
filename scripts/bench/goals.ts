/** What this project wants to reach, as one table: each goal is a figure of a cell, compared with a limit, with another system, or with another cell of our own. */

import { number, renderRatio } from './number-format.ts';
import { type CellResult, ratioOf, type Spread, type Summary, spreadOf, summarize } from './results.ts';

interface Goal {
  readonly text: string;
  readonly cell: string;
  readonly figure: string;
  /** Ours over theirs: at least, or at most. */
  readonly ratio?: { readonly atLeast: number } | { readonly atMost: number };
  /** Ours at most. */
  readonly atMost?: number;
  /** The system that a ratio is to; the first other one if not given. */
  readonly to?: string;
  /** The ratio is to this cell of our own. */
  readonly toCell?: string;
}

const OURS = 'Flotilla';
const DEFAULT_PEER = 'Kafka';

const ratioGoals = (
  cells: readonly string[],
  text: string,
  figure: string,
  ratio: NonNullable<Goal['ratio']>,
): Goal[] => cells.map((cell) => ({ text: `${text}, ${cell}`, cell, figure, ratio, to: DEFAULT_PEER }));

const TWICE = { atLeast: 2 };
const GOALS: readonly Goal[] = [
  ...ratioGoals(
    ['tools-1', 'tools-12', 'tools-100', 'tools-1000'],
    "produce with Kafka's own tool, records/s",
    'throughput',
    TWICE,
  ),
  {
    text: "produce with Kafka's own tool against Kafka with fsync, tools-12",
    cell: 'tools-12',
    figure: 'throughput',
    ratio: { atLeast: 5 },
    to: 'Kafka-fsync',
  },
  ...ratioGoals(
    ['produce-1', 'produce-12', 'produce-100', 'produce-1000'],
    'produce, 64 KB batches, records/s',
    'throughput',
    TWICE,
  ),
  {
    text: 'produce against Kafka with fsync, produce-12',
    cell: 'produce-12',
    figure: 'throughput',
    ratio: { atLeast: 5 },
    to: 'Kafka-fsync',
  },
  {
    text: 'flat from 12 to 1,000 partitions',
    cell: 'produce-1000',
    figure: 'throughput',
    ratio: { atLeast: 0.9 },
    toCell: 'produce-12',
  },
  ...ratioGoals(['keys-12', 'keys-100'], 'produce, random keys, records/s', 'throughput', TWICE),
  ...ratioGoals(['latency-200', 'latency-2000'], 'acknowledged p50, ms', 'acknowledged p50', { atMost: 0.5 }),
  ...ratioGoals(['latency-200', 'latency-2000'], 'acknowledged p99, ms', 'acknowledged p99', { atMost: 0.15 }),
  ...ratioGoals(['latency-200', 'latency-2000'], 'end to end p50, ms', 'end to end p50', { atMost: 0.5 }),
  {
    text: 'acknowledged p99 at half of the own maximum, ms',
    cell: 'latency-half',
    figure: 'acknowledged p99',
    atMost: 10,
  },
  ...ratioGoals(['consume-hot', 'consume-cached', 'consume-cold'], 'consume, MB/s', 'throughput', { atLeast: 1 }),
  ...ratioGoals(['tools-12'], "consume with Kafka's own tool, MB/s", 'consumed, fetching alone', { atLeast: 1 }),
  {
    text: 'leader killed, longest pause, ms',
    cell: 'failover-kill',
    figure: 'pause, worst',
    atMost: 300,
  },
  {
    text: 'leader frozen, longest pause, ms',
    cell: 'failover-pause-impatient',
    figure: 'pause, worst',
    atMost: 2000,
  },
  {
    text: 'all killed, 1.7 GB in 1,100 partitions: first acknowledged record, s',
    cell: 'restart-1100-1700',
    figure: 'first acknowledged record',
    atMost: 2,
  },
  {
    text: 'start of an empty cluster: first acknowledged record, s',
    cell: 'start-empty',
    figure: 'first acknowledged record',
    atMost: 1.5,
  },
  { text: 'RSS of a broker, idle, MB', cell: 'start-empty', figure: 'RSS of the largest broker, idle', atMost: 120 },
  {
    text: 'RSS of a broker after throughput, MB',
    cell: 'produce-12',
    figure: 'RSS of the largest broker',
    atMost: 350,
  },
  { text: '1,000 partitions created, s', cell: 'many-1000', figure: 'created and led', atMost: 3 },
  { text: 'idle CPU with 4,000 partitions, % of a core', cell: 'many-4000', figure: 'idle CPU of a broker', atMost: 3 },
  {
    text: 'failover of all leaders of a broker, 4,000 partitions, s',
    cell: 'many-4000',
    figure: 'all leaders of a killed broker replaced',
    atMost: 1,
  },
  { text: 'RSS with 4,000 partitions, MB', cell: 'many-4000', figure: 'RSS of the largest broker', atMost: 500 },
  {
    text: 'throughput beside 1,000 idle connections',
    cell: 'connections-1000',
    figure: 'throughput',
    ratio: { atLeast: 0.9 },
    toCell: 'connections-0',
  },
  {
    text: 'throughput with 200 producers and 200 consumers instead of 3 and 3',
    cell: 'clients-200',
    figure: 'throughput',
    ratio: { atLeast: 0.9 },
    toCell: 'clients-3',
  },
];

/** Rows for the goals that the results say something about; undefined if there are none. */
export function renderGoals(cells: readonly CellResult[]): string | undefined {
  const rows = GOALS.flatMap((goal) => {
    const row = rowOf(goal, cells);
    return row === undefined ? [] : [`| ${row.join(' | ')} |`];
  });
  if (rows.length === 0) return undefined;
  return ['| | Flotilla | compared with | ratio | goal | met |', '|---|---|---|---|---|---|', ...rows].join('\n');
}

function rowOf(goal: Goal, cells: readonly CellResult[]): string[] | undefined {
  const cell = cells.find((candidate) => candidate.cell === goal.cell);
  const ours = cell === undefined ? undefined : summarize(cell, OURS, goal.figure);
  if (cell === undefined || ours === undefined) return undefined;
  if (goal.ratio === undefined) {
    // A pause is judged by the longest of all, everything else by the median of the rounds.
    const value = goal.figure.includes('worst') ? ours.max : ours.median;
    return [goal.text, number(value), '', '', `≤ ${goal.atMost}`, value <= goal.atMost! ? 'yes' : '**no**'];
  }
  const aim = 'atLeast' in goal.ratio ? `≥ ${goal.ratio.atLeast}x` : `≤ ${goal.ratio.atMost}x`;
  const compared = goal.toCell === undefined ? withSystem(goal, cell) : withCell(goal, ours, goal.toCell, cells);
  if (compared === undefined) {
    return goal.toCell === undefined ? [goal.text, number(ours.median), '–', '–', aim, '–'] : undefined;
  }
  const { median } = compared.ratio;
  const met = 'atLeast' in goal.ratio ? median >= goal.ratio.atLeast : median <= goal.ratio.atMost;
  return [goal.text, number(ours.median), compared.with, renderRatio(compared.ratio), aim, met ? 'yes' : '**no**'];
}

interface Comparison {
  readonly with: string;
  readonly ratio: Spread;
}

function withSystem(goal: Goal, cell: CellResult): Comparison | undefined {
  const other = summarize(cell, goal.to!, goal.figure);
  const ratio = ratioOf(cell, OURS, goal.to!, goal.figure);
  return other === undefined || ratio === undefined ? undefined : { with: `${goal.to} ${number(other.median)}`, ratio };
}

function withCell(goal: Goal, ours: Summary, name: string, cells: readonly CellResult[]): Comparison | undefined {
  const cell = cells.find((candidate) => candidate.cell === name);
  const other = cell === undefined ? undefined : summarize(cell, OURS, goal.figure);
  const ratio = other === undefined ? undefined : spreadOf([ours.median / other.median]);
  return other === undefined || ratio === undefined ? undefined : { with: `${name} ${number(other.median)}`, ratio };
}
