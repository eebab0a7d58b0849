/** A broker that never answers must not hold up a measurement for ever. */
import { createServer, type Server, type Socket } from 'node:net';
import { afterEach, expect, test, vi } from 'vitest';
import { untilFirstRecord } from './first-record.ts';

let server: Server | undefined;
const sockets: Socket[] = [];
afterEach(() => {
  vi.useRealTimers();
  for (const socket of sockets.splice(0)) socket.destroy();
  server?.close();
});

test('gives up on brokers that accept connections and never answer', async () => {
  server = createServer((socket) => sockets.push(socket));
  await new Promise<void>((resolve) => server!.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  // As if it had tried for long already, so that only the time-out of one attempt is waited for.
  vi.useFakeTimers({ toFake: ['setTimeout'] });
  const startMs = performance.now() - 200_000;
  const first = untilFirstRecord([{ host: '127.0.0.1', port }], 'topic', { startMs, create: 3 });
  const outcome = first.catch((error: Error) => error.message);
  while (sockets.length === 0) await new Promise((resolve) => setImmediate(resolve));
  await vi.advanceTimersByTimeAsync(4_000);
  expect(await outcome).toBe('No record was acknowledged within 180 s: No answer in time');
});
