/**
 * Takes what peers send apart and hands each item to its part: Raft messages to their cores, liveness, requests and catch-ups to theirs.
 *
 * Nothing gets past here unchecked: a message must decode as a whole, a Raft message must come from the store that the membership names for its sender (DECISIONS I1), entries must
 * have the checksum that their leader gave them (W8), and there must be room for them (L3).
 */
import type { BrokerId } from '../std/brands.ts';
import type { CatchUpReceiver } from './catch-up-receiver.ts';
import type { CatchUpSender } from './catch-up-sender.ts';
import type { RaftMessage } from './core/types.ts';
import type { DriverContext } from './driver-context.ts';
import { isEntryIntact } from './entry-checksum.ts';
import type { GroupReplica } from './group-replica.ts';
import type { Leading } from './leading.ts';
import type { Liveness } from './liveness.ts';
import type { Peer } from './peer.ts';
import { decodePeerMessage, type PeerItem } from './peer-codec.ts';
import type { PeerRequests } from './peer-requests.ts';
import type { RepairWatch } from './repair-watch.ts';
import type { Channel } from './transport.ts';
import { WireError } from './wire.ts';

export interface InboundMessage {
  readonly peer: BrokerId;
  readonly channel: Channel;
  readonly bytes: Uint8Array;
}

export interface DispatchParts {
  readonly liveness: Liveness;
  readonly leading: Leading;
  readonly requests: PeerRequests;
  readonly catchUpSender: CatchUpSender;
  readonly catchUpReceiver: CatchUpReceiver;
  readonly repair: RepairWatch;
}

export class MessageDispatch {
  readonly #context: DriverContext;
  readonly #parts: DispatchParts;

  constructor(context: DriverContext, parts: DispatchParts) {
    this.#context = context;
    this.#parts = parts;
  }

  /** Handles a message of a peer; one that is not to be believed ends the link. */
  message(inbound: InboundMessage): void {
    const peer = this.#context.peers.get(inbound.peer);
    if (peer?.link === undefined) return;
    let items: PeerItem[];
    try {
      items = decodePeerMessage(inbound.bytes);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      this.#context.resetLink(peer, error.message);
      return;
    }
    this.#context.metrics.messagesReceived++;
    this.#context.metrics.bytesReceived += inbound.bytes.length;
    this.#parts.liveness.heard(peer, inbound.channel);
    for (const item of items) if (!this.#item(peer, item)) return;
  }

  /** False: the rest of the message is not to be believed. */
  #item(peer: Peer, item: PeerItem): boolean {
    switch (item.kind) {
      case 'raft':
        return this.#raftMessage(peer, item.message);
      case 'heartbeat':
        this.#parts.liveness.heartbeat(peer, item);
        return true;
      case 'heartbeatAck':
        this.#parts.leading.acknowledged(peer, item);
        return true;
      case 'request':
      case 'response':
        this.#parts.requests.received(peer, item);
        return true;
      case 'catchUpPosition':
      case 'catchUpCredit':
      case 'catchUpInstalled':
        this.#parts.catchUpSender.received(peer, item);
        return true;
      case 'catchUpAbort':
        if (item.byReceiver) this.#parts.catchUpSender.received(peer, item);
        else this.#parts.catchUpReceiver.received(peer, item);
        return true;
      default:
        this.#parts.catchUpReceiver.received(peer, item);
        return true;
    }
  }

  #raftMessage(peer: Peer, message: RaftMessage): boolean {
    const replica = this.#context.replicasById.get(message.to);
    if (replica?.core === undefined) return true;
    // An id speaks for one replica on one store (DECISIONS I1).
    const member = replica.memberOf(message.from);
    if (member !== undefined && (member.brokerId !== peer.brokerId || member.storeId !== peer.link?.storeId))
      return true;
    replica.heardFrom(message.from, peer.brokerId);
    if (message.kind === 'appendEntries') return this.#appendEntries(peer, replica, message);
    this.#context.step(replica, { kind: 'message', nowMs: this.#context.nowMs, message });
    if (message.kind === 'appendEntriesResponse') {
      replica.acknowledged(message.from, message.accepted, message.matchIndex);
    }
    return true;
  }

  #appendEntries(peer: Peer, replica: GroupReplica, message: Extract<RaftMessage, { kind: 'appendEntries' }>): boolean {
    for (const entry of message.entries) {
      if (isEntryIntact(replica.groupId, entry)) continue;
      this.#context.metrics.checksumFailures++;
      this.#context.resetLink(peer, `Entry ${entry.index} of group ${replica.groupId} arrived damaged`);
      return false;
    }
    const { config } = this.#context;
    const overloaded =
      message.entries.length > 0 &&
      (this.#context.receivedBytes > config.brokerReceivedBytesMax ||
        replica.receivedBytes > config.groupReceivedBytesMax ||
        this.#context.walShare > config.walShareAppends);
    if (overloaded || replica.frozen) {
      this.#context.metrics.appendsRefused++;
      const { from, term } = message;
      this.#context.step(replica, { kind: 'appendRefused', nowMs: this.#context.nowMs, from, term });
      if (replica.frozen) this.#parts.catchUpReceiver.refusedEntries(replica);
      return true;
    }
    this.#context.metrics.entriesReceived += message.entries.length;
    this.#context.step(replica, { kind: 'message', nowMs: this.#context.nowMs, message });
    if (replica.core?.barred) this.#parts.repair.heard(replica, message);
    return true;
  }
}
