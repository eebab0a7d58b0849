/**
 * Owns one attempt to make a link: opens the three streams, introduces this broker on each, examines the answers, confirms.
 * It succeeds with all three streams or leaves nothing open.
 */

import { create } from '@bufbuild/protobuf';
import { assert } from '../../std/assert.ts';
import type { BrokerId } from '../../std/brands.ts';
import type { TimerHandle, Timers } from '../../std/environment.ts';
import type { HostPort, PeerAddress } from '../transport.ts';
import type { ChannelStream } from './channel-stream.ts';
import { handshakeFrame, type IncomingFrame, isPayload } from './frame-codec.ts';
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
import { ConfirmationSchema, type Handshake } from './peer_pb.ts';

export type DialOutcome =
  /** The streams, by channel, are paused or have nothing to read yet; the caller owns them. */
  | { readonly kind: 'established'; readonly peer: PeerIdentity; readonly streams: readonly ChannelStream[] }
  | { readonly kind: 'refused'; readonly by: 'peer' | 'self'; readonly refusal: Refusal }
  | { readonly kind: 'failed'; readonly reason: string }
  /** The disk failed while the peer's start was noted. */
  | { readonly kind: 'fatal'; readonly error: unknown };

export interface DialContext {
  readonly policy: HandshakePolicy;
  readonly timers: Timers;
  readonly handshakeTimeoutMs: number;
  openStream(address: HostPort): ChannelStream;
}

export class LinkDialer {
  readonly #context: DialContext;
  readonly #target: BrokerId;
  readonly #nonce: Uint8Array;
  readonly #done: (outcome: DialOutcome) => void;
  readonly #streams: readonly ChannelStream[];
  readonly #timer: TimerHandle;
  readonly #accepted: (PeerIdentity | undefined)[] = [undefined, undefined, undefined];
  #finished = false;

  /** `done` is called once, never from within the constructor, and not after {@link cancel}. `nonce` is random. */
  constructor(context: DialContext, target: PeerAddress, nonce: Uint8Array, done: (outcome: DialOutcome) => void) {
    this.#context = context;
    this.#target = target.brokerId;
    this.#nonce = nonce;
    this.#done = done;
    this.#timer = context.timers.after(context.handshakeTimeoutMs, () => {
      this.#finish({ kind: 'failed', reason: 'The handshake took too long' });
    });
    this.#streams = CHANNELS.map(() => context.openStream(target));
    for (const channel of CHANNELS) {
      const stream = this.#stream(channel);
      stream.onEnd = (reason) => this.#finish({ kind: 'failed', reason });
      stream.onFrame = (frame) => this.#answered(channel, frame);
      stream.write(encodeHandshake(context.policy.local, this.#target, nonce, channel));
    }
  }

  cancel(): void {
    if (this.#finished) return;
    this.#finished = true;
    this.#timer.cancel();
    for (const stream of this.#streams) stream.destroy();
  }

  #stream(channel: number): ChannelStream {
    return this.#streams[channel] as ChannelStream;
  }

  #answered(channel: number, frame: IncomingFrame): void {
    this.#stream(channel).onFrame = () =>
      this.#finish({ kind: 'failed', reason: 'The peer said more than its handshake before it was confirmed' });
    if (!isPayload(frame) && frame.content.case === 'refusal') {
      const { code, reason } = frame.content.value;
      this.#finish({ kind: 'refused', by: 'peer', refusal: { code: refusalCode(code), reason } });
    } else if (!isPayload(frame) && frame.content.case === 'handshake') {
      this.#examine(channel, frame.content.value);
    } else {
      this.#finish({ kind: 'failed', reason: 'The peer did not begin with a handshake' });
    }
  }

  #examine(channel: number, handshake: Handshake): void {
    const expected = { brokerId: this.#target, linkNonce: this.#nonce, channel };
    examineHandshake(this.#context.policy, handshake, expected).then(
      (refusal) => {
        if (this.#finished) return;
        if (refusal !== undefined) {
          this.#stream(channel).part(encodeRefusal(refusal), this.#context.timers);
          this.#finish({ kind: 'refused', by: 'self', refusal });
        } else this.#accept(channel, peerIdentity(handshake));
      },
      (error: unknown) => this.#finish({ kind: 'fatal', error }),
    );
  }

  #accept(channel: number, peer: PeerIdentity): void {
    assert(this.#accepted[channel] === undefined, 'A stream is accepted once');
    this.#accepted[channel] = peer;
    for (const other of this.#accepted) {
      if (other === undefined) return;
      if (!isSameStart(other, peer)) {
        this.#finish({ kind: 'failed', reason: 'The three streams reached different processes' });
        return;
      }
    }
    this.#finished = true;
    this.#timer.cancel();
    for (const stream of this.#streams) {
      stream.write(handshakeFrame({ case: 'confirmation', value: create(ConfirmationSchema) }));
    }
    this.#done({ kind: 'established', peer, streams: this.#streams });
  }

  #finish(outcome: DialOutcome): void {
    if (this.#finished) return;
    this.cancel();
    this.#done(outcome);
  }
}
