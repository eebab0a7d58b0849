/**
 * The durable part of consumer groups: one `__consumer_offsets` partition's applied state (DECISIONS C4).
 *
 * Owns generations with their assignments and committed offsets; joins in progress and session timers are the leader's (classic-group.ts). `apply` is pure (P1): times and topic ids are
 * resolved by the leader and travel in the command. A commit is checked here again, against the generation and members that are durable at its place in the log.
 */
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import type { CommittedOffset, DurableGroup, DurableMember, GroupCommand } from './group-command.ts';

/** A change as it goes into the partition's log, in the layout that Kafka's own tools read (group-records.ts). */
export type GroupRecord =
  | { kind: 'offset'; groupId: string; topic: string; partition: number; value: CommittedOffset | null }
  | { kind: 'group'; groupId: string; value: DurableGroup | null };

export interface GroupApplyResult {
  /** For the request that proposed the command. */
  readonly errorCode: ErrorCode;
  readonly records: readonly GroupRecord[];
}

interface MutableGroup extends DurableGroup {
  readonly offsets: Map<string, Map<number, CommittedOffset>>;
}

const REFUSED = (errorCode: ErrorCode): GroupApplyResult => ({ errorCode, records: [] });

export class GroupState {
  readonly #groups = new Map<string, MutableGroup>();

  groups(): IterableIterator<DurableGroup> {
    return this.#groups.values();
  }

  group(groupId: string): DurableGroup | undefined {
    return this.#groups.get(groupId);
  }

  /** Committed offsets of a group: topic → partition → offset; empty for a group that is unknown. */
  offsets(groupId: string): ReadonlyMap<string, ReadonlyMap<number, CommittedOffset>> {
    return this.#groups.get(groupId)?.offsets ?? new Map();
  }

  apply(command: GroupCommand): GroupApplyResult {
    switch (command.kind) {
      case 'writeGroup':
        return this.#writeGroup(command.group);
      case 'removeMembers':
        return this.#removeMembers(command.groupId, command.memberIds, command.timestampMs);
      case 'commitOffsets':
        return this.#commitOffsets(command);
      case 'deleteGroup':
        return this.#deleteGroup(command.groupId);
      case 'deleteOffsets':
        return this.#deleteOffsets(command);
    }
  }

  /** Everything, for a checkpoint; sorted, so that replicas with equal state give equal bytes. */
  snapshot(): { group: DurableGroup; offsets: { topic: string; partition: number; value: CommittedOffset }[] }[] {
    return [...this.#groups.values()]
      .sort(byKey((group) => group.groupId))
      .map((group) => ({ group, offsets: [...sortedOffsets(group)] }));
  }

  restore(snapshot: ReturnType<GroupState['snapshot']>): void {
    this.#groups.clear();
    for (const { group, offsets } of snapshot) {
      const restored: MutableGroup = { ...group, offsets: new Map() };
      for (const { topic, partition, value } of offsets) setOffset(restored, topic, partition, value);
      this.#groups.set(group.groupId, restored);
    }
  }

  #writeGroup(group: DurableGroup): GroupApplyResult {
    this.#groups.set(group.groupId, { ...group, offsets: this.#groups.get(group.groupId)?.offsets ?? new Map() });
    return { errorCode: ErrorCode.NONE, records: [{ kind: 'group', groupId: group.groupId, value: group }] };
  }

