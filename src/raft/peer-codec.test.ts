import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { LogIndex, Term } from '../std/brands.ts';
import { ENTRY_KIND, type Entry } from '../wal/replica-storage.ts';
import type { RaftMessage } from './core/types.ts';
import { payloadChecksum } from './entry-checksum.ts';
import { decodePeerMessage, type PeerItem, startPeerMessage, writePeerItem } from './peer-codec.ts';
import { WireError, WireReader, WireWriter } from './wire.ts';

const id = fc.maxSafeNat() as fc.Arbitrary<never>;
const bytes = fc.oneof(fc.uint8Array({ maxLength: 40 }), fc.uint8Array({ minLength: 1024, maxLength: 2000 }));
const base = { from: id, to: id, term: id };

const entriesAfter = (prevIndex: number): fc.Arbitrary<Entry[]> =>
  fc
    .array(
      fc.record({
        term: id as fc.Arbitrary<Term>,
        kind: fc.constantFrom(...Object.values(ENTRY_KIND)),
        payload: fc.array(bytes, { maxLength: 3 }),
        checksum: fc.nat(0xffff_ffff),
      }),
      { maxLength: 4 },
    )
    .map((entries) =>
      entries.map((entry, at) => ({
        ...entry,
        index: (prevIndex + 1 + at) as LogIndex,
        payloadChecksum: payloadChecksum(entry.payload),
      })),
    );

const raft: fc.Arbitrary<RaftMessage> = fc.oneof(
  fc.record({
    kind: fc.constantFrom('preVote', 'requestVote'),
    ...base,
    lastIndex: id,
    lastTerm: id,
    transfer: fc.boolean(),
  }),
  fc.record({ kind: fc.constantFrom('preVoteResponse', 'requestVoteResponse'), ...base, granted: fc.boolean() }),
  fc.nat(1_000_000).chain((prevIndex) =>
    fc.record({
      kind: fc.constant('appendEntries' as const),
      ...base,
      prevIndex: fc.constant(prevIndex as LogIndex),
      prevTerm: id,
      entries: entriesAfter(prevIndex),
      commitIndex: id,
      probe: fc.boolean(),
    }),
  ),
  fc.record({
    kind: fc.constant('appendEntriesResponse' as const),
    ...base,
    accepted: fc.constant(false),
    matchIndex: id,
    rejectedIndex: id,
    hintIndex: id,
    hintTerm: id,
    overloaded: fc.boolean(),
  }),
  fc.record({ kind: fc.constant('timeoutNow' as const), ...base }),
);

const announcement = fc.record({
  groupId: id,
  term: id,
  leading: fc.boolean(),
  ready: fc.boolean(),
  leader: id,
  receiver: id,
  inSync: fc.array(id, { maxLength: 4 }),
});

const item = fc.oneof(
  fc.record({ kind: fc.constant('raft' as const), message: raft }),
  fc.record({
    kind: fc.constant('heartbeat' as const),
    round: id,
    full: fc.boolean(),
    sequence: id,
    announcements: fc.array(announcement, { maxLength: 4 }),
    flushWaitMs: id,
    wallMs: id,
    diskFull: fc.boolean(),
  }),
  fc.record({
    kind: fc.constant('heartbeatAck' as const),
    round: id,
    sequence: id,
    exceptionsAdded: fc.array(id, { maxLength: 4 }),
    exceptionsRemoved: fc.array(id, { maxLength: 4 }),
  }),
  fc.record({ kind: fc.constant('request' as const), id, service: fc.string(), payload: bytes }),
  fc.record({ kind: fc.constant('response' as const), id, ok: fc.boolean(), payload: bytes }),
  fc.record({ kind: fc.constant('catchUpStart' as const), id, groupId: id, from: id, to: id, term: id }),
  fc.record({ kind: fc.constant('catchUpPosition' as const), id, position: bytes }),
  fc.record({ kind: fc.constant('catchUpOpen' as const), id, index: id, term: id, membership: bytes }),
  fc.record({ kind: fc.constant('catchUpPiece' as const), id, piece: bytes }),
  fc.record({ kind: fc.constantFrom('catchUpEnd' as const, 'catchUpInstalled' as const), id }),
  fc.record({ kind: fc.constant('catchUpCredit' as const), id, bytes: id }),
  fc.record({ kind: fc.constant('catchUpAbort' as const), id, byReceiver: fc.boolean(), reason: fc.string() }),
) as fc.Arbitrary<PeerItem>;

function encode(items: readonly PeerItem[]): Uint8Array {
  const writer = startPeerMessage();
  for (const each of items) writePeerItem(writer, each);
  return Buffer.concat(writer.finish());
}

/** Payload pieces arrive as one. */
function joined(each: PeerItem): unknown {
  const plain = (value: unknown): unknown => {
    if (value instanceof Uint8Array) return Buffer.from(value).toString('hex');
    if (Array.isArray(value)) return value.map(plain);
    if (value !== null && typeof value === 'object') {
      return Object.fromEntries(
        Object.entries(value).map(([name, inner]) => [
          name,
          name === 'payload' && Array.isArray(inner) ? Buffer.concat(inner).toString('hex') : plain(inner),
        ]),
      );
    }
    return value;
  };
  return plain(each);
}

describe('peer messages', () => {
  it('read back as they were written', () => {
    fc.assert(
      fc.property(fc.array(item, { maxLength: 5 }), (items) => {
        expect(decodePeerMessage(encode(items)).map(joined)).toEqual(items.map(joined));
      }),
    );
  });

  it('are refused when cut short, without ever throwing anything else', () => {
    fc.assert(
      fc.property(item, fc.nat(), (each, at) => {
        const whole = encode([each]);
        const cut = whole.subarray(0, 1 + (at % (whole.length - 1)));
        if (cut.length === 1) return;
        expect(() => decodePeerMessage(cut)).toThrow(WireError);
      }),
    );
  });

  it('of any bytes are refused or read, nothing else', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (noise) => {
        try {
          decodePeerMessage(Uint8Array.of(1, ...noise));
        } catch (error) {
          expect(error).toBeInstanceOf(WireError);
        }
      }),
      { numRuns: 2_000 },
    );
  });

  it('of another version are refused', () => {
    expect(() => decodePeerMessage(Uint8Array.of(2))).toThrow(/version/);
  });

  it('share large payloads instead of copying them', () => {
    const payload = new Uint8Array(4096);
    const pieces = new WireWriter().number(7).bytes([payload]).byte(1).finish();
    expect(pieces.some((piece) => piece.buffer === payload.buffer)).toBe(true);
    const reader = new WireReader(Buffer.concat(pieces));
    expect([reader.number(), reader.bytes().length, reader.byte()]).toEqual([7, 4096, 1]);
  });
});
