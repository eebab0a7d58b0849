import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { crc32c } from '../std/crc32c.ts';
import type { Api } from './api.ts';
import { ALL_APIS } from './api-keys.ts';
import { ByteReader } from './byte-reader.ts';
import type { Message } from './codec.ts';
import { canDecompress } from './compression.ts';
import {
  consumerProtocolAssignment,
  consumerProtocolSubscription,
  groupMetadataKey,
  groupMetadataValue,
  offsetCommitKey,
  offsetCommitValue,
} from './coordinator-records.ts';
import { decodeRequestPrefix, decodeResponse, encodeRequest, encodeResponse } from './headers.ts';
import { inspectBatch } from './inspect-batch.ts';
import { ProtocolError } from './protocol-error.ts';
import { RecordBatch } from './record-batch.ts';
import { encodeRecordBatch, readRecords } from './records.ts';
import { type AnyField, type Decoded, type Encodable, type Fields, type FieldType, includesVersion } from './schema.ts';

const FOLDER = new URL('../../test/golden/kafka-protocol/', import.meta.url);

function readLines<Line>(file: string): Line[] {
  const text = readFileSync(new URL(file, FOLDER), 'utf8');
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Line);
}

const bytesOf = (hex: string): Buffer => Buffer.from(hex, 'hex');
const hexOf = (chunks: readonly Uint8Array[]): string => Buffer.concat(chunks).toString('hex');

interface GoldenMessage {
  readonly message: string;
  readonly version: number;
  readonly kind: 'default' | 'full' | 'nulls';
  readonly value: Json;
  readonly hex: string;
}
type Json = { readonly [name: string]: unknown };

const apis = ALL_APIS as unknown as readonly Api[];
const messages = new Map<string, Message<Fields>>(
  [
    ...apis.flatMap(({ request, response }) => [request, response]),
    ...[
      offsetCommitKey,
      offsetCommitValue,
      groupMetadataValue,
      consumerProtocolSubscription,
      consumerProtocolAssignment,
    ],
  ].map((message) => [message.name, message as unknown as Message<Fields>]),
);

const goldens = readLines<GoldenMessage>('messages.jsonl')
  // Kafka 4 numbers the versions of this key differently; its bytes are those of version 2.
  .map((golden) => (golden.message === 'GroupMetadataKey' ? { ...golden, version: 2 } : golden))
  .map((golden) => ({ ...golden, bytes: bytesOf(golden.hex) }));
messages.set('GroupMetadataKey', groupMetadataKey as unknown as Message<Fields>);

/** Kafka's JSON as the value that we decode to, or (`complete` false) as what somebody may hand to the encoder. */
function fromJson(fields: Fields, json: Json, complete: boolean): Record<string, unknown> {
  const values: Record<string, unknown> = {};
  for (const [name, field] of Object.entries(fields)) {
    if (name in json) values[name] = convert(field.type, json[name], complete);
    else if (complete) values[name] = field.defaultValue;
  }
  return values;
}

function convert(type: FieldType, json: unknown, complete: boolean): unknown {
  if (json === null) return null;
  if (type.kind === 'array') return (json as unknown[]).map((each) => convert(type.element, each, complete));
  if (type.kind === 'struct') return fromJson(type.fields, json as Json, complete);
  if (type.kind === 'bytes' || type.kind === 'records') return Buffer.from(json as string, 'base64');
  return json;
}

/** Replaces byte strings by text, so that a Buffer equals a Uint8Array. */
function comparable(value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex');
  if (Array.isArray(value)) return value.map(comparable);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, comparable(each)]));
}

