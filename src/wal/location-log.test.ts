import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LocationLog } from './location-log.ts';

describe('LocationLog', () => {
  it('behaves as an array of places by index', () => {
    const operation = fc.oneof(
      {
        weight: 5,
        arbitrary: fc.record({ kind: fc.constant('push' as const), count: fc.integer({ min: 1, max: 700 }) }),
      },
      {
        weight: 2,
        arbitrary: fc.record({
          kind: fc.constant('truncate' as const),
          share: fc.double({ min: 0, max: 1, noNaN: true }),
        }),
      },
      {
        weight: 2,
        arbitrary: fc.record({ kind: fc.constant('drop' as const), share: fc.double({ min: 0, max: 1, noNaN: true }) }),
      },
      {
        weight: 1,
        arbitrary: fc.record({
          kind: fc.constant('move' as const),
          share: fc.double({ min: 0, max: 0.99, noNaN: true }),
        }),
      },
      {
        weight: 1,
        arbitrary: fc.record({ kind: fc.constant('reset' as const), next: fc.integer({ min: 1, max: 5000 }) }),
      },
    );
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 30 }), (operations) => {
        const log = new LocationLog();
        let first = 1;
        let places: [number, number, number][] = [];
        let counter = 0;
        for (const op of operations) {
          const at = 'share' in op ? Math.floor(op.share * places.length) : 0;
          if (op.kind === 'push') {
            for (let i = 0; i < op.count; i++) {
              counter++;
              log.push(counter, counter * 2, counter * 3);
              places.push([counter, counter * 2, counter * 3]);
            }
          } else if (op.kind === 'truncate') {
            log.truncate(first + at);
            places = places.slice(0, at);
          } else if (op.kind === 'drop') {
            log.dropBefore(first + at);
            places = places.slice(at);
            first += at;
          } else if (op.kind === 'move' && places.length > 0) {
            log.move(first + at, 1, 2, 3);
            places[at] = [1, 2, 3];
          } else if (op.kind === 'reset') {
            log.reset(op.next);
            places = [];
            first = op.next;
          }
          expect([log.first, log.next]).toEqual([first, first + places.length]);
        }
        const held = places.map((_, i) => [
          log.sequenceAt(first + i),
          log.positionAt(first + i),
          log.payloadBytesAt(first + i),
        ]);
        expect(held).toEqual(places);
        expect(() => log.sequenceAt(first + places.length)).toThrow('inside the log');
      }),
      { numRuns: 60 },
    );
  });
});
