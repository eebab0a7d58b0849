import { describe, expect, it } from 'vitest';
import { groupId } from '../../src/std/brands.ts';
import { smallCluster } from './small-cluster.ts';

describe('A driver that closes', () => {
  it('misses nobody while its state machines take their time, although its links are gone', async () => {
    const failures: unknown[] = [];
    const { time, brokers } = await smallCluster(3, 4, {}, 'list', (error) => failures.push(error));
    const { driver } = brokers[0]!;
    const leads = [1, 2, 3, 4].map((id) => driver!.get(groupId(id))!).filter((group) => group.role === 'leader');
    expect(leads.length).toBeGreaterThan(0);
    let closed = 0;
    for (const replica of driver!.replicas.values()) {
      const close = replica.stateMachine.close.bind(replica.stateMachine);
      replica.stateMachine.close = async () => {
        await new Promise<void>((resolve) => time.after(2_000, resolve));
        await close();
        closed++;
      };
    }
    await time.settle(driver!.close());
    expect(closed).toBe(4);
    expect(failures).toEqual([]);
  });
});
