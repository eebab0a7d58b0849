/**
 * Commands of a partition's state machine and their bytes. Versioned from the start (DECISIONS I4): an unknown kind or version stops the replica, it is never skipped.
 *
 *     command = version int8 (0) | kind int8 | timeMs int64 | body
 *     batches body         = count int32 | record batches back to back, as Kafka stores them; base offset and leader epoch are filled in by apply
 *     moveLogStart body    = to int64
 *     expireProducers body = beforeMs int64 | beforeOffset int64
 *     extension body       = bytes of the extension's own codec
 *
 * `timeMs` is what the leader resolved when it proposed: cluster time, or -1 while the cluster has none (DECISIONS P1, P4). It drives what depends on time in the state
 * (idle producers) and nothing else. Everything else that depends on settings (limits, timestamp type) was decided before proposing and is in the batches themselves.
 */
import { assert } from '../../std/assert.ts';
import { readInt32, readInt64, writeInt32, writeInt64 } from './stored-batch.ts';

const VERSION = 0;
const KIND = { batches: 1, moveLogStart: 2, expireProducers: 3, extension: 4 } as const;
const COMMON_BYTES = 10;
/** Bytes of a `batches` command before its first batch. */
export const BATCHES_HEADER_BYTES = COMMON_BYTES + 4;

export type PartitionCommand =
  | { readonly kind: 'batches'; readonly timeMs: number; readonly count: number; readonly batches: Uint8Array }
  | { readonly kind: 'moveLogStart'; readonly timeMs: number; readonly to: number }
  /** Forgets producers that last wrote before `beforeMs` or whose last batch is below `beforeOffset`: thresholds, not ids, so that one which became active meanwhile stays. */
  | {
      readonly kind: 'expireProducers';
      readonly timeMs: number;
      readonly beforeMs: number;
      readonly beforeOffset: number;
    }
  | { readonly kind: 'extension'; readonly timeMs: number; readonly body: Uint8Array };

/** What goes before the `count` batches of a `batches` command; the batches follow as pieces of their own and are never copied. */
export function encodeBatchesHeader(timeMs: number, count: number): Uint8Array {
  assert(count >= 1, 'A batches command has at least one batch');
  const bytes = common(KIND.batches, timeMs, 4);
  writeInt32(bytes, COMMON_BYTES, count);
  return bytes;
}

export function encodeMoveLogStart(timeMs: number, to: number): Uint8Array {
  const bytes = common(KIND.moveLogStart, timeMs, 8);
  writeInt64(bytes, COMMON_BYTES, to);
  return bytes;
}

export function encodeExpireProducers(timeMs: number, beforeMs: number, beforeOffset: number): Uint8Array {
  const bytes = common(KIND.expireProducers, timeMs, 16);
  writeInt64(bytes, COMMON_BYTES, beforeMs);
  writeInt64(bytes, COMMON_BYTES + 8, beforeOffset);
  return bytes;
}

/** What goes before the pieces of an extension's own command. */
export function encodeExtensionHeader(timeMs: number): Uint8Array {
  return common(KIND.extension, timeMs, 0);
}

/** Asserts on an unknown version or kind. Views into `payload`, no copies. */
export function decodePartitionCommand(payload: Uint8Array): PartitionCommand {
  assert(payload.length >= COMMON_BYTES, 'A partition command is shorter than its header');
  assert(payload[0] === VERSION, `A partition command has unknown version ${payload[0]}`);
  const kind = payload[1];
  const timeMs = readInt64(payload, 2);
  switch (kind) {
    case KIND.batches: {
      assert(payload.length > BATCHES_HEADER_BYTES, 'A batches command has no batch');
      const batches = payload.subarray(BATCHES_HEADER_BYTES);
      return { kind: 'batches', timeMs, count: readInt32(payload, COMMON_BYTES), batches };
    }
    case KIND.moveLogStart:
      assert(payload.length === COMMON_BYTES + 8, 'A moveLogStart command has the wrong length');
      return { kind: 'moveLogStart', timeMs, to: readInt64(payload, COMMON_BYTES) };
    case KIND.expireProducers:
      assert(payload.length === COMMON_BYTES + 16, 'An expireProducers command has the wrong length');
      return {
        kind: 'expireProducers',
        timeMs,
        beforeMs: readInt64(payload, COMMON_BYTES),
        beforeOffset: readInt64(payload, COMMON_BYTES + 8),
      };
    case KIND.extension:
      return { kind: 'extension', timeMs, body: payload.subarray(COMMON_BYTES) };
    default:
      assert(false, `A partition command has unknown kind ${kind}`);
  }
}

function common(kind: number, timeMs: number, bodyBytes: number): Uint8Array {
  const bytes = Buffer.alloc(COMMON_BYTES + bodyBytes);
  bytes[0] = VERSION;
  bytes[1] = kind;
  writeInt64(bytes, 2, timeMs);
  return bytes;
}
