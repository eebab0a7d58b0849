/**
 * What brokers say to each other once their link is up: a message is a version byte and items back to back. Owns the bytes of all of them.
 *
 *   message      := version:u8 item*            control, append and bulk channel alike
 *   item         := kind:u8 body
 *   raft body    := from to term …              see the branches of writeRaftMessage
 *   entry        := kind:u8 term checksum:u32 length payload       index = prevIndex + 1, + 2, …
 *
 * Numbers without a width are LEB128. Payloads are views: of the proposal when written, of the received buffer when read.
 */
import type { BrokerId, GroupId, LogIndex, ReplicaId, Term } from '../std/brands.ts';
import { ENTRY_KIND, type Entry, type EntryKind } from '../wal/replica-storage.ts';
import type { RaftMessage } from './core/types.ts';
import { payloadChecksum } from './entry-checksum.ts';
import { WireError, WireReader, WireWriter } from './wire.ts';

export const PEER_MESSAGE_VERSION = 1;

/** One leadership of the sender, or its end (DECISIONS L1, C2). */
export interface Announcement {
  readonly groupId: GroupId;
  readonly term: Term;
  /** False: the sender does not lead this group any more. */
  readonly leading: boolean;
  readonly ready: boolean;
  /** The leading replica. */
  readonly leader: ReplicaId;
  /** The receiver's replica of the group as the leader knows it; 0 if it has none: then nothing is expected of the receiver. */
  readonly receiver: ReplicaId | 0;
  readonly inSync: readonly BrokerId[];
}

/** Sign of life of a broker, for all its groups. Always answered by a {@link HeartbeatAck}: at once if it says something new, else together with the answerer's next heartbeat. */
export interface Heartbeat {
  readonly kind: 'heartbeat';
  /** Confirmation round (ReadIndex); grows. */
  readonly round: number;
  /** `announcements` is the whole list: what it does not name is not led by the sender. */
  readonly full: boolean;
  /** Sequence number of the sender's list after `announcements`. */
  readonly sequence: number;
  readonly announcements: readonly Announcement[];
  /** How long the sender's oldest flush has been waiting (DECISIONS W11). */
  readonly flushWaitMs: number;
  readonly wallMs: number;
  readonly diskFull: boolean;
}

/** "I follow everything in your list up to `sequence`, except …"; the exceptions travel as changes, which the order of the channel allows. */
export interface HeartbeatAck {
  readonly kind: 'heartbeatAck';
  readonly round: number;
  readonly sequence: number;
  readonly exceptionsAdded: readonly GroupId[];
  readonly exceptionsRemoved: readonly GroupId[];
}

export type CatchUpItem =
  /** Leader → follower: wants to bring `to` up to date; where is it? */
  | {
      readonly kind: 'catchUpStart';
      readonly id: number;
      readonly groupId: GroupId;
      readonly from: ReplicaId;
      readonly to: ReplicaId;
      readonly term: Term;
    }
  /** Follower → leader. */
  | { readonly kind: 'catchUpPosition'; readonly id: number; readonly position: Uint8Array }
  /** Leader → follower: the pieces lead to the state at `index`. */
  | {
      readonly kind: 'catchUpOpen';
      readonly id: number;
      readonly index: LogIndex;
      readonly term: Term;
      readonly membership: Uint8Array;
    }
  | { readonly kind: 'catchUpPiece'; readonly id: number; readonly piece: Uint8Array }
  | { readonly kind: 'catchUpEnd'; readonly id: number }
  /** Follower → leader: so many bytes more may be sent. */
  | { readonly kind: 'catchUpCredit'; readonly id: number; readonly bytes: number }
  /** Follower → leader: installed and flushed. */
  | { readonly kind: 'catchUpInstalled'; readonly id: number }
  /** Either way. `byReceiver`: the id is one of the leader's that reads this. */
  | { readonly kind: 'catchUpAbort'; readonly id: number; readonly byReceiver: boolean; readonly reason: string };

