/**
 * The bytes of a partition's catch-up (DECISIONS P3).
 *
 *     position = version int8 (0) | log end int64 | epoch of the last record int32 (-1 if none)
 *     piece    = kind int8 | CRC-32C uint32 of the body | body
 *     kind 1 begin: version int8 (0) | offset int64 of the first batch that follows | state length int32
 *     kind 2 data:  a run of the log's bytes; batches may be cut between pieces
 *     kind 3 state: a run of the state's bytes, after all data: the partition's state without segments, see partition-checkpoint.ts
 *
 * Each piece has its own checksum because Kafka's leaves out the first bytes of a batch, and TCP's is weak (DECISIONS W8).
 */
import { ByteReader } from '../../kafka-protocol/byte-reader.ts';
import { ByteWriter } from '../../kafka-protocol/byte-writer.ts';
import { assert } from '../../std/assert.ts';
import { crc32c } from '../../std/crc32c.ts';
import type { PartitionState } from './partition-checkpoint.ts';

const VERSION = 0;
const KIND = { begin: 1, data: 2, state: 3 } as const;
const PIECE_HEADER_BYTES = 5;
/** The driver takes pieces of at most a mebibyte. */
export const PIECE_BODY_BYTES_MAX = 1024 * 1024 - PIECE_HEADER_BYTES;

export type CatchUpState = Omit<PartitionState, 'segments'>;

export interface CatchUpPosition {
  readonly logEndOffset: number;
  /** Of the last record; -1 if there is none. */
  readonly lastEpoch: number;
}

export type CatchUpPiece =
  | { readonly kind: 'begin'; readonly fromOffset: number; readonly stateBytes: number }
  | { readonly kind: 'data' | 'state'; readonly bytes: Uint8Array };

export function encodeCatchUpPosition(position: CatchUpPosition): Uint8Array {
  const writer = new ByteWriter(16);
  writer.int8(VERSION);
  writer.int64(position.logEndOffset);
  writer.int32(position.lastEpoch);
  return Buffer.concat(writer.finish());
}

export function decodeCatchUpPosition(bytes: Uint8Array): CatchUpPosition {
  const reader = new ByteReader(bytes);
  const version = reader.int8();
  assert(version === VERSION, `A catch-up position has unknown version ${version}`);
  return { logEndOffset: reader.int64(), lastEpoch: reader.int32() };
}

export function encodeCatchUpPiece(piece: CatchUpPiece): Uint8Array {
  const kind = KIND[piece.kind];
  const body = piece.kind === 'begin' ? encodeBegin(piece) : piece.bytes;
  const header = Buffer.alloc(PIECE_HEADER_BYTES);
  header[0] = kind;
  header.writeUInt32BE(crc32c(body, crc32c(header.subarray(0, 1))), 1);
  return Buffer.concat([header, body]);
}

/** Throws on a piece that was damaged on its way, or is of an unknown kind. */
export function decodeCatchUpPiece(bytes: Uint8Array): CatchUpPiece {
  const reader = new ByteReader(bytes);
  const kind = reader.int8();
  const checksum = reader.uint32();
  const body = bytes.subarray(PIECE_HEADER_BYTES);
  if (crc32c(body, crc32c(bytes.subarray(0, 1))) !== checksum) throw new Error('A catch-up piece fails its checksum');
  switch (kind) {
    case KIND.begin: {
      const version = reader.int8();
      if (version !== VERSION) throw new Error(`A catch-up has unknown version ${version}`);
      return { kind: 'begin', fromOffset: reader.int64(), stateBytes: reader.int32() };
    }
    case KIND.data:
      return { kind: 'data', bytes: body };
    case KIND.state:
      return { kind: 'state', bytes: body };
    default:
      throw new Error(`A catch-up piece has unknown kind ${kind}`);
  }
}

function encodeBegin(piece: Extract<CatchUpPiece, { kind: 'begin' }>): Uint8Array {
  const writer = new ByteWriter(16);
  writer.int8(VERSION);
  writer.int64(piece.fromOffset);
  writer.int32(piece.stateBytes);
  return Buffer.concat(writer.finish());
}
