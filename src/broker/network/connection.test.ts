import { beforeEach, describe, expect, test } from 'vitest';
import { decodeCorrelationId, decodeResponse, encodeRequest } from '../../kafka-protocol/headers.ts';
import { apiVersionsApi } from '../../kafka-protocol/messages/api-versions.ts';
import { type InitProducerIdResponse, initProducerIdApi } from '../../kafka-protocol/messages/init-producer-id.ts';
import { type ProduceResponse, produceApi } from '../../kafka-protocol/messages/produce.ts';
import { ProtocolError } from '../../kafka-protocol/protocol-error.ts';
import type { SILENT_LOG } from '../../std/log.ts';
import type { Socket, SocketHandlers } from '../../std/network.ts';
import { ClientConnection, type ConnectionEnvironment, type ConnectionLimits } from './connection.ts';
import { defineHandler, HandlerTable, type RequestContext } from './dispatch.ts';
import { MemoryBudget } from './memory-budget.ts';
import { RateLimitedLog } from './rate-limited-log.ts';

class FakeSocket implements Socket {
  readonly remoteAddress = '10.0.0.1:5000';
  handlers: SocketHandlers = { data() {}, closed() {} };
  isPaused = false;
  state: 'open' | 'ended' | 'destroyed' = 'open';
  readonly sent: Buffer[] = [];
  readonly unread: (() => void)[] = [];
  /** False: the client does not read. */
  reads = true;

  write(pieces: readonly Uint8Array[], written: () => void): void {
    this.sent.push(Buffer.concat(pieces));
    if (this.reads) written();
    else this.unread.push(written);
  }
  pause(): void {
    this.isPaused = true;
  }
  resume(): void {
    this.isPaused = false;
  }
  end(): void {
    this.state = 'ended';
  }
  destroy(): void {
    this.state = 'destroyed';
  }
  correlationIds(): number[] {
    return this.sent.map((frame) => decodeCorrelationId(frame.subarray(4)));
  }
}

const LIMITS: ConnectionLimits = {
  frameBytesMax: 10_000,
  inFlightRequestsMax: 3,
  inFlightBytesMax: 5_000,
  bufferedResponseBytesMax: 100,
  idleMs: 1_000,
};

/** A handler of Produce whose answers the test gives, and one of InitProducerId that answers at once or later. */
function setUp(limits: Partial<ConnectionLimits> = {}, requestMemoryBytes = 100_000) {
  const handed: {
    correlationMark: string | null;
    context: RequestContext;
    answer: (response?: ProduceResponse) => void;
    fail: (error: Error) => void;
  }[] = [];
  const inits: { answer: () => void }[] = [];
  const table = new HandlerTable([
    defineHandler({
      api: produceApi,
      isPipelined: true,
      handle: (request, context) =>
        new Promise((resolve, reject) => {
          handed.push({ correlationMark: context.clientId, context, answer: (r) => resolve(r), fail: reject });
          expect(request.acks).toBe(1);
        }),
    }),
    defineHandler({
      api: initProducerIdApi,
      handle: () =>
        new Promise<InitProducerIdResponse>((resolve) =>
          inits.push({ answer: () => resolve({ errorCode: 0, producerId: 7, producerEpoch: 0 }) }),
        ),
    }),
    defineHandler({ api: apiVersionsApi, handle: () => ({ errorCode: 0, apiKeys: [] }) }),
  ]);
  const lines: string[] = [];
  const log: typeof SILENT_LOG = {
    debug() {},
    info() {},
    warn: (fields, message) => lines.push(`${message} ${JSON.stringify(fields)}`),
    error() {},
  };
  const clock = { now: 0, monotonicMs: () => clock.now, wallMs: () => clock.now };
  const failures: unknown[] = [];
  let closedCount = 0;
  const environment: ConnectionEnvironment = {
    handlers: table,
    requestMemory: new MemoryBudget(requestMemoryBytes),
    responseMemory: new MemoryBudget(1_000_000),
    limits: { ...LIMITS, ...limits },
    clock,
    log: new RateLimitedLog(log, clock),
    observer: { answered() {}, sent() {}, connectionOpened() {}, connectionClosed() {} },
    onFailure: (error) => failures.push(error),
  };
  const connect = () => {
    const socket = new FakeSocket();
    const connection = new ClientConnection(1, socket, environment, () => closedCount++);
    return { socket, connection };
  };
  const { socket, connection } = connect();
  return {
    socket,
    connection,
    connect,
    environment,
    handed,
    inits,
    lines,
    clock,
    failures,
    closedCount: () => closedCount,
  };
}

const produceFrame = (correlationId: number, recordBytes = 10) =>
  Buffer.concat(
    encodeRequest(
      produceApi,
      3,
      { correlationId, clientId: `c${correlationId}` },
      {
        acks: 1,
        timeoutMs: 1,
        topicData: [{ name: 't', partitionData: [{ index: 0, records: new Uint8Array(recordBytes) }] }],
      },
    ),
  );
