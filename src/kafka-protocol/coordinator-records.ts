/**
 * Keys and values of `__consumer_offsets`, in Kafka's own form so that its tools can read the topic, and the parts of a
 * consumer's group metadata that DescribeGroups shows.
 *
 * Each is an int16 version and then the fields: {@link encodeVersioned} and {@link decodeVersioned}.
 */
import { ByteReader } from './byte-reader.ts';
import { ByteWriter } from './byte-writer.ts';
import { Message } from './codec.ts';
import { ProtocolError } from './protocol-error.ts';
import {
  array,
  bytes,
  type Decoded,
  type Encodable,
  type Fields,
  includesVersion,
  int32,
  int64,
  parseVersions,
  string,
  uuid,
} from './schema.ts';

const NEVER_FLEXIBLE = { min: 1, max: 0 };

/** Key of a committed position; versions 0 and 1 are alike. */
export const offsetCommitKey = new Message('OffsetCommitKey', parseVersions('0-1'), NEVER_FLEXIBLE, {
  group: string('0+'),
  topic: string('0+'),
  partition: int32('0+'),
});

/** Value of a committed position; a null value is its deletion. */
export const offsetCommitValue = new Message('OffsetCommitValue', parseVersions('0-4'), parseVersions('4+'), {
  offset: int64('0+'),
  leaderEpoch: int32('3+', { default: -1, ignorable: true }),
  metadata: string('0+'),
  commitTimestamp: int64('0+'),
  expireTimestamp: int64('1', { default: -1, ignorable: true }),
  topicId: uuid('4+', { ignorable: true, tag: 0 }),
});

/** Key of a group; its version 2 tells it from the keys of positions. */
export const groupMetadataKey = new Message('GroupMetadataKey', parseVersions('2'), NEVER_FLEXIBLE, {
  group: string('0+'),
});

/** A generation of a group with its members. */
export const groupMetadataValue = new Message('GroupMetadataValue', parseVersions('0-4'), parseVersions('4+'), {
  protocolType: string('0+'),
  generation: int32('0+'),
  protocol: string('0+', { nullable: '0+' }),
  leader: string('0+', { nullable: '0+' }),
  currentStateTimestamp: int64('2+', { default: -1, ignorable: true }),
  members: array('0+', {
    memberId: string('0+'),
    groupInstanceId: string('3+', { nullable: '3+', default: null, ignorable: true }),
    clientId: string('0+'),
    clientHost: string('0+'),
    rebalanceTimeout: int32('1+', { default: -1, ignorable: true }),
    sessionTimeout: int32('0+'),
    subscription: bytes('0+'),
    assignment: bytes('0+'),
  }),
});

/** What a member of a `consumer` group subscribes to. A newer version only adds fields: read it as the newest known. */
export const consumerProtocolSubscription = new Message(
  'ConsumerProtocolSubscription',
  parseVersions('0-3'),
  NEVER_FLEXIBLE,
  {
    topics: array('0+', 'string'),
    userData: bytes('0+', { nullable: '0+', default: null }),
    ownedPartitions: array('1+', { topic: string('1+'), partitions: array('1+', 'int32') }, { ignorable: true }),
    generationId: int32('2+', { default: -1, ignorable: true }),
    rackId: string('3+', { nullable: '3+', default: null, ignorable: true }),
  },
);

/** What the leader of a `consumer` group assigns to one member. */
export const consumerProtocolAssignment = new Message(
  'ConsumerProtocolAssignment',
  parseVersions('0-3'),
  NEVER_FLEXIBLE,
  {
    assignedPartitions: array('0+', { topic: string('0+'), partitions: array('0+', 'int32') }),
    userData: bytes('0+', { nullable: '0+', default: null }),
  },
);

/** int16 version, then the message in that version, in one piece. */
export function encodeVersioned<F extends Fields>(
  message: Message<F>,
  value: Encodable<F>,
  version: number,
): Uint8Array {
  const writer = new ByteWriter();
  writer.int16(version);
  message.write(writer, value, version);
  return Buffer.concat(writer.finish());
}

/** The version that stands in front of `data`. Throws {@link ProtocolError}. */
export function versionOf(data: Uint8Array): number {
  return new ByteReader(data).int16();
}

/** Reads what {@link encodeVersioned} wrote. Throws {@link ProtocolError} for a version that is not known. */
export function decodeVersioned<F extends Fields>(message: Message<F>, data: Uint8Array): Decoded<F> {
  const reader = new ByteReader(data);
  const version = reader.int16();
  if (!includesVersion(message.versions, version)) throw new ProtocolError(`${message.name} has no version ${version}`);
  return message.read(reader, version);
}
