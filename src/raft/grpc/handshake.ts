/**
 * Owns what two brokers must prove to each other before a link carries anything (DECISIONS I1, I2): protocol version,
 * cluster, broker, store, start of the store. Pure but for the durable note of the peer's start.
 */
import { create } from '@bufbuild/protobuf';
import { type BrokerId, brokerId } from '../../std/brands.ts';
import { bytesEqual, fromHex, toHex } from '../../std/hex.ts';
import { type PeerSessions, refuseStart, type StoreStart } from '../peer-sessions.ts';
import { handshakeFrame } from './frame-codec.ts';
import { type Frame, type Handshake, HandshakeSchema, RefusalSchema } from './peer_pb.ts';

/** Versions of the peer protocol that this code speaks. */
export const PROTOCOL_VERSION = { min: 1, max: 1 } as const;

const STORE_ID_BYTES = 16;
const INCARNATION_BYTES = 8;
export const NONCE_BYTES = 16;

/** This broker, as its peers are to know it. */
export interface LocalPeer extends StoreStart {
  readonly brokerId: BrokerId;
  /** Hex of 16 bytes. */
  readonly storeId: string;
  readonly clusterId: string;
}

/** A peer, as it introduced itself. */
export interface PeerIdentity extends StoreStart {
  readonly brokerId: BrokerId;
  readonly storeId: string;
  readonly clusterId: string;
}

/** `passing` ones end by themselves while brokers start; the others need a person. */
export const REFUSAL_CODES = {
  /** The broker is not ready for links. */
  notReady: 'passing',
  /** The broker does not (yet) want a link with this peer. */
  notExpected: 'passing',
  malformed: 'rejected',
  version: 'rejected',
  wrongTarget: 'rejected',
  wrongCluster: 'rejected',
  wrongStore: 'rejected',
  staleStore: 'rejected',
} as const;
export type RefusalCode = keyof typeof REFUSAL_CODES;

export interface Refusal {
  readonly code: RefusalCode;
  readonly reason: string;
}

export interface HandshakePolicy {
  readonly local: LocalPeer;
  readonly sessions: PeerSessions;
  /** Why this broker has no link with that one now; undefined if it may have. */
  refuseUnexpected(peer: BrokerId): Refusal | undefined;
  /** Why a peer of the right cluster must still be refused, e.g. a store that no configuration has under this broker id. */
  acceptPeer(peer: PeerIdentity): string | undefined;
}

export function encodeHandshake(local: LocalPeer, target: BrokerId, linkNonce: Uint8Array, channel: number): Frame {
  const value = create(HandshakeSchema, {
    versionMin: PROTOCOL_VERSION.min,
    versionMax: PROTOCOL_VERSION.max,
    clusterId: local.clusterId,
    brokerId: local.brokerId,
    storeId: fromHex(local.storeId),
    session: local.session,
    incarnation: fromHex(local.incarnation),
    targetBrokerId: target,
    linkNonce,
    channel,
  });
  return handshakeFrame({ case: 'handshake', value });
}

export function encodeRefusal(refusal: Refusal): Frame {
  return handshakeFrame({ case: 'refusal', value: create(RefusalSchema, refusal) });
}

/** An unknown code (of a later version) counts as one that needs a person. */
export function refusalCode(text: string): RefusalCode {
  return text in REFUSAL_CODES ? (text as RefusalCode) : 'malformed';
}

/** Whether two handshakes are of the same start of the same store. */
export function isSameStart(a: PeerIdentity, b: PeerIdentity): boolean {
  return (
    a.brokerId === b.brokerId && a.storeId === b.storeId && a.session === b.session && a.incarnation === b.incarnation
  );
}

export function peerIdentity(handshake: Handshake): PeerIdentity {
  return {
    brokerId: brokerId(handshake.brokerId),
    storeId: toHex(handshake.storeId),
    clusterId: handshake.clusterId,
    session: handshake.session,
    incarnation: toHex(handshake.incarnation),
  };
}

