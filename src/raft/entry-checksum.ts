/**
 * The one checksum of an entry between brokers (DECISIONS W8): CRC-32C over (group, index, term, kind, payload), computed once by the leader, verified by
 * every follower before its WAL and by whoever reads the bytes back from a disk. It covers the identity, so a well-formed entry in the wrong place fails too.
 *
 * It is put together from the checksums of identity and payload: who made or received the bytes has read them once, and need not again.
 */
import type { GroupId, LogIndex, Term } from '../std/brands.ts';
import { crc32c } from '../std/crc32c.ts';
import { crc32cShifted } from '../std/crc32c-combine.ts';
import type { Entry, EntryKind } from '../wal/replica-storage.ts';

const IDENTITY_BYTES = 25;

/** Not state: filled and read within one call. */
const identity = new Uint8Array(IDENTITY_BYTES);
const identityView = new DataView(identity.buffer);

/** CRC-32C of the pieces, one behind the other. */
export function payloadChecksum(payload: readonly Uint8Array[]): number {
  let checksum = 0;
  for (const piece of payload) checksum = crc32c(piece, checksum);
  return checksum;
}

function entryChecksum(
  groupId: GroupId,
  index: LogIndex,
  term: Term,
  kind: EntryKind,
  payloadLength: number,
  ofPayload: number,
): number {
  identityView.setFloat64(0, groupId);
  identityView.setFloat64(8, index);
  identityView.setFloat64(16, term);
  identity[24] = kind;
  return (crc32cShifted(crc32c(identity), payloadLength) ^ ofPayload) >>> 0;
}

/** Makes the entry of a leader. The payload is shared, never copied. */
export function sealEntry(
  groupId: GroupId,
  index: LogIndex,
  term: Term,
  kind: EntryKind,
  payload: readonly Uint8Array[],
): Entry {
  const ofPayload = payloadChecksum(payload);
  const checksum = entryChecksum(groupId, index, term, kind, lengthOf(payload), ofPayload);
  return { index, term, kind, payload, checksum, payloadChecksum: ofPayload };
}

export function isEntryIntact(groupId: GroupId, entry: Entry): boolean {
  const { index, term, kind, payload } = entry;
  const ofPayload = entry.payloadChecksum ?? payloadChecksum(payload);
  return entryChecksum(groupId, index, term, kind, lengthOf(payload), ofPayload) === entry.checksum;
}

export function payloadBytes(entry: Entry): number {
  return lengthOf(entry.payload);
}

function lengthOf(payload: readonly Uint8Array[]): number {
  let length = 0;
  for (const piece of payload) length += piece.length;
  return length;
}
