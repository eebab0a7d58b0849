/**
 * What must hold in a cluster of cores after every event, whatever happened to messages, disks and processes (RELIABILITY: I1–I9). Knows everything that any replica ever said or
 * wrote; throws an InvariantError at the first contradiction.
 */

import type { Effects, Member, Membership, OutboundMessage } from '../../src/raft/core/types.ts';
import { assert } from '../../src/std/assert.ts';
import { type LogIndex, logIndex, type ReplicaId } from '../../src/std/brands.ts';
import type { Entry } from '../../src/wal/replica-storage.ts';
import type { CoreReplica } from './core-cluster.ts';

const pair = (left: number, right: number): number => left * 2 ** 26 + right;

/** What a replica was before a step. */
interface Before {
  readonly commitIndex: LogIndex;
  readonly membership: Membership;
  readonly configurationIndex: LogIndex;
}

export class CoreInvariants {
  readonly #replicas: ReadonlyMap<ReplicaId, CoreReplica>;
  readonly #leaders = new Map<number, ReplicaId>();
  readonly #votes = new Map<number, ReplicaId>();
  /** By (index, term): payload, and the term of the entry before. */
  readonly #entries = new Map<number, { payload: string; previousTerm: number }>();
  /** Term of each committed entry, by index. */
  readonly #committed: number[] = [0];

  constructor(replicas: ReadonlyMap<ReplicaId, CoreReplica>) {
    this.#replicas = replicas;
  }

  /** Highest index that any replica ever called committed. */
  get committedIndex(): LogIndex {
    return logIndex(this.#committed.length - 1);
  }

  /** After a step of `replica`, its writes taken by the disk, its messages not yet sent. `before`: as it was before the step. */
  stepped(replica: CoreReplica, effects: Effects, before: Before): void {
    if (effects.append.length > 0) this.#logMatching(replica, effects.append);
    if (effects.append.length > 0 || effects.truncateFrom !== undefined || effects.membershipChanged)
      agreesWithDisk(replica);
    if (effects.membershipChanged) this.#configured(replica, before);
    if (effects.commitIndex > before.commitIndex) this.#committedEntries(replica, before, effects.commitIndex);
    if (effects.leadershipChanged && replica.core.role === 'leader') this.#elected(replica);
    for (const message of effects.send) this.#sent(replica, message);
    assert(
      effects.applyIndex <= replica.disk.durable.lastIndex,
      'W7: a replica applies only what it has flushed itself',
    );
    for (const read of effects.reads) {
      const floor = replica.readFloors.get(read.requestId);
      replica.readFloors.delete(read.requestId);
      if (read.index !== undefined && floor !== undefined)
        assert(
          read.index >= floor,
          `ReadIndex: ${read.index} is older than what was committed when the read came (${floor})`,
        );
    }
  }

  /** I2, by induction: an entry is the same wherever its index and term are, and so is the one before it. */
  #logMatching(replica: CoreReplica, entries: readonly Entry[]): void {
    for (const entry of entries) {
      const previousTerm = replica.disk.memory.termAt(logIndex(entry.index - 1));
      if (previousTerm === undefined) continue;
      const payload = entry.payload.map((piece) => Buffer.from(piece).toString('latin1')).join('');
      const known = this.#entries.get(pair(entry.index, entry.term));
      if (known === undefined) this.#entries.set(pair(entry.index, entry.term), { payload, previousTerm });
      else
        assert(
          known.payload === payload && known.previousTerm === previousTerm,
          `Log matching: entry ${entry.index} of term ${entry.term} is not the same everywhere`,
        );
    }
  }

  /** I4, and durability: what a leader calls committed is flushed by a quorum of the configuration it leads. */
  #committedEntries(replica: CoreReplica, before: Before, after: LogIndex): void {
    const { memory } = replica.disk;
    for (let i = before.commitIndex + 1; i <= after; i++) {
      const term = memory.termAt(logIndex(i));
      const known = this.#committed[i];
      if (term === undefined) {
        assert(
          i < memory.baseIndex && known !== undefined,
          `State machine safety: ${i} was committed without an entry`,
        );
        continue;
      }
      if (known === undefined) {
        assert(this.#committed.length === i, 'Entries are committed in order');
        this.#committed.push(term);
      } else assert(known === term, `State machine safety: ${i} was committed with terms ${known} and ${term}`);
    }
    if (replica.core.role !== 'leader') return;
    const term = memory.termAt(after);
    assert(term === replica.core.term, 'Commit: a leader counts entries of its own term only');
    const durable = (id: ReplicaId): boolean => {
      const image = this.#replicas.get(id)?.disk.durable;
      return image !== undefined && (image.baseIndex >= after || image.termAt(after) === term);
    };
    // By the configuration before the step: the commit itself may have put the leader into the next one.
    assert(isQuorum(before.membership, durable), `Commit: ${after} is not flushed by a quorum`);
  }

