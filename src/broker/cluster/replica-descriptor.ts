/** What a local replica is, in the bytes that the Raft driver keeps for it and gives back to the state-machine factory after a restart. */
import { ByteReader } from '../../kafka-protocol/byte-reader.ts';
import { ByteWriter } from '../../kafka-protocol/byte-writer.ts';
import { assert } from '../../std/assert.ts';
import { readString } from './metadata-command.ts';

export type ReplicaDescriptor =
  | { readonly kind: 'metadata' }
  | {
      readonly kind: 'partition';
      readonly topic: string;
      /** Kafka's base64url form. */
      readonly topicId: string;
      readonly partition: number;
      readonly isInternal: boolean;
    };

const FORMAT_VERSION = 1;
const KIND = { metadata: 0, partition: 1 } as const;

export function encodeReplicaDescriptor(descriptor: ReplicaDescriptor): Uint8Array {
  const writer = new ByteWriter();
  writer.int8(FORMAT_VERSION);
  writer.int8(KIND[descriptor.kind]);
  if (descriptor.kind === 'partition') {
    writer.compactString(descriptor.topic);
    writer.uuid(descriptor.topicId);
    writer.uvarint(descriptor.partition);
    writer.bool(descriptor.isInternal);
  }
  return Buffer.concat(writer.finish());
}

/** Throws on a format or kind that this version does not know: the broker must not start with a replica that it can not run. */
export function decodeReplicaDescriptor(bytes: Uint8Array): ReplicaDescriptor {
  const reader = new ByteReader(bytes);
  const version = reader.int8();
  assert(version === FORMAT_VERSION, `Replica descriptor of format version ${version} is not known to this version`);
  const kind = reader.int8();
  if (kind === KIND.metadata) return { kind: 'metadata' };
  assert(kind === KIND.partition, `Replica of kind ${kind} is not known to this version`);
  return {
    kind: 'partition',
    topic: readString(reader),
    topicId: reader.uuid(),
    partition: reader.uvarint(),
    isInternal: reader.bool(),
  };
}
