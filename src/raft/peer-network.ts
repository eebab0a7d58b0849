/**
 * How a broker reaches the other brokers: their questions while a cluster forms, and the links between members. Over gRPC in production (grpc/grpc-peer-network.ts), over virtual time in
 * the simulator.
 */
import type { BrokerId } from '../std/brands.ts';
import type { Random, Timers } from '../std/environment.ts';
import type { Log } from '../std/log.ts';
import type { LocalPeer, PeerIdentity } from './grpc/handshake.ts';
import type { ClusterFormation, FormationNetwork, Presence } from './identity/formation.ts';
import type { PeerSessions } from './peer-sessions.ts';
import type { Transport } from './transport.ts';

/** What a transport asks of the broker that it belongs to. */
export interface PeerTransportOptions {
  readonly local: LocalPeer;
  readonly sessions: PeerSessions;
  readonly timers: Timers;
  readonly random: Random;
  readonly log: Log;
  /** Why a peer of this cluster must be refused, e.g. because the configuration has another store for its broker id. */
  acceptPeer(peer: PeerIdentity): string | undefined;
  /** A peer knows a later start of this broker's own store: the store was restored from an old copy and must not be used (DECISIONS I1). */
  ownStoreIsStale(reason: string): void;
  /** The disk failed. */
  fatal(error: unknown): void;
}

export interface PeerNetwork {
  /** This broker's side of formation. */
  readonly formation: FormationNetwork;
  /** Lets this broker's port answer for `formation`, for as long as the broker lives. `onHello` hears of everybody that asks. */
  answer(own: BrokerId, formation: ClusterFormation, onHello: (presence: Presence) => void): void;
  /** Rejects when the address must not or can not be listened on. */
  listen(address: { readonly host: string; readonly port: number }): Promise<unknown>;
  /** Called once, after {@link listen}. */
  createTransport(options: PeerTransportOptions): Transport;
  /** Stops listening and drops all connections. */
  close(): void;
}
