/**
 * Brings leadership back to the preferred replica (the first one of a partition), so that a broker that was restarted takes its share again. Each leader hands over what is not its own, gently: only to a
 * broker that has lived for a while, is in sync and votes, one transfer after the other, some per pass.
 */

import type { RaftGroups } from '../../raft/raft-group.ts';
import type { BrokerId } from '../../std/brands.ts';
import type { Clock, Timers } from '../../std/environment.ts';
import type { PartitionLog } from '../partition/partition-log.ts';
import { BackgroundTask } from './background-task.ts';
import type { MetadataStateMachine } from './metadata-state-machine.ts';
import type { PartitionRegistry } from './partition-registry.ts';

const INTERVAL_MS = 5_000;
/** A broker that has lived shorter may be one that keeps crashing. */
const LIVE_MIN_MS = 10_000;
const TRANSFERS_PER_PASS_MAX = 200;

export interface LeaderBalancerOptions {
  readonly brokerId: BrokerId;
  readonly groups: RaftGroups;
  readonly registry: PartitionRegistry;
  readonly stateMachine: MetadataStateMachine;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly intervalMs?: number;
  readonly liveMinMs?: number;
  fail(error: unknown): void;
}

export class LeaderBalancer {
  readonly task: BackgroundTask;
  readonly #options: LeaderBalancerOptions;
  /** When each broker was first seen live, of those that are. */
  readonly #liveSinceMs = new Map<BrokerId, number>();

  constructor(options: LeaderBalancerOptions) {
    this.#options = options;
    const { groups, clock, timers } = options;
    this.task = new BackgroundTask({
      timers,
      intervalMs: options.intervalMs ?? INTERVAL_MS,
      run: () => this.#run(),
      fail: (error) => options.fail(error),
    });
    groups.onBrokerLivenessChanged((broker, live) => {
      if (live) this.#liveSinceMs.set(broker, clock.monotonicMs());
      else this.#liveSinceMs.delete(broker);
    });
  }

  async #run(): Promise<void> {
    let transfers = 0;
    for (const log of [...this.#options.registry.all()]) {
      const target = this.#targetOf(log);
      if (target === undefined) continue;
      // False: it did not take effect, and the next pass tries again.
      await log.group.transferLeadership(target);
      if (++transfers >= TRANSFERS_PER_PASS_MAX) return;
    }
  }

  /** The broker that shall lead instead of this one; undefined: leave it. */
  #targetOf({ group, topicId, partition }: PartitionLog): BrokerId | undefined {
    const { brokerId, stateMachine } = this.#options;
    if (group.role !== 'leader' || !group.isReady) return undefined;
    const preferred = stateMachine.image.topicById(topicId)?.partitions[partition]?.replicas[0];
    if (preferred === undefined || preferred.brokerId === brokerId) return undefined;
    const { voters, votersOutgoing } = group.membership;
    if (votersOutgoing.length > 0 || !voters.some((voter) => voter.replicaId === preferred.replicaId)) return undefined;
    if (!group.inSyncBrokers.includes(preferred.brokerId) || !this.#hasLived(preferred.brokerId)) return undefined;
    return preferred.brokerId;
  }

  #hasLived(broker: BrokerId): boolean {
    const { groups, clock, liveMinMs } = this.#options;
    if (!groups.isBrokerLive(broker)) return false;
    const sinceMs = this.#liveSinceMs.get(broker);
    if (sinceMs === undefined) {
      // Live since before this object existed.
      this.#liveSinceMs.set(broker, clock.monotonicMs());
      return false;
    }
    return clock.monotonicMs() - sinceMs >= (liveMinMs ?? LIVE_MIN_MS);
  }
}
