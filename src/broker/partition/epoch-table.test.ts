import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EpochTable } from './epoch-table.ts';

describe('EpochTable', () => {
  const table = () =>
    new EpochTable([
      { epoch: 2, startOffset: 0 },
      { epoch: 5, startOffset: 10 },
      { epoch: 6, startOffset: 12 },
    ]);

  it('answers where an epoch ends: where the next one begins, or at the log end', () => {
    expect(table().endOffset(2, 20)).toEqual({ leaderEpoch: 2, endOffset: 10 });
    expect(table().endOffset(4, 20)).toEqual({ leaderEpoch: 2, endOffset: 10 });
    expect(table().endOffset(6, 20)).toEqual({ leaderEpoch: 6, endOffset: 20 });
    expect(table().endOffset(9, 20)).toEqual({ leaderEpoch: 6, endOffset: 20 });
    expect(table().endOffset(1, 20)).toEqual({ leaderEpoch: 1, endOffset: 0 });
    expect(new EpochTable().endOffset(1, 0)).toEqual({ leaderEpoch: 1, endOffset: 0 });
    expect(table().endOffset(-1, 20)).toEqual({ leaderEpoch: -1, endOffset: -1 });
  });

  it('forgets epochs behind the log start, but never the last one', () => {
    const moved = table();
    moved.moveLogStart(11, 20);
    expect(moved.rows).toEqual([
      { epoch: 5, startOffset: 11 },
      { epoch: 6, startOffset: 12 },
    ]);
    moved.moveLogStart(20, 20);
    expect(moved.rows).toEqual([{ epoch: 6, startOffset: 20 }]);
    moved.didAppend(6, 20);
    moved.didAppend(8, 21);
    expect(moved.epochAt(20)).toBe(6);
    expect(moved.epochAt(21)).toBe(8);
  });

  it('takes a new epoch where the log start moved to the log end', () => {
    const moved = table();
    moved.moveLogStart(20, 20);
    moved.didAppend(7, 20);
    expect(moved.rows).toEqual([{ epoch: 7, startOffset: 20 }]);
  });

  it('knows the epoch of every record', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 2 }), { minLength: 1, maxLength: 60 }), fc.nat(), (steps, cut) => {
        const epochs: number[] = [];
        const subject = new EpochTable();
        let epoch = 1;
        for (const [offset, step] of steps.entries()) {
          epoch += step;
          subject.didAppend(epoch, offset);
          epochs.push(epoch);
        }
        const start = cut % epochs.length;
        subject.moveLogStart(start, epochs.length);
        for (let offset = start; offset < epochs.length; offset++) expect(subject.epochAt(offset)).toBe(epochs[offset]);
        for (let asked = epochs[start]!; asked <= epoch; asked++) {
          const end = epochs.findIndex((known, offset) => offset >= start && known > asked);
          expect(subject.endOffset(asked, epochs.length).endOffset).toBe(end === -1 ? epochs.length : end);
        }
      }),
    );
  });
});