/**
 * Decides about a peer's handshake. `expected`: whom this broker dialed, with the nonce and channel that the answer must
 * repeat. A peer that passes is noted durably before this resolves, so that an older start of its store is refused from now on.
 */
export async function examineHandshake(
  policy: HandshakePolicy,
  handshake: Handshake,
  expected?: { readonly brokerId: BrokerId; readonly linkNonce: Uint8Array; readonly channel: number },
): Promise<Refusal | undefined> {
  const peer = peerIdentity(handshake);
  const refusal = refuseShape(handshake, expected) ?? refuseIdentity(policy, handshake, peer, expected?.brokerId);
  if (refusal !== undefined) return refusal;
  const stale = refuseStale(policy, peer);
  if (stale !== undefined) return stale;
  await policy.sessions.record(peer.storeId, { session: peer.session, incarnation: peer.incarnation });
  // Another start of the store may have been noted meanwhile.
  return refuseStale(policy, peer);
}

function refuseStale(policy: HandshakePolicy, peer: PeerIdentity): Refusal | undefined {
  const reason = refuseStart(peer, policy.sessions.highest(peer.storeId));
  if (reason === undefined) return undefined;
  return { code: 'staleStore', reason: `Store ${peer.storeId} of broker ${peer.brokerId} is refused: ${reason}` };
}

function refuseShape(
  handshake: Handshake,
  expected: { readonly linkNonce: Uint8Array; readonly channel: number } | undefined,
): Refusal | undefined {
  if (handshake.versionMin > PROTOCOL_VERSION.max || handshake.versionMax < PROTOCOL_VERSION.min) {
    const ours = `${PROTOCOL_VERSION.min} to ${PROTOCOL_VERSION.max}`;
    return {
      code: 'version',
      reason: `Peer protocol versions do not overlap: ${handshake.versionMin} to ${handshake.versionMax} against ${ours}`,
    };
  }
  const shapely =
    handshake.storeId.length === STORE_ID_BYTES &&
    handshake.incarnation.length === INCARNATION_BYTES &&
    handshake.linkNonce.length === NONCE_BYTES &&
    handshake.channel <= 2;
  if (!shapely) return { code: 'malformed', reason: 'The handshake has a field of a wrong size' };
  if (expected === undefined) return undefined;
  if (handshake.channel !== expected.channel || !bytesEqual(handshake.linkNonce, expected.linkNonce)) {
    return { code: 'malformed', reason: 'The answer belongs to another link' };
  }
  return undefined;
}

function refuseIdentity(
  policy: HandshakePolicy,
  handshake: Handshake,
  peer: PeerIdentity,
  dialed: BrokerId | undefined,
): Refusal | undefined {
  const { local } = policy;
  if (handshake.targetBrokerId !== local.brokerId) {
    return {
      code: 'wrongTarget',
      reason: `Broker ${peer.brokerId} looks for broker ${handshake.targetBrokerId} at an address where broker ${local.brokerId} is`,
    };
  }
  if (dialed !== undefined && peer.brokerId !== dialed) {
    return {
      code: 'wrongTarget',
      reason: `Broker ${peer.brokerId} answers at an address where broker ${dialed} should be`,
    };
  }
  if (peer.clusterId !== local.clusterId) {
    return {
      code: 'wrongCluster',
      reason: `Broker ${peer.brokerId} belongs to cluster ${peer.clusterId || '(none)'}, broker ${local.brokerId} to cluster ${local.clusterId}`,
    };
  }
  if (peer.storeId === local.storeId) {
    return {
      code: 'wrongStore',
      reason: `Brokers ${peer.brokerId} and ${local.brokerId} have the same store ${local.storeId}: one data directory is a copy of the other`,
    };
  }
  const unexpected = policy.refuseUnexpected(peer.brokerId);
  if (unexpected !== undefined) return unexpected;
  const reason = policy.acceptPeer(peer);
  return reason === undefined ? undefined : { code: 'wrongStore', reason };
}
