/** Results as Markdown: a table for each workload, with medians, spread, ratios, and who else used the machine. */
import { renderGoals } from './goals.ts';
import type { Environment } from './machine.ts';
import { number } from './number-format.ts';
import { type CellResult, isNoisy, type Results, type RunResult, type Summary, summarize } from './results.ts';
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
  const systems = [...new Set(cells.flatMap(({ runs }) => runs.map(({ system }) => system)))];
  const [first, ...others] = systems;
  const header = ['', ...systems, ...others.map((other) => `${first} / ${other}`), 'runs', 'other CPU'];
  const rows = cells.flatMap((cell) => rowsOf(cell, systems));
  const remarks = cells.flatMap(remarksOf);
  const table = [header, header.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');
  return remarks.length === 0 ? table : `${table}\n\n${remarks.map((remark) => `- ${remark}`).join('\n')}`;
}

function rowsOf(cell: CellResult, systems: readonly string[]): string[][] {
  const names = [...new Set(cell.runs.flatMap(({ figures }) => figures.map(({ name }) => name)))];
  return names.map((name, at) => {
    const summaries = systems.map((system) => summarize(cell, system, name));
    const figure = summaries.find((summary) => summary !== undefined)!.figure;
    const ratios = summaries.slice(1).map((other) => ratioOf(summaries[0], other));
    const isFirst = at === 0;
    return [
      `${cell.label}, ${name}, ${figure.unit}`,
      ...summaries.map((summary) => (summary === undefined ? '–' : format(summary))),
      ...ratios,
      isFirst ? systems.map((system) => cell.runs.filter((run) => run.system === system).length).join(', ') : '',
      isFirst ? systems.map((system) => othersOf(cell.runs.filter((run) => run.system === system))).join(', ') : '',
    ];
  });
}

function ratioOf(ours: Summary | undefined, theirs: Summary | undefined): string {
  if (ours === undefined || theirs === undefined || theirs.median === 0) return '';
  return `${(ours.median / theirs.median).toFixed(2)}x`;
}

/** Median, and the spread if there were several runs. */
function format({ median, min, max, runs }: Summary): string {
  return runs === 1 ? number(median) : `${number(median)} (${number(min)}–${number(max)})`;
}

/** The largest share of others in these runs, with a mark if it was too much. */
function othersOf(runs: readonly RunResult[]): string {
  const shares = runs.flatMap(({ othersShare }) => (othersShare === undefined ? [] : [othersShare]));
  if (shares.length === 0) return '–';
  return `${(Math.max(...shares) * 100).toFixed(0)} %${runs.some(isNoisy) ? ' **not quiet**' : ''}`;
}

function remarksOf(cell: CellResult): string[] {
  const texts = cell.runs.flatMap(({ system, remark }) =>
    remark === undefined ? [] : [`${cell.label}, ${system}: ${remark}`],
  );
  return [...new Set(texts)];
}

export function noiseOf(results: Results): string | undefined {
  const runs = results.cells.flatMap(({ runs }) => runs);
  const noisy = runs.filter(isNoisy);
  if (noisy.length === 0) return undefined;
  const most = Math.max(...noisy.map(({ othersShare }) => othersShare ?? 0));
  return `Warning: the machine was not quiet in ${noisy.length} of ${runs.length} runs (others had up to ${(most * 100).toFixed(0)} % of its CPU): do not quote these figures`;
}
