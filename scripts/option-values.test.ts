import { describe, expect, it } from 'vitest';
import { commaList, positiveNumber, seedRange, wholeNumber } from './option-values.ts';

describe('Values of options', () => {
  it('takes what is meant', () => {
    expect(wholeNumber(0)('0')).toBe(0);
    expect(wholeNumber(1, 7)('7')).toBe(7);
    expect(positiveNumber('0.5')).toBe(0.5);
    expect(seedRange('3..3')).toEqual([3, 3]);
    expect(commaList('a,,b')).toEqual(['a', 'b']);
    expect(commaList('')).toEqual([]);
  });

  it.each(['', '-1', '1.5', '0x10', '1e3', '8', 'seven'])('refuses "%s" as a whole number from 1 to 7', (text) => {
    expect(() => wholeNumber(1, 7)(text)).toThrow('A whole number from 1 to 7 is needed');
  });

  it.each(['', ' ', '0', '-3', 'Infinity', '60x'])('refuses "%s" as a number above 0', (text) => {
    expect(() => positiveNumber(text)).toThrow('A number above 0 is needed');
  });

  it.each(['', '5', '5..', '5..x', '5..4', '-1..3'])('refuses "%s" as a range of seeds', (text) => {
    expect(() => seedRange(text)).toThrow('FIRST..LAST');
  });
});