const initFrame = (correlationId: number) =>
  Buffer.concat(
    encodeRequest(
      initProducerIdApi,
      0,
      { correlationId, clientId: null },
      { transactionalId: null, transactionTimeoutMs: 1 },
    ),
  );
const PRODUCED: ProduceResponse = { responses: [] };
const settle = () => new Promise<void>((resolve) => setImmediate(resolve));

let it: ReturnType<typeof setUp>;
beforeEach(() => {
  it = setUp();
});

describe('ClientConnection', () => {
  test('hands pipelined requests over at once, in order, and answers in that order however they finish', async () => {
    it.socket.handlers.data(Buffer.concat([produceFrame(1), produceFrame(2), produceFrame(3)]));
    expect(it.handed.map((request) => request.correlationMark)).toEqual(['c1', 'c2', 'c3']);
    it.handed[2]!.answer(PRODUCED);
    it.handed[0]!.answer(PRODUCED);
    await settle();
    expect(it.socket.correlationIds()).toEqual([1]);
    it.handed[1]!.answer(PRODUCED);
    await settle();
    expect(it.socket.correlationIds()).toEqual([1, 2, 3]);
  });

  test('lets another API wait for all earlier answers, and later requests wait for it', async () => {
    it.socket.handlers.data(Buffer.concat([produceFrame(1), initFrame(2), produceFrame(3)]));
    expect([it.handed.length, it.inits.length]).toEqual([1, 0]);
    it.handed[0]!.answer(PRODUCED);
    await settle();
    expect([it.handed.length, it.inits.length]).toEqual([1, 1]);
    it.inits[0]!.answer();
    await settle();
    expect(it.handed.length).toBe(2);
    it.handed[1]!.answer(PRODUCED);
    await settle();
    expect(it.socket.correlationIds()).toEqual([1, 2, 3]);
  });

  test('serves requests that arrive byte by byte', async () => {
    for (const byte of initFrame(9)) it.socket.handlers.data(Uint8Array.of(byte));
    it.inits[0]!.answer();
    await settle();
    expect(it.socket.correlationIds()).toEqual([9]);
    expect(it.environment.requestMemory.usedBytes).toBe(0);
  });

  test('stops reading at the limit of requests in flight and goes on below it', async () => {
    it.socket.handlers.data(Buffer.concat([1, 2, 3, 4, 5].map((id) => produceFrame(id))));
    expect(it.handed.length).toBe(3);
    expect(it.socket.isPaused).toBe(true);
    it.handed[0]!.answer(PRODUCED);
    it.handed[1]!.answer(PRODUCED);
    await settle();
    expect(it.handed.length).toBe(5);
    expect(it.socket.isPaused).toBe(false);
  });

  test('stops at the limit of bytes in flight, but serves a larger request alone', async () => {
    it.socket.handlers.data(Buffer.concat([produceFrame(1, 6_000), produceFrame(2)]));
    expect(it.handed.length).toBe(1);
    it.handed[0]!.answer(PRODUCED);
    await settle();
    expect(it.handed.length).toBe(2);
  });

  test('does not serve a client that does not read its answers', async () => {
    it.socket.reads = false;
    for (let id = 1; id <= 8; id++) {
      it.socket.handlers.data(initFrame(id));
      it.inits.at(-1)?.answer();
      await settle();
    }
    const answered = it.socket.sent.length;
    expect(answered).toBeGreaterThan(2);
    expect(answered).toBeLessThan(8);
    expect(it.socket.isPaused).toBe(true);
    it.socket.reads = true;
    for (const written of it.socket.unread.splice(0)) written();
    for (let round = 0; round < 8; round++) {
      it.inits.at(-1)?.answer();
      await settle();
    }
    expect(it.socket.sent.length).toBe(8);
    expect(it.socket.isPaused).toBe(false);
    expect(it.environment.responseMemory.usedBytes).toBe(0);
  });

  test('does not read while the memory of the broker is used up, but always lets a small request of another client in', () => {
    it = setUp({ inFlightBytesMax: 10_000 }, 4_000);
    it.socket.handlers.data(produceFrame(1, 5_000));
    expect(it.handed.length).toBe(1);
    expect(it.socket.isPaused).toBe(true);
    const other = it.connect();
    other.socket.handlers.data(produceFrame(2));
    expect(it.handed.length).toBe(2);
    expect(other.socket.isPaused).toBe(true);
    it.handed[0]!.answer(PRODUCED);
    return settle().then(() => {
      expect(it.socket.isPaused).toBe(false);
      expect(other.socket.isPaused).toBe(false);
    });
  });

  test('answers an unknown version of ApiVersions in version 0 with the range that is served', () => {
    const frame = Buffer.from([0, 0, 0, 9, 0, 18, 0, 99, 0, 0, 0, 5, 0xff]);
    it.socket.handlers.data(frame);
    expect(it.socket.state).toBe('open');
    const { correlationId, body } = decodeResponse(apiVersionsApi, 0, it.socket.sent[0]!.subarray(4));
    expect(correlationId).toBe(5);
    expect(body.errorCode).toBe(35);
    expect(body.apiKeys).toEqual([{ apiKey: 18, minVersion: 0, maxVersion: 4 }]);
    expect(it.environment.requestMemory.usedBytes).toBe(0);
  });

  test.each([
    ['an unknown API', Buffer.from([0, 0, 0, 8, 0x7f, 0, 0, 0, 0, 0, 0, 1]), /API 32512\) version 0 is not served/],
    ['a version that is not served', Buffer.from([0, 0, 0, 8, 0, 0, 0, 2, 0, 0, 0, 1]), /Produce \(API 0\) version 2/],
    ['a frame without a header', Buffer.from([0, 0, 0, 1, 0]), /Closing/],
    ['a negative size', Buffer.from([0xff, 0xff, 0xff, 0xff]), /Frame of -1 bytes/],
    ['a frame above the limit', Buffer.from([0, 0, 0x40, 0]), /Frame of 16384 bytes/],
    ['a truncated body', Buffer.concat([Buffer.from([0, 0, 0, 12]), produceFrame(1).subarray(4, 16)]), /Produce v3/],
    ['a TLS hello', Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01]), /speaks TLS/],
    ['an HTTP request', Buffer.from('GET /metrics HTTP/1.1\r\n\r\n'), /speaks HTTP/],
  ])('closes on %s with one line and nothing held', (_, bytes, line) => {
    it.socket.handlers.data(bytes);
    expect(it.socket.state).toBe('destroyed');
    expect(it.lines).toEqual([expect.stringMatching(line)]);
    expect(it.environment.requestMemory.usedBytes).toBe(0);
    expect(it.failures).toEqual([]);
    expect(it.closedCount()).toBe(1);
  });

  test('tells waiting requests that the client is gone, and holds nothing once they ended', async () => {
    it.socket.handlers.data(Buffer.concat([produceFrame(1), produceFrame(2).subarray(0, 20)]));
    let told = false;
    it.handed[0]!.context.onClosed(() => {
      told = true;
    });
    it.socket.handlers.closed();
    expect(told).toBe(true);
    expect(it.handed[0]!.context.isClosed).toBe(true);
    it.handed[0]!.answer(PRODUCED);
    await settle();
    expect(it.socket.sent).toEqual([]);
    expect(it.environment.requestMemory.usedBytes).toBe(0);
    expect(it.closedCount()).toBe(1);
  });

  test('reports a handler that fails as a broken invariant', async () => {
    it.socket.handlers.data(produceFrame(1));
    const error = new Error('broken');
    it.handed[0]!.fail(error);
    await settle();
    expect(it.failures).toEqual([error]);
  });

  test('closes when a handler finds the bytes inside of its request malformed', async () => {
    it.socket.handlers.data(produceFrame(1));
    it.handed[0]!.fail(new ProtocolError('bad batch'));
    await settle();
    expect([it.failures, it.socket.state, it.lines[0]]).toEqual([[], 'destroyed', expect.stringMatching(/bad batch/)]);
    expect(it.environment.requestMemory.usedBytes).toBe(0);
  });

  test('closes instead of answering when a handler says so', () => {
    it.socket.handlers.data(produceFrame(1));
    it.handed[0]!.context.closeConnection('because');
    expect(it.socket.state).toBe('destroyed');
    expect(it.lines[0]).toMatch(/because/);
  });

  test('says when it is idle, but not while a request waits or an answer is on its way', async () => {
    expect(it.connection.reasonToClose(900)).toBeUndefined();
    expect(it.connection.reasonToClose(1_001)).toMatch(/idle/);
    it.socket.handlers.data(initFrame(1));
    expect(it.connection.reasonToClose(1_001)).toBeUndefined();
    it.socket.reads = false;
    it.inits[0]!.answer();
    await settle();
    expect(it.connection.reasonToClose(1_001)).toBeUndefined();
    expect(it.connection.reasonToClose(70_000)).toMatch(/does not read/);
  });

  test('stop() answers what is in flight, takes nothing more, and closes', async () => {
    it.socket.handlers.data(produceFrame(1));
    it.connection.stop();
    it.socket.handlers.data(produceFrame(2));
    expect(it.handed.length).toBe(1);
    expect(it.socket.state).toBe('open');
    it.handed[0]!.answer(PRODUCED);
    await settle();
    expect(it.socket.correlationIds()).toEqual([1]);
    expect(it.socket.state).toBe('ended');
  });
});

describe('RateLimitedLog', () => {
  test('writes a few lines per second and then counts', () => {
    for (let line = 0; line < 20; line++) it.environment.log.warn({}, 'line');
    expect(it.lines.length).toBe(5);
    it.clock.now = 2_000;
    it.environment.log.warn({}, 'line');
    expect(it.lines.slice(5)).toEqual(['More lines like these were left out {"count":15}', 'line {}']);
  });
});
