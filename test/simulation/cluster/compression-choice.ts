/** How a simulated producer compresses a batch: not at all, or with gzip, the codec that every client has; at its level 0, as all others give other bytes with other versions of zlib. */
import { gzipSync } from 'node:zlib';
import { Codec } from '../../../src/kafka-protocol/compression.ts';
import type { BatchOptions } from '../../../src/kafka-protocol/records.ts';
import type { SeededRandom } from '../../../src/std/seeded-random.ts';

const GZIP: BatchOptions = { compression: { codec: Codec.gzip, compress: (bytes) => gzipSync(bytes, { level: 0 }) } };
const SHARE = 0.3;

export function chooseCompression(random: SeededRandom, compresses: boolean): BatchOptions {
  return compresses && random.chance(SHARE) ? GZIP : {};
}