describe('messages', () => {
  it('are served in no version that the goldens lack', () => {
    const covered = new Set(goldens.map(({ message, version }) => `${message} ${version}`));
    for (const message of messages.values()) {
      if (message.name === 'OffsetCommitKey') continue;
      for (let { min: version, max } = message.versions; version <= max; version++) {
        expect(covered).toContain(`${message.name} ${version}`);
      }
    }
  });

  for (const message of messages.values()) {
    it(`${message.name} reads and writes the bytes of Kafka`, () => {
      for (const { version, kind, value, hex, bytes } of goldens.filter((golden) => golden.message === message.name)) {
        const reader = new ByteReader(bytes);
        const decoded = message.read(reader, version);
        const what = `${message.name} ${version} ${kind}`;
        expect(reader.remaining, what).toBe(0);
        expect(comparable(decoded), what).toEqual(comparable(fromJson(message.fields, value, true)));
        expect(hexOf(message.encode(decoded as Encodable<Fields>, version)), what).toBe(hex);
        const given = fromJson(message.fields, value, false) as Encodable<Fields>;
        expect(hexOf(message.encode(given, version)), what).toBe(hex);
      }
    });
  }

  it('that end early are refused with the place where', () => {
    for (const { message, version, bytes } of goldens) {
      for (let length = 0; length < bytes.length; length += 1 + Math.floor(bytes.length / 15)) {
        expect(() => messages.get(message)!.decode(bytes.subarray(0, length), version)).toThrow(ProtocolError);
      }
    }
    const produce = goldens.find(
      ({ message, version, kind }) => message === 'ProduceRequest' && version === 9 && kind === 'full',
    )!;
    const cut = produce.bytes.subarray(0, -4);
    expect(() => messages.get('ProduceRequest')!.decode(cut, 9)).toThrow(
      'Length 4 with 3 bytes left in topicData[1].partitionData[1].records',
    );
  });

  it('that are damaged give a value or a ProtocolError, and never more than their bytes can carry', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...goldens.filter(({ kind }) => kind !== 'default')),
        fc.array(fc.record({ at: fc.nat(), byte: fc.integer({ min: 0, max: 255 }) }), { minLength: 1, maxLength: 6 }),
        ({ message, version, bytes }, changes) => {
          const damaged = Uint8Array.from(bytes);
          for (const { at, byte } of changes) damaged[at % damaged.length] = byte;
          try {
            const decoded = messages.get(message)!.decode(damaged, version);
            expect(countValues(decoded)).toBeLessThanOrEqual(damaged.length * 12 + 100);
          } catch (error) {
            expect(error).toBeInstanceOf(ProtocolError);
          }
        },
      ),
      { numRuns: 3000 },
    );
  });

  it('with lengths of 2^31 are refused without an allocation', () => {
    const hostile = Buffer.from('ffffffff7fffffff'.repeat(64), 'hex');
    for (const message of messages.values()) {
      for (let { min: version, max } = message.versions; version <= max; version++) {
        for (let at = 0; at < 16; at++) {
          const bytes = hostile.subarray(at);
          const before = process.memoryUsage();
          try {
            message.decode(bytes, version);
          } catch (error) {
            expect(error).toBeInstanceOf(ProtocolError);
          }
          const after = process.memoryUsage();
          expect(after.arrayBuffers - before.arrayBuffers).toBeLessThan(1_000_000);
        }
      }
    }
  });
});

/** Fields, elements and bytes of a decoded value, defaults of absent fields included. */
function countValues(value: unknown): number {
  if (value instanceof Uint8Array) return value.length;
  if (Array.isArray(value)) return value.reduce((sum: number, each) => sum + countValues(each), 1);
  if (typeof value !== 'object' || value === null) return 1;
  return Object.values(value).reduce((sum: number, each) => sum + countValues(each), 1);
}

describe('any value', () => {
  it('comes back from its bytes in every version', () => {
    const versions = [...messages.values()].flatMap((message) =>
      Array.from({ length: message.versions.max - message.versions.min + 1 }, (_, at) => ({
        message,
        version: message.versions.min + at,
      })),
    );
    for (const { message, version } of versions) {
      fc.assert(
        fc.property(arbitraryOf(message.fields, version), (value) => {
          const bytes = Buffer.concat(message.encode(value as Encodable<Fields>, version));
          expect(comparable(message.decode(bytes, version))).toEqual(comparable(value));
        }),
        { numRuns: 8 },
      );
    }
  });
});

/** Values that `version` can carry: fields that it lacks hold their default. */
function arbitraryOf(fields: Fields, version: number): fc.Arbitrary<Decoded<Fields>> {
  return fc.record(
    Object.fromEntries(
      Object.entries(fields).map(([name, field]) => [
        name,
        includesVersion(field.versions, version) ? arbitraryField(field, version) : fc.constant(field.defaultValue),
      ]),
    ),
    { noNullPrototype: true },
  );
}

function arbitraryField(field: AnyField, version: number): fc.Arbitrary<unknown> {
  const value = arbitraryType(field.type, version);
  return includesVersion(field.nullable, version) ? fc.option(value) : value;
}

function arbitraryType(type: FieldType, version: number): fc.Arbitrary<unknown> {
  switch (type.kind) {
    case 'struct':
      return arbitraryOf(type.fields, version);
    case 'array':
      return fc.array(arbitraryType(type.element, version), { maxLength: 3 });
    case 'string':
    case 'text':
      return fc.oneof(fc.string(), fc.string({ unit: 'grapheme' }));
    case 'uuid':
      return fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => Buffer.from(bytes).toString('base64url'));
    case 'bytes':
    case 'records':
      return fc.uint8Array({ maxLength: 2000 });
    case 'bool':
      return fc.boolean();
    case 'int8':
      return fc.integer({ min: -(2 ** 7), max: 2 ** 7 - 1 });
    case 'int16':
      return fc.integer({ min: -(2 ** 15), max: 2 ** 15 - 1 });
    case 'int32':
      return fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
    case 'int64':
    case 'bound64':
      return fc.maxSafeInteger();
  }
}

