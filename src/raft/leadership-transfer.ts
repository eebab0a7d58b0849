/**
 * One transfer of a leadership to another broker: asks the core, then waits until this replica does not lead any more, or long enough. Nothing is lost either way:
 * the core takes no proposals meanwhile and goes on leading if the target does not win.
 */
import type { BrokerId, ReplicaId } from '../std/brands.ts';
import { DeadlineTimer } from './deadline-heap.ts';
import type { DriverContext } from './driver-context.ts';
import type { GroupReplica } from './group-replica.ts';

export class LeadershipTransfer {
  readonly #context: DriverContext;
  readonly #replica: GroupReplica;
  readonly #done: (moved: boolean) => void;
  readonly #timer: DeadlineTimer;

  private constructor(context: DriverContext, replica: GroupReplica, done: (moved: boolean) => void) {
    this.#context = context;
    this.#replica = replica;
    this.#done = done;
    this.#timer = new DeadlineTimer(() => this.end(false));
  }

  /** Within a pass. */
  static start(
    context: DriverContext,
    replica: GroupReplica,
    target: BrokerId | undefined,
    done: (moved: boolean) => void,
  ): void {
    const replicaId = chooseTarget(context, replica, target);
    if (replicaId === undefined || replica.transfer !== undefined) return done(false);
    const transfer = new LeadershipTransfer(context, replica, done);
    replica.transfer = transfer;
    context.deadlines.schedule(transfer.#timer, context.nowMs + 2 * context.config.electionTimeoutMs);
    const effects = context.step(replica, { kind: 'transferLeadership', nowMs: context.nowMs, target: replicaId });
    if (effects.refusal !== undefined) transfer.end(false);
  }

  /** Called when the leadership ended (true), or nothing came of it (false). */
  end(moved: boolean): void {
    if (this.#replica.transfer !== this) return;
    this.#replica.transfer = undefined;
    this.#context.deadlines.cancel(this.#timer);
    this.#done(moved);
  }
}

/** The voter asked for, or the one that has most of the log, on a broker that can lead. */
function chooseTarget(
  context: DriverContext,
  replica: GroupReplica,
  target: BrokerId | undefined,
): ReplicaId | undefined {
  if (replica.role !== 'leader' || replica.removed) return undefined;
  let best: { readonly replicaId: ReplicaId; readonly matchIndex: number } | undefined;
  for (const member of replica.membership.voters) {
    if (member.replicaId === replica.replicaId) continue;
    if (target !== undefined && member.brokerId !== target) continue;
    const peer = context.peers.get(member.brokerId);
    if (peer?.fit !== true || peer.link === undefined || peer.exceptions.has(replica.groupId)) continue;
    const matchIndex = replica.progressOf(member.replicaId)?.matchIndex ?? 0;
    if (best === undefined || matchIndex > best.matchIndex) best = { replicaId: member.replicaId, matchIndex };
  }
  return best?.replicaId;
}
