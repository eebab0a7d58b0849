/**
 * What this broker knows of another one, and what waits to be sent to it. Pure bookkeeping; liveness.ts, append-sender.ts and the driver act on it.
 *
 * Two lists cross each other on a link. *Ours*: what this broker leads, how much of it was sent and acknowledged, and the groups that the peer does not follow
 * (`exceptions`). *Theirs*: what the peer leads (`leaderships`), and the groups of it that this broker does not follow (`ownExceptions`).
 */
import type { BrokerId, GroupId } from '../std/brands.ts';
import type { AppendStream } from './append-stream.ts';
import type { Announcement } from './peer-codec.ts';
import { startPeerMessage } from './peer-codec.ts';
import type { LinkInfo } from './transport.ts';
import type { WireWriter } from './wire.ts';

export class Peer {
  readonly brokerId: BrokerId;
  /** Undefined while the link is down. */
  link: LinkInfo | undefined;
  /** Of the latest life of its process that was heard of. */
  session = 0;
  /** Heard within the liveness timeout and not refused (DECISIONS L1, L4). */
  live = false;
  lastHeardMs = Number.NEGATIVE_INFINITY;
  /** When something arrived on each channel, by channel, in this life of the link. */
  readonly channelHeardMs: [control: number, append: number, bulk: number] = [0, 0, 0];
  /** Its disk stalls: not fit to lead or to count (DECISIONS W11). */
  stalled = false;
  diskFull = false;
  wallMs: number | undefined;
  wallHeardMs = 0;

  // Our list.
  sentSequence = 0;
  /** The whole list was sent in this life of the link. */
  fullSent = false;
  acknowledgedSequence = 0;
  /** Groups led here that the peer said it does not follow. */
  readonly exceptions = new Set<GroupId>();
  heartbeatDue = false;

  // Their list.
  leaderships = new Map<GroupId, Announcement>();
  heardSequence = 0;
  heardRound = 0;
  ackDue = false;
  /** An acknowledgement that says nothing new leaves together with the next heartbeat: half as many messages between idle brokers. */
  ackOwed = false;
  readonly ownExceptions = new Set<GroupId>();
  readonly #sentExceptions = new Set<GroupId>();
  readonly #touchedExceptions = new Set<GroupId>();

  // Outbound.
  #control: WireWriter | undefined;
  /** Control messages that the transport had no room for. */
  readonly controlBacklog: (readonly Uint8Array[])[] = [];
  controlBacklogBytes = 0;
  /** Streams of groups led here with something to send, in the order in which they came to have it. */
  readonly appendStreams = new Set<AppendStream>();
  /** Streams that wait until fewer reads of the disk are under way. */
  readonly appendWaiting = new Set<AppendStream>();
  appendReads = 0;
  /** Messages of entries that the transport had no room for. */
  readonly appendBacklog: (readonly Uint8Array[])[] = [];

  constructor(brokerId: BrokerId) {
    this.brokerId = brokerId;
  }

  /** Alive, and able to make something durable. */
  get fit(): boolean {
    return this.live && !this.stalled;
  }

  /** The control message of this pass. */
  get control(): WireWriter {
    this.#control ??= startPeerMessage();
    return this.#control;
  }

  takeControl(): readonly Uint8Array[] | undefined {
    const pieces = this.#control?.finish();
    this.#control = undefined;
    return pieces;
  }

  /** A life of the link ended or begins: nothing of what was under way arrives. */
  resetLink(): void {
    this.sentSequence = 0;
    this.fullSent = false;
    this.acknowledgedSequence = 0;
    this.exceptions.clear();
    this.heardSequence = 0;
    this.heardRound = 0;
    this.ackDue = false;
    this.ackOwed = false;
    this.heartbeatDue = false;
    this.ownExceptions.clear();
    this.#sentExceptions.clear();
    this.#touchedExceptions.clear();
    this.#control = undefined;
    this.controlBacklog.length = 0;
    this.controlBacklogBytes = 0;
    for (const stream of this.appendStreams) stream.reset();
    this.appendStreams.clear();
    for (const stream of this.appendWaiting) stream.reset();
    this.appendWaiting.clear();
    this.appendBacklog.length = 0;
  }

  /** A new announcement of a group arrived: both sides forget what was said about the one before. */
  forgetException(groupId: GroupId): void {
    this.ownExceptions.delete(groupId);
    this.#sentExceptions.delete(groupId);
  }

  /** Says whether this broker follows what the peer leads; an acknowledgement is due when that changed. */
  setOwnException(groupId: GroupId, excepted: boolean): void {
    if (excepted === this.ownExceptions.has(groupId)) return;
    if (excepted) this.ownExceptions.add(groupId);
    else this.ownExceptions.delete(groupId);
    this.#touchedExceptions.add(groupId);
    this.ackDue = true;
  }

  /** What changed in our exceptions since the last call. */
  takeExceptionChanges(): { readonly added: GroupId[]; readonly removed: GroupId[] } {
    const added: GroupId[] = [];
    const removed: GroupId[] = [];
    for (const groupId of this.#touchedExceptions) {
      const excepted = this.ownExceptions.has(groupId);
      if (excepted === this.#sentExceptions.has(groupId)) continue;
      if (excepted) {
        added.push(groupId);
        this.#sentExceptions.add(groupId);
      } else {
        removed.push(groupId);
        this.#sentExceptions.delete(groupId);
      }
    }
    this.#touchedExceptions.clear();
    return { added, removed };
  }
}