export type RequestItem =
  | { readonly kind: 'request'; readonly id: number; readonly service: string; readonly payload: Uint8Array }
  | { readonly kind: 'response'; readonly id: number; readonly ok: boolean; readonly payload: Uint8Array };

export type PeerItem =
  | { readonly kind: 'raft'; readonly message: RaftMessage }
  | Heartbeat
  | HeartbeatAck
  | CatchUpItem
  | RequestItem;

const ITEM = {
  preVote: 1,
  requestVote: 2,
  preVoteResponse: 3,
  requestVoteResponse: 4,
  appendEntries: 5,
  appendEntriesResponse: 6,
  timeoutNow: 7,
  heartbeat: 10,
  heartbeatAck: 11,
  request: 12,
  response: 13,
  catchUpStart: 20,
  catchUpPosition: 21,
  catchUpOpen: 22,
  catchUpPiece: 23,
  catchUpEnd: 24,
  catchUpCredit: 25,
  catchUpInstalled: 26,
  catchUpAbort: 27,
} as const;

/** Least bytes that one entry, announcement, id takes: bounds what a count may claim. */
const ENTRY_BYTES_MIN = 7;
const ANNOUNCEMENT_BYTES_MIN = 6;

/** A new message, to which items are written. */
export function startPeerMessage(): WireWriter {
  return new WireWriter().byte(PEER_MESSAGE_VERSION);
}

export function writePeerItem(writer: WireWriter, item: PeerItem): void {
  switch (item.kind) {
    case 'raft':
      return writeRaftMessage(writer, item.message);
    case 'heartbeat':
      writer.byte(ITEM.heartbeat).number(item.round).flag(item.full).number(item.sequence);
      writer.number(item.announcements.length);
      for (const announcement of item.announcements) writeAnnouncement(writer, announcement);
      writer
        .number(Math.floor(item.flushWaitMs))
        .number(Math.max(0, Math.floor(item.wallMs)))
        .flag(item.diskFull);
      return;
    case 'heartbeatAck':
      writer.byte(ITEM.heartbeatAck).number(item.round).number(item.sequence);
      writer.number(item.exceptionsAdded.length);
      for (const groupId of item.exceptionsAdded) writer.number(groupId);
      writer.number(item.exceptionsRemoved.length);
      for (const groupId of item.exceptionsRemoved) writer.number(groupId);
      return;
    case 'request':
      writer.byte(ITEM.request).number(item.id).text(item.service).bytes([item.payload]);
      return;
    case 'response':
      writer.byte(ITEM.response).number(item.id).flag(item.ok).bytes([item.payload]);
      return;
    case 'catchUpStart':
      writer.byte(ITEM.catchUpStart).number(item.id).number(item.groupId);
      writer.number(item.from).number(item.to).number(item.term);
      return;
    case 'catchUpPosition':
      writer.byte(ITEM.catchUpPosition).number(item.id).bytes([item.position]);
      return;
    case 'catchUpOpen':
      writer.byte(ITEM.catchUpOpen).number(item.id).number(item.index).number(item.term).bytes([item.membership]);
      return;
    case 'catchUpPiece':
      writer.byte(ITEM.catchUpPiece).number(item.id).bytes([item.piece]);
      return;
    case 'catchUpEnd':
      writer.byte(ITEM.catchUpEnd).number(item.id);
      return;
    case 'catchUpCredit':
      writer.byte(ITEM.catchUpCredit).number(item.id).number(item.bytes);
      return;
    case 'catchUpInstalled':
      writer.byte(ITEM.catchUpInstalled).number(item.id);
      return;
    case 'catchUpAbort':
      writer.byte(ITEM.catchUpAbort).number(item.id).flag(item.byReceiver).text(item.reason);
      return;
  }
}

