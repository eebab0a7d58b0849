/**
 * When a replica that lost entries to damage may count again (DECISIONS W6). It may have acknowledged entries that it does not have now; it must not vote or lead until it has
 * everything that was committed with its help.
 *
 * Rule: a leader whose own-term entry is committed knows everything committed before its term, and what was committed with this replica's old acknowledgements arrived at it before this life of
 * the link began. So a commit index heard from it over this link, whose entry has its term, covers all of that; once our flushed log reaches it, the replica is whole.
 */
import type { AppendEntries } from './core/types.ts';
import type { DriverContext } from './driver-context.ts';
import type { GroupReplica } from './group-replica.ts';

export class RepairWatch {
  readonly #context: DriverContext;

  constructor(context: DriverContext) {
    this.#context = context;
  }

  /** A barred replica took a message of its leader. */
  heard(replica: GroupReplica, message: AppendEntries): void {
    const { core } = replica;
    if (core === undefined || core.term !== message.term || core.leaderId !== message.from) return;
    replica.repairTarget = { term: message.term, index: message.commitIndex };
    this.consider(replica);
  }

  /** After a step of a barred replica. */
  consider(replica: GroupReplica): void {
    const { core, repairTarget } = replica;
    // A log that is whole does not mend a state that is not.
    if (core === undefined || replica.stateLost !== undefined) return;
    if (repairTarget === undefined || repairTarget.term !== core.term) return;
    if (core.applyIndex < repairTarget.index || core.termAt(repairTarget.index) !== repairTarget.term) return;
    replica.repairTarget = undefined;
    this.#context.log.info({ groupId: replica.groupId, index: core.applyIndex }, 'A damaged replica is repaired');
    this.#context.enqueue(() => {
      if (replica.removed) return;
      this.#context.storage.repaired(replica.replicaId);
      this.#context.step(replica, { kind: 'barred', nowMs: this.#context.nowMs, barred: false });
      this.#context.reviewFollowing(replica);
    });
  }
}
