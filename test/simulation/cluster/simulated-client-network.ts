/**
 * TCP between clients and brokers over virtual time: streams of bytes with latency that arrive in order and in pieces of any size, bounded buffers, connections that break, hosts that cannot be
 * reached, processes that die with their connections.
 */
import type { Listener, Network, Socket, SocketHandlers } from '../../../src/std/network.ts';
import type { SeededRandom } from '../../../src/std/seeded-random.ts';
import { EventHash } from '../event-hash.ts';
import type { SimulatedMachineTime, SimulatedTime } from '../simulated-clock.ts';

/** What the kernels of both sides hold of one direction. */
const BUFFER_BYTES = 64 * 1024;
const NO_HANDLERS: SocketHandlers = { data() {}, closed() {} };

interface Listening {
  readonly machine: SimulatedMachineTime;
  readonly brokerId: number;
  readonly accept: (socket: Socket) => void;
}

interface Chunk {
  bytes: Uint8Array;
  readonly readyMs: number;
  readonly written: (() => void) | undefined;
}

/** One end of a connection. */
class End implements Socket {
  readonly remoteAddress: string;
  handlers: SocketHandlers = NO_HANDLERS;
  readonly connection: Connection;
  /** Runs callbacks as the owner of this end would see them. */
  readonly deliver: (callback: () => void) => void;
  paused = false;
  closed = false;
  /** Bytes on their way from here to the other end. */
  readonly outgoing: Chunk[] = [];
  lastReadyMs = 0;
  pumping = false;
  ending = false;

  constructor(connection: Connection, remoteAddress: string, deliver: (callback: () => void) => void) {
    this.connection = connection;
    this.remoteAddress = remoteAddress;
    this.deliver = deliver;
  }

  write(pieces: readonly Uint8Array[], written: () => void): void {
    this.connection.write(this, Buffer.concat(pieces), written);
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
    this.connection.pump(this.connection.other(this));
  }

  end(): void {
    this.ending = true;
    this.connection.pump(this);
  }

  destroy(): void {
    this.connection.close();
  }
}

class Connection {
  readonly #network: SimulatedClientNetwork;
  readonly brokerId: number;
  readonly client: End;
  readonly broker: End;
  isOpen = true;

  constructor(network: SimulatedClientNetwork, client: string, listening: Listening) {
    this.#network = network;
    this.brokerId = listening.brokerId;
    this.client = new End(this, `broker-${listening.brokerId}`, (callback) => callback());
    this.broker = new End(this, client, (callback) => listening.machine.deliver(callback));
  }

  other(end: End): End {
    return end === this.client ? this.broker : this.client;
  }

  write(from: End, bytes: Uint8Array, written: () => void): void {
    const { time, random } = this.#network;
    if (!this.isOpen) {
      time.soon(() => from.deliver(written));
      return;
    }
    from.lastReadyMs = Math.max(from.lastReadyMs, time.now + this.#network.latencyMs(random));
    // TCP keeps no boundaries: what was written in one go may arrive in several pieces.
    const cut = bytes.length > 1 && random.chance(0.1) ? random.between(1, bytes.length - 1) : bytes.length;
    if (cut < bytes.length) {
      from.outgoing.push({ bytes: bytes.subarray(0, cut), readyMs: from.lastReadyMs, written: undefined });
      from.lastReadyMs += random.next();
    }
    from.outgoing.push({ bytes: bytes.subarray(cut === bytes.length ? 0 : cut), readyMs: from.lastReadyMs, written });
    this.pump(from);
  }

  pump(from: End): void {
    const to = this.other(from);
    const { time } = this.#network;
    if (!this.isOpen || from.pumping || to.paused || this.#network.isBlocked(this.brokerId)) return;
    const next = from.outgoing[0];
    if (next === undefined) {
      if (from.ending) this.close();
      return;
    }
    from.pumping = true;
    time.after(Math.max(0, next.readyMs - time.now), () => {
      from.pumping = false;
      if (!this.isOpen || to.paused || this.#network.isBlocked(this.brokerId)) return;
      const bytes = next.bytes.subarray(0, BUFFER_BYTES);
      const isWhole = bytes.length === next.bytes.length;
      if (isWhole) from.outgoing.shift();
      else next.bytes = next.bytes.subarray(BUFFER_BYTES);
      this.#network.note(from === this.client ? 'request' : 'response', bytes);
      to.deliver(() => {
        if (!to.closed) to.handlers.data(bytes);
      });
      if (isWhole && next.written !== undefined) from.deliver(next.written);
      this.pump(from);
    });
  }

  /** Both ends learn of it, unless they cannot. */
  close(): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.#network.forget(this);
    for (const end of [this.client, this.broker]) {
      const unwritten = end.outgoing.splice(0);
      this.#network.time.after(this.#network.random.next(), () => {
        end.deliver(() => {
          if (end.closed) return;
          end.closed = true;
          for (const { written } of unwritten) written?.();
          end.handlers.closed();
        });
      });
    }
  }
}