function writeAnnouncement(writer: WireWriter, announcement: Announcement): void {
  const flags = (announcement.leading ? 1 : 0) | (announcement.ready ? 2 : 0);
  writer.number(announcement.groupId).number(announcement.term).byte(flags);
  writer.number(announcement.leader).number(announcement.receiver);
  writer.number(announcement.inSync.length);
  for (const brokerId of announcement.inSync) writer.number(brokerId);
}

export function writeRaftMessage(writer: WireWriter, message: RaftMessage): void {
  writer.byte(ITEM[message.kind]).number(message.from).number(message.to).number(message.term);
  switch (message.kind) {
    case 'preVote':
    case 'requestVote':
      writer.number(message.lastIndex).number(message.lastTerm).flag(message.transfer);
      return;
    case 'preVoteResponse':
    case 'requestVoteResponse':
      writer.flag(message.granted);
      return;
    case 'appendEntries':
      writer.number(message.prevIndex).number(message.prevTerm).number(message.commitIndex).flag(message.probe);
      writer.number(message.entries.length);
      for (const entry of message.entries) {
        writer.byte(entry.kind).number(entry.term).uint32(entry.checksum).bytes(entry.payload);
      }
      return;
    case 'appendEntriesResponse':
      writer.byte((message.accepted ? 1 : 0) | (message.overloaded ? 2 : 0)).number(message.matchIndex);
      if (!message.accepted) writer.number(message.rejectedIndex).number(message.hintIndex).number(message.hintTerm);
      return;
    case 'timeoutNow':
      return;
  }
}

/** The items of a message, in order. Throws {@link WireError} for anything that is not one; then none of it may be used. */
export function decodePeerMessage(bytes: Uint8Array): PeerItem[] {
  const reader = new WireReader(bytes);
  const version = reader.byte();
  if (version !== PEER_MESSAGE_VERSION) throw new WireError(`Unknown version of peer messages: ${version}`);
  const items: PeerItem[] = [];
  while (reader.remainingBytes > 0) items.push(readItem(reader));
  return items;
}

function readItem(reader: WireReader): PeerItem {
  const kind = reader.byte();
  switch (kind) {
    case ITEM.heartbeat:
      return readHeartbeat(reader);
    case ITEM.heartbeatAck:
      return {
        kind: 'heartbeatAck',
        round: reader.number(),
        sequence: reader.number(),
        exceptionsAdded: readList(reader, 1, () => reader.number() as GroupId),
        exceptionsRemoved: readList(reader, 1, () => reader.number() as GroupId),
      };
    case ITEM.request:
      return { kind: 'request', id: reader.number(), service: reader.text(), payload: reader.bytes() };
    case ITEM.response:
      return { kind: 'response', id: reader.number(), ok: reader.flag(), payload: reader.bytes() };
    case ITEM.catchUpStart:
      return {
        kind: 'catchUpStart',
        id: reader.number(),
        groupId: reader.number() as GroupId,
        from: reader.number() as ReplicaId,
        to: reader.number() as ReplicaId,
        term: reader.number() as Term,
      };
    case ITEM.catchUpPosition:
      return { kind: 'catchUpPosition', id: reader.number(), position: reader.bytes() };
    case ITEM.catchUpOpen:
      return {
        kind: 'catchUpOpen',
        id: reader.number(),
        index: reader.number() as LogIndex,
        term: reader.number() as Term,
        membership: reader.bytes(),
      };
    case ITEM.catchUpPiece:
      return { kind: 'catchUpPiece', id: reader.number(), piece: reader.bytes() };
    case ITEM.catchUpEnd:
      return { kind: 'catchUpEnd', id: reader.number() };
    case ITEM.catchUpCredit:
      return { kind: 'catchUpCredit', id: reader.number(), bytes: reader.number() };
    case ITEM.catchUpInstalled:
      return { kind: 'catchUpInstalled', id: reader.number() };
    case ITEM.catchUpAbort:
      return { kind: 'catchUpAbort', id: reader.number(), byReceiver: reader.flag(), reason: reader.text() };
    default:
      return { kind: 'raft', message: readRaftMessage(reader, kind) };
  }
}

