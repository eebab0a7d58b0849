import { describe, expect, it } from 'vitest';
import { SimulatedTime } from './simulated-clock.ts';

describe('SimulatedTime', () => {
  it('runs events by time, then by order of scheduling, without waiting for real time', async () => {
    const time = new SimulatedTime();
    const seen: string[] = [];
    time.after(3_600_000, () => seen.push(`late at ${time.now}`));
    time.after(5, () => seen.push('b'));
    time.after(5, () => seen.push('c'));
    time.after(1, () => {
      seen.push('a');
      time.soon(() => seen.push('soon'));
    });
    time.after(2, () => seen.push('canceled')).cancel();
    await time.runUntil(10);
    expect(seen).toEqual(['a', 'soon', 'b', 'c']);
    expect(time.now).toBe(10);
    await time.drain();
    expect(seen.at(-1)).toBe('late at 3600000');
  });

  it('drains all promise jobs of an event before the next one', async () => {
    const time = new SimulatedTime();
    const seen: string[] = [];
    time.after(1, async () => {
      for (let i = 0; i < 50; i++) await undefined;
      seen.push('jobs of the first');
    });
    time.after(1, () => seen.push('second'));
    await time.drain();
    expect(seen).toEqual(['jobs of the first', 'second']);
  });

  it('settle() gives the result or the error, and reports a promise that nothing can settle', async () => {
    const time = new SimulatedTime();
    const sleep = (ms: number) => new Promise<number>((resolve) => time.after(ms, () => resolve(ms)));
    expect(await time.settle(sleep(50))).toBe(50);
    await expect(time.settle(sleep(1).then(() => Promise.reject(new Error('no'))))).rejects.toThrow('no');
    await expect(time.settle(new Promise(() => undefined))).rejects.toThrow('no events left');
  });

  it('passes on what an event throws', async () => {
    const time = new SimulatedTime();
    time.after(1, () => {
      throw new Error('broken');
    });
    await expect(time.drain()).rejects.toThrow('broken');
  });

  it('what comes right after a resume does not overtake what came during the pause, even in several pauses', async () => {
    const time = new SimulatedTime();
    const machine = time.machine();
    const seen: string[] = [];
    const note = (name: string) => () => seen.push(name);
    machine.pause();
    machine.deliver(note('first'));
    machine.deliver(note('second'));
    time.after(5, note('other'));
    // Scheduled before the resume and due at the same instant: a byte stream's next chunk.
    time.after(5, () => machine.deliver(note('third')));
    time.after(5, () => {
      machine.resume();
      machine.deliver(note('fourth'));
      machine.pause();
    });
    time.after(6, () => machine.deliver(note('fifth')));
    time.after(7, () => machine.resume());
    time.after(7, () => machine.deliver(note('sixth')));
    await time.drain();
    expect(seen).toEqual(['other', 'first', 'second', 'third', 'fourth', 'fifth', 'sixth']);
  });

  it('a paused machine runs its events on resume, a killed one never', async () => {
    const time = new SimulatedTime();
    const machine = time.machine({ monotonicOffsetMs: 7 });
    const seen: number[] = [];
    machine.after(1, () => seen.push(machine.monotonicMs()));
    const canceled = machine.after(1, () => seen.push(-1));
    machine.pause();
    await time.runUntil(10);
    expect(seen).toEqual([]);
    canceled.cancel();
    machine.resume();
    await time.drain();
    expect(seen).toEqual([17]);
    machine.after(1, () => seen.push(0));
    machine.kill();
    await time.drain();
    expect(seen).toEqual([17]);
  });
});
