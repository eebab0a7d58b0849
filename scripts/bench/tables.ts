/** Results as Markdown: a table for each workload, with medians, spread, ratios, and who else used the machine. */
import { renderGoals } from './goals.ts';
import type { Environment } from './machine.ts';
import { number, renderRatio } from './number-format.ts';
import {
  type CellResult,
  countedRuns,
  describeNoise,
  isNoisy,
  type RunResult,
  ratioOf,
  type Summary,
  summarize,
} from './results.ts';
import { WORKLOADS } from './workloads/index.ts';

export function renderReport(cells: readonly CellResult[], environments: readonly Environment[]): string {
  const parts = [environments.map(renderEnvironment).join('\n')];
  const goals = renderGoals(cells);
  if (goals !== undefined) parts.push(`### Against the goals\n\n${goals}`);
  const workloads = [...new Set(cells.map(({ workload }) => workload))];
  for (const workload of workloads) {
    const about = WORKLOADS.find(({ name }) => name === workload)?.about;
    const heading = `### ${workload}${about === undefined ? '' : `: ${about}`}`;
    parts.push(`${heading}\n\n${renderTable(cells.filter((cell) => cell.workload === workload))}`);
  }
  return `${parts.join('\n\n')}\n`;
}

export function renderEnvironment(environment: Environment): string {
  const { cpu, cores, memoryGb, kernel, node, java, commit, date, scheduling, loadAtStart, loadAtEnd } = environment;
  const versions = java === undefined ? `Node ${node}` : `Node ${node}, ${java}`;
  return `- ${date} UTC, commit ${commit}: ${cores} × ${cpu}, ${memoryGb} GB, ${kernel}; ${versions}; ${scheduling}; load average ${loadAtStart.toFixed(2)} at the start, ${loadAtEnd.toFixed(2)} at the end`;
}

function renderTable(cells: readonly CellResult[]): string {
  const systems = [
    ...new Set(cells.flatMap(({ runs, failures }) => [...runs, ...(failures ?? [])].map(({ system }) => system))),
  ];
  const [first, ...others] = systems;
  const header = ['', ...systems, ...others.map((other) => `${first} / ${other}`), 'runs', 'other CPU'];
  const rows = cells.flatMap((cell) => rowsOf(cell, systems));
  const remarks = cells.flatMap(remarksOf);
  const table = [header, header.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');
  return remarks.length === 0 ? table : `${table}\n\n${remarks.map((remark) => `- ${remark}`).join('\n')}`;
}

function rowsOf(cell: CellResult, systems: readonly string[]): string[][] {
  const runsText = systems.map((system) => countsOf(cell, system)).join(', ');
  const noiseText = systems.map((system) => othersOf(countedRuns(cell, system))).join(', ');
  const names = [...new Set(cell.runs.flatMap(({ figures }) => figures.map(({ name }) => name)))];
  if (names.length === 0) {
    const failed = systems.map((system) => (failuresOf(cell, system) > 0 ? '**failed**' : '–'));
    return [[cell.label, ...failed, ...systems.slice(1).map(() => ''), runsText, '–']];
  }
  return names.map((name, at) => {
    const summaries = systems.map((system) => summarize(cell, system, name));
    const figure = summaries.find((summary) => summary !== undefined)!.figure;
    const ratios = systems.slice(1).map((other) => renderRatio(ratioOf(cell, systems[0]!, other, name)));
    return [
      `${cell.label}, ${name}, ${figure.unit}`,
      ...summaries.map((summary, i) => {
        if (summary !== undefined) return format(summary);
        return failuresOf(cell, systems[i]!) > 0 ? '**failed**' : '–';
      }),
      ...ratios,
      at === 0 ? runsText : '',
      at === 0 ? noiseText : '',
    ];
  });
}

const failuresOf = (cell: CellResult, system: string): number =>
  (cell.failures ?? []).filter((failure) => failure.system === system).length;

/** Runs that count, and how many do not or failed. */
function countsOf(cell: CellResult, system: string): string {
  const counted = countedRuns(cell, system).length;
  const left = cell.runs.filter((run) => run.system === system).length - counted;
  const failed = failuresOf(cell, system);
  const notes = [
    ...(left > 0 ? [`${left} not quiet and left out`] : []),
    ...(failed > 0 ? [`${failed} **failed**`] : []),
  ];
  return notes.length === 0 ? `${counted}` : `${counted} (${notes.join(', ')})`;
}

/** Median, and the spread if there were several runs. */
function format({ median, min, max, runs }: Summary): string {
  return runs === 1 ? number(median) : `${number(median)} (${number(min)}–${number(max)})`;
}

/** The largest share of others in these runs, and what was too much. */
function othersOf(runs: readonly RunResult[]): string {
  const shares = runs.flatMap(({ othersShare }) => (othersShare === undefined ? [] : [othersShare]));
  const noise = runs.map(describeNoise).find((text) => text !== undefined);
  if (noise !== undefined) return `**not quiet: ${noise}**`;
  return shares.length === 0 ? '–' : `${(Math.max(...shares) * 100).toFixed(0)} %`;
}

function remarksOf(cell: CellResult): string[] {
  const texts = cell.runs.flatMap(({ system, remark }) =>
    remark === undefined ? [] : [`${cell.label}, ${system}: ${remark}`],
  );
  return [...new Set(texts)];
}

/** What must be known before any figure is quoted: runs that were not quiet, and those that failed. */
export function warningsOf(cells: readonly CellResult[]): string[] {
  const warnings: string[] = [];
  const counted = cells.flatMap((cell) => {
    const systems = [...new Set(cell.runs.map(({ system }) => system))];
    return systems.flatMap((system) => countedRuns(cell, system).map((run) => ({ cell, run })));
  });
  const noisy = counted.filter(({ run }) => isNoisy(run));
  if (noisy.length > 0) {
    const names = [...new Set(noisy.map(({ cell }) => cell.cell))];
    warnings.push(
      `Warning: the machine was not quiet in ${noisy.length} of ${counted.length} runs that count: do not quote ${names.join(', ')}`,
    );
  }
  for (const { cell, failures } of cells) {
    for (const { system, round, error } of failures ?? []) {
      warnings.push(`Failed: ${cell} on ${system}, round ${round + 1}: ${error}`);
    }
  }
  return warnings;
}
