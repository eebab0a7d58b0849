/**
 * Bytes of a {@link Membership}, in configuration entries, checkpoints and replica descriptors.
 *
 *     membership  = version:u8 (1) voters:members votersOutgoing:members learners:members
 *     members     = count:u8 member*
 *     member      = replicaId:u64 brokerId:u32 storeIdLength:u8 storeId:bytes          (big-endian; storeId is the hex text's bytes)
 *
 * Strict: another version, a missing or a surplus byte is an error, never a guess (DECISIONS I4). Equal memberships have equal bytes.
 */

import { assert } from '../std/assert.ts';
import { brokerId, replicaId } from '../std/brands.ts';
import type { Member, Membership, RaftCoreOptions } from './core/types.ts';

const VERSION = 1;
const MEMBER_BYTES_MIN = 13;

/** Throws InvariantError if a list has more than 255 members or a store id is not lower-case hex. */
export function encodeMembership(membership: Membership): Uint8Array {
  const lists = [membership.voters, membership.votersOutgoing, membership.learners];
  let size = 1;
  for (const list of lists) {
    size += 1;
    for (const member of list) size += MEMBER_BYTES_MIN + member.storeId.length / 2;
  }
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  bytes[0] = VERSION;
  let position = 1;
  for (const list of lists) {
    assert(list.length <= 255, 'A membership list has at most 255 members');
    bytes[position++] = list.length;
    for (const member of list) position = encodeMember(bytes, view, position, member);
  }
  return bytes;
}

function encodeMember(bytes: Uint8Array, view: DataView, position: number, member: Member): number {
  const { storeId } = member;
  assert(/^([0-9a-f]{2}){0,255}$/.test(storeId), 'A store id is written in hex');
  assert(Number.isSafeInteger(member.replicaId) && member.replicaId >= 0, 'A replica id is a safe integer');
  assert(
    Number.isInteger(member.brokerId) && member.brokerId >= 0 && member.brokerId < 2 ** 32,
    'A broker id has 32 bits',
  );
  view.setBigUint64(position, BigInt(member.replicaId));
  view.setUint32(position + 8, member.brokerId);
  bytes[position + 12] = storeId.length / 2;
  position += MEMBER_BYTES_MIN;
  for (let i = 0; i < storeId.length; i += 2) bytes[position++] = Number.parseInt(storeId.slice(i, i + 2), 16);
  return position;
}

/** Inverse of {@link encodeMembership}. Throws an Error that says what is wrong with the bytes. */
export function decodeMembership(bytes: Uint8Array): Membership {
  const reader = new MembershipReader(bytes);
  const version = reader.byte();
  if (version !== VERSION) throw new Error(`Unknown version ${version} of a membership`);
  const voters = reader.members();
  const votersOutgoing = reader.members();
  const learners = reader.members();
  reader.end();
  return { voters, votersOutgoing, learners };
}

/** What the core needs to make and to read configuration entries. */
export const membershipCodec: RaftCoreOptions['membershipCodec'] = {
  encode: encodeMembership,
  decode: (payload) => decodeMembership(payload.length === 1 ? payload[0]! : concatenate(payload)),
};

function concatenate(pieces: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(pieces.reduce((size, piece) => size + piece.length, 0));
  let position = 0;
  for (const piece of pieces) {
    bytes.set(piece, position);
    position += piece.length;
  }
  return bytes;
}

class MembershipReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #position = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  byte(): number {
    return this.#bytes[this.#take(1)]!;
  }

  members(): Member[] {
    const members: Member[] = [];
    for (let remaining = this.byte(); remaining > 0; remaining--) members.push(this.#member());
    return members;
  }

  end(): void {
    if (this.#position !== this.#bytes.length) throw new Error('A membership has surplus bytes');
  }

  #member(): Member {
    const replica = Number(this.#view.getBigUint64(this.#take(8)));
    if (!Number.isSafeInteger(replica)) throw new Error('A replica id of a membership is out of range');
    const broker = this.#view.getUint32(this.#take(4));
    const length = this.byte();
    const start = this.#take(length);
    let storeId = '';
    for (let i = start; i < start + length; i++) storeId += this.#bytes[i]!.toString(16).padStart(2, '0');
    return { replicaId: replicaId(replica), brokerId: brokerId(broker), storeId };
  }

  /** Position of the next `count` bytes, which exist. */
  #take(count: number): number {
    const position = this.#position;
    if (position + count > this.#bytes.length) throw new Error('A membership is cut short');
    this.#position = position + count;
    return position;
  }
}
