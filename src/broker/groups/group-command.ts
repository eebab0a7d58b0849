/**
 * Commands of the group coordinator's state and their bytes. Versioned from the start (DECISIONS I4): an unknown kind or version stops the replica, it is never skipped.
 *
 *     command = version int8 (0) | kind int8 | body of the kind
 */
import { ByteReader } from '../../kafka-protocol/byte-reader.ts';
import { ByteWriter } from '../../kafka-protocol/byte-writer.ts';
import { Message } from '../../kafka-protocol/codec.ts';
import { array, bool, bytes, type Fields, int8, int32, int64, string, uuid } from '../../kafka-protocol/schema.ts';
import { assert } from '../../std/assert.ts';
import type { GroupState } from './group-state.ts';

export interface CommittedOffset {
  readonly offset: number;
  readonly leaderEpoch: number;
  readonly metadata: string;
  /** Of the topic that the offset belongs to: a recreated topic does not inherit it. */
  readonly topicId: string;
  readonly commitTimestampMs: number;
}

export interface DurableMember {
  readonly memberId: string;
  readonly groupInstanceId: string | null;
  readonly clientId: string;
  readonly clientHost: string;
  readonly rebalanceTimeoutMs: number;
  readonly sessionTimeoutMs: number;
  readonly subscription: Uint8Array;
  readonly assignment: Uint8Array;
}

/** A generation with its assignment; empty groups have no members. */
export interface DurableGroup {
  readonly groupId: string;
  readonly protocolType: string;
  readonly generation: number;
  readonly protocol: string | null;
  readonly leader: string | null;
  /** When the group took its present state: an empty one expires from here on. */
  readonly stateTimestampMs: number;
  readonly members: readonly DurableMember[];
}

export type GroupCommand =
  | { readonly kind: 'writeGroup'; readonly group: DurableGroup }
  | {
      readonly kind: 'removeMembers';
      readonly groupId: string;
      readonly memberIds: readonly string[];
      readonly timestampMs: number;
    }
  | {
      readonly kind: 'commitOffsets';
      readonly groupId: string;
      readonly generation: number;
      readonly memberId: string;
      readonly groupInstanceId: string | null;
      readonly timestampMs: number;
      readonly offsets: readonly {
        topic: string;
        topicId: string;
        partition: number;
        offset: number;
        leaderEpoch: number;
        metadata: string;
      }[];
    }
  | { readonly kind: 'deleteGroup'; readonly groupId: string }
  | {
      readonly kind: 'deleteOffsets';
      readonly groupId: string;
      readonly partitions: readonly { topic: string; partition: number }[];
      /** Only offsets committed at or before this time; the largest safe integer for all. */
      readonly committedBeforeMs: number;
      readonly dropGroupIfEmpty: boolean;
    };

const VERSION = 0;
const VERSIONS = { min: 0, max: 0 };

const committedOffset = {
  topic: string('0+'),
  topicId: uuid('0+'),
  partition: int32('0+'),
  offset: int64('0+'),
  leaderEpoch: int32('0+'),
  metadata: string('0+'),
} satisfies Fields;

const durableGroup = {
  groupId: string('0+'),
  protocolType: string('0+'),
  generation: int32('0+'),
  protocol: string('0+', { nullable: '0+' }),
  leader: string('0+', { nullable: '0+' }),
  stateTimestampMs: int64('0+'),
  members: array('0+', {
    memberId: string('0+'),
    groupInstanceId: string('0+', { nullable: '0+' }),
    clientId: string('0+'),
    clientHost: string('0+'),
    rebalanceTimeoutMs: int32('0+'),
    sessionTimeoutMs: int32('0+'),
    subscription: bytes('0+'),
    assignment: bytes('0+'),
  }),
} satisfies Fields;

const define = <const F extends Fields>(name: string, fields: F) => new Message(name, VERSIONS, VERSIONS, fields);

