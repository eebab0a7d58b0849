/**
 * Knows what must be true across all replicas, restarts and stores of a simulated cluster, and says so the moment it is not: one history per group whoever applies it, one leader per term, one
 * vote per replica and term.
 */
import type { RaftGroup } from '../../../src/raft/raft-group.ts';
import type { StateMachine } from '../../../src/raft/state-machine.ts';
import type { Channel } from '../../../src/raft/transport.ts';
import { crc32c } from '../../../src/std/crc32c.ts';
import { RaftOracle, Violation } from '../raft-oracle.ts';

interface AppliedFact {
  readonly term: number;
  /** Of the payload; −1 for what Raft writes itself. */
  readonly checksum: number;
}

export class ClusterOracle {
  readonly #raft = new RaftOracle();
  readonly #groups = new Map<number, AppliedFact[]>();
  readonly #fail: (error: unknown) => void;
  applied = 0;
  leaderships = 0;

  constructor(fail: (error: unknown) => void) {
    this.#fail = fail;
  }

  /** Watches over what a replica applies, from its first entry on. */
  watch(brokerId: number, group: RaftGroup, machine: StateMachine): void {
    const { apply, advance, leadershipChanged } = machine;
    const who = `Replica ${group.replicaId} of group ${group.groupId} on broker ${brokerId}`;
    machine.apply = (entry) => {
      this.#saw(group.groupId, who, entry.index, { term: entry.term, checksum: crc32c(entry.payload) });
      return apply.call(machine, entry);
    };
    machine.advance = (index, term) => {
      this.#saw(group.groupId, who, index, { term, checksum: -1 });
      advance.call(machine, index, term);
    };
    machine.leadershipChanged = () => {
      if (group.role === 'leader') {
        this.leaderships++;
        this.#guard(() => this.#raft.leads(group.groupId, group.currentTerm, group.replicaId));
      }
      leadershipChanged?.call(machine);
    };
  }

  /** What leaves a broker. */
  sent(channel: Channel, bytes: Uint8Array): void {
    this.#guard(() => this.#raft.sent(channel, bytes));
  }

  #saw(groupId: number, who: string, index: number, fact: AppliedFact): void {
    this.applied++;
    let history = this.#groups.get(groupId);
    if (history === undefined) {
      history = [];
      this.#groups.set(groupId, history);
    }
    const known = history[index];
    history[index] ??= fact;
    if (known === undefined || (known.term === fact.term && known.checksum === fact.checksum)) return;
    const violation = new Violation(
      `${who} applies (term ${fact.term}, checksum ${fact.checksum}) at ${index}, another one applied (term ${known.term}, checksum ${known.checksum})`,
    );
    this.#fail(violation);
    throw violation;
  }

  #guard(check: () => void): void {
    try {
      check();
    } catch (error) {
      this.#fail(error);
    }
  }
}
