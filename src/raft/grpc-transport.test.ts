import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { create } from '@bufbuild/protobuf';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  type ContractBroker,
  describeTransport,
  linkHistory,
  messagesOf,
  recordEvents,
  type TransportWorld,
} from '../../test/contracts/transport-contract.ts';
import { BROKER_TLS, STRANGER_TLS } from '../../test/fixtures/peer-certificates.ts';
import { brokerId } from '../std/brands.ts';
import type { Random, Timers } from '../std/environment.ts';
import { type Log, SILENT_LOG } from '../std/log.ts';
import { SeededRandom } from '../std/seeded-random.ts';
import type { ChannelStream } from './grpc/channel-stream.ts';
import { handshakeFrame, type IncomingFrame, isPayload } from './grpc/frame-codec.ts';
import { encodeHandshake, type LocalPeer } from './grpc/handshake.ts';
import { ConfirmationSchema, HandshakeSchema } from './grpc/peer_pb.ts';
import { PeerEndpoint } from './grpc/peer-endpoint.ts';
import type { PeerSecurity } from './grpc/peer-security.ts';
import { GrpcTransport, type GrpcTransportOptions } from './grpc-transport.ts';
import type { PeerSessions, StoreStart } from './peer-sessions.ts';
import { CHANNEL, type Channel, type PeerAddress } from './transport.ts';

const timers: Timers = {
  after(delayMs, callback) {
    const timer = setTimeout(callback, delayMs);
    return { cancel: () => clearTimeout(timer) };
  },
  soon: (callback) => void setImmediate(callback),
};

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1));
}

class MemorySessions implements PeerSessions {
  readonly starts = new Map<string, StoreStart>();
  highest(storeId: string): StoreStart | undefined {
    return this.starts.get(storeId);
  }
  record(storeId: string, start: StoreStart): Promise<void> {
    this.starts.set(storeId, start);
    return Promise.resolve();
  }
}

const storeIdOf = (id: number): string => `${id}`.padStart(32, '0');
let nextPort = 21_000 + (process.pid % 90) * 11;

interface TestBroker extends ContractBroker {
  readonly transport: GrpcTransport;
  readonly endpoint: PeerEndpoint;
  readonly local: LocalPeer;
  readonly lines: string[];
  readonly stale: string[];
  readonly fatal: unknown[];
}

type Changes = Partial<Omit<GrpcTransportOptions, 'local'>> & { local?: Partial<LocalPeer>; security?: PeerSecurity };

/** Brokers 1, 2, 3 on loopback ports of their own. */
class GrpcWorld implements TransportWorld {
  readonly ports = [1, 2, 3].map(() => nextPort++);
  readonly #brokers = new Map<number, TestBroker>();
  readonly #sessions = new Map<number, number>();
  readonly #memories = new Map<number, MemorySessions>();
  readonly #random = new SeededRandom(1);
  readonly until = until;

  addressOf(id: number): PeerAddress {
    return { brokerId: brokerId(id), host: '127.0.0.1', port: this.portOf(id) };
  }

  portOf(id: number): number {
    return this.ports[id - 1] as number;
  }

