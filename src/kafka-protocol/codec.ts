/**
 * Turns a schema into a decoder and an encoder for one version: closures built once per (message, version), so that the
 * path of a record does not interpret the schema.
 */
import { assert } from '../std/assert.ts';
import { ByteReader } from './byte-reader.ts';
import { ByteWriter } from './byte-writer.ts';
import { ProtocolError } from './protocol-error.ts';
import {
  type AnyField,
  type Bytes,
  type Decoded,
  defaultsOf,
  type Encodable,
  type Fields,
  type FieldType,
  includesVersion,
  type ScalarKind,
  type VersionRange,
} from './schema.ts';

/** Of a text for people, in UTF-16 units: long enough for every sentence that we write and for what it quotes. */
const TEXT_LENGTH_MAX = 1000;

type Read = (reader: ByteReader) => unknown;
type Write = (writer: ByteWriter, value: unknown) => void;

interface Codec {
  readonly read: Read;
  readonly write: Write;
  /** Fewest bytes a value can take; bounds array counts before anything is allocated. */
  readonly bytesMin: number;
}

interface Context {
  readonly version: number;
  readonly flexible: boolean;
}

/** One message: all of its versions behind one pair of functions. */
export class Message<F extends Fields> {
  readonly name: string;
  readonly fields: F;
  readonly versions: VersionRange;
  /** Versions with compact lengths and tagged fields. */
  readonly flexible: VersionRange;
  /** Memo of what `compile` gives; filled on first use of a version. */
  readonly #codecs: Codec[] = [];

  constructor(name: string, versions: VersionRange, flexible: VersionRange, fields: F) {
    this.name = name;
    this.versions = versions;
    this.flexible = flexible;
    this.fields = fields;
  }

  isFlexible(version: number): boolean {
    return includesVersion(this.flexible, version);
  }

  /** Reads one message at the reader's position and leaves the reader behind it. Throws {@link ProtocolError}. */
  read(reader: ByteReader, version: number): Decoded<F> {
    return this.#codec(version).read(reader) as Decoded<F>;
  }

  /** Decodes a message that starts at `position`. Bytes behind it are ignored, as Kafka does. */
  decode(bytes: Uint8Array, version: number, position = 0): Decoded<F> {
    return this.read(new ByteReader(bytes, position), version);
  }

  /** Decodes what {@link encode} of a broker gave, from its own log or checkpoint: as many elements as there are. */
  decodeOwn(bytes: Uint8Array, version: number): Decoded<F> {
    return this.read(new ByteReader(bytes, 0, bytes.length, Number.POSITIVE_INFINITY), version);
  }

  /** Throws an invariant error for a value that this version cannot carry: what we send is our own doing. */
  write(writer: ByteWriter, value: Encodable<F>, version: number): void {
    this.#codec(version).write(writer, value);
  }

  encode(value: Encodable<F>, version: number): Uint8Array[] {
    const writer = new ByteWriter();
    this.write(writer, value, version);
    return writer.finish();
  }

  #codec(version: number): Codec {
    const known = this.#codecs[version];
    if (known !== undefined) return known;
    assert(includesVersion(this.versions, version), `${this.name} has no version ${version}`);
    const compiled = structCodec(this.fields, { version, flexible: this.isFlexible(version) });
    this.#codecs[version] = compiled;
    return compiled;
  }
}

function compile(type: FieldType, nullable: boolean, context: Context): Codec {
  if (type.kind === 'struct') return structCodec(type.fields, context);
  if (type.kind === 'array')
    return arrayCodec(compile(type.element, false, context), isObject(type.element), nullable, context);
  return scalarCodec(type.kind, nullable, context);
}

/** Whether a decoded value is an allocation of its own and counts towards the element limit. */
function isObject(type: FieldType): boolean {
  return (
    type.kind === 'struct' ||
    type.kind === 'array' ||
    type.kind === 'string' ||
    type.kind === 'text' ||
    type.kind === 'uuid'
  );
}

