/**
 * Owns the checksum at the end of each message between brokers: protobuf field 5, fixed32, CRC-32C of everything before it. A network that flips a bit behind TCP's back costs a connection
 * and never an identity, a vote or a match index.
 */
import { crc32c } from '../../std/crc32c.ts';

/** Field 5, fixed32. */
const CHECKSUM_TAG = 0x2d;
/** Tag and value. */
export const CHECKSUM_BYTES = 5;

/** Writes the checksum of `bytes[start, end)` at `end`. */
export function writeChecksum(bytes: Uint8Array, start: number, end: number): void {
  const checksum = crc32c(bytes.subarray(start, end));
  bytes[end] = CHECKSUM_TAG;
  new DataView(bytes.buffer, bytes.byteOffset).setUint32(end + 1, checksum, true);
}

/** A message's bytes with their checksum behind them. */
export function seal(message: Uint8Array): Buffer {
  const sealed = Buffer.allocUnsafe(message.length + CHECKSUM_BYTES);
  sealed.set(message);
  writeChecksum(sealed, 0, message.length);
  return sealed;
}

/** The bytes in front of the checksum, as a view. Throws if they are not what was sent. */
export function unseal(sealed: Buffer): Buffer {
  const end = sealed.length - CHECKSUM_BYTES;
  if (end < 0 || sealed[end] !== CHECKSUM_TAG) throw new Error('A message of a peer has no checksum');
  const message = sealed.subarray(0, end);
  if (sealed.readUInt32LE(end + 1) !== crc32c(message)) throw new Error('A message of a peer was changed on its way');
  return message;
}
