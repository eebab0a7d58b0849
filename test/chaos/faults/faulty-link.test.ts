import { connect, createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SeededRandom } from '../../../src/std/seeded-random.ts';
import { FaultyLink } from './faulty-link.ts';

let server: Server;
let accepted: Socket[];
let received: string;
let link: FaultyLink;
let client: Socket;
let answered: string;

beforeEach(async () => {
  accepted = [];
  received = '';
  answered = '';
  server = createServer((socket) => {
    accepted.push(socket);
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      received += chunk.toString();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  link = await FaultyLink.open((server.address() as { port: number }).port, new SeededRandom(1));
  client = connect(link.port, '127.0.0.1');
  client.on('error', () => {});
  client.on('data', (chunk) => {
    answered += chunk.toString();
  });
  await until(() => accepted.length === 1);
});
afterEach(() => {
  client.destroy();
  link.close();
  server.close();
});

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}

describe('FaultyLink', () => {
  it('passes both ways', async () => {
    client.write('ping');
    accepted[0]!.write('pong');
    await until(() => received === 'ping' && answered === 'pong');
  });

  it('holds one direction while the other passes, and gives what it held when it heals', async () => {
    link.setRules({ up: { held: true } });
    client.write('ping');
    accepted[0]!.write('pong');
    await until(() => answered === 'pong' && link.counters.heldChunks === 1);
    expect(received).toBe('');
    link.heal();
    await until(() => received === 'ping');
  });

  it('keeps the order of what it delays', async () => {
    link.setRules({ up: { delayMs: 1, jitterMs: 5 } });
    for (let i = 0; i < 10; i++) {
      client.write(`${i}`);
      await until(() => link.counters.delayedChunks === i + 1);
    }
    await until(() => received.length === 10);
    expect(received).toBe('0123456789');
  });

  it('changes one bit', async () => {
    link.setRules({ up: { corruptChance: 1 } });
    client.write('aaaa');
    await until(() => received.length === 4);
    expect(received).not.toBe('aaaa');
    expect(link.counters.corruptedChunks).toBe(1);
  });

  it('resets what is open and refuses what comes', async () => {
    let closed = false;
    client.on('close', () => {
      closed = true;
    });
    link.refuse(true);
    link.reset();
    await until(() => closed);
    const second = connect(link.port, '127.0.0.1');
    let secondClosed = false;
    second.on('error', () => {});
    second.on('close', () => {
      secondClosed = true;
    });
    await until(() => secondClosed);
    expect(link.counters).toMatchObject({ resets: 1, refused: 1 });
  });
});
