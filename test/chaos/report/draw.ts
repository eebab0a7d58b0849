/** One picture of a run: the verdict, which broker was hurt when, what clients got meanwhile, and how long recovering took. */
import type { Violation } from '../checker/violation.ts';
import type { FaultRecord } from '../nemesis/nemesis.ts';
import { type Measurement, quantile, type Stall } from './measure.ts';

export interface Picture {
  readonly title: string;
  readonly subtitle: string;
  readonly isGood: boolean;
  readonly verdict: string;
  readonly brokers: readonly number[];
  readonly faults: readonly FaultRecord[];
  readonly violations: readonly Violation[];
  readonly measurement: Measurement;
  /** When the machine kept the harness itself from running. */
  readonly stalls: readonly Stall[];
  /** When faults stopped and everything was healed, seconds. */
  readonly healedAtSeconds: number | undefined;
}

const WIDTH = 1200;
const LEFT = 92;
const RIGHT = 24;
const PLOT_WIDTH = WIDTH - LEFT - RIGHT;
const LANE_HEIGHT = 22;
const STRIP_HEIGHT = 14;
/** Fewer stand in line with the rest of the picture. */
const STALL_SHOWN_NS = 200e6;
const PANEL_HEIGHT = 150;
const GAP = 40;
const COLOR = {
  text: '#1f2933',
  faint: '#7b8794',
  grid: '#e4e7eb',
  good: '#0b7a4b',
  bad: '#c81e1e',
  acknowledged: '#2f6fb7',
  unknown: '#f0a202',
  failed: '#c81e1e',
  p99: '#8a3ffc',
  fault: '#f2b8a2',
  faultEdge: '#d1603d',
  recovery: '#2f6fb7',
  stall: '#9aa5b1',
} as const;

