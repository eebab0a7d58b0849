import { describe, expect, it } from 'vitest';
import { classifyUnfinished, type FlushEvidence } from './flush-classification.ts';

const HEADERS = ['valid', 'broken', 'unwritten', 'damaged'] as const;
const FOLLOWED = ['no', 'here', 'later'] as const;
const BOOLEANS = [false, true] as const;

/** All 96 cases. */
const cases: FlushEvidence[] = HEADERS.flatMap((header) =>
  BOOLEANS.flatMap((fresh) =>
    BOOLEANS.flatMap((unwritten) =>
      BOOLEANS.flatMap((damaged) => FOLLOWED.map((followed) => ({ header, fresh, unwritten, damaged, followed }))),
    ),
  ),
);

describe('classifyUnfinished()', () => {
  it('decides every case as the table says', () => {
    const table = new Map<string, string[]>();
    for (const evidence of cases) {
      const verdict = classifyUnfinished(evidence);
      const { header, fresh, unwritten, damaged, followed } = evidence;
      const name = `${header}${fresh ? ' +fresh' : ''}${unwritten ? ' +unwritten' : ''}${damaged ? ' +damaged' : ''} ${followed}`;
      table.set(verdict, [...(table.get(verdict) ?? []), name]);
    }
    expect(table.get('torn')).toEqual([
      'valid +unwritten no',
      'valid +fresh +unwritten no',
      'unwritten +fresh no',
      'unwritten +fresh +unwritten no',
    ]);
    expect(table.get('nothing')).toEqual(
      ['unwritten', 'damaged'].flatMap((header) =>
        ['', ' +damaged', ' +unwritten', ' +unwritten +damaged'].flatMap((sectors) => [
          `${header}${sectors} no`,
          `${header}${sectors} later`,
        ]),
      ),
    );
    expect(table.get('damage')).toHaveLength(96 - 4 - 16);
  });

  it('never calls torn what was followed, what has a damaged stamp, or what has all its sectors', () => {
    for (const evidence of cases) {
      const isTorn = classifyUnfinished(evidence) === 'torn';
      if (evidence.followed !== 'no' || evidence.damaged || evidence.header === 'broken') expect(isTorn).toBe(false);
      if (evidence.header === 'valid' && !evidence.unwritten) expect(isTorn).toBe(false);
    }
  });
});
