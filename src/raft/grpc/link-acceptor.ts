/**
 * Owns the streams that peers open until they are links: examines each handshake, collects the three streams that carry one
 * nonce, waits for their confirmations. Bounded: a few streams that have not introduced themselves, one link in the making a peer.
 */
import type { BrokerId } from '../../std/brands.ts';
import type { TimerHandle, Timers } from '../../std/environment.ts';
import { toHex } from '../../std/hex.ts';
import type { ChannelStream } from './channel-stream.ts';
import { type IncomingFrame, isPayload } from './frame-codec.ts';
import {
  encodeHandshake,
  encodeRefusal,
  examineHandshake,
  type HandshakePolicy,
  isSameStart,
  type PeerIdentity,
  peerIdentity,
  type Refusal,
  refusalCode,
} from './handshake.ts';
import { CHANNELS } from './link.ts';
import type { Handshake } from './peer_pb.ts';

/** Streams that have said nothing acceptable yet; more are dropped. */
const GREETING_STREAMS_MAX = 256;

export interface AcceptContext {
  readonly policy: HandshakePolicy;
  readonly timers: Timers;
  readonly handshakeTimeoutMs: number;
  /** Three confirmed streams, by channel, paused; the callee owns them. */
  established(peer: PeerIdentity, streams: readonly ChannelStream[]): void;
  /** A peer was refused by us (`self`) or, having dialed, refused us (`peer`). `peer` is only what the other side claims. */
  refused(peer: BrokerId, by: 'peer' | 'self', refusal: Refusal): void;
  /** The disk failed while a peer's start was noted. */
  fatal(error: unknown): void;
}

/** A link in the making. */
interface PendingLink {
  readonly peer: PeerIdentity;
  readonly nonce: string;
  readonly streams: (ChannelStream | undefined)[];
  readonly confirmed: Set<number>;
  readonly timer: TimerHandle;
}

export class LinkAcceptor {
  readonly #context: AcceptContext;
  readonly #greeting = new Map<ChannelStream, TimerHandle>();
  readonly #pending = new Map<BrokerId, PendingLink>();
  #closed = false;

  constructor(context: AcceptContext) {
    this.#context = context;
  }

  take(stream: ChannelStream): void {
    if (this.#closed || this.#greeting.size >= GREETING_STREAMS_MAX) {
      stream.destroy();
      return;
    }
    const timer = this.#context.timers.after(this.#context.handshakeTimeoutMs, () => this.#drop(stream));
    this.#greeting.set(stream, timer);
    stream.onEnd = () => this.#drop(stream);
    stream.onFrame = (frame) => this.#greeted(stream, frame);
  }

  /** Drops whatever is in the making with a peer. */
  forget(peer: BrokerId): void {
    const pending = this.#pending.get(peer);
    if (pending !== undefined) this.#abandon(pending);
  }

  close(): void {
    this.#closed = true;
    for (const stream of [...this.#greeting.keys()]) this.#drop(stream);
    for (const pending of [...this.#pending.values()]) this.#abandon(pending);
  }

  #drop(stream: ChannelStream): void {
    this.#greeting.get(stream)?.cancel();
    this.#greeting.delete(stream);
    stream.destroy();
  }

  #greeted(stream: ChannelStream, frame: IncomingFrame): void {
    // Nothing may follow the handshake before it was answered.
    stream.onFrame = () => this.#drop(stream);
    if (isPayload(frame) || frame.content.case !== 'handshake') {
      this.#drop(stream);
      return;
    }
    const handshake = frame.content.value;
    examineHandshake(this.#context.policy, handshake).then(
      (refusal) => this.#examined(stream, handshake, refusal),
      (error: unknown) => this.#context.fatal(error),
    );
  }

  #examined(stream: ChannelStream, handshake: Handshake, refusal: Refusal | undefined): void {
    const timer = this.#greeting.get(stream);
    if (timer === undefined) return;
    timer.cancel();
    this.#greeting.delete(stream);
    const peer = peerIdentity(handshake);
    if (refusal !== undefined) {
      stream.part(encodeRefusal(refusal), this.#context.timers);
      this.#context.refused(peer.brokerId, 'self', refusal);
      return;
    }
    const pending = this.#pendingFor(peer, toHex(handshake.linkNonce));
    const { channel } = handshake;
    if (pending.streams[channel] !== undefined || !isSameStart(pending.peer, peer)) {
      stream.destroy();
      this.#abandon(pending);
      return;
    }
    pending.streams[channel] = stream;
    stream.onEnd = () => this.#abandon(pending);
    stream.onFrame = (frame) => this.#answered(pending, channel, frame);
    stream.write(encodeHandshake(this.#context.policy.local, peer.brokerId, handshake.linkNonce, channel));
  }

  /** The newest nonce wins: a dialer has one attempt at a time, so an older one is dead even if its end was not seen yet. */
  #pendingFor(peer: PeerIdentity, nonce: string): PendingLink {
    const existing = this.#pending.get(peer.brokerId);
    if (existing?.nonce === nonce) return existing;
    if (existing !== undefined) this.#abandon(existing);
    const timer = this.#context.timers.after(this.#context.handshakeTimeoutMs, () => this.#abandon(pending));
    const pending: PendingLink = {
      peer,
      nonce,
      streams: [undefined, undefined, undefined],
      confirmed: new Set(),
      timer,
    };
    this.#pending.set(peer.brokerId, pending);
    return pending;
  }

  #answered(pending: PendingLink, channel: number, frame: IncomingFrame): void {
    if (!isPayload(frame) && frame.content.case === 'refusal') {
      const { code, reason } = frame.content.value;
      this.#abandon(pending);
      this.#context.refused(pending.peer.brokerId, 'peer', { code: refusalCode(code), reason });
      return;
    }
    if (isPayload(frame) || frame.content.case !== 'confirmation' || pending.confirmed.has(channel)) {
      this.#abandon(pending);
      return;
    }
    // The dialer may send at once, but the other two confirmations travel on other connections: nothing is read until the link is up.
    pending.streams[channel]?.pause();
    pending.confirmed.add(channel);
    if (pending.confirmed.size < CHANNELS.length) return;
    pending.timer.cancel();
    this.#pending.delete(pending.peer.brokerId);
    this.#context.established(
      pending.peer,
      CHANNELS.map((each) => pending.streams[each] as ChannelStream),
    );
  }

  #abandon(pending: PendingLink): void {
    pending.timer.cancel();
    if (this.#pending.get(pending.peer.brokerId) === pending) this.#pending.delete(pending.peer.brokerId);
    for (const stream of pending.streams) stream?.destroy();
  }
}
