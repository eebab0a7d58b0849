/** Numbers of a run, from its history: throughput and latency over time, gaps, and how long each fault kept partitions from acknowledging. */
import { acknowledgements } from '../checker/check-history.ts';
import { type HistoryEvent, isClientEvent, Mark, pairOperations, type TopicRecreated } from '../history/history.ts';
import { attempted } from '../history/operation.ts';
import type { FaultRecord } from '../nemesis/nemesis.ts';

const BIN_NS = 250e6;
/** Pauses between two acknowledgements that the picture shows. */
const GAP_SHOWN_NS = 400e6;

export interface Bin {
  /** Seconds since the run began. */
  readonly atSeconds: number;
  readonly acknowledgedPerSecond: number;
  readonly unknownPerSecond: number;
  readonly failedPerSecond: number;
  readonly p50Ms: number | null;
  readonly p99Ms: number | null;
}

export interface Measurement {
  readonly bins: readonly Bin[];
  readonly longestGapMs: number;
  /** Seconds since the run began. */
  readonly longestGapAtSeconds: number;
  /** Partition by partition, when it acknowledged; what lies between two spans is a gap. */
  readonly partitions: readonly { readonly key: number; readonly spans: readonly Span[] }[];
  /** Of each fault that took effect, in order: see {@link recoveries}. */
  readonly recoveriesMs: readonly number[];
  readonly latencyP50Ms: number;
  readonly latencyP99Ms: number;
}

/** Seconds since the run began. */
export interface Span {
  readonly from: number;
  readonly to: number;
}

/** A time (ns) in which the machine kept the harness itself from running: what happened then says nothing about brokers. */
export interface Stall {
  readonly from: number;
  readonly to: number;
}

/** Gaps and recoveries do not count the time of `stalls`, nor partitions of topics that come and go. */
export function measure(
  events: readonly HistoryEvent[],
  faults: readonly FaultRecord[],
  stalls: readonly Stall[] = [],
): Measurement {
  const passing = passingKeys(events);
  const counted = (from: number, to: number): number =>
    stalls.reduce((time, stall) => time - Math.max(0, Math.min(to, stall.to) - Math.max(from, stall.from)), to - from);
  const operations = pairOperations(events);
  const acks = acknowledgements(operations);
  const endNs = acks.at(-1)?.time ?? 0;
  const bins = Array.from({ length: Math.ceil((endNs + 1) / BIN_NS) }, () => ({
    acknowledged: 0,
    unknown: 0,
    failed: 0,
    latencies: [] as number[],
  }));
  for (const { time, records, latencyNs } of acks) {
    const bin = bins[Math.floor(time / BIN_NS)]!;
    bin.acknowledged += records;
    bin.latencies.push(latencyNs / 1e6);
  }
  /** key → sends acknowledged: [invoked, acknowledged]. */
  const byKey = new Map<number, [number, number][]>();
  for (const operation of operations) {
    if (operation.f !== 'send' || operation.completion === undefined) continue;
    const bin = bins[Math.floor(operation.completion.time / BIN_NS)];
    const records = [...attempted(operation)];
    if (operation.type === 'ok') {
      const { key } = records[0]!;
      if (passing.has(key)) continue;
      const spans = byKey.get(key);
      const span: [number, number] = [operation.invoke.time, operation.completion.time];
      if (spans === undefined) byKey.set(key, [span]);
      else spans.push(span);
    } else if (bin !== undefined && operation.invoke.acks !== 0) {
      if (operation.type === 'info') bin.unknown += records.length;
      else bin.failed += records.length;
    }
  }
  let longestGapNs = 0;
  let longestGapAt = 0;
  for (const spans of byKey.values()) {
    const times = spans.map(([, acknowledged]) => acknowledged).sort((a, b) => a - b);
    times.forEach((time, i) => {
      const gap = counted(times[i - 1] ?? time, time);
      if (gap <= longestGapNs) return;
      longestGapNs = gap;
      longestGapAt = times[i - 1]!;
    });
  }
  const latencies = acks.map(({ latencyNs }) => latencyNs / 1e6).sort((a, b) => a - b);
  const perSecond = 1e9 / BIN_NS;
  return {
    bins: bins.map(({ acknowledged, unknown, failed, latencies: inBin }, i) => {
      inBin.sort((a, b) => a - b);
      return {
        atSeconds: (i * BIN_NS) / 1e9,
        acknowledgedPerSecond: acknowledged * perSecond,
        unknownPerSecond: unknown * perSecond,
        failedPerSecond: failed * perSecond,
        p50Ms: inBin.length === 0 ? null : quantile(inBin, 0.5),
        p99Ms: inBin.length === 0 ? null : quantile(inBin, 0.99),
      };
    }),
    longestGapMs: longestGapNs / 1e6,
    longestGapAtSeconds: longestGapAt / 1e9,
    partitions: [...byKey].sort(([a], [b]) => a - b).map(([key, sends]) => ({ key, spans: spansOf(sends) })),
    recoveriesMs: recoveries(faults, byKey, counted),
    latencyP50Ms: quantile(latencies, 0.5),
    latencyP99Ms: quantile(latencies, 0.99),
  };
}

function passingKeys(events: readonly HistoryEvent[]): ReadonlySet<number> {
  const passing = new Set<number>();
  for (const event of events) {
    if (isClientEvent(event) || event.f !== Mark.topicRecreated) continue;
    for (const key of (event.value as TopicRecreated).keys) passing.add(key);
  }
  return passing;
}

function spansOf(sends: readonly [number, number][]): Span[] {
  const times = sends.map(([, acknowledged]) => acknowledged).sort((a, b) => a - b);
  const spans: { from: number; to: number }[] = [];
  for (const time of times) {
    const last = spans.at(-1);
    if (last === undefined || time - last.to * 1e9 > GAP_SHOWN_NS) spans.push({ from: time / 1e9, to: time / 1e9 });
    else last.to = time / 1e9;
  }
  return spans;
}

/** Of each fault that took effect: the longest silence of a partition that it touches, from its begin on; if it took the quorum away, what is left of the silence when the first broker is started again. */
function recoveries(
  faults: readonly FaultRecord[],
  byKey: ReadonlyMap<number, [number, number][]>,
  counted: (from: number, to: number) => number,
): number[] {
  const timesOf = [...byKey.values()].map((sends) =>
    sends.map(([, acknowledged]) => acknowledged).sort((a, b) => a - b),
  );
  const result: number[] = [];
  for (const { from, to, recoverFrom, quorumBackAt, evidence } of faults) {
    if (evidence === undefined || !Number.isFinite(to)) continue;
    const end = quorumBackAt ?? to;
    const [since, until] = recoverFrom === 'begin' ? [from, to] : [end, end];
    let slowest = 0;
    let isComplete = true;
    for (const times of timesOf) {
      if (times.length === 0 || times.at(-1)! < until) {
        isComplete = false;
        continue;
      }
      times.forEach((time, i) => {
        const before = times[i - 1] ?? time;
        if (time >= since && before <= until) slowest = Math.max(slowest, counted(Math.max(before, since), time));
      });
    }
    if (isComplete) result.push(slowest / 1e6);
  }
  return result;
}

/** `sorted` ascending; NaN if empty. */
export function quantile(sorted: readonly number[], q: number): number {
  if (sorted.length === 0) return Number.NaN;
  return sorted[
    Math.min(sorted.length - 1, Math.ceil(q * sorted.length) - 1 < 0 ? 0 : Math.ceil(q * sorted.length) - 1)
  ]!;
}
