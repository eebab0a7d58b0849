import { describe, expect, it } from 'vitest';
import { ELEMENTS_MAX, ZERO_UUID } from './byte-reader.ts';
import { Message } from './codec.ts';
import { ProtocolError } from './protocol-error.ts';
import {
  array,
  bool,
  bound64,
  bytes,
  int8,
  int32,
  int64,
  parseVersions,
  string,
  struct,
  text,
  uuid,
} from './schema.ts';

const NEVER = { min: 1, max: 0 };
const sample = new Message('Sample', parseVersions('0-3'), parseVersions('2+'), {
  name: string('0+'),
  rack: string('1+', { nullable: '1+', default: null, ignorable: true }),
  count: int32('1+', { default: -1 }),
  parts: array('0+', { id: int8('0+'), tags: array('0+', 'string') }),
  state: struct('3+', { epoch: int32('3+', { default: -1 }) }, { tag: 5 }),
  secret: bytes('3+', { tag: 1 }),
});

const hex = (chunks: readonly Uint8Array[]) => Buffer.concat(chunks).toString('hex');
const from = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');

describe('Message', () => {
  it('gives fields that a version lacks their default', () => {
    expect(sample.decode(from('0001 61 00000000'), 0)).toEqual({
      name: 'a',
      rack: null,
      count: -1,
      parts: [],
      state: { epoch: -1 },
      secret: new Uint8Array(0),
    });
  });

  it('refuses to encode what a version cannot carry, unless it may be ignored', () => {
    expect(hex(sample.encode({ name: 'a', parts: [], rack: 'r', count: -1 }, 0))).toBe('00016100000000');
    expect(() => sample.encode({ name: 'a', parts: [], count: 3 }, 0)).toThrow(
      'Field count does not exist in version 0',
    );
    expect(() => sample.encode({ name: 'a', parts: [], secret: Uint8Array.of(1) }, 2)).toThrow('Field secret');
  });

  it('refuses to encode values that are outside of their type', () => {
    const encode = (id: number) => sample.encode({ name: 'a', parts: [{ id, tags: [] }] }, 1);
    expect(encode(-128)).toBeDefined();
    expect(() => encode(128)).toThrow('Value 128 is not an int8');
    expect(() => encode(0.5)).toThrow('Value 0.5 is not an int8');
    expect(() => sample.encode({ name: 'x'.repeat(32_768), parts: [] }, 1)).toThrow('String of 32768 bytes');
  });

  it('cuts what is for people instead of failing on what it quotes', () => {
    const failure = new Message('Failure', parseVersions('0-1'), parseVersions('1+'), {
      message: text('0+', { nullable: '0+' }),
    });
    const sent = (message: string | null, version: number) =>
      failure.decode(Buffer.concat(failure.encode({ message }, version)), version).message;
    for (const version of [0, 1]) {
      expect(sent('é'.repeat(40_000), version)).toBe(`${'é'.repeat(1000)}…`);
      expect(sent('short', version)).toBe('short');
      expect(sent(null, version)).toBe(null);
    }
  });

  it('writes tagged fields in ascending order and leaves out defaults', () => {
    const value = { name: '', parts: [], state: { epoch: 7 }, secret: Uint8Array.of(9) };
    expect(hex(sample.encode(value, 3))).toBe(
      `${'01 00 ffffffff 01'.replaceAll(' ', '')}02 01 02 0209 05 05 00000007 00`.replaceAll(' ', ''),
    );
    expect(hex(sample.encode({ name: '', parts: [], state: {} }, 3))).toBe('0100ffffffff0100');
  });

  it('skips tagged fields that it does not know', () => {
    const decoded = sample.decode(from('01 00 ffffffff 01 03 00 03 aabbcc 01 02 0209 09 00'), 3);
    expect(decoded.secret).toEqual(Buffer.of(9));
  });

  const malformed: readonly (readonly [string, string, number, string])[] = [
    ['a tag that comes twice', '01 00 ffffffff 01 02 01 02 0209 01 02 0209', 3, 'Tagged field 1 after 1'],
    ['tags in descending order', '01 00 ffffffff 01 02 05 05 0000000700 01 02 0209', 3, 'Tagged field 1 after 5'],
    ['a tagged field with bytes to spare', '01 00 ffffffff 01 01 01 03 020900', 3, '1 bytes too many in secret'],
    [
      'a tagged field that reaches beyond its size',
      '01 00 ffffffff 01 01 01 02 0309 00',
      3,
      'Length 2 with 1 bytes left in secret',
    ],
    ['null where it is not allowed', 'ffff 00000000', 0, 'Null where the version allows none in name'],
    ['a negative length', 'fffe 00000000', 0, 'Negative length -2 in name'],
    ['a negative count', '0000 fffffffe', 0, 'Negative array count -2 in parts'],
    ['a count beyond the bytes', '0000 00000002 0100000000', 0, 'Array of 2 elements with 5 bytes left in parts'],
    ['text that is not UTF-8', '0002 c328 00000000', 0, 'String is not valid UTF-8 in name'],
    ['a varint without end', 'ffffffffffff', 2, 'Varint longer than 32 bits in name'],
    ['an element that is cut', '0000 00000001 05 00000001 0003', 0, 'Length 3 with 0 bytes left in parts[0].tags[0]'],
  ];
  for (const [what, input, version, message] of malformed) {
    it(`refuses ${what}`, () => {
      expect(() => sample.decode(from(input), version)).toThrow(ProtocolError);
      expect(() => sample.decode(from(input), version)).toThrow(message);
    });
  }

  it('refuses more elements than a broker has memory for, however short they are', () => {
    const short = new Message('Short', parseVersions('0'), parseVersions('0+'), { names: array('0+', 'string') });
    const encoded = (count: number) => Buffer.concat(short.encode({ names: new Array<string>(count).fill('') }, 0));
    expect(short.decode(encoded(ELEMENTS_MAX), 0).names.length).toBe(ELEMENTS_MAX);
    const tooMany = encoded(ELEMENTS_MAX + 1);
    expect(() => short.decode(tooMany, 0)).toThrow(`More than ${ELEMENTS_MAX} elements in one message`);
    // A checkpoint of our own has to be read whatever its size.
    expect(short.decodeOwn(tooMany, 0).names.length).toBe(ELEMENTS_MAX + 1);
  });

  it('has no version outside of its range', () => {
    expect(() => sample.decode(from('00'), 4)).toThrow('Sample has no version 4');
  });
});

