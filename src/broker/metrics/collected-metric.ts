/**
 * Metrics whose values are read when they are scraped. prom-client's own counters cost a hash of labels per increment; these cost nothing until somebody asks.
 */
import type { Metric, MetricObjectWithValues, MetricValue, Registry } from 'prom-client';
import type { HistogramView } from '../../std/histogram.ts';

export type Labels = Readonly<Record<string, string | number>>;

export interface Sample {
  readonly labels?: Labels;
  readonly value: number;
}

interface Description {
  /** Without prefix. */
  readonly name: string;
  readonly help: string;
}

const PREFIX = 'flotilla_';

/** A value that only grows, of one or more label sets. */
export function registerCounter(
  registry: Registry,
  description: Description,
  read: () => number | Iterable<Sample>,
): void {
  register(registry, description, 'counter', () => toValues(read()));
}

/** A value that goes up and down. */
export function registerGauge(
  registry: Registry,
  description: Description,
  read: () => number | Iterable<Sample>,
): void {
  register(registry, description, 'gauge', () => toValues(read()));
}

/** Histograms of one name; `scale` converts their unit to the one in the name (0.001: milliseconds to seconds). */
export function registerHistogram(
  registry: Registry,
  description: Description & { readonly scale: number },
  read: () => Iterable<{ readonly labels?: Labels; readonly histogram: HistogramView }>,
): void {
  const { scale } = description;
  register(registry, description, 'histogram', (name) => {
    const values: PromValue[] = [];
    for (const { labels = {}, histogram } of read()) {
      let count = 0;
      for (let bucket = 0; bucket < histogram.counts.length; bucket++) {
        count += histogram.counts[bucket]!;
        const bound = histogram.bounds[bucket];
        const le = bound === undefined ? '+Inf' : round(bound * scale);
        values.push({ labels: { ...labels, le }, value: count, metricName: `${name}_bucket` });
      }
      values.push({ labels: { ...labels }, value: histogram.sum * scale, metricName: `${name}_sum` });
      values.push({ labels: { ...labels }, value: count, metricName: `${name}_count` });
    }
    return values;
  });
}

type PromValue = MetricValue<string> & { metricName?: string };

function register(
  registry: Registry,
  { name, help }: Description,
  type: 'counter' | 'gauge' | 'histogram',
  read: (fullName: string) => PromValue[],
): void {
  const fullName = `${PREFIX}${name}`;
  const metric = {
    name: fullName,
    help,
    get: () =>
      Promise.resolve({
        name: fullName,
        help,
        type,
        aggregator: 'sum',
        values: read(fullName),
      } as unknown as MetricObjectWithValues<MetricValue<string>>),
  };
  // A registry needs a name and get() only; prom-client's type asks for one of its own classes.
  registry.registerMetric(metric as unknown as Metric);
}

function toValues(read: number | Iterable<Sample>): PromValue[] {
  if (typeof read === 'number') return [{ labels: {}, value: read }];
  return [...read].map(({ labels = {}, value }) => ({ labels: { ...labels }, value }));
}

/** 0.001 × 16 is not 0.016 in binary. */
function round(value: number): number {
  return Number(value.toPrecision(12));
}
