/**
 * Knows what must be true across all replicas and restarts of a simulated cluster, and says so the moment it is not. It sees only what a replica does to the world outside: what it
 * applies, acknowledges and says to others.
 */

import { decodePeerMessage } from '../../src/raft/peer-codec.ts';
import type { Channel } from '../../src/raft/transport.ts';
import type { ListItem } from './list-state-machine.ts';

/** A broken promise of the system under test. */
export class Violation extends Error {
  override name = 'Violation';
}

interface GroupFacts {
  /** The one history: entry at each index, as the first replica applied it. */
  readonly entries: ({ readonly term: number; readonly id: number | undefined } | undefined)[];
  readonly indexOf: Map<number, number>;
  readonly refused: Set<number>;
  readonly acked: Map<number, number>;
  ackedIndex: number;
  /** Commands up to each index that is known; to compare a state that came in one piece. */
  readonly leaders: Map<number, number>;
}

export class RaftOracle {
  readonly #groups = new Map<number, GroupFacts>();
  readonly #votes = new Map<string, number>();
  /** Latest vote that each replica let anybody know. */
  readonly #lastVotes = new Map<number, { readonly term: number; readonly candidate: number }>();
  ackedTotal = 0;

  #group(groupId: number): GroupFacts {
    let facts = this.#groups.get(groupId);
    if (facts === undefined) {
      facts = {
        entries: [],
        indexOf: new Map(),
        refused: new Set(),
        acked: new Map(),
        ackedIndex: 0,
        leaders: new Map(),
      };
      this.#groups.set(groupId, facts);
    }
    return facts;
  }

  /** State machine safety: one history for all replicas. */
  applied(groupId: number, replicaId: number, index: number, term: number, id: number | undefined): void {
    const facts = this.#group(groupId);
    const known = facts.entries[index];
    if (known !== undefined) {
      if (known.term === term && known.id === id) return;
      throw new Violation(
        `Replica ${replicaId} of group ${groupId} applies (${term}, ${id}) at ${index}, another one applied (${known.term}, ${known.id})`,
      );
    }
    facts.entries[index] = { term, id };
    if (id === undefined) return;
    const earlier = facts.indexOf.get(id);
    if (earlier !== undefined) {
      throw new Violation(`Command ${id} of group ${groupId} is applied at ${index} and at ${earlier}`);
    }
    if (facts.refused.has(id)) throw new Violation(`Command ${id} of group ${groupId} was refused and is applied`);
    facts.indexOf.set(id, index);
  }

  /** A restored or installed state is the history up to its index. */
  jumped(groupId: number, replicaId: number, index: number, items: readonly ListItem[]): void {
    const { entries } = this.#group(groupId);
    let commands = 0;
    for (let at = 1; at <= index; at++) if (entries[at]?.id !== undefined) commands++;
    if (commands !== items.length) {
      throw new Violation(
        `Replica ${replicaId} of group ${groupId} has ${items.length} commands at ${index}, there are ${commands}`,
      );
    }
    for (const item of items) {
      const known = entries[item.index];
      if (known?.id !== item.id || known.term !== item.term) {
        throw new Violation(
          `Replica ${replicaId} of group ${groupId} has command ${item.id} at ${item.index}, which is not history`,
        );
      }
    }
  }

  acked(groupId: number, index: number, term: number, id: number, result: unknown): void {
    const facts = this.#group(groupId);
    const known = facts.entries[index];
    if (known?.id !== id || known.term !== term || result !== id) {
      throw new Violation(`Command ${id} of group ${groupId} is acknowledged at (${index}, ${term}) and is not there`);
    }
    if (facts.acked.has(id)) throw new Violation(`Command ${id} of group ${groupId} is acknowledged twice`);
    facts.acked.set(id, index);
    facts.ackedIndex = Math.max(facts.ackedIndex, index);
    this.ackedTotal++;
  }

  refused(groupId: number, id: number): void {
    const facts = this.#group(groupId);
    if (facts.indexOf.has(id)) throw new Violation(`Command ${id} of group ${groupId} is refused after it was applied`);
    facts.refused.add(id);
  }

  /** What every later linearizable read must see. */
  ackedIndex(groupId: number): number {
    return this.#group(groupId).ackedIndex;
  }

  /** Every acknowledged command must be in a state that claims to be complete up to `index`. */
  checkComplete(groupId: number, items: readonly ListItem[], index: number): void {
    const facts = this.#group(groupId);
    const present = new Set(items.map(({ id }) => id));
    for (const [id, at] of facts.acked) {
      if (at > index || !present.has(id)) throw new Violation(`Acknowledged command ${id} of group ${groupId} is lost`);
    }
    for (let at = 1; at < items.length; at++) {
      if (items[at]!.index <= items[at - 1]!.index) throw new Violation(`Group ${groupId} is out of order at ${at}`);
    }
  }

  /** Election safety. */
  leads(groupId: number, term: number, replicaId: number): void {
    const { leaders } = this.#group(groupId);
    const known = leaders.get(term);
    if (known !== undefined && known !== replicaId) {
      throw new Violation(`Group ${groupId} has two leaders in term ${term}: replicas ${known} and ${replicaId}`);
    }
    leaders.set(term, replicaId);
  }

  /** What leaves a broker: a replica votes once in a term, over all its restarts. True if it contains a vote or an acknowledgement. */
  sent(_channel: Channel, bytes: Uint8Array): boolean {
    let promises = false;
    for (const item of decodePeerMessage(bytes)) {
      if (item.kind !== 'raft') continue;
      const { message } = item;
      if (message.kind !== 'appendEntries' && message.kind !== 'preVote' && message.kind !== 'preVoteResponse')
        promises = true;
      if (message.kind === 'requestVote') this.#voted(message.from, message.term, message.from);
      else if (message.kind === 'requestVoteResponse' && message.granted)
        this.#voted(message.from, message.term, message.to);
    }
    return promises;
  }

  /** A replica is back after a restart: whatever it let others know of its term and vote must be there. */
  restarted(replicaId: number, term: number, votedFor: number): void {
    const vote = this.#lastVotes.get(replicaId);
    if (vote === undefined || term > vote.term || (term === vote.term && votedFor === vote.candidate)) return;
    throw new Violation(`Replica ${replicaId} forgot that it voted for ${vote.candidate} in term ${vote.term}`);
  }

  #voted(replicaId: number, term: number, candidate: number): void {
    const key = `${replicaId} ${term}`;
    const known = this.#votes.get(key);
    if (known !== undefined && known !== candidate) {
      throw new Violation(`Replica ${replicaId} votes for ${candidate} and for ${known} in term ${term}`);
    }
    this.#votes.set(key, candidate);
    if (term >= (this.#lastVotes.get(replicaId)?.term ?? 0)) this.#lastVotes.set(replicaId, { term, candidate });
  }
}