describe('64-bit integers', () => {
  const number = new Message('Number', parseVersions('0'), NEVER, { value: int64('0+') });

  it('are exact up to 2^53 and refused beyond', () => {
    for (const value of [0, -1, 1, 2 ** 32, -(2 ** 32), 2 ** 53 - 1, -(2 ** 53 - 1), 2 ** 31, -(2 ** 31)]) {
      const encoded = Buffer.concat(number.encode({ value }, 0));
      expect(encoded.readBigInt64BE()).toBe(BigInt(value));
      expect(number.decode(encoded, 0).value).toBe(value);
    }
    for (const value of [2n ** 53n, -(2n ** 53n), 2n ** 63n - 1n, -(2n ** 63n)]) {
      const encoded = Buffer.alloc(8);
      encoded.writeBigInt64BE(value);
      expect(() => number.decode(encoded, 0)).toThrow(ProtocolError);
    }
    expect(() => number.encode({ value: 2 ** 53 }, 0)).toThrow('is not a safe integer');
  });
});

describe('bounds', () => {
  const bound = new Message('Bound', parseVersions('0'), NEVER, { value: bound64('0+') });

  it('beyond 2^53 are decoded as the safe integer that is nearest', () => {
    const decoded = (value: bigint) => {
      const encoded = Buffer.alloc(8);
      encoded.writeBigInt64BE(value);
      return bound.decode(encoded, 0).value;
    };
    expect([-1n, 0n, 2n ** 53n - 1n].map(decoded)).toEqual([-1, 0, 2 ** 53 - 1]);
    for (const value of [2n ** 53n, 1_700_000_000_000_000_000n, 2n ** 63n - 1n]) {
      expect(decoded(value)).toBe(Number.MAX_SAFE_INTEGER);
    }
    expect(decoded(-(2n ** 63n))).toBe(Number.MIN_SAFE_INTEGER);
    expect(hex(bound.encode({ value: -2 }, 0))).toBe('fffffffffffffffe');
  });
});

describe('UUIDs', () => {
  const id = new Message('Id', parseVersions('0'), NEVER, { id: uuid('0+'), last: bool('0+') });

  it('are 22 characters of base64url', () => {
    expect(hex(id.encode({ id: ZERO_UUID, last: true }, 0))).toBe(`${'00'.repeat(16)}01`);
    expect(id.decode(Buffer.alloc(17), 0)).toEqual({ id: ZERO_UUID, last: false });
    expect(() => id.encode({ id: 'short', last: true }, 0)).toThrow('Value short is not a UUID');
  });
});

describe('large messages', () => {
  it('keep every byte across the buffers they are built in', () => {
    const value = {
      name: 'n',
      parts: Array.from({ length: 5000 }, (_, at) => ({ id: at % 100, tags: [`tag ${at}`, 'é'] })),
    };
    for (let version = 0; version <= 3; version++) {
      const decoded = sample.decode(Buffer.concat(sample.encode(value, version)), version);
      expect(decoded.parts).toEqual(value.parts);
    }
  });
});
