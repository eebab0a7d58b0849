import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { logIndex, replicaId, term } from '../std/brands.ts';
import { decodeTableRow, encodeTableRow, type TableRow } from './table-row.ts';

const safe = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const bytes = fc.uint8Array({ maxLength: 100 });

describe('encodeTableRow()', () => {
  it('gives back any row', () => {
    const row: fc.Arbitrary<TableRow> = fc.record({
      descriptor: bytes,
      hardState: fc.record({
        currentTerm: safe.map(term),
        votedFor: fc.oneof(fc.constant(0 as const), fc.integer({ min: 1 }).map(replicaId)),
      }),
      commitHint: safe,
      lastIndex: safe,
      checkpoint: fc.option(fc.record({ index: safe.map(logIndex), term: safe.map(term), payload: bytes }), {
        nil: undefined,
      }),
      termRuns: fc.array(fc.record({ firstIndex: safe.map(logIndex), term: safe.map(term) }), { maxLength: 20 }),
      damage: fc.option(
        fc.record({
          kind: fc.constantFrom('entries' as const, 'identity' as const),
          fromIndex: safe.map(logIndex),
          reason: fc.string({ maxLength: 100 }),
        }),
        { nil: undefined },
      ),
    });
    fc.assert(
      fc.property(row, (value) => {
        expect(decodeTableRow(encodeTableRow(value))).toEqual(value);
      }),
    );
  });
});