const writeGroup = define('WriteGroup', durableGroup);
const removeMembers = define('RemoveMembers', {
  groupId: string('0+'),
  memberIds: array('0+', 'string'),
  timestampMs: int64('0+'),
});
const commitOffsets = define('CommitOffsets', {
  groupId: string('0+'),
  generation: int32('0+'),
  memberId: string('0+'),
  groupInstanceId: string('0+', { nullable: '0+' }),
  timestampMs: int64('0+'),
  offsets: array('0+', committedOffset),
});
const deleteGroup = define('DeleteGroup', { groupId: string('0+') });
const deleteOffsets = define('DeleteOffsets', {
  groupId: string('0+'),
  partitions: array('0+', { topic: string('0+'), partition: int32('0+') }),
  committedBeforeMs: int64('0+'),
  dropGroupIfEmpty: bool('0+'),
});
const snapshot = define('GroupSnapshot', {
  formatVersion: int8('0+'),
  groups: array('0+', {
    ...durableGroup,
    offsets: array('0+', { ...committedOffset, commitTimestampMs: int64('0+') }),
  }),
});

/** Numbers on disk: never reused. */
const KIND = { writeGroup: 1, removeMembers: 2, commitOffsets: 3, deleteGroup: 4, deleteOffsets: 5 } as const;

export function encodeGroupCommand(command: GroupCommand): Uint8Array {
  const writer = new ByteWriter();
  writer.int8(VERSION);
  writer.int8(KIND[command.kind]);
  switch (command.kind) {
    case 'writeGroup':
      writeGroup.write(writer, command.group, VERSION);
      break;
    case 'removeMembers':
      removeMembers.write(writer, command, VERSION);
      break;
    case 'commitOffsets':
      commitOffsets.write(writer, command, VERSION);
      break;
    case 'deleteGroup':
      deleteGroup.write(writer, command, VERSION);
      break;
    case 'deleteOffsets':
      deleteOffsets.write(writer, command, VERSION);
      break;
  }
  return Buffer.concat(writer.finish());
}

/** Throws on a version or kind that this broker does not know: it must stop rather than skip a committed command. */
export function decodeGroupCommand(command: Uint8Array): GroupCommand {
  const reader = new ByteReader(command, 0, command.length, Number.POSITIVE_INFINITY);
  const version = reader.int8();
  assert(version === VERSION, `Unknown version ${version} of a group command`);
  const kind = reader.int8();
  switch (kind) {
    case KIND.writeGroup:
      return { kind: 'writeGroup', group: ownGroup(writeGroup.read(reader, VERSION)) };
    case KIND.removeMembers:
      return { kind: 'removeMembers', ...removeMembers.read(reader, VERSION) };
    case KIND.commitOffsets:
      return { kind: 'commitOffsets', ...commitOffsets.read(reader, VERSION) };
    case KIND.deleteGroup:
      return { kind: 'deleteGroup', ...deleteGroup.read(reader, VERSION) };
    case KIND.deleteOffsets:
      return { kind: 'deleteOffsets', ...deleteOffsets.read(reader, VERSION) };
    default:
      assert(false, `Unknown kind ${kind} of a group command`);
  }
}

const SNAPSHOT_FORMAT = 0;

export function encodeGroupSnapshot(groups: ReturnType<GroupState['snapshot']>): Uint8Array {
  const flat = groups.map(({ group, offsets }) => ({
    ...group,
    offsets: offsets.map(({ topic, partition, value }) => ({ topic, partition, ...value })),
  }));
  return Buffer.concat(snapshot.encode({ formatVersion: SNAPSHOT_FORMAT, groups: flat }, VERSION));
}

export function decodeGroupSnapshot(encoded: Uint8Array): ReturnType<GroupState['snapshot']> {
  const { formatVersion, groups } = snapshot.decodeOwn(encoded, VERSION);
  assert(formatVersion === SNAPSHOT_FORMAT, `Unknown format ${formatVersion} of a group snapshot`);
  return groups.map(({ offsets, ...group }) => ({
    group: ownGroup(group),
    offsets: offsets.map(({ topic, partition, ...value }) => ({ topic, partition, value })),
  }));
}

/** Decoded bytes are views on the entry; what stays in memory must own its bytes. */
function ownGroup(group: DurableGroup): DurableGroup {
  return {
    ...group,
    members: group.members.map((member) => ({
      ...member,
      subscription: Uint8Array.from(member.subscription),
      assignment: Uint8Array.from(member.assignment),
    })),
  };
}
