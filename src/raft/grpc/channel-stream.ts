/**
 * Owns one gRPC stream of a link, seen alike from the side that dialed and the side that accepted: frames in, frames out,
 * one end. Each stream has a TCP connection of its own (DECISIONS L3), so ending the stream ends the connection, whatever
 * a stalled peer still has queued.
 */
import type { Duplex } from 'node:stream';
import { assert } from '../../std/assert.ts';
import type { Timers } from '../../std/environment.ts';
import type { IncomingFrame, OutgoingFrame } from './frame-codec.ts';

/** How long a side that says why it leaves waits for the words to arrive. */
const PARTING_MS = 500;

export class ChannelStream {
  readonly #stream: Duplex;
  readonly #disconnect: () => void;
  #ended = false;
  /** Called for each frame until the end. Set by whoever owns the stream at the moment. */
  onFrame: (frame: IncomingFrame) => void = () => {};
  /** Called once, unless {@link destroy} came first. */
  onEnd: (reason: string) => void = () => {};

  /** `disconnect` drops the connection at once. */
  constructor(stream: Duplex, disconnect: () => void) {
    this.#stream = stream;
    this.#disconnect = disconnect;
    stream.on('data', (frame: IncomingFrame) => {
      if (!this.#ended) this.onFrame(frame);
    });
    stream.on('error', (error: Error) => this.#end(error.message));
    stream.on('end', () => this.#end('The peer ended the stream'));
    stream.on('cancelled', () => this.#end('The connection ended'));
    stream.on('close', () => this.#end('The stream closed'));
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** `written` is called when the bytes were handed to the network; never after the end of the stream. */
  write(frame: OutgoingFrame, written?: () => void): void {
    assert(!this.#ended, 'Nothing is written to a stream that ended');
    this.#stream.write(frame, () => {
      if (!this.#ended) written?.();
    });
  }

  /** Stops reading; frames stay in order for {@link resume}. */
  pause(): void {
    this.#stream.pause();
  }

  resume(): void {
    this.#stream.resume();
  }

  /** Ends it now; queued frames may be lost. */
  destroy(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#disconnect();
  }

  /** Says `frame` and ends; for the frame that tells why. */
  part(frame: OutgoingFrame, timers: Timers): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#stream.write(frame);
    this.#stream.end();
    const timer = timers.after(PARTING_MS, () => this.#disconnect());
    this.#stream.on('close', () => {
      timer.cancel();
      this.#disconnect();
    });
  }

  #end(reason: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#disconnect();
    this.onEnd(reason);
  }
}
