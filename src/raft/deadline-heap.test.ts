import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DeadlineHeap, DeadlineTimer } from './deadline-heap.ts';

describe('DeadlineHeap', () => {
  it('fires what is due, earliest first, and nothing else, whatever was moved before', () => {
    const move = fc.record({
      timer: fc.nat(19),
      deadlineMs: fc.oneof(fc.nat(100), fc.constant(Number.POSITIVE_INFINITY)),
    });
    fc.assert(
      fc.property(fc.array(move, { maxLength: 200 }), fc.nat(100), (moves, nowMs) => {
        const heap = new DeadlineHeap();
        const fired: number[] = [];
        const wanted = new Map<number, number>();
        const timers = Array.from({ length: 20 }, (_, at) => new DeadlineTimer(() => fired.push(at)));
        for (const { timer, deadlineMs } of moves) {
          heap.schedule(timers[timer]!, deadlineMs);
          if (deadlineMs === Number.POSITIVE_INFINITY) wanted.delete(timer);
          else wanted.set(timer, deadlineMs);
        }
        expect(heap.size).toBe(wanted.size);
        expect(heap.nextMs).toBe(Math.min(Number.POSITIVE_INFINITY, ...wanted.values()));
        heap.fire(nowMs);
        const due = [...wanted].filter(([, deadlineMs]) => deadlineMs <= nowMs);
        expect([...fired].sort((a, b) => a - b)).toEqual(due.map(([timer]) => timer).sort((a, b) => a - b));
        const times = fired.map((timer) => wanted.get(timer)!);
        expect(times).toEqual([...times].sort((a, b) => a - b));
        expect(heap.size).toBe(wanted.size - due.length);
      }),
    );
  });
});
