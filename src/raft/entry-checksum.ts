/**
 * The one checksum of an entry between brokers (DECISIONS W8): CRC-32C over (group, index, term, kind, payload), computed once by the leader, verified by
 * every follower before its WAL and by whoever reads the bytes back from a disk. It covers the identity, so a well-formed entry in the wrong place fails too.
 */
import type { GroupId, LogIndex, Term } from '../std/brands.ts';
import { crc32c } from '../std/crc32c.ts';
import type { Entry, EntryKind } from '../wal/replica-storage.ts';

const IDENTITY_BYTES = 25;

/** Not state: filled and read within one call. */
const identity = new Uint8Array(IDENTITY_BYTES);
const identityView = new DataView(identity.buffer);

export function entryChecksum(
  groupId: GroupId,
  index: LogIndex,
  term: Term,
  kind: EntryKind,
  payload: readonly Uint8Array[],
): number {
  identityView.setFloat64(0, groupId);
  identityView.setFloat64(8, index);
  identityView.setFloat64(16, term);
  identity[24] = kind;
  let checksum = crc32c(identity);
  for (const piece of payload) checksum = crc32c(piece, checksum);
  return checksum;
}

/** Makes the entry of a leader. The payload is shared, never copied. */
export function sealEntry(
  groupId: GroupId,
  index: LogIndex,
  term: Term,
  kind: EntryKind,
  payload: readonly Uint8Array[],
): Entry {
  return { index, term, kind, payload, checksum: entryChecksum(groupId, index, term, kind, payload) };
}

export function isEntryIntact(groupId: GroupId, entry: Entry): boolean {
  return entryChecksum(groupId, entry.index, entry.term, entry.kind, entry.payload) === entry.checksum;
}

export function payloadBytes(entry: Entry): number {
  let length = 0;
  for (const piece of entry.payload) length += piece.length;
  return length;
}
