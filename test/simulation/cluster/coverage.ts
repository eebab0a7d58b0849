/** What the production code went through in a run, as counters: role transitions, recovery paths, reuse. What stays at zero over many seeds is a defect of the simulator. */
import type { RaftDriver } from '../../../src/raft/raft-driver.ts';
import type { RaftGroup } from '../../../src/raft/raft-group.ts';

export type Coverage = Record<string, number>;

/** Changes of what a replica is. A step that lasts less than the time between two looks is seen in some runs only. */
export const ROLE_CHANGES = [
  'follower → preCandidate',
  'preCandidate → follower',
  'preCandidate → candidate',
  'candidate → follower',
  'candidate → preCandidate',
  'candidate → leader',
  'leader → follower',
  'learner → voter',
  'voter → learner',
] as const;

/** What brokers say when they take a path that leads out of trouble. */
export const RECOVERY_LINES = [
  'Cutting a torn flush, which was never acknowledged',
  'The last flush in the WAL is damaged',
  'A flush in the WAL is damaged',
  'A part of the WAL is unreadable',
  'The header of a WAL segment is damaged',
  'The WAL is damaged: no replica of this store may vote',
  'A replica lost data to a damaged disk',
  'A replica lost its state to a damaged disk: it neither votes nor leads until it has everything back from a leader',
  'A damaged replica is repaired',
  'A replica without state takes everything from its leader',
  'A partition file is damaged: nothing of that place is served, and it is repaired from the other replicas',
  'A damaged partition file is repaired from the other replicas',
  'The file of a checkpoint is damaged: another one is made',
  'No space for another WAL segment; going on with those there are',
  'The disk is full: giving up the reserve',
  'Space is short: produce is refused until there is more',
  'There is space again: produce goes on',
  'A catch-up ended without effect',
] as const;
/** What a broker says only of what its disk lost or changed; one whose disk keeps its promises never does. */
const DAMAGE_LINES: ReadonlySet<string> = new Set([
  'The WAL is damaged: no replica of this store may vote',
  'A replica lost data to a damaged disk',
  'A replica lost its state to a damaged disk: it neither votes nor leads until it has everything back from a leader',
  'A partition file is damaged: nothing of that place is served, and it is repaired from the other replicas',
  'The file of a checkpoint is damaged: another one is made',
]);
/** A log that loses its last entries because they contradict a leader's. */
export const CONFLICT = 'A conflicting suffix is cut';

const recoveryLines: ReadonlySet<string> = new Set(RECOVERY_LINES);

/** What a replica was when somebody looked last. */
export interface ReplicaView {
  readonly role: RaftGroup['role'];
  readonly isVoter: boolean;
  readonly lastIndex: number;
}

export function viewOf(group: RaftGroup): ReplicaView {
  const { role, lastIndex, replicaId } = group;
  return { role, lastIndex, isVoter: group.membership.voters.some((voter) => voter.replicaId === replicaId) };
}

export function noteChange(coverage: Coverage, before: ReplicaView, now: ReplicaView): void {
  if (before.role !== now.role) add(coverage, `${before.role} → ${now.role}`);
  if (before.isVoter !== now.isVoter) add(coverage, now.isVoter ? 'learner → voter' : 'voter → learner');
  if (now.lastIndex < before.lastIndex) add(coverage, CONFLICT);
}

export function isDamageLine(message: string): boolean {
  return DAMAGE_LINES.has(message);
}

export function noteLine(coverage: Coverage, message: string): void {
  if (recoveryLines.has(message)) add(coverage, message);
}

export function addCoverage(coverage: Coverage, driver: RaftDriver): void {
  const numbers = (prefix: string, of: object): void => {
    for (const [name, value] of Object.entries(of)) {
      if (typeof value === 'number') add(coverage, `${prefix}.${name}`, value);
    }
  };
  numbers('driver', driver.metrics);
  numbers('wal', driver.storage.stats);
}

export function mergeCoverage(into: Coverage, from: Coverage): void {
  for (const [name, value] of Object.entries(from)) add(into, name, value);
}

function add(coverage: Coverage, name: string, value = 1): void {
  coverage[name] = (coverage[name] ?? 0) + value;
}
