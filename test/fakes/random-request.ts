/** Requests that are valid on the wire and otherwise anything: what a schema allows, with values that mean something to a broker mixed with ones that do not. */
import type { AnyApi } from '../../src/kafka-protocol/api.ts';
import { encodeRequest } from '../../src/kafka-protocol/headers.ts';
import { type Fields, type FieldType, includesVersion } from '../../src/kafka-protocol/schema.ts';
import type { SeededRandom } from '../../src/std/seeded-random.ts';

export interface RequestVocabulary {
  /** Names of topics, groups, configs … that exist. */
  readonly strings: readonly string[];
  readonly uuids: readonly string[];
  /** Byte strings, e.g. record batches. */
  readonly bytes: readonly Uint8Array[];
}

const STRINGS = ['', 'x', '..', 'no/slash', 'ü€😀', 'long'.repeat(300)];
const INT64 = [-(2 ** 53) + 1, -5, -3, -2, -1, 0, 1, 2, 100, 2 ** 53 - 1];
const INTEGERS: Partial<Record<string, readonly number[]>> = {
  int8: [-128, -1, 0, 1, 2, 4, 127],
  int16: [-32_768, -1, 0, 1, 2, 3, 32_767],
  uint16: [0, 1, 65_535],
  int32: [-(2 ** 31), -2, -1, 0, 0, 1, 2, 3, 5, 50, 10_000],
  uint32: [0, 1, 2 ** 32 - 1],
  int64: INT64,
  bound64: INT64,
  float64: [0, 1.5],
};

/** A frame with its size. */
export function randomRequest(
  api: AnyApi,
  version: number,
  correlationId: number,
  random: SeededRandom,
  words: RequestVocabulary,
): Buffer {
  const strings = [...words.strings, ...STRINGS];
  const value = (type: FieldType, isNullable: boolean): unknown => {
    if (isNullable && random.chance(0.2)) return null;
    switch (type.kind) {
      case 'struct':
        return struct(type.fields);
      case 'array':
        return Array.from({ length: random.below(4) }, () => value(type.element, false));
      case 'bool':
        return random.chance(0.5);
      case 'uuid':
        return random.pick(words.uuids);
      case 'bytes':
      case 'records':
        return random.pick(words.bytes);
      default:
        return INTEGERS[type.kind] === undefined ? random.pick(strings) : random.pick(INTEGERS[type.kind]!);
    }
  };
  const struct = (fields: Fields): Record<string, unknown> => {
    const entries: [string, unknown][] = [];
    for (const [name, { type, versions, nullable, tag }] of Object.entries(fields)) {
      if (!includesVersion(versions, version) || (tag !== undefined && random.chance(0.5))) continue;
      entries.push([name, value(type, includesVersion(nullable, version))]);
    }
    return Object.fromEntries(entries);
  };
  const { fields } = (api as unknown as { request: { fields: Fields } }).request;
  const clientId = random.chance(0.1) ? null : random.pick(['client', '', 'ü']);
  return Buffer.concat(encodeRequest(api, version, { correlationId, clientId }, struct(fields) as never));
}
