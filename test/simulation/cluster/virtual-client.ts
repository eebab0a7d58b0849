/**
 * A Kafka client on the simulated network: connections that pipeline requests, and what every client must find out: who leads a partition, who coordinates a group. Uses the versions that it is
 * told, so that seeds speak different ones.
 */
import type { AnyApi, DecodedResponseOf, EncodableRequestOf } from '../../../src/kafka-protocol/api.ts';
import { FrameParser } from '../../../src/kafka-protocol/framing.ts';
import { decodeCorrelationId, decodeResponse, encodeRequest } from '../../../src/kafka-protocol/headers.ts';
import { findCoordinatorApi } from '../../../src/kafka-protocol/messages/find-coordinator.ts';
import { metadataApi } from '../../../src/kafka-protocol/messages/metadata.ts';
import type { Socket } from '../../../src/std/network.ts';
import type { SeededRandom } from '../../../src/std/seeded-random.ts';
import type { SimulatedTime } from '../simulated-clock.ts';
import type { SimulatedClientNetwork } from './simulated-client-network.ts';
import type { Tempo } from './tempo.ts';

const METADATA_VERSION = 8;
const FIND_COORDINATOR_VERSION = 2;

/** Made once: thousands of connections end, and a stack costs more than all else about it. */
const CLOSED = new Error('The connection is closed');
const CLOSED_HERE = new Error('The client closed the connection');
const NO_ANSWER = new Error('No answer in time');

interface Pending {
  readonly correlationId: number;
  settle(frame: Uint8Array): void;
  fail(error: Error): void;
}

export class VirtualConnection {
  readonly #socket: Socket;
  readonly #time: SimulatedTime;
  readonly #parser = new FrameParser();
  readonly #pending: Pending[] = [];
  #correlationId = 0;
  #failure: Error | undefined;

  constructor(socket: Socket, time: SimulatedTime, broken: (error: unknown) => void) {
    this.#socket = socket;
    this.#time = time;
    socket.handlers = {
      data: (chunk) => {
        try {
          this.#parser.push(chunk, (frame) => this.#settle(frame));
        } catch (error) {
          // Brokers that answer with what is not Kafka are broken; no fault of the network explains it.
          broken(error);
        }
      },
      closed: () => this.#fail(CLOSED),
    };
  }

  get isOpen(): boolean {
    return this.#failure === undefined;
  }

  send<A extends AnyApi>(
    api: A,
    version: number,
    body: EncodableRequestOf<A>,
    done: (response: DecodedResponseOf<A>) => void,
    failed: (error: Error) => void,
  ): void {
    if (this.#failure !== undefined) return failed(this.#failure);
    const correlationId = this.#correlationId++;
    const settle = (frame: Uint8Array): void => done(decodeResponse(api, version, frame).body);
    this.#pending.push({ correlationId, settle, fail: failed });
    this.#socket.write(encodeRequest(api, version, { correlationId, clientId: 'simulated' }, body), () => undefined);
  }

  /** Rejects, and ends the connection, without an answer in time. */
  request<A extends AnyApi>(
    api: A,
    version: number,
    body: EncodableRequestOf<A>,
    timeoutMs: number,
  ): Promise<DecodedResponseOf<A>> {
    return new Promise((resolve, reject) => {
      const timer = this.#time.after(timeoutMs, () => {
        reject(NO_ANSWER);
        this.close();
      });
      const done = (response: DecodedResponseOf<A>): void => {
        timer.cancel();
        resolve(response);
      };
      this.send(api, version, body, done, (error) => {
        timer.cancel();
        reject(error);
      });
    });
  }

  close(): void {
    this.#socket.destroy();
    this.#fail(CLOSED_HERE);
  }

  #settle(frame: Uint8Array): void {
    if (this.#failure !== undefined) return;
    const pending = this.#pending.shift();
    const correlationId = decodeCorrelationId(frame);
    if (pending?.correlationId !== correlationId) throw new Error(`Response ${correlationId} is out of order`);
    pending.settle(frame);
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    for (const { fail } of this.#pending.splice(0)) fail(this.#failure);
  }
}

export interface VirtualClientOptions {
  readonly time: SimulatedTime;
  readonly network: SimulatedClientNetwork;
  readonly random: SeededRandom;
  /** Ports of all brokers. */
  readonly bootstrap: readonly number[];
  readonly requestTimeoutMs: number;
  readonly tempo: Tempo;
  /** A broker said what no broker may say. */
  readonly broken: (error: unknown) => void;
}

export class VirtualClient {
  readonly options: VirtualClientOptions;
  readonly #leaders = new Map<string, number>();
  /** Of the leaders that were told last. */
  readonly #leaderEpochs = new Map<string, number>();
  #connection: VirtualConnection | undefined;