export function draw(picture: Picture): string {
  const { measurement, brokers, faults, violations } = picture;
  const endSeconds = Math.max(1, (measurement.bins.at(-1)?.atSeconds ?? 0) + 0.25);
  // Starting the brokers is no part of the picture.
  const firstAcknowledged = measurement.bins.find((bin) => bin.acknowledgedPerSecond > 0)?.atSeconds ?? 0;
  const startSeconds = Math.max(0, firstAcknowledged - 0.5);
  const spanSeconds = endSeconds - startSeconds;
  const x = (seconds: number): number =>
    LEFT + (Math.max(0, Math.min(seconds, endSeconds) - startSeconds) / spanSeconds) * PLOT_WIDTH;
  const lanesTop = 112;
  // Faults that are nobody's: topics that come and go.
  const hasOthers = faults.some(({ brokers: hurt }) => hurt.length === 0);
  const lanes = [
    ...brokers.map((broker) => ({
      name: `broker ${broker}`,
      faults: faults.filter(({ brokers: hurt }) => hurt.includes(broker)),
    })),
    ...(hasOthers ? [{ name: 'topics', faults: faults.filter(({ brokers: hurt }) => hurt.length === 0) }] : []),
  ];
  const stripsTop = lanesTop + lanes.length * LANE_HEIGHT + 26;
  const throughputTop = stripsTop + measurement.partitions.length * STRIP_HEIGHT + GAP;
  const latencyTop = throughputTop + PANEL_HEIGHT + GAP;
  const recoveryTop = latencyTop + PANEL_HEIGHT + GAP + 24;
  const height = recoveryTop + 110;
  const parts: string[] = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" font-family="Helvetica, Arial, sans-serif" font-size="12" fill="${COLOR.text}">`,
    `<rect width="${WIDTH}" height="${height}" fill="white"/>`,
    text(24, 34, picture.title, { size: 22, weight: 'bold' }),
    text(24, 56, picture.subtitle, { color: COLOR.faint }),
    `<rect x="24" y="68" width="8" height="22" fill="${picture.isGood ? COLOR.good : COLOR.bad}"/>`,
    text(40, 85, picture.verdict, { size: 16, weight: 'bold', color: picture.isGood ? COLOR.good : COLOR.bad }),
  ];

  // Faults shade everything below, so that the eye connects cause and effect.
  for (const { from, to, brokers: hurt } of faults) {
    if (hurt.length === 0) continue;
    const [a, b] = [x(from / 1e9), x(to / 1e9)];
    parts.push(
      `<rect x="${a.toFixed(1)}" y="${lanesTop}" width="${Math.max(1, b - a).toFixed(1)}" height="${latencyTop + PANEL_HEIGHT - lanesTop}" fill="${COLOR.fault}" opacity="0.25"/>`,
    );
  }
  lanes.forEach((lane, i) => {
    const y = lanesTop + i * LANE_HEIGHT;
    parts.push(text(LEFT - 10, y + 15, lane.name, { anchor: 'end' }));
    parts.push(`<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y + 11}" y2="${y + 11}" stroke="${COLOR.grid}"/>`);
    for (const fault of lane.faults) {
      const [a, b] = [x(fault.from / 1e9), x(fault.to / 1e9)];
      const style = fault.evidence === undefined ? `fill="white" stroke-dasharray="3 2"` : `fill="${COLOR.fault}"`;
      parts.push(
        `<rect x="${a.toFixed(1)}" y="${y + 3}" width="${Math.max(3, b - a).toFixed(1)}" height="${LANE_HEIGHT - 6}" ${style} stroke="${COLOR.faultEdge}" rx="2"><title>${escapeXml(`${fault.kind}: ${fault.evidence ?? 'did not take effect'}`)}</title></rect>`,
      );
      if (b - a > fault.kind.length * 5.6) parts.push(text(a + 4, y + 15, fault.kind, { size: 10 }));
    }
  });

  for (const { from, to } of picture.stalls) {
    if (to - from < STALL_SHOWN_NS) continue;
    const [a, b] = [x(from / 1e9), x(to / 1e9)];
    parts.push(
      `<rect x="${a.toFixed(1)}" y="${stripsTop - 6}" width="${Math.max(1, b - a).toFixed(1)}" height="${latencyTop + PANEL_HEIGHT - stripsTop + 6}" fill="${COLOR.stall}" opacity="0.35"><title>The machine kept the harness itself from running</title></rect>`,
    );
  }
  measurement.partitions.forEach(({ key, spans }, i) => {
    const y = stripsTop + i * STRIP_HEIGHT;
    parts.push(text(LEFT - 10, y + 10, `partition ${key}`, { anchor: 'end', color: COLOR.faint, size: 11 }));
    for (const { from, to } of spans) {
      const [a, b] = [x(from), x(to)];
      parts.push(
        `<rect x="${a.toFixed(1)}" y="${y + 2}" width="${Math.max(1, b - a).toFixed(1)}" height="${STRIP_HEIGHT - 4}" fill="${COLOR.acknowledged}" opacity="0.75"/>`,
      );
    }
  });
  if (measurement.longestGapMs > 0) {
    const from = x(measurement.longestGapAtSeconds);
    const to = x(measurement.longestGapAtSeconds + measurement.longestGapMs / 1000);
    const y = stripsTop - 5;
    const isRight = to > WIDTH - 220;
    parts.push(
      `<path d="M${from.toFixed(1)} ${y - 4}v8M${from.toFixed(1)} ${y}H${to.toFixed(1)}M${to.toFixed(1)} ${y - 4}v8" stroke="${COLOR.text}" fill="none"/>`,
      text(isRight ? from - 6 : to + 6, y + 4, `longest gap of a partition: ${formatMs(measurement.longestGapMs)}`, {
        size: 11,
        anchor: isRight ? 'end' : 'start',
      }),
    );
  }

  const maximum = niceCeil(Math.max(1, ...measurement.bins.map((bin) => bin.acknowledgedPerSecond)));
  parts.push(...axis(throughputTop, 'records/s', [0, maximum / 2, maximum], (v) => v / maximum, formatCount));
  const binWidth = (0.25 / spanSeconds) * PLOT_WIDTH;
  for (const bin of measurement.bins) {
    let base = throughputTop + PANEL_HEIGHT;
    for (const [value, color] of [
      [bin.acknowledgedPerSecond, COLOR.acknowledged],
      [bin.unknownPerSecond, COLOR.unknown],
      [bin.failedPerSecond, COLOR.failed],
    ] as const) {
      const h = Math.min(PANEL_HEIGHT, (value / maximum) * PANEL_HEIGHT);
      if (h <= 0) continue;
      base -= h;
      parts.push(
        `<rect x="${x(bin.atSeconds).toFixed(1)}" y="${base.toFixed(1)}" width="${Math.max(0.5, binWidth - 0.4).toFixed(2)}" height="${h.toFixed(1)}" fill="${color}"/>`,
      );
    }
  }
  parts.push(
    ...legend(throughputTop - 12, [
      ['acknowledged', COLOR.acknowledged],
      ['outcome unknown', COLOR.unknown],
      ['refused', COLOR.failed],
      ['fault', COLOR.fault],
      ['the machine kept the harness from running', COLOR.stall],
    ]),
  );

  const y = (ms: number): number => Math.min(1, Math.max(0, Math.log10(Math.max(1, ms)) / 4.5));
  parts.push(...axis(latencyTop, 'latency', [1, 10, 100, 1000, 10_000], y, formatMs));
  for (const [pick, color] of [
    [(bin: Measurement['bins'][number]) => bin.p99Ms, COLOR.p99],
    [(bin: Measurement['bins'][number]) => bin.p50Ms, COLOR.acknowledged],
  ] as const) {
    let path = '';
    let isOpen = false;
    for (const bin of measurement.bins) {
      const value = pick(bin);
      if (value === null) {
        isOpen = false;
        continue;
      }
      path += `${isOpen ? 'L' : 'M'}${x(bin.atSeconds + 0.125).toFixed(1)} ${(latencyTop + PANEL_HEIGHT * (1 - y(value))).toFixed(1)}`;
      isOpen = true;
    }
    parts.push(`<path d="${path}" fill="none" stroke="${color}" stroke-width="1.6"/>`);
  }
  parts.push(
    ...legend(latencyTop - 12, [
      ['p99', COLOR.p99],
      ['median', COLOR.acknowledged],
      ['(no line: nothing was acknowledged)', 'none'],
    ]),
  );
  const step = [1, 2, 5, 10, 15, 20, 30, 60].find((candidate) => candidate * 14 >= spanSeconds) ?? 120;
  for (let s = 0; s <= spanSeconds; s += step) {
    parts.push(
      text(x(startSeconds + s), latencyTop + PANEL_HEIGHT + 16, `${s} s`, { anchor: 'middle', color: COLOR.faint }),
    );
  }
  if (picture.healedAtSeconds !== undefined) {
    const at = x(picture.healedAtSeconds);
    parts.push(
      `<line x1="${at}" x2="${at}" y1="${lanesTop}" y2="${latencyTop + PANEL_HEIGHT}" stroke="${COLOR.good}" stroke-dasharray="4 3"/>`,
      text(at + 4, lanesTop - 4, 'all healed', { color: COLOR.good, size: 11 }),
    );
  }
  const named = new Set<string>();
  for (const { time, kind } of violations) {
    const at = x(time / 1e9);
    if (!named.has(kind) && named.size < brokers.length) {
      parts.push(text(at + 8, lanesTop + 15 + named.size * LANE_HEIGHT, kind, { color: COLOR.bad, weight: 'bold' }));
      named.add(kind);
    }
    parts.push(
      `<line x1="${at}" x2="${at}" y1="${lanesTop}" y2="${latencyTop + PANEL_HEIGHT}" stroke="${COLOR.bad}" stroke-width="1.5"/>`,
      `<path d="M${at - 6} ${lanesTop - 12}h12l-6 11z" fill="${COLOR.bad}"><title>${escapeXml(kind)}</title></path>`,
    );
  }
  parts.push(...drawRecoveries(recoveryTop, measurement.recoveriesMs), '</svg>');
  return `${parts.join('\n')}\n`;
}

