/**
 * Sends control messages: in each pass everything for one peer (votes, acknowledgements, heartbeats, requests) goes into one message. Nothing of it may be lost within a life of a link, because
 * announcements and exceptions travel as changes: what the transport has no room for waits here, in order, and a link that takes nothing for too long is ended.
 */
import type { DriverContext } from './driver-context.ts';
import type { Peer } from './peer.ts';
import { type PeerItem, writePeerItem } from './peer-codec.ts';
import { CHANNEL } from './transport.ts';

/** Size at which a message is sent before the end of the pass. */
const CONTROL_MESSAGE_BYTES = 256 * 1024;

export class ControlSender {
  readonly #context: DriverContext;

  constructor(context: DriverContext) {
    this.#context = context;
  }

  /** Adds to this pass's message. Dropped if the link is down. */
  add(peer: Peer, item: PeerItem): void {
    if (peer.link === undefined) return;
    writePeerItem(peer.control, item);
    if (peer.control.sizeBytes >= CONTROL_MESSAGE_BYTES) this.flush(peer);
  }

  /** Sends what was added. */
  flush(peer: Peer): void {
    const message = peer.takeControl();
    if (message === undefined || peer.link === undefined) return;
    this.#context.metrics.controlMessagesSent++;
    if (peer.controlBacklog.length === 0 && this.#context.transport.send(peer.brokerId, CHANNEL.control, message))
      return;
    peer.controlBacklog.push(message);
    for (const piece of message) peer.controlBacklogBytes += piece.length;
    if (peer.controlBacklogBytes > this.#context.config.controlBacklogBytesMax) {
      this.#context.resetLink(peer, 'It takes no control messages');
    }
  }

  /** The channel has room again. */
  writable(peer: Peer): void {
    while (peer.controlBacklog.length > 0) {
      const message = peer.controlBacklog[0]!;
      if (!this.#context.transport.send(peer.brokerId, CHANNEL.control, message)) return;
      peer.controlBacklog.shift();
      for (const piece of message) peer.controlBacklogBytes -= piece.length;
    }
  }
}