  #removeMembers(groupId: string, memberIds: readonly string[], timestampMs: number): GroupApplyResult {
    const group = this.#groups.get(groupId);
    if (group === undefined) return REFUSED(ErrorCode.NONE);
    const members = group.members.filter(({ memberId }) => !memberIds.includes(memberId));
    if (members.length === group.members.length) return REFUSED(ErrorCode.NONE);
    const becameEmpty = members.length === 0;
    return this.#writeGroup({
      ...group,
      members,
      // No leader: the assignment is no longer whole, so whoever takes the group over starts a rebalance.
      leader: null,
      protocol: becameEmpty ? null : group.protocol,
      stateTimestampMs: becameEmpty ? timestampMs : group.stateTimestampMs,
    });
  }

  #commitOffsets(command: Extract<GroupCommand, { kind: 'commitOffsets' }>): GroupApplyResult {
    const known = this.#groups.get(command.groupId);
    const refusal = checkCommit(known, command);
    if (refusal !== ErrorCode.NONE) return REFUSED(refusal);
    const group = known ?? this.#addSimpleGroup(command.groupId, command.timestampMs);
    const records: GroupRecord[] = [];
    for (const { topic, topicId, partition, offset, leaderEpoch, metadata } of command.offsets) {
      const value = { offset, leaderEpoch, metadata, topicId, commitTimestampMs: command.timestampMs };
      setOffset(group, topic, partition, value);
      records.push({ kind: 'offset', groupId: group.groupId, topic, partition, value });
    }
    return { errorCode: ErrorCode.NONE, records };
  }

  /** A group that only stores offsets (its consumer assigns partitions itself). */
  #addSimpleGroup(groupId: string, timestampMs: number): MutableGroup {
    const group: MutableGroup = {
      groupId,
      protocolType: '',
      generation: 0,
      protocol: null,
      leader: null,
      stateTimestampMs: timestampMs,
      members: [],
      offsets: new Map(),
    };
    this.#groups.set(groupId, group);
    return group;
  }

  #deleteGroup(groupId: string): GroupApplyResult {
    const group = this.#groups.get(groupId);
    if (group === undefined) return REFUSED(ErrorCode.GROUP_ID_NOT_FOUND);
    if (group.members.length > 0) return REFUSED(ErrorCode.NON_EMPTY_GROUP);
    this.#groups.delete(groupId);
    return { errorCode: ErrorCode.NONE, records: tombstones(group) };
  }

  #deleteOffsets(command: Extract<GroupCommand, { kind: 'deleteOffsets' }>): GroupApplyResult {
    const group = this.#groups.get(command.groupId);
    if (group === undefined) return REFUSED(ErrorCode.GROUP_ID_NOT_FOUND);
    const records: GroupRecord[] = [];
    for (const { topic, partition } of command.partitions) {
      const committed = group.offsets.get(topic)?.get(partition);
      // A commit that overtook the decision to expire keeps its offset.
      if (committed === undefined || committed.commitTimestampMs > command.committedBeforeMs) continue;
      removeOffset(group, topic, partition);
      records.push({ kind: 'offset', groupId: group.groupId, topic, partition, value: null });
    }
    if (command.dropGroupIfEmpty && group.members.length === 0 && group.offsets.size === 0) {
      this.#groups.delete(group.groupId);
      records.push({ kind: 'group', groupId: group.groupId, value: null });
    }
    return { errorCode: ErrorCode.NONE, records };
  }
}

/** The rule of a commit against what is durable: by a member in the current generation, or without a generation while the group has no members. */
function checkCommit(
  group: DurableGroup | undefined,
  commit: { generation: number; memberId: string; groupInstanceId: string | null },
): ErrorCode {
  if (commit.generation < 0 && (group === undefined || group.members.length === 0)) return ErrorCode.NONE;
  if (group === undefined) return ErrorCode.UNKNOWN_MEMBER_ID;
  const member = findDurableMember(group, commit);
  if (member === 'fenced') return ErrorCode.FENCED_INSTANCE_ID;
  if (member === undefined) return ErrorCode.UNKNOWN_MEMBER_ID;
  return commit.generation === group.generation ? ErrorCode.NONE : ErrorCode.ILLEGAL_GENERATION;
}

function findDurableMember(
  group: DurableGroup,
  { memberId, groupInstanceId }: { memberId: string; groupInstanceId: string | null },
): DurableMember | 'fenced' | undefined {
  if (groupInstanceId !== null) {
    const holder = group.members.find((member) => member.groupInstanceId === groupInstanceId);
    return holder !== undefined && holder.memberId !== memberId ? 'fenced' : holder;
  }
  return group.members.find((member) => member.memberId === memberId);
}

function tombstones(group: MutableGroup): GroupRecord[] {
  const { groupId } = group;
  const records: GroupRecord[] = [];
  for (const { topic, partition } of sortedOffsets(group)) {
    records.push({ kind: 'offset', groupId, topic, partition, value: null });
  }
  records.push({ kind: 'group', groupId, value: null });
  return records;
}

/** In an order of its own: that of the maps depends on whether this replica restarted from a checkpoint, and what is derived from the state has to be the same on all (DECISIONS P1). */
function* sortedOffsets(
  group: MutableGroup,
): Generator<{ topic: string; partition: number; value: CommittedOffset }, void, undefined> {
  for (const [topic, partitions] of [...group.offsets].sort(byKey(([name]) => name))) {
    for (const [partition, value] of [...partitions].sort(([left], [right]) => left - right)) {
      yield { topic, partition, value };
    }
  }
}

function setOffset(group: MutableGroup, topic: string, partition: number, value: CommittedOffset): void {
  let partitions = group.offsets.get(topic);
  if (partitions === undefined) {
    partitions = new Map();
    group.offsets.set(topic, partitions);
  }
  partitions.set(partition, value);
}

function removeOffset(group: MutableGroup, topic: string, partition: number): void {
  const partitions = group.offsets.get(topic);
  partitions?.delete(partition);
  if (partitions?.size === 0) group.offsets.delete(topic);
}

function byKey<T>(key: (value: T) => string): (a: T, b: T) => number {
  return (a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0);
}
