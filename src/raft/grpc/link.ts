/**
 * Owns one life of a link: three streams whose handshakes are done. Messages out with a budget of queued bytes a channel,
 * messages in, one end when any of the three ends (DECISIONS L3).
 */
import { assert } from '../../std/assert.ts';
import { CHANNEL, type Channel, type LinkInfo } from '../transport.ts';
import type { ChannelStream } from './channel-stream.ts';
import { isPayload } from './frame-codec.ts';
import { MESSAGE_BYTES_MAX } from './peer-endpoint.ts';

export const CHANNELS: readonly Channel[] = [CHANNEL.control, CHANNEL.append, CHANNEL.bulk];

/** Bytes of a channel that may wait for the network, by channel. One message fits into an empty queue whatever its size. */
export type ChannelBudgets = readonly [control: number, append: number, bulk: number];

export interface LinkEvents {
  message(channel: Channel, bytes: Uint8Array): void;
  /** A channel that refused a message has room again. */
  writable(channel: Channel): void;
  /** Once, unless {@link Link.close} came first. */
  ended(reason: string): void;
}

interface LinkChannel {
  readonly stream: ChannelStream;
  readonly budgetBytes: number;
  queuedBytes: number;
  refused: boolean;
}

export class Link {
  readonly peer: LinkInfo;
  readonly #channels: readonly LinkChannel[];
  readonly #events: LinkEvents;
  #open = true;

  /** `streams` in the order of {@link CHANNELS}. Frames are read only after {@link start}. */
  constructor(peer: LinkInfo, streams: readonly ChannelStream[], budgets: ChannelBudgets, events: LinkEvents) {
    assert(streams.length === CHANNELS.length, 'A link has three streams');
    this.peer = peer;
    this.#events = events;
    this.#channels = CHANNELS.map((channel) => ({
      stream: streams[channel] as ChannelStream,
      budgetBytes: budgets[channel],
      queuedBytes: 0,
      refused: false,
    }));
    for (const channel of CHANNELS) {
      const { stream } = this.#channel(channel);
      assert(!stream.ended, 'A link is made of streams that live');
      stream.onEnd = (reason) => this.#end(reason);
      stream.onFrame = (frame) => {
        if (!this.#open) return;
        if (isPayload(frame)) events.message(channel, frame);
        else this.#end('The peer sent a frame of the handshake on a link that is up');
      };
    }
  }

  get isOpen(): boolean {
    return this.#open;
  }

  /** Begins to read. */
  start(): void {
    for (const { stream } of this.#channels) stream.resume();
  }

  send(channel: Channel, pieces: readonly Uint8Array[]): boolean {
    if (!this.#open) return false;
    const state = this.#channel(channel);
    let length = 0;
    for (const piece of pieces) length += piece.length;
    assert(length <= MESSAGE_BYTES_MAX, `A message of ${length} bytes is above the limit of ${MESSAGE_BYTES_MAX}`);
    if (state.queuedBytes > 0 && state.queuedBytes + length > state.budgetBytes) {
      state.refused = true;
      return false;
    }
    state.queuedBytes += length;
    state.stream.write(pieces, () => {
      state.queuedBytes -= length;
      // Half empty, not merely below the budget: else a refused sender is woken for one message at a time.
      if (state.refused && state.queuedBytes <= state.budgetBytes / 2) {
        state.refused = false;
        this.#events.writable(channel);
      }
    });
    return true;
  }

  queuedBytes(channel: Channel): number {
    return this.#channel(channel).queuedBytes;
  }

  /** Ends it without an event. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    for (const { stream } of this.#channels) stream.destroy();
  }

  #channel(channel: Channel): LinkChannel {
    return this.#channels[channel] as LinkChannel;
  }

  #end(reason: string): void {
    if (!this.#open) return;
    this.close();
    this.#events.ended(reason);
  }
}