function readHeartbeat(reader: WireReader): Heartbeat {
  return {
    kind: 'heartbeat',
    round: reader.number(),
    full: reader.flag(),
    sequence: reader.number(),
    announcements: readList(reader, ANNOUNCEMENT_BYTES_MIN, () => readAnnouncement(reader)),
    flushWaitMs: reader.number(),
    wallMs: reader.number(),
    diskFull: reader.flag(),
  };
}

function readAnnouncement(reader: WireReader): Announcement {
  const groupId = reader.number() as GroupId;
  const term = reader.number() as Term;
  const flags = reader.byte();
  if (flags > 3) throw new WireError(`Unknown flags of an announcement: ${flags}`);
  return {
    groupId,
    term,
    leading: (flags & 1) !== 0,
    ready: (flags & 2) !== 0,
    leader: reader.number() as ReplicaId,
    receiver: reader.number() as ReplicaId | 0,
    inSync: readList(reader, 1, () => reader.number() as BrokerId),
  };
}

function readRaftMessage(reader: WireReader, kind: number): RaftMessage {
  const base = { from: reader.number() as ReplicaId, to: reader.number() as ReplicaId, term: reader.number() as Term };
  switch (kind) {
    case ITEM.preVote:
    case ITEM.requestVote:
      return {
        kind: kind === ITEM.preVote ? 'preVote' : 'requestVote',
        ...base,
        lastIndex: reader.number() as LogIndex,
        lastTerm: reader.number() as Term,
        transfer: reader.flag(),
      };
    case ITEM.preVoteResponse:
    case ITEM.requestVoteResponse:
      return {
        kind: kind === ITEM.preVoteResponse ? 'preVoteResponse' : 'requestVoteResponse',
        ...base,
        granted: reader.flag(),
      };
    case ITEM.appendEntries: {
      const prevIndex = reader.number() as LogIndex;
      const prevTerm = reader.number() as Term;
      const commitIndex = reader.number() as LogIndex;
      const probe = reader.flag();
      let index = prevIndex as number;
      const entries = readList(reader, ENTRY_BYTES_MIN, () => readEntry(reader, ++index as LogIndex));
      return { kind: 'appendEntries', ...base, prevIndex, prevTerm, entries, commitIndex, probe };
    }
    case ITEM.appendEntriesResponse: {
      const flags = reader.byte();
      if (flags > 3) throw new WireError(`Unknown flags of an acknowledgement: ${flags}`);
      const accepted = (flags & 1) !== 0;
      const matchIndex = reader.number() as LogIndex;
      return {
        kind: 'appendEntriesResponse',
        ...base,
        accepted,
        overloaded: (flags & 2) !== 0,
        matchIndex,
        rejectedIndex: (accepted ? 0 : reader.number()) as LogIndex,
        hintIndex: (accepted ? 0 : reader.number()) as LogIndex,
        hintTerm: (accepted ? 0 : reader.number()) as Term,
      };
    }
    case ITEM.timeoutNow:
      return { kind: 'timeoutNow', ...base };
    default:
      throw new WireError(`Unknown item of a peer message: ${kind}`);
  }
}

function readEntry(reader: WireReader, index: LogIndex): Entry {
  const kind = reader.byte();
  if (kind > ENTRY_KIND.command) throw new WireError(`Unknown kind of entry: ${kind}`);
  const term = reader.number() as Term;
  const checksum = reader.uint32();
  const bytes = reader.bytes();
  const payload = bytes.length === 0 ? [] : [bytes];
  return { index, term, kind: kind as EntryKind, payload, checksum, payloadChecksum: payloadChecksum(payload) };
}

function readList<T>(reader: WireReader, bytesEach: number, read: () => T): T[] {
  const count = reader.count(bytesEach);
  const list: T[] = new Array(count);
  for (let at = 0; at < count; at++) list[at] = read();
  return list;
}
