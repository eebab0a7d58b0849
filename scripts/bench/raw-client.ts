/**
 * A Kafka client with nothing between the caller and the wire, so that a client library is not the ceiling of a measurement. Works against any Kafka ≥ 0.11: it uses versions that
 * every broker of the field serves. One connection pipelines requests and matches responses in order.
 */
import { connect as connectTcp, type Socket } from 'node:net';
import type { AnyApi, DecodedResponseOf, EncodableRequestOf } from '../../src/kafka-protocol/api.ts';
import { FrameParser } from '../../src/kafka-protocol/framing.ts';
import { decodeCorrelationId, decodeResponse, encodeRequest } from '../../src/kafka-protocol/headers.ts';
import { createTopicsApi } from '../../src/kafka-protocol/messages/create-topics.ts';
import { deleteTopicsApi } from '../../src/kafka-protocol/messages/delete-topics.ts';
import { metadataApi } from '../../src/kafka-protocol/messages/metadata.ts';

const CLIENT_ID = 'flotilla-bench';
const METADATA_VERSION = 8;
const CREATE_TOPICS_VERSION = 4;
const DELETE_TOPICS_VERSION = 3;
/** What clients wait before they ask again, or send again what was refused. */
export const RETRY_BACKOFF_MS = 100;
const LEADER_ATTEMPTS = 1200;
/** A broker that owes an answer and sends nothing for so long is given up. More than what any request lets it wait. */
const SILENCE_MAX_MS = 90_000;
const CONNECT_TIMEOUT_MS = 10_000;

export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

interface Pending {
  readonly correlationId: number;
  settle(frame: Uint8Array): void;
  fail(error: Error): void;
}

export class RawConnection {
  readonly #socket: Socket;
  readonly #parser = new FrameParser();
  readonly #pending: Pending[] = [];
  #correlationId = 0;
  #failure: Error | undefined;
  bytesReceived = 0;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (chunk) => {
      this.bytesReceived += chunk.length;
      try {
        this.#parser.push(chunk, (frame) => this.#settle(frame));
      } catch (error) {
        // Not what a Kafka broker sends, or not to what was asked: nothing on this connection can be believed any more.
        this.#fail(error as Error);
        socket.destroy();
      }
    });
    socket.setTimeout(SILENCE_MAX_MS);
    socket.on('timeout', () => {
      if (this.#pending.length === 0) return;
      socket.destroy(new Error(`The broker owes an answer and sent nothing for ${SILENCE_MAX_MS / 1000} s`));
    });
    socket.on('error', (error) => this.#fail(error));
    socket.on('close', () => this.#fail(new Error('The broker closed the connection')));
  }

  static open({ host, port }: Endpoint, timeoutMs = CONNECT_TIMEOUT_MS): Promise<RawConnection> {
    return new Promise((resolve, reject) => {
      const socket = connectTcp({ host, port, noDelay: true });
      const giveUp = (): void => {
        socket.destroy(new Error(`Connecting to ${host}:${port} took too long`));
      };
      socket.once('error', reject);
      socket.setTimeout(timeoutMs, giveUp);
      socket.once('connect', () => {
        socket.off('error', reject);
        socket.off('timeout', giveUp);
        resolve(new RawConnection(socket));
      });
    });
  }

  /** Sends a request without waiting; calls back with the decoded response, in the order of sending. */
  send<A extends AnyApi>(
    api: A,
    version: number,
    body: EncodableRequestOf<A>,
    done: (response: DecodedResponseOf<A>) => void,
    failed: (error: Error) => void,
  ): void {
    if (this.#failure !== undefined) return failed(this.#failure);
    const correlationId = this.#correlationId++;
    this.#pending.push({
      correlationId,
      settle: (frame) => {
        const { body } = decodeResponse(api, version, frame);
        this.#pending.shift();
        done(body);
      },
      fail: failed,
    });
    this.#write(api, version, correlationId, body);
  }

  /** Sends a request that has no response (Produce with acks 0). False if the connection is gone. */
  sendOneWay<A extends AnyApi>(api: A, version: number, body: EncodableRequestOf<A>): boolean {
    if (this.#failure !== undefined) return false;
    this.#write(api, version, this.#correlationId++, body);
    return true;
  }

  request<A extends AnyApi>(api: A, version: number, body: EncodableRequestOf<A>): Promise<DecodedResponseOf<A>> {
    return new Promise((resolve, reject) => this.send(api, version, body, resolve, reject));
  }

  close(): void {
    this.#socket.destroy();
  }

  get isOpen(): boolean {
    return this.#failure === undefined;
  }

  #write<A extends AnyApi>(api: A, version: number, correlationId: number, body: EncodableRequestOf<A>): void {
    this.#socket.cork();
    for (const piece of encodeRequest(api, version, { correlationId, clientId: CLIENT_ID }, body)) {
      this.#socket.write(piece);
    }
    this.#socket.uncork();
  }

  #settle(frame: Uint8Array): void {
    const pending = this.#pending[0];
    const correlationId = decodeCorrelationId(frame);
    if (pending === undefined || pending.correlationId !== correlationId) {
      throw new Error(`A response has correlation id ${correlationId} instead of ${pending?.correlationId ?? 'none'}`);
    }
    pending.settle(frame);
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    for (const { fail } of this.#pending.splice(0)) fail(this.#failure);
  }
}