function scalarCodec(kind: ScalarKind, nullable: boolean, { flexible }: Context): Codec {
  switch (kind) {
    case 'int8':
      return { bytesMin: 1, read: (reader) => reader.int8(), write: (writer, value) => writer.int8(value as number) };
    case 'int16':
      return { bytesMin: 2, read: (reader) => reader.int16(), write: (writer, value) => writer.int16(value as number) };
    case 'int32':
      return { bytesMin: 4, read: (reader) => reader.int32(), write: (writer, value) => writer.int32(value as number) };
    case 'int64':
      return { bytesMin: 8, read: (reader) => reader.int64(), write: (writer, value) => writer.int64(value as number) };
    case 'bound64':
      return {
        bytesMin: 8,
        read: (reader) => reader.bound64(),
        write: (writer, value) => writer.int64(value as number),
      };
    case 'bool':
      return { bytesMin: 1, read: (reader) => reader.bool(), write: (writer, value) => writer.bool(value as boolean) };
    case 'uuid':
      return { bytesMin: 16, read: (reader) => reader.uuid(), write: (writer, value) => writer.uuid(value as string) };
    case 'string':
      return stringCodec(nullable, flexible);
    case 'text':
      return textCodec(nullable, flexible);
    case 'bytes':
    case 'records':
      return bytesCodec(nullable, flexible);
  }
}

function stringCodec(nullable: boolean, flexible: boolean): Codec {
  return {
    bytesMin: flexible ? 1 : 2,
    read(reader) {
      const length = flexible ? reader.compactLength() : reader.stringLength();
      return length === -1 ? nullOf(nullable) : reader.utf8(length);
    },
    write(writer, value) {
      if (value === null) writeNull(nullable, flexible, writer, 2);
      else if (flexible) writer.compactString(value as string);
      else writer.string(value as string);
    },
  };
}

/** A string that the encoder cuts: what it says is for people, and a message must not fail because it quotes a long name. */
function textCodec(nullable: boolean, flexible: boolean): Codec {
  const { bytesMin, read, write } = stringCodec(nullable, flexible);
  return { bytesMin, read, write: (writer, value) => write(writer, cut(value as string | null)) };
}

function cut(text: string | null): string | null {
  return text === null || text.length <= TEXT_LENGTH_MAX ? text : `${text.slice(0, TEXT_LENGTH_MAX)}…`;
}

function bytesCodec(nullable: boolean, flexible: boolean): Codec {
  return {
    bytesMin: flexible ? 1 : 4,
    read(reader) {
      const length = flexible ? reader.compactLength() : reader.bytesLength();
      return length === -1 ? nullOf(nullable) : reader.view(length);
    },
    write(writer, value) {
      if (value === null) {
        writeNull(nullable, flexible, writer, 4);
        return;
      }
      const bytes = value as Bytes;
      const pieces: readonly Uint8Array[] = bytes instanceof Uint8Array ? [bytes] : bytes;
      let length = 0;
      for (const piece of pieces) length += piece.length;
      if (flexible) writer.uvarint(length + 1);
      else writer.int32(length);
      for (const piece of pieces) writer.raw(piece);
    },
  };
}

function arrayCodec(element: Codec, counted: boolean, nullable: boolean, { flexible }: Context): Codec {
  const { read, write } = element;
  // An element without bytes would let a count cost nothing; no message has one.
  const elementBytesMin = Math.max(1, element.bytesMin);
  return {
    bytesMin: flexible ? 1 : 4,
    read(reader) {
      const count = flexible ? reader.compactArrayCount(elementBytesMin) : reader.arrayCount(elementBytesMin);
      if (count === -1) return nullOf(nullable);
      if (counted) reader.charge(count);
      const values: unknown[] = [];
      try {
        while (values.length < count) values.push(read(reader));
      } catch (error) {
        throw located(error, `[${values.length}]`);
      }
      return values;
    },
    write(writer, value) {
      if (value === null) {
        writeNull(nullable, flexible, writer, 4);
        return;
      }
      const values = value as readonly unknown[];
      if (flexible) writer.uvarint(values.length + 1);
      else writer.int32(values.length);
      for (const each of values) write(writer, each);
    },
  };
}

interface Slot {
  readonly name: string;
  readonly codec: Codec;
  readonly defaultValue: unknown;
  readonly tag: number;
  readonly isDefault: (value: unknown) => boolean;
}

type Values = Record<string, unknown>;

