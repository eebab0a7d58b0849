import { describe, expect, it } from 'vitest';
import { SyncGate } from './sync-gate.ts';

const turn = () => new Promise((resolve) => setImmediate(resolve));

describe('SyncGate', () => {
  it('lets so many bytes through at a time, in order, and any single sync however large', async () => {
    const gate = new SyncGate(100);
    const running = new Map<string, (error?: Error) => void>();
    const sync = (name: string, bytes: number) =>
      gate.run(
        bytes,
        () =>
          new Promise<void>((resolve, reject) => {
            running.set(name, (error) => {
              running.delete(name);
              if (error === undefined) resolve();
              else reject(error);
            });
          }),
      );
    const all = [sync('a', 60), sync('b', 40), sync('c', 500), sync('d', 10), sync('e', 90)];
    const states: string[][] = [];
    const end = async (name: string, error?: Error) => {
      running.get(name)!(error);
      await turn();
      states.push([...running.keys()]);
    };
    await turn();
    expect([...running.keys()]).toEqual(['a', 'b']);
    const failed = expect(all[1]).rejects.toThrow('broken');
    await end('b', new Error('broken'));
    await failed;
    await end('a');
    await end('c');
    await end('d');
    await end('e');
    expect(states).toEqual([['a'], ['c'], ['d', 'e'], ['e'], []]);
    await Promise.all([all[0], all[2], all[3], all[4]]);
  });
});
