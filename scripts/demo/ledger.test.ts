import { describe, expect, it } from 'vitest';
import { Ledger, violations } from './ledger.ts';

function verdict(acknowledged: string[], read: [number, string][]) {
  const ledger = new Ledger();
  ledger.acknowledged.push(...acknowledged);
  return ledger.verify(read.map(([offset, value]) => ({ offset, value })));
}

describe('Ledger', () => {
  it('accepts a log that holds what was acknowledged, and what was not answered beside it', () => {
    const result = verdict(
      ['a', 'b'],
      [
        [0, 'a'],
        [1, 'x'],
        [2, 'b'],
      ],
    );
    expect(violations(result)).toEqual([]);
    expect(result).toMatchObject({ acknowledged: 2, readBack: 2, unacknowledgedPresent: 1 });
  });
  it('finds a loss', () =>
    expect(violations(verdict(['a', 'b'], [[0, 'a']]))).toEqual(['1 acknowledged records lost']));
  it('finds a double', () =>
    expect(
      violations(
        verdict(
          ['a'],
          [
            [0, 'a'],
            [1, 'a'],
          ],
        ),
      ),
    ).toEqual(['1 records doubled']));
  it('finds another order', () =>
    expect(
      violations(
        verdict(
          ['a', 'b'],
          [
            [0, 'b'],
            [1, 'a'],
          ],
        ),
      ),
    ).toEqual(['1 records reordered']));
  it('finds a hole', () =>
    expect(
      violations(
        verdict(
          ['a', 'b'],
          [
            [0, 'a'],
            [2, 'b'],
          ],
        ),
      ),
    ).toEqual(['offsets are not dense']));
});