describe('headers', () => {
  const headers = readLines<{ api: string; version: number; request: string; response: string }>('headers.jsonl');

  it('have the form that Kafka gives them in each version', () => {
    expect(headers.length).toBe(apis.reduce((sum, { versions }) => sum + versions.max - versions.min + 1, 0));
    for (const { api: name, version, request, response } of headers) {
      const api = apis.find((each) => each.name === name)!;
      const defaults = (kind: string) =>
        goldens.find(
          (golden) => golden.message === `${name}${kind}` && golden.version === version && golden.kind === 'default',
        )!;
      const requestBody = api.request.decode(defaults('Request').bytes, version) as Encodable<Fields>;
      const sent = Buffer.concat(encodeRequest(api, version, { correlationId: 77, clientId: 'cliént' }, requestBody));
      expect(sent.subarray(4).toString('hex')).toBe(request + defaults('Request').hex);
      expect(decodeRequestPrefix(sent.subarray(4))).toEqual({
        apiKey: api.key,
        apiVersion: version,
        correlationId: 77,
      });

      const responseBody = api.response.decode(defaults('Response').bytes, version) as Encodable<Fields>;
      const answered = Buffer.concat(encodeResponse(api, version, 77, responseBody));
      expect(answered.subarray(4).toString('hex')).toBe(response + defaults('Response').hex);
      expect(decodeResponse(api, version, answered.subarray(4)).correlationId).toBe(77);
    }
  });
});

interface GoldenBatch {
  readonly name: string;
  readonly header: Readonly<Record<string, number | boolean>> & {
    readonly recordCount: number;
    readonly codec: number;
  };
  readonly records: readonly {
    offset: number;
    timestamp: number;
    key: string | null;
    value: string | null;
    headers: readonly { key: string; value: string | null }[];
  }[];
  readonly hex: string;
}

describe('record batches', () => {
  const batches = readLines<GoldenBatch>('batches.jsonl');
  const hexOrNull = (bytes: Uint8Array | null) => (bytes === null ? null : Buffer.from(bytes).toString('hex'));

  it('can be looked into with every codec on this machine', () => {
    for (let codec = 0; codec <= 4; codec++) expect(canDecompress(codec)).toBe(true);
  });

  it('that are damaged behind their checksum give records or a ProtocolError', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...batches.filter(({ name }) => !name.endsWith('large'))),
        fc.array(fc.record({ at: fc.nat(), byte: fc.integer({ min: 0, max: 255 }) }), { minLength: 1, maxLength: 4 }),
        ({ hex }, changes) => {
          const bytes = bytesOf(hex);
          for (const { at, byte } of changes) bytes[21 + (at % (bytes.length - 21))] = byte;
          const batch = RecordBatch.at(bytes)!;
          try {
            expect(readRecords(batch, 100_000).length).toBeLessThanOrEqual(100_000 / 7);
          } catch (error) {
            if (!(error instanceof ProtocolError)) throw error;
          }
          bytes.writeUInt32BE(crc32c(bytes.subarray(21)), 17);
          const limits = { produceVersion: 7, batchBytesMax: 1e6, decompressedBytesMax: 100_000, logAppendTime: false };
          expect(['accepted', 'refused']).toContain(inspectBatch(bytes, limits).kind);
        },
      ),
      { numRuns: 2000 },
    );
  });

  for (const { name, header, records, hex } of batches) {
    it(`${name}: header and records are read as Kafka wrote them`, () => {
      const batch = RecordBatch.at(bytesOf(hex))!;
      expect(batch.isCrcValid()).toBe(true);
      const seen = Object.keys(header).map((field) => [field, batch[field as keyof RecordBatch]]);
      expect(Object.fromEntries(seen)).toEqual(header);
      const read = readRecords(batch).map((record) => ({
        ...record,
        key: hexOrNull(record.key),
        value: hexOrNull(record.value),
        headers: record.headers.map((each) => ({ key: each.key, value: hexOrNull(each.value) })),
      }));
      expect(read.length).toBe(header.recordCount);
      expect(read.slice(-records.length)).toEqual(records);
      if (!name.endsWith('large')) return;
      expect(read.map(({ value }) => Buffer.from(value!, 'hex').toString())).toEqual(
        read.map((_, index) => `{"order":${index},"customer":"customer-${index % 13}","amount":42}`),
      );
    });

    if (header.codec === 0 && !header.isLogAppendTime) {
      it(`${name}: our encoder gives the same bytes`, () => {
        const batch = RecordBatch.at(bytesOf(hex))!;
        const { baseOffset, leaderEpoch, producerId, producerEpoch, baseSequence, isTransactional, isControl } = batch;
        const options = {
          baseOffset,
          leaderEpoch,
          producerId,
          producerEpoch,
          baseSequence,
          isTransactional,
          isControl,
        };
        expect(hexOrNull(encodeRecordBatch(readRecords(batch), options))).toBe(hex);
      });
    }
  }
});
