import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { BrokerId, GroupId, ReplicaId, Term } from '../std/brands.ts';
import { LeadershipList } from './leadership-list.ts';
import type { Announcement } from './peer-codec.ts';

const receiver = 2 as BrokerId;

function lead(list: LeadershipList, groupId: number, term: number): void {
  list.announce({
    groupId: groupId as GroupId,
    term: term as Term,
    ready: false,
    leader: groupId as ReplicaId,
    inSync: [],
    members: new Map([[receiver, 7 as ReplicaId]]),
  });
}

describe('LeadershipList', () => {
  it('brings a peer that gets the whole list and then the changes to the same list, whatever is trimmed meanwhile', () => {
    const action = fc.oneof(
      fc.record({ kind: fc.constant('lead' as const), groupId: fc.nat(5) }),
      fc.record({ kind: fc.constant('withdraw' as const), groupId: fc.nat(5) }),
      fc.record({ kind: fc.constantFrom('send' as const, 'trim' as const), groupId: fc.constant(0) }),
    );
    fc.assert(
      fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
        const list = new LeadershipList();
        const led = new Map<number, number>();
        const seen = new Map<number, number>();
        let term = 0;
        let sent = 0;
        let full = false;
        const send = (): void => {
          const changes: Announcement[] = list.changesSince(full ? sent : 0, receiver);
          if (!full) seen.clear();
          for (const { groupId, leading, term: announced, receiver: replica } of changes) {
            expect(replica).toBe(7);
            if (leading) seen.set(groupId, announced);
            else seen.delete(groupId);
          }
          full = true;
          sent = list.sequence;
        };
        for (const { kind, groupId } of actions) {
          if (kind === 'lead') {
            lead(list, groupId, ++term);
            led.set(groupId, term);
          } else if (kind === 'withdraw') {
            list.withdraw(groupId as GroupId);
            led.delete(groupId);
          } else if (kind === 'send') send();
          else list.trim(full ? sent : list.sequence);
        }
        send();
        expect(new Map([...seen].sort())).toEqual(new Map([...led].sort()));
      }),
    );
  });
});
