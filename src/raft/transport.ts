/**
 * What carries messages between brokers: one link per pair of brokers, with three ordered, reliable channels (DECISIONS L3). Over gRPC in production
 * (grpc-transport.ts), over virtual time in the simulator.
 *
 * A link is up only after both sides proved cluster id, broker id, store id, session and protocol version (DECISIONS I1, I2). Within one life of a link, messages of a
 * channel arrive in order, all, once; whatever was in flight when a link goes down is lost. Both sides see every change of life: linkDown before the next linkUp.
 */
import type { BrokerId } from '../std/brands.ts';

/** control: liveness, votes, acknowledgements, small requests. append: entries. bulk: catch-up. */
export const CHANNEL = { control: 0, append: 1, bulk: 2 } as const;
export type Channel = (typeof CHANNEL)[keyof typeof CHANNEL];

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

export function isSamePlace(a: HostPort, b: HostPort): boolean {
  return a.host === b.host && a.port === b.port;
}

export interface PeerAddress extends HostPort {
  readonly brokerId: BrokerId;
  /** Where else the peer may be, tried in turn while it is not found: a peer is known by the store that it proves, not by its address. Without repetitions. */
  readonly others?: readonly HostPort[];
}

export interface LinkInfo {
  readonly brokerId: BrokerId;
  /** Hex. */
  readonly storeId: string;
  /** The peer's start counter: grows with each start of its process. */
  readonly session: number;
}

/** refused: nobody listens at any of the peer's addresses (its process is dead). broken: the connection ended. rejected: identity does not fit (reason in the log). */
export type LinkDownReason = 'refused' | 'broken' | 'rejected';

export interface TransportHandlers {
  linkUp(peer: LinkInfo): void;
  /**
   * Called when what is known of a peer changes: `broken` when its link ends, then `refused` once its port is found dead, `rejected` when it turns out to be somebody else.
   * Also called for a peer that was never up when a connection attempt is refused (then with `refused`), so that dead peers are known as dead at once (DECISIONS L4).
   */
  linkDown(peer: BrokerId, reason: LinkDownReason): void;
  /** One message, encoded by raft/peer-codec. `bytes` is the receiver's to keep. */
  message(peer: BrokerId, channel: Channel, bytes: Uint8Array): void;
}

export interface Transport {
  /** Set once before start. */
  handlers: TransportHandlers;
  start(): Promise<void>;
  /** Peers to have links with; dials new ones, closes links to removed ones. */
  setPeers(peers: readonly PeerAddress[]): void;
  isUp(peer: BrokerId): boolean;
  /**
   * Queues a message given in pieces (they must not change until it left). False: link down or the channel's budget of bytes in flight is used up, nothing was queued.
   * {@link writable} says when to try again.
   */
  send(peer: BrokerId, channel: Channel, pieces: readonly Uint8Array[]): boolean;
  /** Bytes queued and not yet handed to the network. */
  queuedBytes(peer: BrokerId, channel: Channel): number;
  /** Called when a channel that refused a message has room again. */
  onWritable: (peer: BrokerId, channel: Channel) => void;
  /** Ends the life of a link (linkDown with `broken` follows, not before this returns) because what came over it was not a message, or failed its checksum (DECISIONS W8). Dialed again. */
  reset(peer: BrokerId, reason: string): void;
  close(): Promise<void>;
}
