/**
 * Has replicas of this broker replaced that may have forgotten a vote (DECISIONS W6): under their ids nobody may act again, so metadata gives them successors with new ids in the same place, which
 * join as learners, are filled by their leaders and then vote.
 *
 * One at a time, and only where a majority without it is in sync with a ready leader: then nothing that was acknowledged is left on the damaged one alone, and its files may go. Not all others: of five
 * replicas two may be damaged at a time, and each would wait for the other.
 *
 * A damaged replica that is placed nowhere had been removed, and what the damage hides is its removal. It goes as it went before, on a tombstone that metadata commits.
 */
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import { majority } from '../../raft/core/quorum.ts';
import type { RaftGroups } from '../../raft/raft-group.ts';
import { type BrokerId, type GroupId, METADATA_GROUP_ID, type ReplicaId } from '../../std/brands.ts';
import type { Timers } from '../../std/environment.ts';
import type { Log } from '../../std/log.ts';
import { BackgroundTask } from './background-task.ts';
import type { ChangeClient } from './change-client.ts';
import type { PartitionPlacement } from './metadata-image.ts';
import type { MetadataStateMachine } from './metadata-state-machine.ts';

const INTERVAL_MS = 2_000;
const TIMEOUT_MS = 10_000;

export interface DamagedReplica {
  readonly groupId: GroupId;
  readonly replicaId: ReplicaId;
  readonly kind: 'entries' | 'identity';
}

export interface ReplicaReplacementOptions {
  readonly brokerId: BrokerId;
  /** Hex. */
  readonly storeId: string;
  readonly groups: Pick<RaftGroups, 'leaderOf'>;
  readonly stateMachine: MetadataStateMachine;
  readonly changes: ChangeClient;
  readonly timers: Timers;
  readonly log: Log;
  damagedReplicas(): readonly DamagedReplica[];
  fail(error: unknown): void;
}

export class ReplicaReplacement {
  readonly task: BackgroundTask;
  readonly #options: ReplicaReplacementOptions;
  /** The group whose successor is being filled. */
  #filling: GroupId | undefined;
  #replaced = 0;

  constructor(options: ReplicaReplacementOptions) {
    this.#options = options;
    this.task = new BackgroundTask({
      timers: options.timers,
      intervalMs: INTERVAL_MS,
      run: () => this.#run(),
      fail: (error) => options.fail(error),
    });
  }

  /** Replicas that got a successor since the start. */
  get replaced(): number {
    return this.#replaced;
  }

  async #run(): Promise<void> {
    const { brokerId, groups, stateMachine, changes, log } = this.#options;
    const damaged = this.#options.damagedReplicas();
    if (damaged.length === 0) return;
    await this.#buryStrays(damaged);
    const lost = damaged.filter(({ kind }) => kind === 'identity');
    if (this.#filling !== undefined && groups.leaderOf(this.#filling)?.inSync.includes(brokerId) === false) return;
    this.#filling = undefined;
    for (const { groupId, replicaId } of lost) {
      const found = placementOf(stateMachine, groupId, replicaId);
      if (found === undefined || found.placement.removing.length > 0) continue;
      const { topicId, placement } = found;
      const leader = groups.leaderOf(groupId);
      if (leader?.ready !== true) continue;
      const { replicas } = placement;
      const whole = replicas.filter((other) => other.replicaId !== replicaId && leader.inSync.includes(other.brokerId));
      if (whole.length < majority(replicas.length)) continue;
      const { partition, version } = placement;
      const executed = await changes.execute<'replaceReplica'>(
        { kind: 'replaceReplica', topicId, partition, version, replicaId },
        TIMEOUT_MS,
      );
      if (executed.kind === 'timedOut' || executed.result.errorCode !== ErrorCode.NONE) return;
      this.#filling = groupId;
      this.#replaced++;
      log.warn(
        { groupId, replicaId },
        'A replica that may have forgotten a vote is replaced: its successor is filled from the others',
      );
      return;
    }
  }

  async #buryStrays(damaged: readonly DamagedReplica[]): Promise<void> {
    const { brokerId, storeId, stateMachine, changes, log } = this.#options;
    const { tombstones } = stateMachine.image;
    const strays = damaged
      .filter(({ groupId, replicaId }) => groupId !== METADATA_GROUP_ID && !tombstones.has(replicaId))
      .filter(({ groupId, replicaId }) => placementOf(stateMachine, groupId, replicaId) === undefined);
    if (strays.length === 0) return;
    for (const { groupId, replicaId } of strays) {
      log.warn({ groupId, replicaId }, 'A damaged replica is not placed here any more; metadata is asked to remove it');
    }
    const replicas = strays.map(({ groupId, replicaId }) => ({ groupId, replicaId, brokerId, storeId }));
    await changes.execute<'buryReplicas'>({ kind: 'buryReplicas', replicas }, TIMEOUT_MS);
  }
}

/** Undefined: this replica is neither placed nor on its way out. */
function placementOf(
  { image }: MetadataStateMachine,
  groupId: GroupId,
  replicaId: ReplicaId,
): { readonly topicId: string; readonly placement: PartitionPlacement } | undefined {
  for (const { topicId, partitions } of image.topics.values()) {
    const placement = partitions.find((each) => each.groupId === groupId);
    if (placement === undefined) continue;
    const known = [...placement.replicas, ...placement.removing];
    return known.some((replica) => replica.replicaId === replicaId) ? { topicId, placement } : undefined;
  }
  return undefined;
}
