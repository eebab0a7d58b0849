/**
 * Checksums of what was checksummed in parts, without reading it again: with `shifted`, the CRC-32C of a followed by b is
 * `crc32cShifted(crc32c(a), b.length) ^ crc32c(b)`.
 *
 * A CRC is a polynomial over GF(2) modulo the generator; bytes behind it multiply it by x^8 each. Bit 31 is x^0.
 */
import { assert } from './assert.ts';

/** Reversed form of the polynomial 0x1EDC6F41. */
const POLYNOMIAL = 0x82f63b78;
/** x^0. */
const ONE = 0x8000_0000;
/** Lengths whose factor is remembered: those of batches repeat. */
const REMEMBERED = 256;

/** x^(8 · 2^k) for each bit of a length. */
const powers = buildPowers();
/** Not state: what each place holds follows from its length. */
const lengths = new Float64Array(REMEMBERED).fill(-1);
const factors = new Int32Array(REMEMBERED);

/** The checksum `crc` moved in front of `length` bytes. */
export function crc32cShifted(crc: number, length: number): number {
  assert(Number.isSafeInteger(length) && length >= 0 && length < 2 ** 32, `Not a length: ${length}`);
  const place = (length ^ (length >>> 8)) & (REMEMBERED - 1);
  if (lengths[place] !== length) {
    factors[place] = factorOf(length);
    lengths[place] = length;
  }
  return multiply(factors[place]!, crc) >>> 0;
}

function factorOf(length: number): number {
  let factor = ONE;
  for (let bit = 0, rest = length; rest > 0; bit++, rest = Math.floor(rest / 2)) {
    if (rest % 2 === 1) factor = multiply(powers[bit]!, factor);
  }
  return factor;
}

/** Product of two polynomials modulo the generator. */
function multiply(a: number, b: number): number {
  let product = 0;
  for (let factor = a | 0, shifted = b | 0; factor !== 0; factor <<= 1) {
    if (factor < 0) product ^= shifted;
    shifted = (shifted & 1) !== 0 ? (shifted >>> 1) ^ POLYNOMIAL : shifted >>> 1;
  }
  return product;
}

function buildPowers(): Int32Array {
  const table = new Int32Array(32);
  // x^8
  table[0] = ONE >>> 8;
  for (let bit = 1; bit < table.length; bit++) table[bit] = multiply(table[bit - 1]!, table[bit - 1]!);
  return table;
}
