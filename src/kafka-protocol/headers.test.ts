import { describe, expect, expectTypeOf, it } from 'vitest';
import { ZERO_UUID } from './byte-reader.ts';
import {
  decodeCorrelationId,
  decodeRequest,
  decodeRequestPrefix,
  decodeResponse,
  encodeRequest,
  encodeResponse,
} from './headers.ts';
import { apiVersionsApi } from './messages/api-versions.ts';
import { fetchApi } from './messages/fetch.ts';
import { heartbeatApi } from './messages/heartbeat.ts';
import { type ProduceRequest, produceApi } from './messages/produce.ts';
import { ProtocolError } from './protocol-error.ts';

/** Joins what would go to the socket, checks the size in front and takes it off. */
function frameOf(chunks: readonly Uint8Array[]): Uint8Array {
  const bytes = Buffer.concat(chunks);
  expect(bytes.readInt32BE(0)).toBe(bytes.length - 4);
  return bytes.subarray(4);
}

const heartbeat = { groupId: 'g', generationId: 7, memberId: 'm' };

describe('requests', () => {
  it('have a header with a classic client id in classic and flexible versions', () => {
    for (const version of [3, 4]) {
      const frame = frameOf(encodeRequest(heartbeatApi, version, { correlationId: 99, clientId: 'å' }, heartbeat));
      expect(Buffer.from(frame).toString('hex')).toMatch(new RegExp(`^000c000${version}000000630002c3a5`));
      expect(decodeRequestPrefix(frame)).toEqual({ apiKey: 12, apiVersion: version, correlationId: 99 });
      const { header, body } = decodeRequest(heartbeatApi, frame);
      expect(header).toEqual({ apiKey: 12, apiVersion: version, correlationId: 99, clientId: 'å' });
      expect(body).toEqual({ ...heartbeat, groupInstanceId: null });
    }
  });

  it('may have a null client id', () => {
    const frame = frameOf(encodeRequest(heartbeatApi, 0, { correlationId: 1, clientId: null }, heartbeat));
    expect(decodeRequest(heartbeatApi, frame).header.clientId).toBeNull();
  });

  it('ignore bytes behind the body, as Kafka does', () => {
    const frame = frameOf(encodeRequest(heartbeatApi, 3, { correlationId: 1, clientId: null }, heartbeat));
    expect(decodeRequest(heartbeatApi, Buffer.concat([frame, Buffer.from([0])])).body.memberId).toBe('m');
  });

  it('are refused when they end early', () => {
    const frame = frameOf(encodeRequest(heartbeatApi, 3, { correlationId: 1, clientId: 'c' }, heartbeat));
    for (let length = 0; length < frame.length; length++) {
      expect(() => decodeRequest(heartbeatApi, frame.subarray(0, length))).toThrow(ProtocolError);
    }
  });

  it('are typed by their schema', () => {
    expectTypeOf<
      ProduceRequest['topicData'][number]['partitionData'][number]['records']
    >().toEqualTypeOf<Uint8Array | null>();
    expectTypeOf<ProduceRequest['transactionalId']>().toEqualTypeOf<string | null>();
    expectTypeOf<ProduceRequest['acks']>().toEqualTypeOf<number>();
  });
});

describe('responses', () => {
  it('have tagged fields in the header of flexible versions only', () => {
    const body = { errorCode: 27 };
    expect(Buffer.concat(encodeResponse(heartbeatApi, 0, 5, body)).toString('hex')).toBe('0000000600000005001b');
    expect(Buffer.concat(encodeResponse(heartbeatApi, 4, 5, body)).toString('hex')).toBe(
      '0000000c000000050000000000001b00',
    );
    const frame = frameOf(encodeResponse(heartbeatApi, 4, 5, body));
    expect(decodeCorrelationId(frame)).toBe(5);
    expect(decodeResponse(heartbeatApi, 4, frame)).toEqual({
      correlationId: 5,
      body: { throttleTimeMs: 0, errorCode: 27 },
    });
  });

  it('of ApiVersions never have tagged fields in the header', () => {
    const chunks = encodeResponse(apiVersionsApi, 3, 5, { errorCode: 0, apiKeys: [] });
    expect(Buffer.concat(chunks).toString('hex')).toBe('0000000c000000050000010000000000');
    expect(decodeResponse(apiVersionsApi, 3, frameOf(chunks)).body.errorCode).toBe(0);
  });

  it('of Fetch carry records by reference, in as many pieces as they are given', () => {
    const first = new Uint8Array(4096).fill(1);
    const second = new Uint8Array(8192).fill(2);
    for (const version of [4, 11, 12, 16]) {
      const chunks = encodeResponse(fetchApi, version, 5, {
        responses: [
          {
            topic: 't',
            topicId: ZERO_UUID,
            partitions: [{ partitionIndex: 3, errorCode: 0, highWatermark: 2 ** 40, records: [first, second] }],
          },
        ],
      });
      expect(chunks).toContain(first);
      expect(chunks).toContain(second);
      const { body } = decodeResponse(fetchApi, version, frameOf(chunks));
      const partition = body.responses[0]!.partitions[0]!;
      expect(partition.highWatermark).toBe(2 ** 40);
      expect(partition.records!.length).toBe(first.length + second.length);
      expect(partition.records![4095]).toBe(1);
      expect(partition.records![4096]).toBe(2);
    }
  });

  it('refuse a value that their version cannot carry', () => {
    const body = {
      responses: [
        {
          partitions: [{ partitionIndex: 0, errorCode: 0, highWatermark: 0, preferredReadReplica: 4, records: null }],
        },
      ],
    };
    expect(() => encodeResponse(fetchApi, 10, 1, body)).toThrow(
      'Field preferredReadReplica does not exist in version 10',
    );
    expect(encodeResponse(fetchApi, 11, 1, body)).toBeDefined();
  });
});

describe('produceApi', () => {
  it('advertises older versions than it serves', () => {
    expect(produceApi.advertised).toEqual({ min: 0, max: 11 });
    expect(produceApi.versions).toEqual({ min: 3, max: 11 });
  });
});