  constructor(options: VirtualClientOptions) {
    this.options = options;
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => this.options.time.after(ms, () => resolve()));
  }

  /** Before another attempt at something. */
  rest(ms: number): Promise<void> {
    return this.sleep(ms * this.options.tempo.faultScale);
  }

  async connect(port: number): Promise<VirtualConnection | undefined> {
    const { network, time, broken } = this.options;
    const socket = await network.connect(port).catch(() => undefined);
    return socket === undefined ? undefined : new VirtualConnection(socket, time, broken);
  }

  /** Asks any broker, once. Undefined without an answer. */
  async ask<A extends AnyApi>(
    api: A,
    version: number,
    body: EncodableRequestOf<A>,
    timeoutMs = this.options.requestTimeoutMs,
  ): Promise<DecodedResponseOf<A> | undefined> {
    const { random, bootstrap } = this.options;
    if (this.#connection?.isOpen !== true) this.#connection = await this.connect(random.pick(bootstrap));
    const connection = this.#connection;
    if (connection === undefined) return undefined;
    try {
      return await connection.request(api, version, body, timeoutMs);
    } catch {
      return undefined;
    }
  }

  /** The next question goes to another broker, perhaps. */
  switchBroker(): void {
    this.#connection?.close();
    this.#connection = undefined;
  }

  /** Port of the leader; undefined if nobody says who it is. */
  async leaderOf(topic: string, partition: number): Promise<number | undefined> {
    const known = this.#leaders.get(`${topic}/${partition}`);
    if (known !== undefined) return known;
    const answer = await this.ask(metadataApi, METADATA_VERSION, {
      topics: [{ name: topic }],
      allowAutoTopicCreation: false,
    });
    if (answer === undefined) return undefined;
    const ports = new Map(answer.brokers.map(({ nodeId, port }) => [nodeId, port]));
    for (const { partitionIndex, leaderId, leaderEpoch } of answer.topics[0]?.partitions ?? []) {
      const port = ports.get(leaderId);
      if (port === undefined) continue;
      this.#leaders.set(`${topic}/${partitionIndex}`, port);
      this.#leaderEpochs.set(`${topic}/${partitionIndex}`, leaderEpoch);
    }
    const found = this.#leaders.get(`${topic}/${partition}`);
    if (found === undefined) this.switchBroker();
    return found;
  }

  /** -1 before a leader was told. */
  leaderEpochOf(topic: string, partition: number): number {
    return this.#leaderEpochs.get(`${topic}/${partition}`) ?? -1;
  }

  forgetLeader(topic: string, partition: number): void {
    this.#leaders.delete(`${topic}/${partition}`);
    // Whoever named it may be behind.
    if (this.options.random.chance(0.5)) this.switchBroker();
  }

  async coordinatorOf(group: string): Promise<number | undefined> {
    const answer = await this.ask(findCoordinatorApi, FIND_COORDINATOR_VERSION, { key: group, keyType: 0 });
    if (answer === undefined || answer.errorCode !== 0) {
      this.switchBroker();
      return undefined;
    }
    return answer.port;
  }

  close(): void {
    this.switchBroker();
  }
}

/** One connection to the leader of a partition or the coordinator of a group, found again when it is lost. */
export class RoutedConnection {
  readonly #client: VirtualClient;
  readonly #find: () => Promise<number | undefined>;
  readonly #lost: () => void;
  #connection: VirtualConnection | undefined;
  #opening: Promise<VirtualConnection | undefined> | undefined;

  constructor(client: VirtualClient, find: () => Promise<number | undefined>, lost: () => void = () => undefined) {
    this.#client = client;
    this.#find = find;
    this.#lost = lost;
  }

  static toLeader(client: VirtualClient, topic: string, partition: number): RoutedConnection {
    return new RoutedConnection(
      client,
      () => client.leaderOf(topic, partition),
      () => client.forgetLeader(topic, partition),
    );
  }

  static toCoordinator(client: VirtualClient, group: string): RoutedConnection {
    return new RoutedConnection(client, () => client.coordinatorOf(group));
  }

  get(): Promise<VirtualConnection | undefined> {
    if (this.#connection?.isOpen === true) return Promise.resolve(this.#connection);
    this.#opening ??= this.#open().finally(() => {
      this.#opening = undefined;
    });
    return this.#opening;
  }

  async #open(): Promise<VirtualConnection | undefined> {
    const port = await this.#find();
    if (port === undefined) return undefined;
    this.#connection = await this.#client.connect(port);
    if (this.#connection === undefined) this.lose();
    return this.#connection;
  }

  lose(): void {
    this.close();
    this.#lost();
  }

  close(): void {
    this.#connection?.close();
    this.#connection = undefined;
  }
}
