import { describe, expect, test } from 'vitest';
import { drawChart } from './chart.ts';
import { renderGoals } from './goals.ts';
import { Histogram } from './histogram.ts';
import { usageBetween } from './machine.ts';
import { openLoop } from './open-loop.ts';
import { type CellResult, isNoisy, mergeCells, type Results, summarize } from './results.ts';

function cell(id: string, values: Record<string, number[]>, figure = 'throughput'): CellResult {
  const runs = Object.entries(values).flatMap(([system, list]) =>
    list.map((value, round) => ({
      system,
      round,
      load: 0,
      figures: [{ name: figure, unit: 'records/s', better: 'higher' as const, value }],
    })),
  );
  return { workload: id.split('-')[0]!, cell: id, label: id, runs };
}

describe('results', () => {
  test('summarize() gives the median of the rounds and their spread', () => {
    const summary = summarize(cell('produce-12', { Flotilla: [5, 1, 3], Kafka: [2, 4] }), 'Flotilla', 'throughput');
    expect(summary).toMatchObject({ median: 3, min: 1, max: 5, runs: 3 });
    expect(summarize(cell('produce-12', { Kafka: [2, 4] }), 'Kafka', 'throughput')?.median).toBe(3);
    expect(summarize(cell('produce-12', { Kafka: [2, 4] }), 'Flotilla', 'throughput')).toBeUndefined();
  });

  test('mergeCells() puts runs of the same cell together', () => {
    const [first, second] = [{ Flotilla: [1] }, { Kafka: [2] }].map(
      (values) => ({ cells: [cell('produce-12', values)] }) as unknown as Results,
    );
    const merged = mergeCells([first!, second!]);
    expect(merged).toHaveLength(1);
    expect(merged[0]!.runs.map(({ system }) => system)).toEqual(['Flotilla', 'Kafka']);
  });

  test('isNoisy() is true above 5 % of others', () => {
    const run = { system: 'Flotilla', round: 0, load: 0, figures: [] };
    expect(isNoisy({ ...run, othersShare: 0.04, stealShare: 0 })).toBe(false);
    expect(isNoisy({ ...run, othersShare: 0.06, stealShare: 0 })).toBe(true);
    expect(isNoisy({ ...run, othersShare: 0, stealShare: 0.03 })).toBe(true);
  });
});

describe('goals', () => {
  test('a ratio is met or missed', () => {
    expect(renderGoals([cell('produce-12', { Flotilla: [200], Kafka: [100] })])).toContain('| 2.00x | ≥ 2x | yes |');
    expect(renderGoals([cell('produce-12', { Flotilla: [199], Kafka: [100] })])).toContain('**no**');
  });

  test('a pause is judged by the longest', () => {
    expect(renderGoals([cell('failover-kill', { Flotilla: [100, 100, 301] }, 'pause, worst')])).toContain('**no**');
    expect(renderGoals([cell('failover-kill', { Flotilla: [100, 100, 300] }, 'pause, worst')])).toContain('yes');
  });

  test('nothing is said about what was not measured', () => {
    expect(renderGoals([cell('floor-append', { machine: [1] })])).toBeUndefined();
  });
});

describe('usageBetween()', () => {
  test('leaves out what was killed and counts what was started', () => {
    const snapshot = { client: 0, resting: new Map(), kernelThreads: 0, steal: 0 };
    const before = {
      ...snapshot,
      atMs: 0,
      busy: 10,
      brokers: new Map([
        [1, 5],
        [2, 3],
      ]),
    };
    const after = {
      ...snapshot,
      atMs: 1000,
      busy: 11,
      brokers: new Map([
        [2, 3.5],
        [3, 0.25],
      ]),
    };
    expect(usageBetween(before, after).brokersSeconds).toBeCloseTo(0.75);
  });
});

describe('Histogram', () => {
  test('quantiles are exact to one percent', () => {
    const histogram = new Histogram();
    for (let i = 1; i <= 1000; i++) histogram.record(i / 10);
    const { p50Ms, p99Ms, maxMs } = histogram.quantiles();
    expect(p50Ms / 50).toBeCloseTo(1, 1);
    expect(p99Ms / 99).toBeCloseTo(1, 1);
    expect(maxMs).toBe(100);
  });
});

describe('openLoop()', () => {
  test('makes every call once, in order, however late', async () => {
    const calls: number[] = [];
    await openLoop({ perSecond: 1e9, total: 50 }, (index) => calls.push(index));
    expect(calls).toEqual(Array.from({ length: 50 }, (_, i) => i));
  });
});

describe('drawChart()', () => {
  const series = (name: string, ys: number[]) => ({
    name,
    points: ys.map((y, i) => ({ x: 10 ** i, y, min: y, max: y })),
  });

  test('draws every series and says where an axis is logarithmic', () => {
    const svg = drawChart('Title', [
      { title: 'MB/s', xLabel: 'partitions', series: [series('A & B', [1, 2, 3]), series('C', [4, 5, 6])] },
    ]);
    expect(svg).toContain('A &amp; B');
    expect(svg.match(/<path /g)).toHaveLength(2);
    expect(svg.match(/<circle /g)).toHaveLength(6);
    expect(svg).toContain('partitions (logarithmic)');
    expect(svg).not.toContain('NaN');
  });

  test('draws values that are all the same, and zeros', () => {
    const panel = { title: 'MB/s', xLabel: 'partitions', series: [series('A', [0, 0])] };
    expect(drawChart('Title', [panel])).not.toContain('NaN');
  });
});
