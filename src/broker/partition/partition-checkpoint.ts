/**
 * What a partition's checkpoint says, and its bytes (DECISIONS P2): the payload of the WAL's checkpoint frame.
 *
 *     payload = version int8 (0) | replicaId int64 | index int64 | term int64 | where int8 | state
 *     where 0: state bytes follow · where 1: name length int8, name, length int32, CRC-32C uint32 of the state file
 *     state = log start int64 | log end int64 | timeMs int64 | epochs | producers | segments | extension state
 *
 * The state of an idle partition is inline and some hundred bytes; a large one (many producers, epochs or segments, groups' offsets) is a file beside the segments.
 */
import { ByteReader } from '../../kafka-protocol/byte-reader.ts';
import { ByteWriter } from '../../kafka-protocol/byte-writer.ts';
import { assert } from '../../std/assert.ts';
import { crc32c } from '../../std/crc32c.ts';
import type { EpochStart } from './epoch-table.ts';
import type { SegmentDescription } from './log-segment.ts';
import { ProducerStates } from './producer-states.ts';

const VERSION = 0;
/** Largest state inside of a WAL frame. */
const INLINE_BYTES_MAX = 2048;

/** What can't be read back from the record batches. */
export interface PartitionState {
  readonly logStartOffset: number;
  readonly logEndOffset: number;
  /** Largest command time applied, -1 if none. */
  readonly timeMs: number;
  readonly epochs: readonly EpochStart[];
  /** Encoded, see {@link encodeProducers}. */
  readonly producers: Uint8Array;
  readonly segments: readonly SegmentDescription[];
  readonly extension: Uint8Array;
}

export interface StateFileReference {
  readonly name: string;
  readonly sizeBytes: number;
  readonly checksum: number;
}

export interface PartitionCheckpoint {
  readonly replicaId: number;
  readonly index: number;
  readonly term: number;
  readonly state:
    | { readonly kind: 'inline'; readonly bytes: Uint8Array }
    | ({ readonly kind: 'file' } & StateFileReference);
}

/** The reference to a file if the state is too large for the frame: the caller writes the file first. Never the name in use: that file may be what a crash falls back to. */
export function stateFileFor(
  state: Uint8Array,
  index: number,
  nameInUse: string | undefined,
): StateFileReference | undefined {
  if (state.length <= INLINE_BYTES_MAX) return undefined;
  const name = [`${index}.state`, `${index}-b.state`].find((candidate) => candidate !== nameInUse)!;
  return { name, sizeBytes: state.length, checksum: crc32c(state) };
}

export function encodePartitionCheckpoint(checkpoint: PartitionCheckpoint): Uint8Array {
  const writer = new ByteWriter();
  writer.int8(VERSION);
  writer.int64(checkpoint.replicaId);
  writer.int64(checkpoint.index);
  writer.int64(checkpoint.term);
  const { state } = checkpoint;
  if (state.kind === 'inline') {
    writer.int8(0);
    writer.raw(state.bytes);
  } else {
    writer.int8(1);
    writer.string(state.name);
    writer.int32(state.sizeBytes);
    writer.uint32(state.checksum);
  }
  return Buffer.concat(writer.finish());
}

export function decodePartitionCheckpoint(payload: Uint8Array): PartitionCheckpoint {
  const reader = new ByteReader(payload);
  const version = reader.int8();
  assert(version === VERSION, `A partition checkpoint has unknown version ${version}`);
  const common = { replicaId: reader.int64(), index: reader.int64(), term: reader.int64() };
  if (reader.int8() === 0) return { ...common, state: { kind: 'inline', bytes: reader.view(reader.remaining) } };
  const name = reader.utf8(reader.int16());
  return { ...common, state: { kind: 'file', name, sizeBytes: reader.int32(), checksum: reader.uint32() } };
}

export function encodeProducers(producers: ProducerStates): Uint8Array {
  const writer = new ByteWriter();
  producers.encode(writer);
  return Buffer.concat(writer.finish());
}

export function decodeProducers(bytes: Uint8Array): ProducerStates {
  const reader = new ByteReader(bytes);
  const producers = ProducerStates.decode(reader);
  assert(reader.remaining === 0, 'Producer states have bytes behind their end');
  return producers;
}

export function encodePartitionState(state: PartitionState): Uint8Array {
  const writer = new ByteWriter();
  writer.int64(state.logStartOffset);
  writer.int64(state.logEndOffset);
  writer.int64(state.timeMs);
  writer.int32(state.epochs.length);
  for (const { epoch, startOffset } of state.epochs) {
    writer.int32(epoch);
    writer.int64(startOffset);
  }
  writer.int32(state.producers.length);
  writer.raw(state.producers);
  writer.int32(state.segments.length);
  for (const segment of state.segments) {
    writer.int64(segment.baseOffset);
    writer.int64(segment.nextOffset);
    writer.uint32(segment.sizeBytes);
    writer.int32(segment.offsetIndexCount);
    writer.int32(segment.timeIndexCount);
    writer.int64(segment.maxTimestampMs);
    writer.int64(segment.maxTimestampOffset);
    writer.int64(segment.createdTimeMs);
  }
  writer.int32(state.extension.length);
  writer.raw(state.extension);
  return Buffer.concat(writer.finish());
}

export function decodePartitionState(bytes: Uint8Array): PartitionState {
  const reader = new ByteReader(bytes);
  const logStartOffset = reader.int64();
  const logEndOffset = reader.int64();
  const timeMs = reader.int64();
  const epochs: EpochStart[] = [];
  for (let left = reader.int32(); left > 0; left--) {
    epochs.push({ epoch: reader.int32(), startOffset: reader.int64() });
  }
  const producers = reader.view(reader.int32());
  const segments: SegmentDescription[] = [];
  for (let left = reader.int32(); left > 0; left--) {
    segments.push({
      baseOffset: reader.int64(),
      nextOffset: reader.int64(),
      sizeBytes: reader.uint32(),
      offsetIndexCount: reader.int32(),
      timeIndexCount: reader.int32(),
      maxTimestampMs: reader.int64(),
      maxTimestampOffset: reader.int64(),
      createdTimeMs: reader.int64(),
    });
  }
  const extension = reader.view(reader.int32());
  assert(reader.remaining === 0, 'A partition state has bytes behind its end');
  return { logStartOffset, logEndOffset, timeMs, epochs, producers, segments, extension };
}
