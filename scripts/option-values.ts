/** Values of command line options: each is checked where it is read, so that a mistake ends in a sentence that names the option. */
import { InvalidArgumentError } from 'commander';

/** Parser of whole numbers from `least` to `most`. */
export function wholeNumber(least: number, most = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= least && value <= most) return value;
    throw new InvalidArgumentError(
      `A whole number ${most === Number.MAX_SAFE_INTEGER ? `from ${least} on` : `from ${least} to ${most}`} is needed.`,
    );
  };
}

/** A number above 0. */
export function positiveNumber(text: string): number {
  const value = Number(text);
  if (text.trim() !== '' && value > 0 && Number.isFinite(value)) return value;
  throw new InvalidArgumentError('A number above 0 is needed.');
}

/** `A..B`, both included. */
export function seedRange(text: string): readonly [first: number, last: number] {
  const match = /^(\d+)\.\.(\d+)$/.exec(text);
  const [first, last] = [Number(match?.[1]), Number(match?.[2])];
  if (first <= last) return [first, last];
  throw new InvalidArgumentError('Seeds are needed as FIRST..LAST, such as 1..100.');
}

/** Words between commas. */
export function commaList(text: string): readonly string[] {
  return text.split(',').filter((word) => word !== '');
}
