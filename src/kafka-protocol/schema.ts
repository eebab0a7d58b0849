/**
 * The schema language: a message is a plain object of fields in wire order, each with the versions that carry it, as in
 * Kafka's own definitions. From one such object follow the TypeScript types and, per version, a decoder and an encoder
 * (`codec.ts`).
 *
 *     fields: {
 *       name: string('0+'),
 *       rack: string('1+', { nullable: '1+', default: null, ignorable: true }),
 *       partitions: array('0+', { index: int32('0+'), isr: array('0+', 'int32') }),
 *     }
 *
 * Versions are written `0+`, `3-7` or `4`. Decoding a version that lacks a field gives its default; encoding one with any
 * other value than the default is refused unless the field is `ignorable`. Whoever encodes may leave out a field that has an
 * explicit default, is ignorable or tagged, or does not exist in all versions of what it is in.
 *
 * Values: 64-bit integers are numbers (must be safe integers), UUIDs are 22 characters of base64url, bytes and records are
 * views on the frame when decoded; what is kept longer than the request has to be copied.
 */
import { assert } from '../std/assert.ts';
import { ZERO_UUID } from './byte-reader.ts';

/** A byte string to encode: one piece, or pieces that are sent one after the other without being joined. */
export type Bytes = Uint8Array | readonly Uint8Array[];

interface Scalars {
  int8: number;
  int16: number;
  int32: number;
  int64: number;
  bound64: number;
  bool: boolean;
  string: string;
  text: string;
  uuid: string;
  bytes: Uint8Array;
  records: Uint8Array;
}

export type ScalarKind = keyof Scalars;
type WriteScalar<Kind extends ScalarKind> = Kind extends 'bytes' | 'records' ? Bytes : Scalars[Kind];
export type FieldType =
  | { readonly kind: ScalarKind }
  | { readonly kind: 'array'; readonly element: FieldType }
  | { readonly kind: 'struct'; readonly fields: Fields };

export interface VersionRange {
  readonly min: number;
  readonly max: number;
}

/** A field as data, whatever its type. */
export interface AnyField {
  readonly type: FieldType;
  readonly versions: VersionRange;
  /** Versions in which null may be written. */
  readonly nullable: VersionRange;
  readonly defaultValue: unknown;
  readonly ignorable: boolean;
  /** Present: in every version that has it, the field travels in the tagged section under this number. */
  readonly tag: number | undefined;
}

declare const typing: unique symbol;
/** A field with its TypeScript types: decoded, to be encoded, its versions, and whether an encoder may leave it out. */
export interface Field<Read, Write, Versions extends string, Optional extends boolean> extends AnyField {
  readonly [typing]: {
    readonly read: Read;
    readonly write: Write;
    readonly versions: Versions;
    readonly optional: Optional;
  };
}

export type Fields = { readonly [name: string]: Field<unknown, unknown, string, boolean> };

/** What a decoder gives for these fields. */
export type Decoded<F extends Fields> = { readonly [Name in keyof F]: F[Name][typeof typing]['read'] };

type OptionalNames<F extends Fields, Outer extends string> = {
  [Name in keyof F]: F[Name][typeof typing]['optional'] extends true
    ? Name
    : F[Name][typeof typing]['versions'] extends Outer | '0+'
      ? never
      : Name;
}[keyof F];

/** What an encoder takes for these fields; `Outer` are the versions of the struct that they are in. */
export type Encodable<F extends Fields, Outer extends string = '0+'> = {
  readonly [Name in Exclude<keyof F, OptionalNames<F, Outer>>]: F[Name][typeof typing]['write'];
} & { readonly [Name in OptionalNames<F, Outer>]?: F[Name][typeof typing]['write'] | undefined };

interface Options<Value> {
  /** Versions in which the value may be null. */
  readonly nullable?: string;
  readonly default?: Value | null;
  /** Dropped silently when a version without this field is encoded. */
  readonly ignorable?: true;
  readonly tag?: number;
}

type OrNull<O, Value> = O extends { nullable: string } ? Value | null : Value;
type IsOptional<O> = O extends { default: unknown } | { ignorable: true } | { tag: number } ? true : false;
type ScalarField<Kind extends ScalarKind, Versions extends string, O> = Field<
  OrNull<O, Scalars[Kind]>,
  OrNull<O, WriteScalar<Kind>>,
  Versions,
  IsOptional<O>
