import type { Spread } from './results.ts';

/** Three digits that matter, thousands separated: as figures stand in tables. */
export function number(value: number): string {
  if (!Number.isFinite(value)) return '–';
  const magnitude = Math.abs(value);
  if (magnitude >= 1000) return Math.round(value).toLocaleString('en-US');
  if (Number.isInteger(value)) return `${value}`;
  return value.toFixed(magnitude >= 100 ? 0 : magnitude >= 10 ? 1 : 2);
}

/** Median of the ratios of the rounds, and their spread. */
export function renderRatio(ratio: Spread | undefined): string {
  if (ratio === undefined) return '';
  const { median, min, max, runs } = ratio;
  return runs === 1 ? `${median.toFixed(2)}x` : `${median.toFixed(2)}x (${min.toFixed(2)}–${max.toFixed(2)})`;
}