  /** I1, I3: one leader in a term, and it has every committed entry. */
  #elected(replica: CoreReplica): void {
    const { core, disk } = replica;
    const other = this.#leaders.get(core.term);
    assert(
      other === undefined || other === core.replicaId,
      `Election safety: ${other} and ${core.replicaId} lead term ${core.term}`,
    );
    if (other !== undefined) return;
    this.#leaders.set(core.term, core.replicaId);
    this.#voted(core.replicaId, core.term, core.replicaId);
    const granted = (id: ReplicaId): boolean => this.#votes.get(pair(core.term, id)) === core.replicaId;
    assert(
      isQuorum(core.membership, granted),
      `Election: ${core.replicaId} leads term ${core.term} without a quorum of votes`,
    );
    for (let i = disk.memory.baseIndex + 1; i < this.#committed.length; i++)
      assert(
        disk.memory.termAt(logIndex(i)) === this.#committed[i],
        `Leader completeness: ${core.replicaId} leads term ${core.term} without entry ${i} of term ${this.#committed[i]}`,
      );
  }

  /** Consecutive configurations of a leader share a voter in any two quorums: one voter more or less, or through a joint one. */
  #configured({ core, disk }: CoreReplica, { membership: before, configurationIndex }: Before): void {
    if (core.role !== 'leader') return;
    assert(configurationIndex <= core.commitIndex, 'Membership: changed while another change was pending');
    assert(
      disk.memory.termAt(core.commitIndex) === core.term,
      'Membership: changed before an entry of the term was committed',
    );
    const now = core.membership;
    const [old, next] = [idsOf(before.voters), idsOf(now.voters)];
    if (before.votersOutgoing.length > 0)
      assert(
        now.votersOutgoing.length === 0 && same(old, next),
        'Membership: a joint configuration becomes its incoming half',
      );
    else if (now.votersOutgoing.length > 0)
      assert(same(idsOf(now.votersOutgoing), old), 'Membership: a joint configuration begins from the one before');
    else {
      const changed = [...old].filter((id) => !next.has(id)).length + [...next].filter((id) => !old.has(id)).length;
      assert(changed <= 1, 'Membership: more than one voter changed without a joint configuration');
    }
  }

  /** I6, I8: nothing is said before it is flushed. */
  #sent(replica: CoreReplica, message: OutboundMessage): void {
    const { durable } = replica.disk;
    const { currentTerm, votedFor } = durable.hardState;
    switch (message.kind) {
      case 'requestVote':
        assert(
          currentTerm === message.term && votedFor === replica.core.replicaId,
          'Vote: requested before the own one was flushed',
        );
        assert(durable.lastIndex >= message.lastIndex, 'Vote: the request boasts of unflushed entries');
        return;
      case 'requestVoteResponse':
        assert(currentTerm >= message.term, 'Vote: answered in a term that is not flushed');
        if (!message.granted) return;
        assert(currentTerm === message.term && votedFor === message.to, 'Vote: granted before it was flushed');
        this.#voted(replica.core.replicaId, message.term, message.to);
        return;
      case 'appendEntriesResponse': {
        assert(currentTerm >= message.term, 'Append: answered in a term that is not flushed');
        if (!message.accepted) return;
        assert(durable.lastIndex >= message.matchIndex, 'Append: acknowledged before it was flushed');
        const leader = this.#replicas.get(message.to);
        if (leader === undefined || leader.core.role !== 'leader' || leader.core.term !== message.term) return;
        const theirs = leader.disk.memory.termAt(message.matchIndex);
        const own = durable.termAt(message.matchIndex);
        assert(
          theirs === undefined || own === undefined || theirs === own,
          'Append: acknowledged an entry that the leader does not have',
        );
        return;
      }
      default:
        return;
    }
  }

  #voted(voter: ReplicaId, term: number, candidate: ReplicaId): void {
    const key = pair(term, voter);
    const other = this.#votes.get(key);
    assert(
      other === undefined || other === candidate,
      `Vote: ${voter} voted for ${other} and ${candidate} in term ${term}`,
    );
    this.#votes.set(key, candidate);
  }
}

/** Shadow of the core's log: what a restart would find if everything written were flushed. */
function agreesWithDisk({ core, disk }: CoreReplica): void {
  const { memory } = disk;
  assert(core.lastIndex === memory.lastIndex, 'Log: the core and what it wrote end differently');
  assert(
    core.termAt(core.lastIndex) === memory.termAt(memory.lastIndex),
    'Log: the core and what it wrote end in other terms',
  );
  const configurations = memory.configurations();
  const { index, membership } = configurations[configurations.length - 1]!;
  assert(
    core.configuration.index >= index || index === memory.baseIndex,
    'Membership: not the last one in the log is in force',
  );
  assert(
    same(idsOf(core.membership.voters), idsOf(membership.voters)) &&
      same(idsOf(core.membership.votersOutgoing), idsOf(membership.votersOutgoing)),
    'Membership: not the one in the log is in force',
  );
}

const idsOf = (members: readonly Member[]): Set<ReplicaId> => new Set(members.map((member) => member.replicaId));
const same = (left: ReadonlySet<ReplicaId>, right: ReadonlySet<ReplicaId>): boolean =>
  left.size === right.size && [...left].every((id) => right.has(id));

/** Written again on purpose: a mistake in the core's own arithmetic must not hide itself. */
function isQuorum(membership: Membership, has: (replica: ReplicaId) => boolean): boolean {
  return [membership.voters, membership.votersOutgoing].every(
    (voters) => voters.length === 0 || 2 * voters.filter((voter) => has(voter.replicaId)).length > voters.length,
  );
}