export class SimulatedClientNetwork {
  readonly time: SimulatedTime;
  readonly random: SeededRandom;
  latencyMs: (random: SeededRandom) => number;
  readonly #listening = new Map<number, Listening>();
  readonly #connections = new Set<Connection>();
  /** Brokers that clients cannot reach. */
  readonly #blocked = new Set<number>();
  #nextClient = 1;
  readonly #hash = new EventHash();
  /** Most connections that were open at a time. */
  connectionsPeak = 0;
  /** Largest piece of bytes that a broker was given. */
  chunkBytesPeak = 0;

  constructor(time: SimulatedTime, random: SeededRandom, latencyMs: (random: SeededRandom) => number) {
    this.time = time;
    this.random = random;
    this.latencyMs = latencyMs;
  }

  /** The side of a broker's new process. */
  process(brokerId: number, machine: SimulatedMachineTime): Network {
    return {
      listen: (address, accept) => {
        const listening = { machine, brokerId, accept };
        this.#listening.set(address.port, listening);
        const listener: Listener = {
          port: address.port,
          close: () => {
            if (this.#listening.get(address.port) === listening) this.#listening.delete(address.port);
            return Promise.resolve();
          },
        };
        return Promise.resolve(listener);
      },
    };
  }

  /** The process is dead: its connections end, nobody listens. */
  kill(brokerId: number): void {
    for (const [port, listening] of [...this.#listening]) {
      if (listening.brokerId === brokerId) this.#listening.delete(port);
    }
    for (const connection of [...this.#connections]) if (connection.brokerId === brokerId) connection.close();
  }

  isBlocked(brokerId: number): boolean {
    return this.#blocked.has(brokerId);
  }

  /** Nothing moves between clients and this broker. */
  block(brokerId: number): void {
    this.#blocked.add(brokerId);
  }

  unblock(brokerId: number): void {
    if (!this.#blocked.delete(brokerId)) return;
    for (const connection of this.#connections) {
      if (connection.brokerId !== brokerId) continue;
      connection.pump(connection.client);
      connection.pump(connection.broker);
    }
  }

  heal(): void {
    for (const brokerId of [...this.#blocked]) this.unblock(brokerId);
  }

  /** Breaks some connections in the middle of whatever they carry. */
  breakSome(random: SeededRandom, share: number): number {
    let broken = 0;
    for (const connection of [...this.#connections]) {
      if (!random.chance(share)) continue;
      connection.close();
      broken++;
    }
    return broken;
  }

  /** Resolves with the client's end. */
  connect(port: number): Promise<Socket> {
    return new Promise((resolve, reject) => {
      this.time.after(this.latencyMs(this.random), () => {
        const listening = this.#listening.get(port);
        if (listening === undefined) return reject(new Error('Nobody listens'));
        if (this.isBlocked(listening.brokerId)) {
          this.time.after(1_000, () => reject(new Error('No answer')));
          return;
        }
        const connection = new Connection(this, `client-${this.#nextClient++}`, listening);
        this.#connections.add(connection);
        this.connectionsPeak = Math.max(this.connectionsPeak, this.#connections.size);
        connection.broker.deliver(() => {
          if (connection.isOpen) listening.accept(connection.broker);
          else connection.broker.closed = true;
        });
        resolve(connection.client);
      });
    });
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  /** Of all bytes delivered. */
  get hash(): number {
    return this.#hash.value;
  }

  // The connections' side.

  forget(connection: Connection): void {
    this.#connections.delete(connection);
  }

  note(what: 'request' | 'response', bytes: Uint8Array): void {
    if (what === 'request') this.chunkBytesPeak = Math.max(this.chunkBytesPeak, bytes.length);
    this.#hash.text(what).bytes(bytes).number(this.time.now);
  }
}