/** A dot per fault on a logarithmic scale, with median and p99. */
function drawRecoveries(top: number, recoveriesMs: readonly number[]): string[] {
  const sorted = [...recoveriesMs].sort((a, b) => a - b);
  const parts = [
    text(
      24,
      top,
      'Recovery: the longest silence of a partition in each fault (from the start of the first broker on, if the quorum was lost)',
      { weight: 'bold' },
    ),
  ];
  const line = top + 62;
  const at = (ms: number): number =>
    LEFT + Math.min(1, Math.max(0, (Math.log10(Math.max(10, ms)) - 1) / 3.5)) * PLOT_WIDTH;
  parts.push(`<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${line}" y2="${line}" stroke="${COLOR.faint}"/>`);
  for (const ms of [10, 30, 100, 300, 1000, 3000, 10_000, 30_000]) {
    parts.push(
      `<line x1="${at(ms)}" x2="${at(ms)}" y1="${line - 4}" y2="${line + 4}" stroke="${COLOR.faint}"/>`,
      text(at(ms), line + 18, formatMs(ms), { anchor: 'middle', color: COLOR.faint }),
    );
  }
  const stacked = new Map<number, number>();
  for (const ms of sorted) {
    const slot = Math.round(at(ms) / 8);
    const level = stacked.get(slot) ?? 0;
    stacked.set(slot, level + 1);
    parts.push(
      `<circle cx="${slot * 8}" cy="${line - 7 - level * 8}" r="3.5" fill="${COLOR.recovery}" opacity="0.8"/>`,
    );
  }
  if (sorted.length === 0) {
    parts.push(text(LEFT, line - 10, 'no fault to recover from', { color: COLOR.faint }));
    return parts;
  }
  const summary = `${sorted.length} faults, median ${formatMs(quantile(sorted, 0.5))}, p99 ${formatMs(quantile(sorted, 0.99))}`;
  parts.push(text(WIDTH - RIGHT, top, summary, { anchor: 'end' }));
  return parts;
}

