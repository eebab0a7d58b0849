import fc from 'fast-check';
import { expect, test } from 'vitest';
import { logIndex, term } from '../../std/brands.ts';
import { emptyLog, RaftLog } from './raft-log.ts';

/** The same log as a plain array: terms[i] is the term of index i, undefined where it is forgotten. */
class Model {
  base = 0;
  terms: number[] = [0];

  get last(): number {
    return this.terms.length - 1;
  }

  termAt(index: number): number | undefined {
    return index < this.base ? undefined : this.terms[index];
  }

  lastIndexWithTermAtMost(index: number, maxTerm: number): number {
    let i = Math.min(index, this.last);
    while (i >= this.base && this.terms[i]! > maxTerm) i--;
    return Math.max(i, 0);
  }
}

type Command =
  | { kind: 'append'; count: number; termStep: number }
  | { kind: 'truncate' | 'compact'; at: number }
  | { kind: 'reset'; beyond: number };

const command: fc.Arbitrary<Command> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('append' as const),
      count: fc.integer({ min: 1, max: 4 }),
      termStep: fc.nat(2),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constantFrom('truncate' as const, 'compact' as const),
      at: fc.double({ min: 0, max: 1, noNaN: true }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('reset' as const), beyond: fc.nat(5) }) },
);

function apply(log: RaftLog, model: Model, { ...next }: Command): void {
  switch (next.kind) {
    case 'append': {
      const entryTerm = model.terms[model.last]! + next.termStep || 1;
      for (let i = 0; i < next.count; i++) {
        log.append(logIndex(model.last + 1), term(entryTerm));
        model.terms.push(entryTerm);
      }
      return;
    }
    case 'truncate': {
      if (model.last === model.base) return;
      const from = model.base + 1 + Math.floor(next.at * (model.last - model.base - 1));
      log.truncateFrom(logIndex(from));
      model.terms.length = from;
      return;
    }
    case 'compact': {
      const to = model.base + Math.floor(next.at * (model.last - model.base));
      log.compactTo(logIndex(to));
      model.base = to;
      return;
    }
    case 'reset': {
      const index = model.last + next.beyond;
      const indexTerm = model.terms[model.last]! + 1;
      log.reset(logIndex(index), term(indexTerm));
      model.terms = Array.from({ length: index + 1 }, () => indexTerm);
      model.base = index;
      return;
    }
  }
}

function answers(log: RaftLog, model: Model): unknown[] {
  const result: unknown[] = [log.baseIndex, log.lastIndex, log.lastTerm];
  for (let i = Math.max(model.base - 2, 0); i <= model.last + 2; i++) result.push(log.termAt(logIndex(i)));
  for (let i = model.base; i <= model.last + 1; i++)
    for (let t = 0; t <= model.terms[model.last]! + 1; t++)
      result.push(log.lastIndexWithTermAtMost(logIndex(i), term(t)));
  return result;
}

function expectedAnswers(model: Model): unknown[] {
  const result: unknown[] = [model.base, model.last, model.terms[model.last]];
  for (let i = Math.max(model.base - 2, 0); i <= model.last + 2; i++) result.push(model.termAt(i));
  for (let i = model.base; i <= model.last + 1; i++)
    for (let t = 0; t <= model.terms[model.last]! + 1; t++) result.push(model.lastIndexWithTermAtMost(i, t));
  return result;
}

test('a log answers as a plain array of terms would, through appends, truncations, compactions and resets', () => {
  fc.assert(
    fc.property(fc.array(command, { maxLength: 30 }), (commands) => {
      const log = emptyLog();
      const model = new Model();
      for (const next of commands) {
        apply(log, model, next);
        expect(answers(log, model)).toEqual(expectedAnswers(model));
      }
    }),
  );
});

test('a log is made of what recovery found', () => {
  const log = new RaftLog(logIndex(5), term(2), logIndex(9), [
    { firstIndex: logIndex(6), term: term(2) },
    { firstIndex: logIndex(8), term: term(4) },
  ]);
  expect([4, 5, 6, 7, 8, 9, 10].map((i) => log.termAt(logIndex(i)))).toEqual([undefined, 2, 2, 2, 4, 4, undefined]);
});

test('a log refuses holes, falling terms and truncation of its base', () => {
  const log = new RaftLog(logIndex(0), term(0), logIndex(2), [{ firstIndex: logIndex(1), term: term(3) }]);
  expect(() => log.append(logIndex(4), term(3))).toThrow(/follow the last/);
  expect(() => log.append(logIndex(3), term(2))).toThrow(/never decrease/);
  expect(() => log.truncateFrom(logIndex(0))).toThrow(/in the log/);
  expect(() => log.truncateFrom(logIndex(3))).toThrow(/in the log/);
  expect(() => log.compactTo(logIndex(3))).toThrow(/beyond its end/);
  expect(() => new RaftLog(logIndex(0), term(0), logIndex(2), [])).toThrow(/need a term/);
  expect(() => new RaftLog(logIndex(0), term(0), logIndex(2), [{ firstIndex: logIndex(2), term: term(1) }])).toThrow(
    /behind the base/,
  );
});

test('the later term is more up to date, of equal terms the longer log', () => {
  const log = new RaftLog(logIndex(0), term(0), logIndex(5), [{ firstIndex: logIndex(1), term: term(3) }]);
  expect(log.isUpToDate(term(3), logIndex(5))).toBe(true);
  expect(log.isUpToDate(term(3), logIndex(4))).toBe(false);
  expect(log.isUpToDate(term(4), logIndex(1))).toBe(true);
  expect(log.isUpToDate(term(2), logIndex(9))).toBe(false);
});
