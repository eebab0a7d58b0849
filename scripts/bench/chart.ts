/** Line charts as SVG: panels side by side that share their series, logarithmic axes where values span a factor of 20, whiskers for the spread. Legible on light and dark pages. */
export interface Point {
  readonly x: number;
  readonly y: number;
  readonly min: number;
  readonly max: number;
}

export interface Series {
  readonly name: string;
  readonly points: readonly Point[];
}

export interface Panel {
  /** The figure and its unit, above the panel. */
  readonly title: string;
  readonly xLabel: string;
  readonly series: readonly Series[];
}

interface Scale {
  readonly logarithmic: boolean;
  readonly ticks: readonly number[];
  /** Position from 0 to 1. */
  at(value: number): number;
}

const PANEL_WIDTH = 400;
const PANEL_HEIGHT = 260;
const MARGIN = { left: 58, right: 22, top: 76, bottom: 52 };
const COLORS = ['#0b6bcb', '#d9480f', '#2b8a3e', '#862e9c'];
const DASHES = ['', '6 4', '2 3', '8 3 2 3'];
/** A larger span than this is drawn on a logarithmic axis. */
const LINEAR_SPAN_MAX = 20;

export function drawChart(title: string, panels: readonly Panel[]): string {
  const width = panels.length * (PANEL_WIDTH + MARGIN.left + MARGIN.right);
  const height = PANEL_HEIGHT + MARGIN.top + MARGIN.bottom;
  const names = [...new Set(panels.flatMap(({ series }) => series.map(({ name }) => name)))];
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="system-ui, Helvetica, Arial, sans-serif" font-size="12">`,
    `<title>${escapeText(title)}</title>`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    `<text x="${MARGIN.left}" y="24" font-size="16" font-weight="600" fill="#212529">${escapeText(title)}</text>`,
    `<text x="${width - MARGIN.right}" y="24" text-anchor="end" font-size="11" fill="#868e96">points: medians; bars: lowest to highest round</text>`,
    ...names.map((name, i) => legendEntry(name, i, MARGIN.left + i * 130)),
    ...panels.map((panel, i) => drawPanel(panel, names, i * (PANEL_WIDTH + MARGIN.left + MARGIN.right) + MARGIN.left)),
    '</svg>\n',
  ].join('\n');
}

function legendEntry(name: string, i: number, x: number): string {
  return (
    `<line x1="${x}" y1="42" x2="${x + 26}" y2="42" stroke="${COLORS[i % 4]}" stroke-width="2.5" stroke-dasharray="${DASHES[i % 4]}"/>` +
    `<text x="${x + 32}" y="46" fill="#212529">${escapeText(name)}</text>`
  );
}

function drawPanel(panel: Panel, names: readonly string[], left: number): string {
  const points = panel.series.flatMap((series) => series.points);
  if (points.length === 0) return '';
  const xScale = makeScale(
    points.map(({ x }) => x),
    false,
  );
  const yScale = makeScale(
    points.flatMap(({ min, max }) => [min, max]),
    true,
  );
  const x = (value: number): string => (left + xScale.at(value) * PANEL_WIDTH).toFixed(1);
  const y = (value: number): string => (MARGIN.top + (1 - yScale.at(value)) * PANEL_HEIGHT).toFixed(1);
  const bottom = MARGIN.top + PANEL_HEIGHT;
  const parts = [
    `<text x="${left}" y="${MARGIN.top - 10}" font-weight="600" fill="#495057">${escapeText(labelOf(panel.title, yScale))}</text>`,
    ...yScale.ticks.map(
      (tick) =>
        `<line x1="${left}" y1="${y(tick)}" x2="${left + PANEL_WIDTH}" y2="${y(tick)}" stroke="#e9ecef"/>` +
        `<text x="${left - 8}" y="${Number(y(tick)) + 4}" text-anchor="end" fill="#495057">${short(tick)}</text>`,
    ),
    ...[...new Set(points.map((point) => point.x))].map(
      (tick) =>
        `<line x1="${x(tick)}" y1="${bottom}" x2="${x(tick)}" y2="${bottom + 5}" stroke="#868e96"/>` +
        `<text x="${x(tick)}" y="${bottom + 19}" text-anchor="middle" fill="#495057">${short(tick)}</text>`,
    ),
    `<line x1="${left}" y1="${bottom}" x2="${left + PANEL_WIDTH}" y2="${bottom}" stroke="#868e96"/>`,
    `<text x="${left + PANEL_WIDTH / 2}" y="${bottom + 40}" text-anchor="middle" fill="#495057">${escapeText(labelOf(panel.xLabel, xScale))}</text>`,
  ];
  for (const { name, points: line } of panel.series) {
    if (line.length === 0) continue;
    const i = names.indexOf(name);
    const color = COLORS[i % 4];
    const path = line.map((point, at) => `${at === 0 ? 'M' : 'L'}${x(point.x)} ${y(point.y)}`).join(' ');
    parts.push(
      `<path d="${path}" fill="none" stroke="${color}" stroke-width="2.5" stroke-dasharray="${DASHES[i % 4]}"/>`,
    );
    for (const point of line) {
      parts.push(
        `<line x1="${x(point.x)}" y1="${y(point.min)}" x2="${x(point.x)}" y2="${y(point.max)}" stroke="${color}" stroke-opacity="0.45" stroke-width="5"/>` +
          `<circle cx="${x(point.x)}" cy="${y(point.y)}" r="3.5" fill="${color}"/>`,
      );
    }
  }
  return parts.join('\n');
}

function labelOf(text: string, { logarithmic }: Scale): string {
  return logarithmic ? `${text} (logarithmic)` : text;
}

/** A linear axis begins at zero if `fromZero`. */
function makeScale(values: readonly number[], fromZero: boolean): Scale {
  const min = Math.min(...values);
  const max = Math.max(...values);
  if (min > 0 && max / min > LINEAR_SPAN_MAX) return logarithmicScale(min, max, fromZero);
  const low = fromZero ? 0 : min;
  const step = niceStep((max - low || 1) / 5);
  const high = fromZero ? Math.ceil(max / step) * step : max;
  const ticks: number[] = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + step / 1000; tick += step) ticks.push(tick);
  return { logarithmic: false, ticks, at: (value) => (high === low ? 0.5 : (value - low) / (high - low)) };
}

/** `whole`: the axis begins and ends at a power of ten or its double or fivefold. */
function logarithmicScale(min: number, max: number, whole: boolean): Scale {
  const steps: number[] = [];
  for (let power = Math.floor(Math.log10(min)); power <= Math.ceil(Math.log10(max)); power++) {
    for (const factor of [1, 2, 5]) steps.push(factor * 10 ** power);
  }
  const low = whole ? steps.filter((step) => step <= min).at(-1)! : min;
  const high = whole ? steps.find((step) => step >= max)! : max;
  const span = Math.log(high / low);
  return {
    logarithmic: true,
    ticks: steps.filter((step) => step >= low && step <= high),
    at: (value) => Math.log(value / low) / span,
  };
}

function niceStep(rough: number): number {
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough)!;
}

function short(value: number): string {
  const digits = (number: number): string => `${Number(number.toPrecision(3))}`;
  if (Math.abs(value) >= 1e6) return `${digits(value / 1e6)}M`;
  if (Math.abs(value) >= 1e4) return `${digits(value / 1e3)}k`;
  return digits(value);
}

function escapeText(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