function axis(
  top: number,
  label: string,
  values: readonly number[],
  scale: (value: number) => number,
  format: (value: number) => string,
): string[] {
  const parts = [text(24, top - 12, label, { weight: 'bold' })];
  for (const value of values) {
    const y = top + PANEL_HEIGHT * (1 - scale(value));
    parts.push(
      `<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y}" y2="${y}" stroke="${COLOR.grid}"/>`,
      text(LEFT - 8, y + 4, format(value), { anchor: 'end', color: COLOR.faint }),
    );
  }
  return parts;
}

function legend(y: number, entries: readonly (readonly [string, string])[]): string[] {
  const parts: string[] = [];
  let at = LEFT + 24;
  for (const [label, color] of entries) {
    if (color !== 'none') parts.push(`<rect x="${at}" y="${y - 9}" width="10" height="10" fill="${color}"/>`);
    parts.push(text(at + 14, y, label, { color: COLOR.faint }));
    at += 34 + label.length * 6.4;
  }
  return parts;
}

function text(
  x: number,
  y: number,
  content: string,
  style: { size?: number; weight?: string; color?: string; anchor?: string } = {},
): string {
  const { size = 12, weight = 'normal', color = COLOR.text, anchor = 'start' } = style;
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" font-size="${size}" font-weight="${weight}" fill="${color}" text-anchor="${anchor}">${escapeXml(content)}</text>`;
}

function escapeXml(content: string): string {
  return content.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

function niceCeil(value: number): number {
  const magnitude = 10 ** Math.floor(Math.log10(value));
  return (
    [1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10].map((factor) => factor * magnitude).find((candidate) => candidate >= value) ??
    value
  );
}

function formatCount(value: number): string {
  return value >= 1000 ? `${value / 1000}k` : `${value}`;
}

function formatMs(ms: number): string {
  return ms >= 1000 ? `${Math.round(ms / 100) / 10} s` : `${Math.round(ms)} ms`;
}
