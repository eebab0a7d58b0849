/**
 * Who shall be in the metadata group (DECISIONS C1): its voters stay, except that a voter whose store was lost is followed by the replica on its broker's new store; every other registered broker
 * is a learner. The leader compares and changes; if leadership moves, the next leader goes on.
 */

import type { Member, Membership } from '../../raft/core/types.ts';
import type { RaftGroups } from '../../raft/raft-group.ts';
import { METADATA_GROUP_ID } from '../../std/brands.ts';
import type { Timers } from '../../std/environment.ts';
import { BackgroundTask } from './background-task.ts';
import type { BrokerRegistration, MetadataImage } from './metadata-image.ts';
import type { MetadataStateMachine } from './metadata-state-machine.ts';

const INTERVAL_MS = 1000;

/** The membership to move to; undefined if `current` is right. */
export function desiredMembership(
  current: Membership,
  image: Pick<MetadataImage, 'brokers'>,
): Pick<Membership, 'voters' | 'learners'> | undefined {
  const voters = current.voters.map((voter) => {
    const registration = image.brokers.get(voter.brokerId);
    return registration === undefined || registration.storeId === voter.storeId ? voter : memberOf(registration);
  });
  const votes = new Set(voters.map((voter) => voter.brokerId));
  const learners = [...image.brokers.values()].filter(({ brokerId }) => !votes.has(brokerId)).map(memberOf);
  const isRight =
    current.votersOutgoing.length === 0 &&
    voters.every((voter, position) => voter === current.voters[position]) &&
    sameReplicas(learners, current.learners);
  return isRight ? undefined : { voters, learners };
}

function memberOf({ metadataReplicaId, brokerId, storeId }: BrokerRegistration): Member {
  return { replicaId: metadataReplicaId, brokerId, storeId };
}

export function sameReplicas(some: readonly Member[], others: readonly Member[]): boolean {
  const ids = new Set(some.map((member) => member.replicaId));
  return some.length === others.length && others.every((member) => ids.has(member.replicaId));
}

export interface MetadataMembershipOptions {
  readonly groups: Pick<RaftGroups, 'get'>;
  readonly stateMachine: MetadataStateMachine;
  readonly timers: Timers;
  fail(error: unknown): void;
}

/** Keeps the group's membership as it shall be, while this broker leads it. */
export function metadataMembershipTask(options: MetadataMembershipOptions): BackgroundTask {
  const { groups, stateMachine, timers, fail } = options;
  return new BackgroundTask({
    timers,
    intervalMs: INTERVAL_MS,
    fail,
    async run() {
      const group = groups.get(METADATA_GROUP_ID);
      if (group === undefined || group.role !== 'leader' || !group.isReady) return;
      const desired = desiredMembership(group.membership, stateMachine.image);
      // False: leadership was lost or another change is under way; the next run looks again.
      if (desired !== undefined) await group.changeVoters(desired.voters, desired.learners);
    },
  });
}
