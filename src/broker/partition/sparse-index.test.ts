import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { OffsetIndex, TimeIndex } from './sparse-index.ts';

describe('sparse indexes', () => {
  it('have the bytes of Kafka', () => {
    const offsets = new OffsetIndex();
    offsets.add(258, 0x01020304);
    expect(Buffer.concat(offsets.memoryPieces().pieces).toString('hex')).toBe('0000010201020304');
    const times = new TimeIndex();
    times.add(0x0102030405, 7);
    expect(Buffer.concat(times.memoryPieces().pieces).toString('hex')).toBe('000000010203040500000007');
  });

  it('keep only growing timestamps', () => {
    const times = new TimeIndex();
    times.add(10, 1);
    times.add(10, 2);
    times.add(9, 3);
    times.add(11, 4);
    expect(times.count).toBe(2);
    expect(times.findBelow(11)).toEqual({ timestampMs: 10, relativeOffset: 1 });
    expect(times.findBelow(10)).toBeUndefined();
  });

  it('find in a file as it was read although more is written to it meanwhile', () => {
    const index = new OffsetIndex();
    const write = (): Buffer => {
      const { pieces, count } = index.memoryPieces();
      const written = Buffer.concat(pieces);
      index.didWrite(count);
      return written;
    };
    index.add(10, 1000);
    const read = write();
    index.add(20, 2000);
    expect(index.find(15)).toBe('file');
    write();
    expect(index.findInFile(read, 15)).toEqual({ relativeOffset: 10, position: 1000 });
  });

  it('find what a search of all entries finds, wherever the entries are', () => {
    const steps = fc.array(
      fc.oneof(
        { weight: 40, arbitrary: fc.integer({ min: 1, max: 5 }) },
        { weight: 1, arbitrary: fc.constant('write' as const) },
      ),
      { minLength: 1, maxLength: 1500 },
    );
    fc.assert(
      fc.property(steps, fc.integer({ min: 0, max: 3 }), (all, late) => {
        const index = new OffsetIndex();
        const times = new TimeIndex();
        const entries: { relativeOffset: number; position: number }[] = [];
        let file = Buffer.alloc(0);
        let offset = 0;
        const add = (step: number): void => {
          offset += step;
          entries.push({ relativeOffset: offset, position: offset * 100 });
          index.add(offset, offset * 100);
          times.add(offset * 10, offset);
        };
        for (const step of all) {
          if (step !== 'write') {
            add(step);
            continue;
          }
          const { pieces, count } = index.memoryPieces();
          file = Buffer.concat([file, ...pieces]);
          // Entries that come while the file is written stay in memory.
          for (let i = 0; i < late; i++) add(1);
          index.didWrite(count);
        }
        expect(index.count).toBe(entries.length);
        for (let asked = 0; asked <= offset + 1; asked += 3) {
          const found = index.find(asked);
          const expected = entries.filter((entry) => entry.relativeOffset <= asked).at(-1);
          expect(found === 'file' ? index.findInFile(file, asked) : found).toEqual(expected);
          const below = times.findBelow(asked * 10);
          expect(below === 'file' ? undefined : below?.relativeOffset).toEqual(
            entries.filter((entry) => entry.relativeOffset < asked).at(-1)?.relativeOffset,
          );
        }
      }),
      { numRuns: 30 },
    );
  });
});
