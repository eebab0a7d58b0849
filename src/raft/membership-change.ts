/**
 * One change of a group's members, driven by its leader (DECISIONS C3): new voters join as learners, catch up, then a joint configuration makes the change and the core
 * leaves it (thesis, section 4.3). One at a time; if leadership is lost the change ends and whoever asked asks the new leader, which continues from where it was.
 */
import type { LogIndex } from '../std/brands.ts';
import type { Member, Membership } from './core/types.ts';
import { DeadlineTimer } from './deadline-heap.ts';
import type { DriverContext } from './driver-context.ts';
import type { GroupReplica } from './group-replica.ts';

/** How often a step that the core refused, or the catch-up of the new members, is looked at again. */
const RETRY_MS = 50;

export class MembershipChange {
  readonly #context: DriverContext;
  readonly #replica: GroupReplica;
  readonly #target: readonly Member[];
  readonly #learners: readonly Member[];
  readonly #done: (changed: boolean) => void;
  readonly #timer: DeadlineTimer;
  readonly #term: number;
  /** Sum of the new members' match indexes, and when it last grew. */
  #progress = -1;
  #progressMs: number;

  private constructor(
    context: DriverContext,
    replica: GroupReplica,
    target: readonly Member[],
    learners: readonly Member[],
    done: (changed: boolean) => void,
  ) {
    this.#context = context;
    this.#replica = replica;
    this.#target = target;
    this.#learners = learners;
    this.#done = done;
    this.#timer = new DeadlineTimer(() => this.advance());
    this.#term = replica.currentTerm;
    this.#progressMs = context.nowMs;
  }

  /** Within a pass. */
  static start(
    context: DriverContext,
    replica: GroupReplica,
    target: readonly Member[],
    learners: readonly Member[],
    done: (changed: boolean) => void,
  ): void {
    if (replica.role !== 'leader' || replica.removed || replica.change !== undefined || target.length === 0) {
      return done(false);
    }
    replica.change = new MembershipChange(context, replica, target, learners, done);
    replica.change.advance();
  }

  /** Looks how far the change is and makes the next step. Called when configurations are applied, and by its own timer. */
  advance(): void {
    const replica = this.#replica;
    if (replica.change !== this) return;
    // What is applied is committed: the final configuration may be the one that ended our leadership.
    if (this.#isFinal(replica.membershipHistory.latest) && this.#isFinal(replica.membership)) return this.end(true);
    if (replica.role !== 'leader' || replica.currentTerm !== this.#term) return this.#endUnlessFinal();
    if (this.#context.nowMs - this.#progressMs > this.#context.config.membershipStallMs) return this.end(false);
    this.#context.deadlines.schedule(this.#timer, this.#context.nowMs + RETRY_MS);
    const next = this.#next();
    if (next === undefined) return;
    // Refused while another configuration is pending: the timer tries again.
    this.#context.step(replica, { kind: 'changeMembership', nowMs: this.#context.nowMs, membership: next });
  }

  end(changed: boolean): void {
    if (this.#replica.change !== this) return;
    this.#replica.change = undefined;
    this.#context.deadlines.cancel(this.#timer);
    this.#done(changed);
  }

  /** Leadership ended; if because the final configuration leaves this replica out, it is committed and about to be applied. */
  #endUnlessFinal(): void {
    const { core } = this.#replica;
    if (core !== undefined && this.#isFinal(core.membership) && this.#replica.commitIndex >= core.configuration.index)
      this.end(true);
    else this.end(false);
  }

  /** The membership to propose now; undefined: wait. */
  #next(): Membership | undefined {
    const { membership } = this.#replica;
    if (membership.votersOutgoing.length > 0) return undefined;
    const { voters } = membership;
    if (sameMembers(voters, this.#target)) {
      return sameMembers(membership.learners, this.#learners)
        ? undefined
        : { voters, votersOutgoing: [], learners: this.#learners };
    }
    const joining = this.#target.filter((member) => !has(voters, member));
    const missing = joining.filter((member) => !has(membership.learners, member));
    if (missing.length > 0) {
      return { voters, votersOutgoing: [], learners: [...membership.learners, ...missing] };
    }
    if (!this.#areCaughtUp(joining)) return undefined;
    return { voters: this.#target, votersOutgoing: voters, learners: this.#learners };
  }

  /** All new voters have what the leader had a moment ago, so that the joint configuration commits at once. */
  #areCaughtUp(joining: readonly Member[]): boolean {
    let progress = 0;
    let caughtUp = true;
    for (const member of joining) {
      const known = this.#replica.progressOf(member.replicaId);
      progress += known?.matchIndex ?? 0;
      const behind = (this.#replica.lastIndex - (known?.matchIndex ?? 0)) as LogIndex;
      const recentMs = this.#context.nowMs - this.#context.config.electionTimeoutMs;
      if (known === undefined || (behind > 0 && known.caughtUpMs < recentMs)) caughtUp = false;
    }
    if (progress > this.#progress) {
      this.#progress = progress;
      this.#progressMs = this.#context.nowMs;
    }
    return caughtUp;
  }

  #isFinal(membership: Membership): boolean {
    return (
      membership.votersOutgoing.length === 0 &&
      sameMembers(membership.voters, this.#target) &&
      sameMembers(membership.learners, this.#learners)
    );
  }
}

function has(members: readonly Member[], member: Member): boolean {
  return members.some((other) => other.replicaId === member.replicaId);
}

function sameMembers(some: readonly Member[], others: readonly Member[]): boolean {
  return some.length === others.length && some.every((member) => has(others, member));
}