/** Where a topic's partitions are led. */
export interface TopicLeaders {
  readonly leaders: ReadonlyMap<number, Endpoint>;
}

export function parseEndpoints(bootstrap: string): Endpoint[] {
  return bootstrap.split(',').map((endpoint) => {
    const at = endpoint.lastIndexOf(':');
    const port = Number(endpoint.slice(at + 1));
    if (at < 1 || !Number.isInteger(port)) throw new Error(`"${endpoint}" is not HOST:PORT`);
    return { host: endpoint.slice(0, at), port };
  });
}

/** Creates a topic (an existing one is an error) and waits until every partition has a leader. */
export async function createTopic(
  bootstrap: Endpoint,
  topic: { name: string; partitions: number; replicationFactor: number },
): Promise<TopicLeaders> {
  const connection = await RawConnection.open(bootstrap);
  try {
    const admin = await openController(connection);
    const { topics } = await admin.request(createTopicsApi, CREATE_TOPICS_VERSION, {
      topics: [
        {
          name: topic.name,
          numPartitions: topic.partitions,
          replicationFactor: topic.replicationFactor,
          assignments: [],
          configs: [],
        },
      ],
      timeoutMs: 60_000,
      validateOnly: false,
    });
    admin.close();
    const [created] = topics;
    if (created === undefined || created.errorCode !== 0) {
      throw new Error(
        `Topic ${topic.name} was not created: error ${created?.errorCode} ${created?.errorMessage ?? ''}`,
      );
    }
    return await awaitLeaders(connection, topic.name, topic.partitions);
  } finally {
    connection.close();
  }
}

/** Deletes a topic; that there is none is not an error. */
export async function deleteTopic(bootstrap: Endpoint, name: string): Promise<void> {
  const connection = await RawConnection.open(bootstrap);
  try {
    const admin = await openController(connection);
    await admin.request(deleteTopicsApi, DELETE_TOPICS_VERSION, { topicNames: [name], timeoutMs: 60_000 });
    admin.close();
  } finally {
    connection.close();
  }
}

/** Kafka's controller may be another broker; one asks where it is. */
async function openController(connection: RawConnection): Promise<RawConnection> {
  const { brokers, controllerId } = await connection.request(metadataApi, METADATA_VERSION, { topics: [] });
  return RawConnection.open(brokers.find(({ nodeId }) => nodeId === controllerId) ?? brokers[0]!);
}

export async function leadersOf(bootstrap: Endpoint, topic: string): Promise<TopicLeaders> {
  const connection = await RawConnection.open(bootstrap);
  try {
    return await awaitLeaders(connection, topic, 1);
  } finally {
    connection.close();
  }
}

async function awaitLeaders(connection: RawConnection, topic: string, partitions: number): Promise<TopicLeaders> {
  for (let attempt = 0; attempt < LEADER_ATTEMPTS; attempt++) {
    const { leaders, partitionCount } = await requestLeaders(connection, topic);
    if (leaders.size >= partitions && leaders.size === partitionCount) return { leaders };
    await new Promise((resolve) => setTimeout(resolve, RETRY_BACKOFF_MS));
  }
  throw new Error(`Topic ${topic} has partitions without a leader after 2 minutes`);
}

/** What the broker knows: partitions without a leader are missing. */
export async function requestLeaders(
  connection: RawConnection,
  topic: string,
): Promise<TopicLeaders & { readonly partitionCount: number }> {
  const { brokers, topics } = await connection.request(metadataApi, METADATA_VERSION, { topics: [{ name: topic }] });
  const known = topics[0]?.partitions ?? [];
  const leaders = new Map<number, Endpoint>();
  for (const { partitionIndex, leaderId } of known) {
    const broker = brokers.find(({ nodeId }) => nodeId === leaderId);
    if (broker !== undefined) leaders.set(partitionIndex, { host: broker.host, port: broker.port });
  }
  return { leaders, partitionCount: known.length };
}
