import { beforeEach, describe, expect, test } from 'vitest';
import { SimulatedTime } from '../../../test/simulation/simulated-clock.ts';
import { SILENT_LOG } from '../../std/log.ts';
import type { Listener, Network, Socket, SocketHandlers } from '../../std/network.ts';
import { ClientListener } from './client-listener.ts';
import { HandlerTable } from './dispatch.ts';
import { MemoryBudget } from './memory-budget.ts';
import { RateLimitedLog } from './rate-limited-log.ts';

class FakeSocket implements Socket {
  readonly remoteAddress = 'client:1';
  handlers: SocketHandlers = { data() {}, closed() {} };
  state = 'open';
  write(): void {}
  pause(): void {}
  resume(): void {}
  end(): void {
    this.state = 'ended';
  }
  destroy(): void {
    this.state = 'destroyed';
  }
}

let time: SimulatedTime;
let accept: (socket: Socket) => void;
let isListening: boolean;
let requestMemory: MemoryBudget;
let listener: ClientListener;

beforeEach(async () => {
  time = new SimulatedTime();
  isListening = false;
  requestMemory = new MemoryBudget(1_000);
  const network: Network = {
    listen: (_, acceptSocket): Promise<Listener> => {
      accept = acceptSocket;
      isListening = true;
      return Promise.resolve({
        port: 9999,
        close: () => {
          isListening = false;
          return Promise.resolve();
        },
      });
    },
  };
  listener = new ClientListener({
    network,
    timers: time,
    address: { host: '', port: 0 },
    connectionsMax: 3,
    environment: {
      handlers: new HandlerTable(),
      requestMemory,
      responseMemory: new MemoryBudget(1_000),
      limits: {
        frameBytesMax: 10_000,
        inFlightRequestsMax: 3,
        inFlightBytesMax: 1_000,
        bufferedResponseBytesMax: 100,
        idleMs: 5_000,
      },
      clock: time,
      log: new RateLimitedLog(SILENT_LOG, time),
      observer: { answered() {}, sent() {}, connectionOpened() {}, connectionClosed() {} },
      onFailure: (error) => {
        throw error;
      },
    },
  });
  await listener.open();
});

function connect(): FakeSocket {
  const socket = new FakeSocket();
  accept(socket);
  return socket;
}

/** Begins a request of `size` bytes and sends `sent` of them. */
function begin(socket: FakeSocket, size: number, sent: number): void {
  const bytes = Buffer.alloc(4 + sent);
  bytes.writeInt32BE(size);
  socket.handlers.data(bytes);
}

describe('ClientListener', () => {
  test('turns away who comes above the limit, and lets the next in when one left', () => {
    expect(listener.port).toBe(9999);
    const [first] = [connect(), connect(), connect()];
    expect(connect().state).toBe('destroyed');
    first!.handlers.closed();
    expect(connect().state).toBe('open');
    expect(listener.connectionCount).toBe(3);
  });

  test('closes who is idle', async () => {
    const [idle, busy] = [connect(), connect()];
    await time.runFor(3_000);
    begin(busy, 100, 10);
    await time.runFor(3_500);
    expect([idle.state, busy.state]).toEqual(['destroyed', 'open']);
  });

  test('gives up the largest unfinished request when they fill the memory and nothing gets on', async () => {
    const [small, large, idle] = [connect(), connect(), connect()];
    begin(small, 5_000, 300);
    begin(large, 5_000, 800);
    expect(requestMemory.isExhausted).toBe(true);
    for (let second = 0; second < 9; second++) {
      await time.runFor(1_000);
      // They keep sending a little, so they are not idle.
      for (const socket of [small, large]) socket.handlers.data(new Uint8Array(1));
      idle.handlers.data(new Uint8Array(0));
    }
    expect([small.state, large.state]).toEqual(['open', 'open']);
    await time.runFor(1_000);
    expect([small.state, large.state, idle.state]).toEqual(['open', 'destroyed', 'open']);
    expect(requestMemory.isExhausted).toBe(false);
  });

  test('close() ends quiet connections at once and cuts the others off after its time', async () => {
    const socket = connect();
    let isDone = false;
    void listener.close(1_000).then(() => {
      isDone = true;
    });
    await time.runFor(500);
    expect([isListening, socket.state, isDone]).toEqual([false, 'ended', false]);
    await time.runFor(600);
    expect([socket.state, isDone, listener.connectionCount]).toEqual(['destroyed', true, 0]);
  });
});
