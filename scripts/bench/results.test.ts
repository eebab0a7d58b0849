import { describe, expect, test } from 'vitest';
import { drawChart } from './chart.ts';
import { renderGoals } from './goals.ts';
import { Histogram } from './histogram.ts';
import { usageBetween } from './machine.ts';
import { openLoop } from './open-loop.ts';
import {
  type CellResult,
  countedRuns,
  describeNoise,
  isNoisy,
  mergeCells,
  type Results,
  ratioOf,
  summarize,
} from './results.ts';
import { renderReport, warningsOf } from './tables.ts';
import { parseReport, parseSteadyState } from './workloads/tools.ts';

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

  test('ratioOf() is the median of the rounds, not the ratio of the medians', () => {
    const result = cell('produce-12', { Flotilla: [100, 60, 30], Kafka: [100, 20, 10] });
    expect(ratioOf(result, 'Flotilla', 'Kafka', 'throughput')).toEqual({ median: 3, min: 1, max: 3, runs: 3 });
  });

  test('ratioOf() takes only rounds that both have, and nothing that cannot be divided', () => {
    const uneven = cell('produce-12', { Flotilla: [100, 60], Kafka: [50] });
    expect(ratioOf(uneven, 'Flotilla', 'Kafka', 'throughput')).toEqual({ median: 2, min: 2, max: 2, runs: 1 });
    const zero = cell('produce-12', { Flotilla: [100], Kafka: [0] });
    expect(ratioOf(zero, 'Flotilla', 'Kafka', 'throughput')).toBeUndefined();
    expect(ratioOf(cell('produce-12', { Flotilla: [1] }), 'Flotilla', 'Kafka', 'throughput')).toBeUndefined();
  });

  test('ratioOf() keeps the rounds of different files apart', () => {
    const files = [
      { Flotilla: [10], Kafka: [10] },
      { Flotilla: [90], Kafka: [30] },
    ].map((values) => ({ cells: [cell('produce-12', values)] }) as unknown as Results);
    const ratio = ratioOf(mergeCells(files)[0]!, 'Flotilla', 'Kafka', 'throughput');
    expect(ratio).toEqual({ median: 2, min: 1, max: 3, runs: 2 });
  });

  test('runs that were not quiet count only if there are no others', () => {
    const result = cell('produce-12', { Flotilla: [1, 100] });
    const [quiet, noisy] = result.runs;
    const mixed = { ...result, runs: [quiet!, { ...noisy!, stealShare: 0.3 }] };
    expect(countedRuns(mixed, 'Flotilla')).toEqual([quiet]);
    expect(summarize(mixed, 'Flotilla', 'throughput')).toMatchObject({ median: 1, runs: 1 });
    const allNoisy = { ...result, runs: mixed.runs.map((run) => ({ ...run, stealShare: 0.3 })) };
    expect(summarize(allNoisy, 'Flotilla', 'throughput')).toMatchObject({ median: 50.5, runs: 2 });
  });

  test('describeNoise() says who had the CPU', () => {
    const run = { system: 'Flotilla', round: 0, load: 0, figures: [], othersShare: 0 };
    expect(describeNoise(run)).toBeUndefined();
    expect(describeNoise({ ...run, stealShare: 0.4 })).toBe('40 % stolen by the hypervisor');
    expect(describeNoise({ ...run, othersShare: 0.1, restingShare: 0.2 })).toBe(
      '10 % others, 20 % idle systems beside it',
    );
  });

  test('isNoisy() is true above 5 % of others', () => {
    const run = { system: 'Flotilla', round: 0, load: 0, figures: [] };
    expect(isNoisy({ ...run, othersShare: 0.04, stealShare: 0 })).toBe(false);
    expect(isNoisy({ ...run, othersShare: 0.06, stealShare: 0 })).toBe(true);
    expect(isNoisy({ ...run, othersShare: 0, stealShare: 0.03 })).toBe(true);
  });
});

describe('tables', () => {
  const environment = {
    ...{ date: '', cpu: '', cores: 2, memoryGb: 1, kernel: '', node: '', java: undefined, commit: '', scheduling: '' },
    ...{ loadAtStart: 0, loadAtEnd: 0 },
  };

  test('a cell that failed on one system says so, and the other has its figure', () => {
    const failures = [{ system: 'Kafka', round: 0, error: 'It did not start' }];
    const failed = { ...cell('produce-12', { Flotilla: [100] }), failures };
    const report = renderReport([failed], [environment]);
    expect(report).toContain('| produce-12, throughput, records/s | 100 | **failed** |  | 1, 0 (1 **failed**) |');
    expect(warningsOf([failed])).toEqual(['Failed: produce-12 on Kafka, round 1: It did not start']);
  });

  test('a cell that failed everywhere has a row', () => {
    const failures = ['Flotilla', 'Kafka'].map((system) => ({ system, round: 0, error: 'Nothing' }));
    const report = renderReport([{ ...cell('produce-12', {}), failures }], [environment]);
    expect(report).toContain('| produce-12 | **failed** | **failed** |');
  });

  test('ratios have their spread and are never infinite', () => {
    const rounds = renderReport([cell('produce-12', { Flotilla: [100, 300], Kafka: [100, 100] })], [environment]);
    expect(rounds).toContain('2.00x (1.00–3.00)');
    const zero = renderReport([cell('produce-12', { Flotilla: [100], Kafka: [0] })], [environment]);
    expect(zero).not.toContain('Infinity');
  });
});

describe("the output of Kafka's producer tool", () => {
  const interval =
    '52341 records sent, 10468.2 records/sec (10.22 MB/sec), 2123.4 ms avg latency, 2890.0 ms max latency.';
  const summary = (p50: number, p99: number): string =>
    `3000 records sent, 199.9 records/sec (0.02 MB/sec), 1.91 ms avg latency, 42.00 ms max latency, ${p50} ms 50th, 9 ms 95th, ${p99} ms 99th, 40 ms 99.9th.`;

  test('intervals are told from summaries and warnings', () => {
    expect(parseReport(interval)).toEqual({ records: 52_341, meanMs: 2123.4 });
    expect(parseReport(summary(1, 2))).toBeUndefined();
    expect(parseReport('Option --producer-props has been deprecated')).toBeUndefined();
  });

  test('of two summaries the last counts', () => {
    expect(parseSteadyState(`${interval}\n${summary(5, 50)}\n${summary(2, 20)}\n`)).toEqual({ p50Ms: 2, p99Ms: 20 });
    expect(() => parseSteadyState(interval)).toThrow('not understood');
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