function structCodec(fields: Fields, context: Context): Codec {
  const { version, flexible } = context;
  const plain: Slot[] = [];
  const tagged: Slot[] = [];
  const refused: Slot[] = [];
  for (const [name, field] of Object.entries(fields)) {
    const present = includesVersion(field.versions, version);
    if (!present && field.ignorable) continue;
    const slot: Slot = {
      name,
      codec: present ? compile(field.type, includesVersion(field.nullable, version), context) : ABSENT,
      defaultValue: field.defaultValue,
      tag: field.tag ?? -1,
      isDefault: defaultTest(field),
    };
    if (!present) refused.push(slot);
    else if (field.tag === undefined) plain.push(slot);
    else tagged.push(slot);
  }
  tagged.sort((left, right) => left.tag - right.tag);
  const template: Values = { ...defaultsOf(fields) };

  return {
    bytesMin: plain.reduce((sum, slot) => sum + slot.codec.bytesMin, flexible ? 1 : 0),
    read(reader) {
      const values: Values = { ...template };
      let at = 0;
      try {
        for (; at < plain.length; at++) {
          const slot = plain[at]!;
          values[slot.name] = slot.codec.read(reader);
        }
      } catch (error) {
        throw located(error, plain[at]!.name);
      }
      if (flexible) {
        if (tagged.length === 0) reader.skipTaggedFields();
        else readTagged(reader, tagged, values);
      }
      return values;
    },
    write(writer, value) {
      const values = value as Values;
      for (const slot of refused) {
        const given = values[slot.name];
        assert(given === undefined || slot.isDefault(given), `Field ${slot.name} does not exist in version ${version}`);
      }
      for (const slot of plain) {
        const given = values[slot.name];
        slot.codec.write(writer, given === undefined ? slot.defaultValue : given);
      }
      if (flexible) writeTagged(writer, tagged, values);
    },
  };
}

/** Stands in for the codec of a field that the version does not have. */
const ABSENT: Codec = {
  bytesMin: 0,
  read: () => assert(false, 'An absent field is never read'),
  write: () => assert(false, 'An absent field is never written'),
};

/** Tagged section: uvarint count, then each (uvarint tag, uvarint size, payload). Unknown tags are skipped. */
function readTagged(reader: ByteReader, tagged: readonly Slot[], values: Values): void {
  let previous = -1;
  for (let left = reader.uvarint(); left > 0; left--) {
    const tag = reader.tag(previous);
    previous = tag;
    const size = reader.uvarint();
    const slot = tagged.find((each) => each.tag === tag);
    if (slot === undefined) {
      reader.skip(size);
      continue;
    }
    const { end } = reader;
    if (size > reader.remaining)
      throw new ProtocolError(`Length ${size} with ${reader.remaining} bytes left`, slot.name);
    reader.end = reader.position + size;
    try {
      values[slot.name] = slot.codec.read(reader);
    } catch (error) {
      throw located(error, slot.name);
    }
    if (reader.remaining !== 0) throw new ProtocolError(`${reader.remaining} bytes too many`, slot.name);
    reader.end = end;
  }
}

/** Fields that hold their default are left out, as every Kafka implementation does. */
function writeTagged(writer: ByteWriter, tagged: readonly Slot[], values: Values): void {
  const given = tagged.filter(({ name, isDefault }) => values[name] !== undefined && !isDefault(values[name]));
  writer.uvarint(given.length);
  for (const slot of given) {
    const payload = new ByteWriter();
    slot.codec.write(payload, values[slot.name]);
    writer.uvarint(slot.tag);
    writer.uvarint(payload.sizeBytes);
    for (const piece of payload.finish()) writer.raw(piece);
  }
}

function defaultTest({ type, defaultValue }: AnyField): (value: unknown) => boolean {
  if (defaultValue === null) return (value) => value === null;
  if (type.kind === 'array') return (value) => (value as readonly unknown[] | null)?.length === 0;
  if (type.kind === 'bytes' || type.kind === 'records')
    return (value) => value !== null && sizeOf(value as Bytes) === 0;
  if (type.kind !== 'struct') return (value) => value === defaultValue;
  const tests = Object.entries(type.fields).map(([name, field]) => ({ name, isDefault: defaultTest(field) }));
  return (value) =>
    tests.every(({ name, isDefault }) => {
      const given = (value as Values)[name];
      return given === undefined || isDefault(given);
    });
}

function sizeOf(bytes: Bytes): number {
  return bytes instanceof Uint8Array ? bytes.length : bytes.reduce((sum, piece) => sum + piece.length, 0);
}

function nullOf(nullable: boolean): null {
  if (!nullable) throw new ProtocolError('Null where the version allows none');
  return null;
}

function writeNull(nullable: boolean, flexible: boolean, writer: ByteWriter, prefixBytes: 2 | 4): void {
  assert(nullable, 'Null where the version allows none');
  if (flexible) writer.uvarint(0);
  else if (prefixBytes === 2) writer.int16(-1);
  else writer.int32(-1);
}

function located(error: unknown, segment: string): unknown {
  return error instanceof ProtocolError ? error.within(segment) : error;
}
