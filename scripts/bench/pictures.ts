/** Which curves are drawn of which results: one file for each workload that has a curve, one panel for each of its figures. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { drawChart, type Panel } from './chart.ts';
import { type CellResult, summarize } from './results.ts';
import { WORKLOADS } from './workloads/index.ts';

/** Writes `WORKLOAD.svg` for all results that have at least two points; resolves with the files written. */
export function drawPictures(cells: readonly CellResult[], directory: string): string[] {
  mkdirSync(directory, { recursive: true });
  const files: string[] = [];
  for (const { name, curve } of WORKLOADS) {
    if (curve === undefined) continue;
    const points = cells.filter((cell) => cell.workload === name && cell.x !== undefined);
    points.sort((a, b) => a.x! - b.x!);
    if (points.length < 2) continue;
    const systems = [...new Set(points.flatMap(({ runs }) => runs.map(({ system }) => system)))];
    const panels = curve.figures.map((figure): Panel => {
      const series = systems.map((system) => ({
        name: system,
        points: points.flatMap((cell) => {
          const summary = summarize(cell, system, figure);
          return summary === undefined ? [] : [{ x: cell.x!, y: summary.median, min: summary.min, max: summary.max }];
        }),
      }));
      const unit = points
        .map((cell) => summarize(cell, systems[0]!, figure)?.figure.unit)
        .find((one) => one !== undefined);
      return { title: `${figure}, ${unit ?? ''}`, xLabel: curve.xLabel, series };
    });
    const file = join(directory, `${name}.svg`);
    writeFileSync(file, drawChart(curve.title, panels));
    files.push(file);
  }
  return files;
}
