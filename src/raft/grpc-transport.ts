/**
 * Owns the links to all peers over gRPC: who dials, when to try again, what is reported (see transport.ts for the promises).
 *
 * Of each pair the broker with the lower id dials; the other accepts. While a link is down both ask the peer's port whether
 * anybody listens, so that both know at once when its process is dead (DECISIONS L4), and the dialer dials when somebody does.
 * A peer may have several places, of which one is tried after the other: who is there is decided by the handshake.
 */
import { assert } from '../std/assert.ts';
import type { BrokerId } from '../std/brands.ts';
import type { TimerHandle } from '../std/environment.ts';
import type { ChannelStream } from './grpc/channel-stream.ts';
import { type HandshakePolicy, NONCE_BYTES, type PeerIdentity, REFUSAL_CODES, type Refusal } from './grpc/handshake.ts';
import { type ChannelBudgets, Link } from './grpc/link.ts';
import { LinkAcceptor } from './grpc/link-acceptor.ts';
import { type DialOutcome, LinkDialer } from './grpc/link-dialer.ts';
import type { PeerEndpoint } from './grpc/peer-endpoint.ts';
import { type ProbeResult, probePort } from './grpc/probe.ts';
import type { PeerTransportOptions } from './peer-network.ts';
import {
  type Channel,
  type HostPort,
  isSamePlace,
  type LinkDownReason,
  type PeerAddress,
  type Transport,
  type TransportHandlers,
} from './transport.ts';

export interface GrpcTransportOptions extends PeerTransportOptions {
  /** Listening already; closed with the transport. */
  readonly endpoint: PeerEndpoint;
  readonly budgets?: ChannelBudgets;
  readonly retryMsMax?: number;
  readonly rejectedRetryMs?: number;
  readonly handshakeTimeoutMs?: number;
}

const MIB = 2 ** 20;
const BUDGETS: ChannelBudgets = [8 * MIB, 16 * MIB, 8 * MIB];
/** A refused connection costs next to nothing, and what passes until a restarted peer is dialed is time without it. */
const RETRY_MS_MIN = 10;
const RETRY_MS_MAX = 100;
const REJECTED_RETRY_MS = 2_000;
const HANDSHAKE_TIMEOUT_MS = 5_000;
const PROBE_TIMEOUT_MS = 1_000;

/** What the handlers were told last about a peer. */
type Reported = 'nothing' | 'up' | LinkDownReason;

interface Peer {
  readonly brokerId: BrokerId;
  /** Where it may be; the best first, at least one. */
  places: readonly HostPort[];
  /** Index of the one that is tried, or had the last link. */
  place: number;
  /** Places in a row, up to this moment, at which nobody listened. */
  refusals: number;
  link: Link | undefined;
  reported: Reported;
  /** Delay before the next attempt but one; grows until a link comes up. */
  retryMs: number;
  /** What goes on while the link is down: a waiting time, a probe or a dialer. */
  activity: TimerHandle | undefined;
  loggedReason: string | undefined;
}

function placesOf({ host, port, others = [] }: PeerAddress): readonly HostPort[] {
  return [{ host, port }, ...others];
}

function placeOf(peer: Peer): HostPort {
  return peer.places[peer.place] as HostPort;
}

export class GrpcTransport implements Transport {
  readonly #options: GrpcTransportOptions;
  readonly #policy: HandshakePolicy;
  readonly #acceptor: LinkAcceptor;
  readonly #peers = new Map<BrokerId, Peer>();
  #started = false;
  #closed = false;
  handlers: TransportHandlers = { linkUp: () => {}, linkDown: () => {}, message: () => {} };
  onWritable: (peer: BrokerId, channel: Channel) => void = () => {};