  async start(id: number, changes: Changes = {}): Promise<TestBroker> {
    const session = (this.#sessions.get(id) ?? 0) + 1;
    this.#sessions.set(id, session);
    const memory = this.#memories.get(id) ?? new MemorySessions();
    this.#memories.set(id, memory);
    const random: Random = this.#random.fork();
    const local: LocalPeer = {
      brokerId: brokerId(id),
      storeId: storeIdOf(id),
      clusterId: 'cluster-a',
      session,
      incarnation: Buffer.from(random.bytes(8)).toString('hex'),
      ...changes.local,
    };
    const lines: string[] = [];
    const stale: string[] = [];
    const fatal: unknown[] = [];
    const line = (_: object, message: string): void => void lines.push(message);
    const log: Log = { debug: () => {}, info: () => {}, warn: line, error: line };
    const endpoint = new PeerEndpoint(changes.security ?? {}, timers);
    await endpoint.listen({ host: '127.0.0.1', port: this.portOf(id) });
    const transport = new GrpcTransport({
      endpoint,
      sessions: memory,
      timers,
      random,
      log,
      acceptPeer: () => undefined,
      ownStoreIsStale: (reason) => stale.push(reason),
      fatal: (error) => fatal.push(error),
      budgets: [2 ** 20, 4 * 2 ** 20, 3 * 2 ** 20],
      retryMsMax: 40,
      rejectedRetryMs: 40,
      ...changes,
      local,
    });
    const events = recordEvents(transport);
    const broker: TestBroker = {
      id: local.brokerId,
      storeId: local.storeId,
      session,
      transport,
      events,
      endpoint,
      local,
      lines,
      stale,
      fatal,
    };
    this.#brokers.set(id, broker);
    transport.setPeers([1, 2, 3].filter((peer) => peer !== id).map((peer) => this.addressOf(peer)));
    await transport.start();
    return broker;
  }

  async kill(id: number): Promise<void> {
    await this.#brokers.get(id)?.transport.close();
    this.#brokers.delete(id);
  }

  async close(): Promise<void> {
    for (const id of [...this.#brokers.keys()]) await this.kill(id);
  }
}

describeTransport('gRPC on loopback', () => Promise.resolve(new GrpcWorld()));

describe('GrpcTransport', () => {
  let world: GrpcWorld;
  beforeEach(() => {
    world = new GrpcWorld();
  });
  afterEach(async () => {
    await world.close();
  });

  const bothUp = (a: TestBroker, b: TestBroker): boolean => a.transport.isUp(b.id) && b.transport.isUp(a.id);

  describe('refuses a peer', () => {
    const cases: readonly { title: string; changes: Changes; reason: RegExp }[] = [
      {
        title: 'of another cluster',
        changes: { local: { clusterId: 'cluster-b' } },
        reason: /Broker \d belongs to cluster cluster-[ab], broker \d to cluster cluster-[ab]/,
      },
      {
        title: 'with another store than the configuration has',
        changes: { local: { storeId: 'f'.repeat(32) } },
        reason: /Broker 2 has store f{32}/,
      },
      {
        title: 'whose data directory is a copy of its own',
        changes: { local: { storeId: storeIdOf(1) } },
        reason: /have the same store 0+1: one data directory is a copy/,
      },
      {
        title: 'under another id than its address stands for',
        changes: { local: { brokerId: brokerId(4) } },
        reason:
          /Broker 4 answers at an address where broker 2 should be|looks for broker 2 at an address where broker 4 is/,
      },
    ];
    for (const { title, changes, reason } of cases) {
      it(title, async () => {
        const expectStore: Changes = {
          acceptPeer: (peer) =>
            peer.storeId === storeIdOf(peer.brokerId) ? undefined : `Broker ${peer.brokerId} has store ${peer.storeId}`,
        };
        const a = await world.start(1, expectStore);
        const b = await world.start(2, changes);
        await until(() => linkHistory(a, 2).includes('rejected'));
        expect(linkHistory(a, 2)).not.toContain('up');
        expect(linkHistory(b, 1)).not.toContain('up');
        expect(a.lines.filter((line) => reason.test(line))).toHaveLength(1);
        // It is tried again, and the reason is not logged again.
        const refusals = a.lines.length;
        await new Promise((resolve) => setTimeout(resolve, 150));
        expect(a.lines).toHaveLength(refusals);
        expect(a.transport.isUp(b.id)).toBe(false);
      });
    }

    it('that the accepting side does not want, and tells the dialing side why', async () => {
      const a = await world.start(1);
      const b = await world.start(2, { acceptPeer: (peer) => `Store ${peer.storeId} was replaced` });
      await until(() => linkHistory(a, 2).includes('rejected') && linkHistory(b, 1).includes('rejected'));
      expect(a.lines).toEqual([`The peer refuses this broker: Store ${storeIdOf(1)} was replaced`]);
      expect(b.lines).toEqual([`This broker refuses the peer: Store ${storeIdOf(1)} was replaced`]);
    });

    for (const [old, other] of [
      [1, 2],
      [2, 1],
    ] as const) {
      it(`that comes back as broker ${old} with an older start of its store, and tells it`, async () => {
        const a = await world.start(old, { local: { session: 7 } });
        const b = await world.start(other);
        await until(() => bothUp(a, b));
        await world.kill(old);
        const restored = await world.start(old, { local: { session: 6 } });
        await until(() => restored.stale.length > 0);
        expect(restored.stale[0]).toMatch(/start counter is 6, but start 7 of the same store was seen before/);
        await until(() => linkHistory(b, old).at(-1) === 'rejected');
        expect(b.transport.isUp(restored.id)).toBe(false);
      });
    }

    it('with the same start counter but another start: two copies of one disk image', async () => {
      const a = await world.start(1, { local: { session: 7 } });
      const b = await world.start(2);
      await until(() => bothUp(a, b));
      await world.kill(1);
      const copy = await world.start(1, { local: { session: 7 } });
      await until(() => copy.stale.length > 0);
      expect(b.transport.isUp(copy.id)).toBe(false);
    });

    it('only until the reason is gone', async () => {
      let reason: string | undefined = 'Not in the configuration yet';
      const a = await world.start(1, { acceptPeer: () => reason });
      const b = await world.start(2);
      await until(() => linkHistory(a, 2).includes('rejected'));
      reason = undefined;
      await until(() => bothUp(a, b));
    });
  });

  it('stops the broker when a start cannot be noted durably', async () => {
    const failing: PeerSessions = {
      highest: () => undefined,
      record: () => Promise.reject(new Error('EIO')),
    };
    const a = await world.start(1, { sessions: failing });
    const b = await world.start(2, { sessions: failing });
    await until(() => a.fatal.length + b.fatal.length > 0);
    expect(a.transport.isUp(b.id)).toBe(false);
    expect(b.transport.isUp(a.id)).toBe(false);
  });

  it('does not report a peer that is not expected yet as rejected, and links when it is', async () => {
    const a = await world.start(1);
    const b = await world.start(2);
    await until(() => bothUp(a, b));
    b.transport.setPeers([]);
    await until(() => !a.transport.isUp(b.id));
    b.transport.setPeers([{ brokerId: a.id, host: '127.0.0.1', port: world.portOf(1) }]);
    await until(() => bothUp(a, b));
    expect(linkHistory(a, 2).filter((word) => word !== 'refused')).toEqual(['up', 'broken', 'up']);
    expect(a.lines).toEqual([]);
  });

  describe('looks for a peer in all its places', () => {
    const place = (port: number) => ({ host: '127.0.0.1', port });

    it('and finds it where nobody listens at the first, or somebody else', async () => {
      const a = await world.start(1);
      a.transport.setPeers([
        { brokerId: brokerId(2), ...place(nextPort++), others: [place(world.portOf(3)), place(world.portOf(2))] },
        { brokerId: brokerId(3), ...place(world.portOf(3)) },
      ]);
      await world.start(3);
      const b = await world.start(2);
      await until(() => a.transport.isUp(b.id) && b.transport.isUp(a.id));
      expect(a.lines.join()).toContain('Broker 1 looks for broker 2 at an address where broker 3 is');
      await world.kill(2);
      await world.start(2);
      await until(() => a.transport.isUp(b.id));
    });

    it('and calls it dead once nobody listens at any', async () => {
      const a = await world.start(1, { retryMsMax: 5 });
      const listening = createServer((socket) => void socket.destroy()).listen(world.portOf(3), '127.0.0.1');
      try {
        await until(() => listening.listening);
        const peer = { brokerId: brokerId(9), ...place(nextPort++), others: [place(world.portOf(3))] };
        a.transport.setPeers([peer]);
        const attempts: Socket[] = [];
        listening.on('connection', (socket) => attempts.push(socket));
        await until(() => attempts.length > 3);
        expect(linkHistory(a, 9)).toEqual([]);
        listening.close();
        await until(() => linkHistory(a, 9).join() === 'refused');
      } finally {
        listening.close();
      }
    });

    it('and goes on with an attempt when it hears of another place', async () => {
      const b = await world.start(2);
      const a = await world.start(1);
      // Faster than a handshake, from somebody who wants to keep them apart.
      for (let round = 0; !a.transport.isUp(b.id); round++) {
        a.transport.setPeers([
          { brokerId: b.id, ...place(world.portOf(2)), others: [place(30_000 + (round % 1_000))] },
        ]);
        await new Promise((resolve) => setImmediate(resolve));
      }
    });
  });

  it('holds three connections a link', async () => {
    const proxy = await LossyProxy.listen(world.portOf(3), world.portOf(2));
    const a = await world.start(1);
    a.transport.setPeers([{ brokerId: brokerId(2), host: '127.0.0.1', port: world.portOf(3) }]);
    const b = await world.start(2);
    await until(() => bothUp(a, b));
    // Connections of an attempt that came too early may take a moment to end; a fourth that stays would never let this pass.
    await until(() => proxy.carrying().length === 3);
    proxy.close();
  });

  it('takes the whole link down when any one of its connections ends', async () => {
    const proxy = await LossyProxy.listen(world.portOf(3), world.portOf(2));
    const a = await world.start(1);
    a.transport.setPeers([{ brokerId: brokerId(2), host: '127.0.0.1', port: world.portOf(3) }]);
    const b = await world.start(2);
    for (let i = 0; i < 3; i++) {
      await until(() => bothUp(a, b));
      const downs = linkHistory(b, 1).filter((word) => word === 'broken').length;
      proxy.carrying()[i]?.destroy();
      await until(() => linkHistory(b, 1).filter((word) => word === 'broken').length === downs + 1);
    }
    await until(() => bothUp(a, b));
    expect(linkHistory(a, 2).filter((word) => word !== 'refused')).toEqual(linkHistory(b, 1));
    proxy.close();
  });

  it('replaces the old link when the dialer began anew before the acceptor saw the end', async () => {
    // The proxy swallows the end of the old connections, as a network that lost the last packets would.
    const proxy = await LossyProxy.listen(world.portOf(3), world.portOf(2));
    proxy.hideEnds = true;
    const first = await world.start(1);
    first.transport.setPeers([{ brokerId: brokerId(2), host: '127.0.0.1', port: world.portOf(3) }]);
    const b = await world.start(2);
    await until(() => bothUp(first, b));
    await world.kill(1);
    const second = await world.start(1);
    await until(() => second.transport.isUp(b.id) && linkHistory(b, 1).filter((word) => word === 'up').length === 2);
    expect(linkHistory(b, 1)).toEqual(['up', 'broken', 'up']);
    proxy.close();
  });

  it('cannot tell a channel on which a length was changed from one that carries nothing: the link stays up, and liveness has to notice (liveness.ts)', async () => {
    const proxy = await LossyProxy.listen(world.portOf(3), world.portOf(2));
    const a = await world.start(1);
    a.transport.setPeers([{ brokerId: brokerId(2), host: '127.0.0.1', port: world.portOf(3) }]);
    const b = await world.start(2);
    await until(() => bothUp(a, b));
    const send = (channel: Channel): boolean => a.transport.send(b.id, channel, [new Uint8Array(100)]);
    send(CHANNEL.append);
    await until(() => messagesOf(b, 1, CHANNEL.append).length === 1);
    proxy.changeLength = true;
    send(CHANNEL.append);
    await until(() => !proxy.changeLength);
    for (let messages = 0; messages < 20; messages++) send(CHANNEL.append);
    send(CHANNEL.control);
    await until(() => messagesOf(b, 1, CHANNEL.control).length === 1);
    expect(messagesOf(b, 1, CHANNEL.append)).toHaveLength(1);
    expect(bothUp(a, b)).toBe(true);
    proxy.close();
  });

  describe('with mutual TLS', () => {
    const secure: Changes = { security: { tls: BROKER_TLS } };

    it('links brokers that the CA vouches for', async () => {
      const a = await world.start(1, secure);
      const b = await world.start(2, secure);
      await until(() => bothUp(a, b));
      a.transport.send(b.id, CHANNEL.append, [new Uint8Array([5])]);
      await until(() => messagesOf(b, 1, CHANNEL.append).length === 1);
    });

    for (const [title, changes] of [
      ['without TLS', {}],
      ['with a certificate that nobody vouches for', { security: { tls: STRANGER_TLS } }],
    ] as const) {
      for (const stranger of [1, 2]) {
        it(`never links broker ${stranger} ${title}`, async () => {
          const other = 3 - stranger;
          const debug: string[] = [];
          const log: Log = { ...SILENT_LOG, debug: (fields) => void debug.push(JSON.stringify(fields)) };
          const a = await world.start(stranger, { ...changes, log });
          const b = await world.start(other, { ...secure, log });
          // Several attempts of whichever side dials failed.
          await until(() => debug.length >= 3);
          expect(linkHistory(a, other)).not.toContain('up');
          expect(linkHistory(b, stranger)).not.toContain('up');
        });
      }
    }
  });

  describe('against a dialer that breaks the rules', () => {
    /** A peer made by hand: opens streams at broker 2 as broker 1. */
    class RawDialer {
      readonly endpoint = new PeerEndpoint({}, timers);
      readonly local: LocalPeer = {
        brokerId: brokerId(1),
        storeId: storeIdOf(1),
        clusterId: 'cluster-a',
        session: 1,
        incarnation: '0102030405060708',
      };

      open(port: number): { stream: ChannelStream; frames: IncomingFrame[]; ended: () => boolean } {
        const stream = this.endpoint.openStream({ host: '127.0.0.1', port });
        const frames: IncomingFrame[] = [];
        stream.onFrame = (frame) => frames.push(frame);
        return { stream, frames, ended: () => stream.ended };
      }

      hello(nonce: number, channel: number) {
        return encodeHandshake(this.local, brokerId(2), new Uint8Array(16).fill(nonce), channel);
      }
    }
    const confirmation = handshakeFrame({ case: 'confirmation', value: create(ConfirmationSchema) });

    const dial = async (nonces: readonly number[], channels: readonly number[]) => {
      const b = await world.start(2);
      const dialer = new RawDialer();
      const streams = channels.map(() => dialer.open(world.portOf(2)));
      for (const [i, { stream }] of streams.entries()) {
        stream.write(dialer.hello(nonces[i] as number, channels[i] as number));
      }
      return { b, streams };
    };

    it('makes a link of three streams with one nonce, only after the third confirmation', async () => {
      const { b, streams } = await dial([9, 9, 9], [0, 1, 2]);
      await until(() => streams.every(({ frames }) => frames.length === 1));
      for (const { frames } of streams) {
        expect(frames.every((frame) => !isPayload(frame) && frame.content.case === 'handshake')).toBe(true);
      }
      streams[0]?.stream.write(confirmation);
      streams[1]?.stream.write(confirmation);
      streams[0]?.stream.write([new Uint8Array([42])]);
      await new Promise((resolve) => setTimeout(resolve, 50));
      expect(linkHistory(b, 1)).not.toContain('up');
      expect(messagesOf(b, 1, CHANNEL.control)).toEqual([]);
      streams[2]?.stream.write(confirmation);
      await until(() => messagesOf(b, 1, CHANNEL.control).length === 1);
      expect([...(messagesOf(b, 1, CHANNEL.control)[0] as Uint8Array)]).toEqual([42]);
      const up = b.events.findIndex((event) => event.kind === 'up');
      expect(up).toBeLessThan(b.events.findIndex((event) => event.kind === 'message'));
      for (const { stream } of streams) stream.destroy();
    });

    it('lets megabytes travel before they are read, so that a busy event loop does not stop a sender', async () => {
      const { streams } = await dial([9], [0]);
      const { stream, frames } = streams[0] as { stream: ChannelStream; frames: IncomingFrame[] };
      await until(() => frames.length === 1);
      stream.write(confirmation);
      // The acceptor reads no further until the two other streams are there.
      let written = 0;
      // (Small ones: sixteen objects of whatever size fit into the stream's own buffer.)
      for (let i = 0; i < 100; i++) stream.write([new Uint8Array(80_000)], () => written++);
      await until(() => written === 100);
      stream.destroy();
    });

    it('never ties streams of different nonces together', async () => {
      const { b, streams } = await dial([9, 9, 8], [0, 1, 2]);
      await until(() => streams.filter(({ ended }) => ended()).length === 2 || streams[2]?.ended() === true);
      expect(linkHistory(b, 1)).not.toContain('up');
      for (const { stream } of streams) stream.destroy();
    });

    it('drops a link whose channel is opened twice', async () => {
      const { b, streams } = await dial([9, 9, 9], [0, 1, 1]);
      await until(() => streams.every(({ ended }) => ended()));
      expect(linkHistory(b, 1)).not.toContain('up');
    });

    it('drops a stream that begins with a payload', async () => {
      const b = await world.start(2);
      const { stream, ended } = new RawDialer().open(world.portOf(2));
      stream.write([new Uint8Array([1])]);
      await until(ended);
      expect(b.events.filter((event) => event.kind !== 'down')).toEqual([]);
    });

    it('drops a stream that sends a payload before it was answered', async () => {
      const b = await world.start(2);
      const dialer = new RawDialer();
      const { stream, ended } = dialer.open(world.portOf(2));
      stream.write(dialer.hello(9, 0));
      stream.write([new Uint8Array([1])]);
      await until(ended);
      expect(b.events.filter((event) => event.kind !== 'down')).toEqual([]);
    });

    it('refuses fields of a wrong size and versions without overlap, with the reason', async () => {
      const b = await world.start(2);
      const good = {
        versionMin: 1,
        versionMax: 1,
        clusterId: 'cluster-a',
        brokerId: 1,
        storeId: new Uint8Array(16),
        session: 1,
        incarnation: new Uint8Array(8),
        targetBrokerId: 2,
        linkNonce: new Uint8Array(16),
        channel: 0,
      };
      const bad = [
        [{ ...good, storeId: new Uint8Array(15) }, 'malformed'],
        [{ ...good, linkNonce: new Uint8Array(0) }, 'malformed'],
        [{ ...good, channel: 3 }, 'malformed'],
        [{ ...good, versionMin: 2, versionMax: 3 }, 'version'],
      ] as const;
      for (const [fields, code] of bad) {
        const { stream, frames, ended } = new RawDialer().open(world.portOf(2));
        stream.write(handshakeFrame({ case: 'handshake', value: create(HandshakeSchema, fields) }));
        await until(ended);
        const frame = frames[0] as IncomingFrame;
        expect(!isPayload(frame) && frame.content.case === 'refusal' && frame.content.value.code).toBe(code);
      }
      expect(linkHistory(b, 1)).not.toContain('up');
    });

    it('closes a connection that sends no HTTP/2 without harm to links', async () => {
      const a = await world.start(1);
      const b = await world.start(2);
      await until(() => bothUp(a, b));
      const socket = createConnection(world.portOf(2), '127.0.0.1');
      socket.on('error', () => {});
      socket.resume();
      socket.write('GET / HTTP/1.1\r\n\r\n'.repeat(10));
      await new Promise((resolve) => socket.once('close', resolve));
      expect(bothUp(a, b)).toBe(true);
    });
  });
});

/** HTTP/2's type of frame, in its header of nine bytes, and behind that gRPC's header: a flag and the length of the message. */
const FRAME_TYPE_AT = 3;
const DATA_FRAME = 0;
/** A bit there stands for a mebibyte. */
const LENGTH_AT = 9 + 1 + 1;

/** Forwards connections; counts those that carry bytes (a probe carries none), can hide their ends from the other side, and can make a message longer than it is. */
class LossyProxy {
  readonly #server: Server;
  readonly #clients = new Set<Socket>();
  readonly #all: Socket[] = [];
  hideEnds = false;
  /** Of the next message to the server. */
  changeLength = false;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async listen(port: number, target: number): Promise<LossyProxy> {
    const server = createServer();
    const proxy = new LossyProxy(server);
    server.on('connection', (client) => {
      const upstream = createConnection(target, '127.0.0.1');
      proxy.#all.push(client, upstream);
      for (const socket of [client, upstream]) socket.on('error', () => {});
      client.once('data', () => proxy.#clients.add(client));
      client.on('data', (chunk) => {
        if (proxy.changeLength && chunk[FRAME_TYPE_AT] === DATA_FRAME) {
          proxy.changeLength = false;
          chunk[LENGTH_AT] = chunk[LENGTH_AT]! ^ 0x10;
        }
        upstream.write(chunk);
      });
      upstream.on('data', (chunk) => client.write(chunk));
      client.on('close', () => {
        proxy.#clients.delete(client);
        if (!proxy.hideEnds) upstream.destroy();
      });
      upstream.on('close', () => client.destroy());
    });
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
    return proxy;
  }

  carrying(): Socket[] {
    return [...this.#clients];
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#all) socket.destroy();
  }
}