>;
type Element = ScalarKind | Fields;
type ReadElement<E extends Element> = E extends ScalarKind ? Scalars[E] : E extends Fields ? Decoded<E> : never;
type WriteElement<E extends Element, Versions extends string> = E extends ScalarKind
  ? WriteScalar<E>
  : E extends Fields
    ? Encodable<E, Versions>
    : never;

const NEVER: VersionRange = { min: 1, max: 0 };
const EMPTY_BYTES = new Uint8Array(0);
const EMPTY_ARRAY: readonly unknown[] = Object.freeze([]);

const SCALAR_DEFAULTS: { readonly [Kind in ScalarKind]: Scalars[Kind] } = {
  int8: 0,
  int16: 0,
  int32: 0,
  int64: 0,
  bound64: 0,
  bool: false,
  string: '',
  text: '',
  uuid: ZERO_UUID,
  bytes: EMPTY_BYTES,
  records: EMPTY_BYTES,
};

export const int8 = scalar('int8');
export const int16 = scalar('int16');
export const int32 = scalar('int32');
export const int64 = scalar('int64');
/** A 64-bit integer of which only "beyond" matters when it is large: decoded, what no number can hold exactly is the largest (or smallest) safe integer. */
export const bound64 = scalar('bound64');
export const bool = scalar('bool');
export const string = scalar('string');
/** A string for people, which is cut when it is encoded: a message may quote what a client sent, which can be as long as a string can be. */
export const text = scalar('text');
export const uuid = scalar('uuid');
export const bytes = scalar('bytes');
/** Record batches back to back; not interpreted here. */
export const records = scalar('records');

/** An array of scalars (`'int32'`) or of structs (their fields). */
export function array<
  const Versions extends string,
  const E extends Element,
  const O extends Options<readonly []> = Record<never, never>,
>(
  versions: Versions,
  element: E,
  options?: O,
): Field<
  OrNull<O, readonly ReadElement<E>[]>,
  OrNull<O, readonly WriteElement<E, Versions>[]>,
  Versions,
  IsOptional<O>
> {
  const elementType: FieldType =
    typeof element === 'string' ? { kind: element } : { kind: 'struct', fields: element as Fields };
  return field({ kind: 'array', element: elementType }, versions, EMPTY_ARRAY, options);
}

/** A single nested struct. */
export function struct<
  const Versions extends string,
  const F extends Fields,
  const O extends Omit<Options<never>, 'nullable' | 'default'> = Record<never, never>,
>(versions: Versions, fields: F, options?: O): Field<Decoded<F>, Encodable<F, Versions>, Versions, IsOptional<O>> {
  return field({ kind: 'struct', fields }, versions, defaultsOf(fields), options);
}

/** The value that every field of `fields` takes when nothing was sent. */
export function defaultsOf(fields: Fields): Readonly<Record<string, unknown>> {
  return Object.freeze(
    Object.fromEntries(Object.entries(fields).map(([name, { defaultValue }]) => [name, defaultValue])),
  );
}

export function parseVersions(text: string): VersionRange {
  const match = /^(\d+)(?:(\+)|-(\d+))?$/.exec(text);
  assert(match !== null, `Version range ${text} is not N, N-M or N+`);
  const min = Number(match[1]);
  if (match[2] !== undefined) return { min, max: Number.POSITIVE_INFINITY };
  return { min, max: match[3] === undefined ? min : Number(match[3]) };
}

export function includesVersion(range: VersionRange, version: number): boolean {
  return version >= range.min && version <= range.max;
}

function scalar<Kind extends ScalarKind>(kind: Kind) {
  return <const Versions extends string, const O extends Options<Scalars[Kind]> = Record<never, never>>(
    versions: Versions,
    options?: O,
  ): ScalarField<Kind, Versions, O> => field({ kind }, versions, SCALAR_DEFAULTS[kind], options);
}

function field<F extends AnyField>(
  type: FieldType,
  versions: string,
  typeDefault: unknown,
  options: Options<unknown> = {},
): F {
  const data: AnyField = {
    type,
    versions: parseVersions(versions),
    nullable: options.nullable === undefined ? NEVER : parseVersions(options.nullable),
    defaultValue: options.default === undefined ? typeDefault : options.default,
    ignorable: options.ignorable ?? false,
    tag: options.tag,
  };
  // The typing property exists for the compiler only.
  return data as F;
}
