/**
 * What the driver itself stores of a replica: the descriptor written when it is created, and its part of every checkpoint (the membership as of the
 * checkpoint's index). Both begin with a format version (DECISIONS I4).
 */
import { assert } from '../std/assert.ts';
import type { GroupId } from '../std/brands.ts';
import type { Membership } from './core/types.ts';
import { decodeMembership, encodeMembership } from './membership-codec.ts';
import { WireReader, WireWriter } from './wire.ts';

const DESCRIPTOR_VERSION = 1;
const CHECKPOINT_VERSION = 1;

export interface ReplicaDescriptor {
  readonly groupId: GroupId;
  readonly membership: Membership;
  /** Opaque: what the state machine is. */
  readonly descriptor: Uint8Array;
}

export function encodeReplicaDescriptor(descriptor: ReplicaDescriptor): Uint8Array {
  return join(
    new WireWriter()
      .byte(DESCRIPTOR_VERSION)
      .number(descriptor.groupId)
      .bytes([encodeMembership(descriptor.membership)])
      .bytes([descriptor.descriptor]),
  );
}

export function decodeReplicaDescriptor(bytes: Uint8Array): ReplicaDescriptor {
  const reader = new WireReader(bytes);
  const version = reader.byte();
  assert(version === DESCRIPTOR_VERSION, `Unknown version of a replica descriptor: ${version}`);
  const groupId = reader.number() as GroupId;
  const membership = decodeMembership(reader.bytes());
  const descriptor = reader.bytes();
  reader.end();
  return { groupId, membership, descriptor };
}

export interface CheckpointPayload {
  /** In force at the checkpoint's index. */
  readonly membership: Membership;
  readonly state: Uint8Array;
}

export function encodeCheckpointPayload(payload: CheckpointPayload): Uint8Array {
  return join(
    new WireWriter()
      .byte(CHECKPOINT_VERSION)
      .bytes([encodeMembership(payload.membership)])
      .bytes([payload.state]),
  );
}

export function decodeCheckpointPayload(bytes: Uint8Array): CheckpointPayload {
  const reader = new WireReader(bytes);
  const version = reader.byte();
  assert(version === CHECKPOINT_VERSION, `Unknown version of a checkpoint: ${version}`);
  const membership = decodeMembership(reader.bytes());
  const state = reader.bytes();
  reader.end();
  return { membership, state };
}

function join(writer: WireWriter): Uint8Array {
  return Buffer.concat(writer.finish());
}
