/**
 * Gives new groups their first leader without waiting for an election timeout: the preferred replica campaigns as soon as it exists. The other brokers may not have created theirs yet and then
 * do not hear it, so it asks again after short pauses, a few times; after that the groups' own election timeouts take over.
 */

import type { RaftGroups } from '../../raft/raft-group.ts';
import type { GroupId } from '../../std/brands.ts';
import type { TimerHandle, Timers } from '../../std/environment.ts';

const PAUSES_MS = [10, 20, 40, 80, 160, 320];

export class FirstElections {
  readonly #groups: RaftGroups;
  readonly #timers: Timers;
  /** Groups begun in the same loop turn share their timers. */
  #begun: GroupId[] = [];
  readonly #handles = new Set<TimerHandle>();

  constructor(groups: RaftGroups, timers: Timers) {
    this.#groups = groups;
    this.#timers = timers;
  }

  begin(groupId: GroupId): void {
    this.#groups.get(groupId)?.campaign();
    this.#begun.push(groupId);
    if (this.#begun.length > 1) return;
    this.#after(0, () => {
      const groups = this.#begun;
      this.#begun = [];
      this.#campaignAgain(groups, 0);
    });
  }

  close(): void {
    for (const handle of this.#handles) handle.cancel();
    this.#handles.clear();
  }

  #campaignAgain(groups: readonly GroupId[], attempt: number): void {
    const pauseMs = PAUSES_MS[attempt];
    if (pauseMs === undefined || groups.length === 0) return;
    this.#after(pauseMs, () => {
      const leaderless = groups.filter((groupId) => {
        const group = this.#groups.get(groupId);
        return group !== undefined && group.role !== 'leader' && group.leader === undefined;
      });
      for (const groupId of leaderless) {
        const group = this.#groups.get(groupId);
        // A candidate has a majority of pre-votes and waits for its own vote's flush or for votes: to begin anew would throw those away, again and again while the disk is slow.
        if (group?.role !== 'candidate') group?.campaign();
      }
      this.#campaignAgain(leaderless, attempt + 1);
    });
  }

  #after(delayMs: number, callback: () => void): void {
    const handle = this.#timers.after(delayMs, () => {
      this.#handles.delete(handle);
      callback();
    });
    this.#handles.add(handle);
  }
}
