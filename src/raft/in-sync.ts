/** Who counts, as a leader sees it: for CheckQuorum (L1), and for the in-sync replicas that producers and operators are told (L7). */
import type { BrokerId, ReplicaId } from '../std/brands.ts';
import type { DriverContext } from './driver-context.ts';
import type { GroupReplica } from './group-replica.ts';

/** Does the peer's broker live and follow what this replica leads? What it has not been told of yet counts: it had no chance to object. */
function isFollowing(context: DriverContext, replica: GroupReplica, brokerId: BrokerId): boolean {
  const peer = context.peers.get(brokerId);
  return peer?.fit === true && !peer.exceptions.has(replica.groupId);
}

export function activeReplicas(context: DriverContext, replica: GroupReplica): ReadonlySet<ReplicaId> {
  const active = new Set<ReplicaId>([replica.replicaId]);
  for (const [brokerId, replicaId] of replica.members) {
    if (isFollowing(context, replica, brokerId)) active.add(replicaId);
  }
  return active;
}

/** Brokers of voters that follow and are at most replica.lag.time.max.ms behind, this one included; empty unless leader. */
export function inSyncBrokers(context: DriverContext, replica: GroupReplica): readonly BrokerId[] {
  const { core } = replica;
  if (core === undefined || core.role !== 'leader') return [];
  const inSync: BrokerId[] = [];
  const since = context.nowMs - context.config.replicaLagTimeMaxMs;
  const behind = new Set<ReplicaId>();
  for (const progress of core.progress()) {
    if (progress.matchIndex < core.lastIndex && progress.caughtUpMs < since) behind.add(progress.replicaId);
  }
  for (const member of replica.membership.voters) {
    if (member.replicaId === replica.replicaId) inSync.push(member.brokerId);
    else if (!behind.has(member.replicaId) && isFollowing(context, replica, member.brokerId))
      inSync.push(member.brokerId);
  }
  return inSync;
}

/** Is some follower not at the end of the log? Then time alone can take it out of sync, and the group is looked at again. */
export function hasLaggards(replica: GroupReplica): boolean {
  const { core } = replica;
  if (core === undefined || core.role !== 'leader') return false;
  for (const progress of core.progress()) if (progress.voter && progress.matchIndex < core.lastIndex) return true;
  return false;
}