  constructor(options: GrpcTransportOptions) {
    this.#options = options;
    this.#policy = {
      local: options.local,
      sessions: options.sessions,
      refuseUnexpected: (peer) => this.#refuseUnexpected(peer),
      acceptPeer: (peer) => options.acceptPeer(peer),
    };
    this.#acceptor = new LinkAcceptor({
      policy: this.#policy,
      timers: options.timers,
      handshakeTimeoutMs: options.handshakeTimeoutMs ?? HANDSHAKE_TIMEOUT_MS,
      established: (peer, streams) => this.#accepted(peer, streams),
      refused: (brokerId, by, refusal) => {
        const peer = this.#peers.get(brokerId);
        if (peer !== undefined) this.#refused(peer, by, refusal);
      },
      fatal: (error) => options.fatal(error),
    });
  }

  start(): Promise<void> {
    assert(!this.#started && !this.#closed, 'A transport starts once');
    this.#started = true;
    this.#options.endpoint.onLink = (stream) => this.#acceptor.take(stream);
    for (const peer of this.#peers.values()) this.#connect(peer);
    return Promise.resolve();
  }

  setPeers(addresses: readonly PeerAddress[]): void {
    assert(!this.#closed, 'A closed transport has no peers');
    const wanted = new Map(addresses.map((address) => [address.brokerId, address]));
    assert(!wanted.has(this.#options.local.brokerId), 'A broker is no peer of itself');
    for (const [brokerId, peer] of this.#peers) {
      if (!wanted.has(brokerId)) this.#remove(brokerId, peer);
    }
    for (const address of wanted.values()) {
      const peer = this.#peers.get(address.brokerId);
      if (peer === undefined) this.#add(address);
      else this.#move(peer, placesOf(address));
    }
  }

  isUp(peer: BrokerId): boolean {
    return this.#peers.get(peer)?.link?.isOpen === true;
  }

  send(peer: BrokerId, channel: Channel, pieces: readonly Uint8Array[]): boolean {
    return this.#peers.get(peer)?.link?.send(channel, pieces) ?? false;
  }

  queuedBytes(peer: BrokerId, channel: Channel): number {
    return this.#peers.get(peer)?.link?.queuedBytes(channel) ?? 0;
  }

  reset(brokerId: BrokerId, reason: string): void {
    const peer = this.#peers.get(brokerId);
    const link = peer?.link;
    if (peer === undefined || link === undefined || !link.isOpen) return;
    link.close();
    this.#options.timers.soon(() => {
      if (this.#down(peer, link, reason)) this.#connect(peer);
    });
  }

  close(): Promise<void> {
    if (!this.#closed) {
      this.#closed = true;
      for (const peer of this.#peers.values()) this.#release(peer);
      this.#peers.clear();
      this.#acceptor.close();
      this.#options.endpoint.close();
    }
    return Promise.resolve();
  }

  #dials(peer: Peer): boolean {
    return this.#options.local.brokerId < peer.brokerId;
  }

  #add(address: PeerAddress): void {
    const peer: Peer = {
      brokerId: address.brokerId,
      places: placesOf(address),
      place: 0,
      refusals: 0,
      link: undefined,
      reported: 'nothing',
      retryMs: 0,
      activity: undefined,
      loggedReason: undefined,
    };
    this.#peers.set(address.brokerId, peer);
    if (this.#started) this.#connect(peer);
  }

  /** An attempt at a place that is still one of them goes on; whoever tells of further places must not be able to keep a link from coming up. */
  #move(peer: Peer, places: readonly HostPort[]): void {
    const current = placeOf(peer);
    const index = places.findIndex((place) => isSamePlace(place, current));
    peer.places = places;
    peer.place = Math.max(0, index);
    peer.refusals = 0;
    if (index < 0 && peer.link === undefined && this.#started) this.#connect(peer);
  }

  #remove(brokerId: BrokerId, peer: Peer): void {
    this.#peers.delete(brokerId);
    this.#acceptor.forget(brokerId);
    const wasUp = peer.link !== undefined;
    this.#release(peer);
    if (wasUp) this.handlers.linkDown(brokerId, 'broken');
  }

  #release(peer: Peer): void {
    this.#setActivity(peer, undefined);
    peer.link?.close();
    peer.link = undefined;
  }

  #setActivity(peer: Peer, activity: TimerHandle | undefined): void {
    peer.activity?.cancel();
    peer.activity = activity;
  }

  #refuseUnexpected(brokerId: BrokerId): Refusal | undefined {
    const peer = this.#peers.get(brokerId);
    if (peer === undefined || this.#closed) {
      return { code: 'notExpected', reason: `Broker ${brokerId} is not known here` };
    }
    return undefined;
  }

  /** One attempt, now; it arranges for the next one. */
  #connect(peer: Peer): void {
    const { timers } = this.#options;
    this.#setActivity(
      peer,
      probePort(placeOf(peer), timers, PROBE_TIMEOUT_MS, (result) => this.#probed(peer, result)),
    );
  }

  #probed(peer: Peer, result: ProbeResult): void {
    peer.refusals = result === 'refused' ? peer.refusals + 1 : 0;
    if (peer.refusals >= peer.places.length) this.#report(peer, 'refused');
    if (result === 'listening' && this.#dials(peer)) this.#dial(peer);
    else this.#retryLater(peer);
  }

  #dial(peer: Peer): void {
    const { endpoint, timers, random, handshakeTimeoutMs } = this.#options;
    const context = {
      policy: this.#policy,
      timers,
      handshakeTimeoutMs: handshakeTimeoutMs ?? HANDSHAKE_TIMEOUT_MS,
      openStream: (address: PeerAddress) => endpoint.openStream(address),
    };
    const target = { brokerId: peer.brokerId, ...placeOf(peer) };
    const dialer = new LinkDialer(context, target, random.bytes(NONCE_BYTES), (outcome) => this.#dialed(peer, outcome));
    this.#setActivity(peer, dialer);
  }

  #dialed(peer: Peer, outcome: DialOutcome): void {
    peer.activity = undefined;
    switch (outcome.kind) {
      case 'established':
        this.#up(peer, outcome.peer, outcome.streams);
        return;
      case 'refused':
        this.#refused(peer, outcome.by, outcome.refusal);
        if (this.#closed) return;
        // It may be somewhere else, and somebody else here.
        if (REFUSAL_CODES[outcome.refusal.code] === 'rejected' && peer.place + 1 === peer.places.length) {
          this.#nextPlace(peer);
          this.#wait(peer, this.#options.rejectedRetryMs ?? REJECTED_RETRY_MS);
        } else this.#retryLater(peer);
        return;
      case 'failed':
        this.#options.log.debug({ peer: peer.brokerId, reason: outcome.reason }, 'No link to the peer yet');
        this.#retryLater(peer);
        return;
      case 'fatal':
        this.#options.fatal(outcome.error);
    }
  }

  #retryLater(peer: Peer): void {
    if (this.#closed || this.#peers.get(peer.brokerId) !== peer) return;
    this.#nextPlace(peer);
    const delayMs = peer.retryMs;
    const maxMs = this.#options.retryMsMax ?? RETRY_MS_MAX;
    peer.retryMs = Math.min(maxMs, Math.max(RETRY_MS_MIN, peer.retryMs * 2));
    // Spread, so that the survivors of a dead broker do not all knock in the same millisecond.
    this.#wait(peer, delayMs * (0.75 + this.#options.random.next() / 2));
  }

  #nextPlace(peer: Peer): void {
    peer.place = (peer.place + 1) % peer.places.length;
  }

  #wait(peer: Peer, delayMs: number): void {
    this.#setActivity(
      peer,
      this.#options.timers.after(delayMs, () => this.#connect(peer)),
    );
  }

  #accepted(identity: PeerIdentity, streams: readonly ChannelStream[]): void {
    const peer = this.#peers.get(identity.brokerId);
    if (peer === undefined || this.#dials(peer)) {
      for (const stream of streams) stream.destroy();
      return;
    }
    // The peer began anew, so its end of the old link is gone, seen here or not.
    if (peer.link !== undefined) this.#down(peer, peer.link, 'The peer made a new link');
    // A handler may have removed the peer.
    if (this.#peers.get(identity.brokerId) === peer) this.#up(peer, identity, streams);
    else for (const stream of streams) stream.destroy();
  }

  #up(peer: Peer, identity: PeerIdentity, streams: readonly ChannelStream[]): void {
    const { brokerId } = peer;
    this.#setActivity(peer, undefined);
    assert(peer.link === undefined, 'One link at a time');
    const info = { brokerId, storeId: identity.storeId, session: identity.session };
    const ended = streams.some((stream) => stream.ended);
    if (ended) {
      for (const stream of streams) stream.destroy();
      this.#retryLater(peer);
      return;
    }
    const link: Link = new Link(info, streams, this.#options.budgets ?? BUDGETS, {
      message: (channel, bytes) => this.handlers.message(brokerId, channel, bytes),
      writable: (channel) => this.onWritable(brokerId, channel),
      ended: (reason) => {
        if (this.#down(peer, link, reason)) this.#connect(peer);
      },
    });
    peer.link = link;
    peer.reported = 'up';
    peer.refusals = 0;
    peer.retryMs = 0;
    peer.loggedReason = undefined;
    this.#options.log.info({ peer: brokerId, session: info.session }, 'Link to the peer is up');
    this.handlers.linkUp(info);
    link.start();
  }

  /** False if the peer is no longer wanted, or has another link by now. */
  #down(peer: Peer, link: Link, reason: string): boolean {
    link.close();
    if (peer.link !== link) return false;
    peer.link = undefined;
    this.#options.log.info({ peer: peer.brokerId, reason }, 'Link to the peer is down');
    this.#report(peer, 'broken');
    return !this.#closed && peer.link === undefined && this.#peers.get(peer.brokerId) === peer;
  }

  #report(peer: Peer, reason: LinkDownReason): void {
    if (peer.reported === reason) return;
    peer.reported = reason;
    this.handlers.linkDown(peer.brokerId, reason);
  }

  #refused(peer: Peer, by: 'peer' | 'self', refusal: Refusal): void {
    if (REFUSAL_CODES[refusal.code] === 'passing') return;
    if (peer.loggedReason !== refusal.reason) {
      peer.loggedReason = refusal.reason;
      const fields = { peer: peer.brokerId, code: refusal.code, reason: refusal.reason };
      const who = by === 'self' ? 'This broker refuses the peer' : 'The peer refuses this broker';
      this.#options.log.warn(fields, `${who}: ${refusal.reason}`);
    }
    // Somebody else under the id of a peer whose own link is up says nothing about that peer.
    if (peer.link === undefined) this.#report(peer, 'rejected');
    if (by === 'peer' && refusal.code === 'staleStore') this.#options.ownStoreIsStale(refusal.reason);
  }
}
