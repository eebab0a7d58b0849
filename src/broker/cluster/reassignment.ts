/**
 * Moves the groups that this broker leads to their targets (DECISIONS C3): metadata says who shall hold a partition, the group's own configuration who does; the leader drives the one to the other
 * and reports when it is final. Only then do the replicas that left get their tombstones.
 */

import type { Member } from '../../raft/core/types.ts';
import type { GroupId } from '../../std/brands.ts';
import type { Timers } from '../../std/environment.ts';
import type { PartitionLog } from '../partition/partition-log.ts';
import { BackgroundTask } from './background-task.ts';
import type { ChangeClient } from './change-client.ts';
import type { PartitionPlacement } from './metadata-image.ts';
import { sameReplicas } from './metadata-membership.ts';
import type { MetadataStateMachine } from './metadata-state-machine.ts';
import type { PartitionRegistry } from './partition-registry.ts';

/** A run looks at every partition. What changes triggers one; this is for a leader that is new, or whose change was refused. */
const INTERVAL_MS = 3_000;
const TIMEOUT_MS = 10_000;
/** Groups changed at a time: each new member is sent a whole partition. */
const CHANGES_MAX = 8;
const REPORTS_PER_CHANGE_MAX = 1000;

export interface ReassignmentOptions {
  readonly registry: PartitionRegistry;
  readonly stateMachine: MetadataStateMachine;
  readonly changes: ChangeClient;
  readonly timers: Timers;
  fail(error: unknown): void;
}

export class Reassignment {
  readonly task: BackgroundTask;
  readonly #options: ReassignmentOptions;
  readonly #changing = new Set<GroupId>();

  constructor(options: ReassignmentOptions) {
    this.#options = options;
    this.task = new BackgroundTask({
      timers: options.timers,
      intervalMs: INTERVAL_MS,
      run: () => this.#run(),
      fail: (error) => options.fail(error),
    });
  }

  async #run(): Promise<void> {
    const { registry, stateMachine, changes } = this.#options;
    const final: { topicId: string; partition: number; version: number }[] = [];
    for (const log of registry.all()) {
      if (log.group.role !== 'leader' || !log.group.isReady) continue;
      const placement = stateMachine.image.topicById(log.topicId)?.partitions[log.partition];
      if (placement === undefined) continue;
      const target = placement.replicas;
      const { voters, votersOutgoing, learners } = log.group.membership;
      if (votersOutgoing.length > 0 || learners.length > 0 || !sameReplicas(voters, target)) {
        this.#change(log, placement);
      } else if (placement.removing.length > 0 && final.length < REPORTS_PER_CHANGE_MAX) {
        final.push({ topicId: log.topicId, partition: log.partition, version: placement.version });
      }
    }
    if (final.length === 0) return;
    // A target that changed meanwhile is refused there; the next run looks again.
    await changes.execute<'replicasFinal'>({ kind: 'replicasFinal', partitions: final }, TIMEOUT_MS);
  }

  #change(log: PartitionLog, placement: PartitionPlacement): void {
    if (this.#changing.has(log.groupId) || this.#changing.size >= CHANGES_MAX) return;
    this.#changing.add(log.groupId);
    const target = placement.replicas.map(
      ({ replicaId, brokerId, storeId }): Member => ({ replicaId, brokerId, storeId }),
    );
    log.group.changeVoters(target).then(
      (isFinal) => {
        this.#changing.delete(log.groupId);
        // Refused or leadership lost: after the pause. Final: there is something to report, and room for the next.
        if (isFinal) this.task.trigger();
      },
      (error) => this.#options.fail(error),
    );
  }
}
