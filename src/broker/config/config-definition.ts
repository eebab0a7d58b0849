/**
 * What a configuration property is: its type, its default, what it allows and what it means. Broker properties and topic configs are tables of these, so that parsing, validation,
 * DescribeConfigs and the documentation can not drift apart.
 *
 * A value travels as text (properties file, CreateTopics, the metadata log) and is parsed at the edge; `undefined` stands for "not set and no default".
 */
import { RefusedConfigError } from './refused-config-error.ts';

/** Codes of DescribeConfigs v3+. */
export const CONFIG_TYPE = { boolean: 1, string: 2, int: 3, long: 5, list: 7 } as const;
export type ConfigType = (typeof CONFIG_TYPE)[keyof typeof CONFIG_TYPE];

export interface ConfigDefinition<Value> {
  readonly type: ConfigType;
  /** As text; null if there is none: then the parsed value is undefined, unless the property is required. */
  readonly defaultText: string | null;
  readonly required: boolean;
  /** For people: completes the sentence "Allowed: …". */
  readonly allowed: string;
  readonly documentation: string;
  /** Throws {@link RefusedConfigError} saying what is wrong with the text. */
  parse(text: string): Value;
}

const INT_MAX = 2 ** 31 - 1;
const LONG_MAX = 2n ** 63n - 1n;
const LONG_MIN = -(2n ** 63n);

interface NumberOptions<Default extends number | bigint | undefined> {
  readonly default?: Default;
  readonly required?: boolean;
  readonly min?: number;
  readonly max?: number;
  readonly documentation: string;
}

/** `Value` with undefined added when there is neither a default nor a duty to set it. */
type Optional<Value, Options> = Options extends { default: NonNullable<unknown> } | { required: true }
  ? Value
  : Value | undefined;

/** A 32-bit integer within [min, max]. */
export function int<const Options extends NumberOptions<number | undefined>>(
  options: Options,
): ConfigDefinition<Optional<number, Options>> {
  return integer(CONFIG_TYPE.int, BigInt(options.min ?? -INT_MAX - 1), BigInt(options.max ?? INT_MAX), options);
}

/** A 64-bit integer within [min, max]; beyond 2^53 it is cut to that, which means "no limit" wherever such values are used. */
export function long<const Options extends NumberOptions<number | bigint | undefined>>(
  options: Options,
): ConfigDefinition<Optional<number, Options>> {
  const min = options.min === undefined ? LONG_MIN : BigInt(options.min);
  const max = options.max === undefined ? LONG_MAX : BigInt(options.max);
  return integer(CONFIG_TYPE.long, min, max, options);
}

function integer<Options extends NumberOptions<number | bigint | undefined>>(
  type: ConfigType,
  min: bigint,
  max: bigint,
  options: Options,
): ConfigDefinition<Optional<number, Options>> {
  const allowed = `an integer from ${min} to ${max}`;
  return {
    type,
    defaultText: options.default === undefined ? null : String(options.default),
    required: options.required ?? false,
    allowed,
    documentation: options.documentation,
    parse(text) {
      const trimmed = text.trim();
      if (!/^[+-]?\d{1,19}$/.test(trimmed)) throw new RefusedConfigError(`"${text}" is not an integer`);
      const value = BigInt(trimmed);
      if (value < min || value > max) throw new RefusedConfigError(`${value} is not ${allowed}`);
      const clamped = value > Number.MAX_SAFE_INTEGER ? Number.MAX_SAFE_INTEGER : Number(value);
      return clamped as Optional<number, Options>;
    },
  };
}

export function boolean(options: { default: boolean; documentation: string }): ConfigDefinition<boolean> {
  return {
    type: CONFIG_TYPE.boolean,
    defaultText: String(options.default),
    required: false,
    allowed: 'true or false',
    documentation: options.documentation,
    parse(text) {
      const lower = text.trim().toLowerCase();
      if (lower === 'true') return true;
      if (lower === 'false') return false;
      throw new RefusedConfigError(`"${text}" is neither true nor false`);
    },
  };
}

/** One of a few words. With `unserved`, words that Kafka knows and this broker does not do yet: they are refused with that sentence. */
export function oneOf<const Word extends string>(options: {
  words: readonly Word[];
  default: Word;
  documentation: string;
  type?: ConfigType;
  unserved?: { readonly [word: string]: string };
}): ConfigDefinition<Word> {
  const allowed = options.words.join(' or ');
  return {
    type: options.type ?? CONFIG_TYPE.string,
    defaultText: options.default,
    required: false,
    allowed,
    documentation: options.documentation,
    parse(text) {
      const word = options.words.find((candidate) => candidate === text.trim());
      if (word !== undefined) return word;
      const sentence = options.unserved?.[text.trim()];
      throw new RefusedConfigError(sentence ?? `"${text}" is not ${allowed}`);
    },
  };
}

interface TextOptions<Value> {
  readonly default?: string;
  readonly required?: boolean;
  readonly allowed: string;
  readonly documentation: string;
  readonly type?: ConfigType;
  parse(text: string): Value;
}

/** Text with a grammar of its own; `parse` throws {@link RefusedConfigError}. */
export function text<Value, const Options extends TextOptions<Value>>(
  options: Options & { parse(text: string): Value },
): ConfigDefinition<Optional<Value, Options>> {
  return {
    type: options.type ?? CONFIG_TYPE.string,
    defaultText: options.default ?? null,
    required: options.required ?? false,
    allowed: options.allowed,
    documentation: options.documentation,
    parse: (value) => options.parse(value) as Optional<Value, Options>,
  };
}

/** Table of definitions → object of parsed values. */
export type ParsedConfig<Table> = {
  readonly [Name in keyof Table]: Table[Name] extends ConfigDefinition<infer Value> ? Value : never;
};
