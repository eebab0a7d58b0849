/**
 * CRC-32C (Castagnoli), the checksum of Kafka's record batches and of our own WAL frames.
 *
 * Owns the choice of implementation, which is invisible to callers: the native module is several times faster on large
 * inputs but costs about 90 ns a call, so short inputs, and every input on a machine where the module does not load, go
 * through slicing-by-16 in plain TypeScript.
 */
import { createRequire } from 'node:module';

/** Reversed form of the polynomial 0x1EDC6F41. */
const POLYNOMIAL = 0x82f63b78;
const SLICES = 16;
/** Below this many bytes the call into native code costs more than it saves. */
const NATIVE_BYTES_MIN = 128;

const tables = buildTables();
const native = loadNative();

/**
 * Checksum of `bytes`, as an unsigned 32-bit number. Incremental: pass the checksum of what came before as `previous`,
 * so `crc32c(b, crc32c(a))` is the checksum of a followed by b.
 */
export function crc32c(bytes: Uint8Array, previous = 0): number {
  if (native !== undefined && bytes.length >= NATIVE_BYTES_MIN) return native(bytes, previous);
  return crc32cPortable(bytes, previous);
}

/** The same function without native code; exported so that tests can compare the two. */
export function crc32cPortable(bytes: Uint8Array, previous = 0): number {
  const table = tables;
  const end = bytes.length;
  const lastSlice = end - SLICES;
  let crc = ~previous;
  let at = 0;
  for (; at <= lastSlice; at += SLICES) {
    crc =
      table[0xf00 | ((bytes[at]! ^ crc) & 0xff)]! ^
      table[0xe00 | ((bytes[at + 1]! ^ (crc >>> 8)) & 0xff)]! ^
      table[0xd00 | ((bytes[at + 2]! ^ (crc >>> 16)) & 0xff)]! ^
      table[0xc00 | ((bytes[at + 3]! ^ (crc >>> 24)) & 0xff)]! ^
      table[0xb00 | bytes[at + 4]!]! ^
      table[0xa00 | bytes[at + 5]!]! ^
      table[0x900 | bytes[at + 6]!]! ^
      table[0x800 | bytes[at + 7]!]! ^
      table[0x700 | bytes[at + 8]!]! ^
      table[0x600 | bytes[at + 9]!]! ^
      table[0x500 | bytes[at + 10]!]! ^
      table[0x400 | bytes[at + 11]!]! ^
      table[0x300 | bytes[at + 12]!]! ^
      table[0x200 | bytes[at + 13]!]! ^
      table[0x100 | bytes[at + 14]!]! ^
      table[bytes[at + 15]!]!;
  }
  for (; at < end; at++) crc = table[(crc ^ bytes[at]!) & 0xff]! ^ (crc >>> 8);
  return ~crc >>> 0;
}

/** Entry `slice * 256 + byte` is the checksum register of `byte` followed by `slice` zero bytes. */
function buildTables(): Int32Array {
  const table = new Int32Array(SLICES * 256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1) === 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
    table[byte] = crc;
  }
  for (let at = 256; at < table.length; at++) {
    const shorter = table[at - 256]!;
    table[at] = (shorter >>> 8) ^ table[shorter & 0xff]!;
  }
  return table;
}

function loadNative(): ((bytes: Uint8Array, previous: number) => number) | undefined {
  try {
    const module: typeof import('@node-rs/crc32') = createRequire(import.meta.url)('@node-rs/crc32');
    return module.crc32c;
  } catch {
    // A platform without a prebuilt binary: the portable form gives the same checksums, only slower.
    return undefined;
  }
}
