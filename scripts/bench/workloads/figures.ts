/** Figures that several workloads give, under the same names. */
import type { Quantiles } from '../histogram.ts';
import { type CpuUsage, rssMegabytesOf } from '../machine.ts';
import type { Context, Figure } from '../workload.ts';

export function recordsPerSecond(value: number): Figure {
  return { name: 'throughput', unit: 'records/s', better: 'higher', value };
}

export function megabytesPerSecond(value: number, name = 'throughput in bytes'): Figure {
  return { name, unit: 'MB/s', better: 'higher', value };
}

export function milliseconds(name: string, value: number): Figure {
  return { name, unit: 'ms', better: 'lower', value };
}

export function quantiles(prefix: string, { p50Ms, p99Ms, p999Ms, maxMs }: Quantiles): Figure[] {
  return [
    milliseconds(`${prefix} p50`, p50Ms),
    milliseconds(`${prefix} p99`, p99Ms),
    milliseconds(`${prefix} p99.9`, p999Ms),
    milliseconds(`${prefix} max`, maxMs),
  ];
}

/** CPU seconds for each GB (10⁹ bytes of records, counted once). */
export function cpuPerGigabyte(context: Context, usage: CpuUsage, bytes: number): Figure[] {
  const client: Figure = {
    name: 'CPU of the client',
    unit: 's/GB',
    better: undefined,
    value: (usage.clientSeconds * 1e9) / bytes,
  };
  if (context.pids.length === 0) return [client];
  const value = (usage.brokersSeconds * 1e9) / bytes;
  return [{ name: 'CPU of all brokers', unit: 's/GB', better: 'lower', value }, client];
}

/** Of the broker that has most. */
export function residentMemory(context: Context): Figure[] {
  const megabytes = rssMegabytesOf(context.pids);
  if (megabytes.length === 0) return [];
  return [{ name: 'RSS of the largest broker', unit: 'MB', better: 'lower', value: Math.max(...megabytes) }];
}

/** A sentence about refused batches, by error code; undefined if there were none. */
export function remarkOf(errors: ReadonlyMap<number, number>): string | undefined {
  if (errors.size === 0) return undefined;
  return [...errors].map(([code, count]) => `${count} batches refused with error ${code}`).join(', ');
}
