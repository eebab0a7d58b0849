/**
 * How clients find brokers: bootstrap addresses, who leads which partition, and one connection per use. Every address goes through `route`, so that proxies can stand between clients and
 * brokers. All waiting is limited.
 */

import { type Endpoint, RawConnection } from '../../../scripts/bench/raw-client.ts';
import type { AnyApi, DecodedResponseOf, EncodableRequestOf } from '../../../src/kafka-protocol/api.ts';
import { createTopicsApi } from '../../../src/kafka-protocol/messages/create-topics.ts';
import { findCoordinatorApi } from '../../../src/kafka-protocol/messages/find-coordinator.ts';
import { metadataApi } from '../../../src/kafka-protocol/messages/metadata.ts';
import { InvariantError } from '../../../src/std/assert.ts';
import { nameOfCode } from './outcome.ts';

const METADATA_VERSION = 8;
const CREATE_TOPICS_VERSION = 4;
const FIND_COORDINATOR_VERSION = 2;
const CONNECT_TIMEOUT_MS = 1_000;
const METADATA_TIMEOUT_MS = 1_500;
/** After this time another broker is asked too. */
const HEDGE_MS = 250;
/** Pause between two looks for a leader that is not there. */
const LOOK_PAUSE_MS = 50;

/** A broker's refusal, as an exception for the code that has nothing better to do with it. */
export class RefusedError extends Error {
  override name = 'RefusedError';
  readonly code: number;

  constructor(what: string, code: number) {
    super(`${what} was refused: ${nameOfCode(code)}`);
    this.code = code;
  }
}

export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

export class ClientNetwork {
  readonly bootstrap: readonly Endpoint[];
  readonly #route: (endpoint: Endpoint) => Endpoint;
  readonly #leaders = new Map<string, Endpoint>();
  #next = 0;

  constructor(bootstrap: readonly Endpoint[], route: (endpoint: Endpoint) => Endpoint = (endpoint) => endpoint) {
    this.bootstrap = bootstrap;
    this.#route = route;
  }

  /** Where a client has to connect to reach `endpoint`. */
  route(endpoint: Endpoint): Endpoint {
    return this.#route(endpoint);
  }

  connect(endpoint: Endpoint): Promise<RawConnection> {
    return RawConnection.open(this.#route(endpoint), CONNECT_TIMEOUT_MS);
  }

  /** Asks brokers until one answers: the next one when the one before failed or has not answered for a moment, because one that starts or is paused would hold up its clients, not the cluster. Undefined if none answers. */
  askAny<A extends AnyApi>(
    api: A,
    version: number,
    body: EncodableRequestOf<A>,
    timeoutMs = METADATA_TIMEOUT_MS,
  ): Promise<DecodedResponseOf<A> | undefined> {
    const total = this.bootstrap.length;
    return new Promise((resolve, reject) => {
      let begun = 0;
      let failed = 0;
      let isSettled = false;
      const next = (): void => {
        if (begun === total || isSettled) return;
        begun += 1;
        const timer = setTimeout(next, HEDGE_MS);
        const endpoint = this.bootstrap[this.#next++ % total]!;
        this.#ask(endpoint, api, version, body, timeoutMs).then(
          (answer) => {
            clearTimeout(timer);
            isSettled = true;
            resolve(answer);
          },
          (error: unknown) => {
            clearTimeout(timer);
            failed += 1;
            if (error instanceof InvariantError) reject(error);
            else if (failed === total) resolve(undefined);
            else next();
          },
        );
      };
      next();
    });
  }

  async #ask<A extends AnyApi>(
    endpoint: Endpoint,
    api: A,
    version: number,
    body: EncodableRequestOf<A>,
    timeoutMs: number,
  ): Promise<DecodedResponseOf<A>> {
    const connection = await this.connect(endpoint);
    try {
      return await requestWithin(connection, api, version, body, timeoutMs);
    } finally {
      connection.close();
    }
  }

  /** The leader as far as known; asks brokers if it is not, until the deadline (ms, of `performance.now`). Undefined if none was found. */
  async leaderOf(topic: string, partition: number, deadlineMs: number): Promise<Endpoint | undefined> {
    const id = `${topic}/${partition}`;
    for (;;) {
      const known = this.#leaders.get(id);
      if (known !== undefined) return known;
      await this.#refresh(topic);
      if (this.#leaders.has(id)) continue;
      if (performance.now() >= deadlineMs) return undefined;
      await pause(LOOK_PAUSE_MS);
    }
  }

  /** Says that `endpoint` does not lead it or can not be reached; another look follows. */
  forgetLeader(topic: string, partition: number): void {
    this.#leaders.delete(`${topic}/${partition}`);
  }

  async #refresh(topic: string): Promise<void> {
    const answer = await this.askAny(metadataApi, METADATA_VERSION, {
      topics: [{ name: topic }],
      allowAutoTopicCreation: false,
    });
    if (answer === undefined) return;
    for (const { partitionIndex, leaderId } of answer.topics[0]?.partitions ?? []) {
      const broker = answer.brokers.find(({ nodeId }) => nodeId === leaderId);
      if (broker !== undefined) this.#leaders.set(`${topic}/${partitionIndex}`, broker);
    }
  }

  /** Partition leaders by broker id as one broker tells them now; undefined if none answers. */
  async leaderIds(topic: string): Promise<Map<number, number> | undefined> {
    const answer = await this.askAny(metadataApi, METADATA_VERSION, {
      topics: [{ name: topic }],
      allowAutoTopicCreation: false,
    });
    const partitions = answer?.topics[0]?.partitions;
    return partitions && new Map(partitions.map(({ partitionIndex, leaderId }) => [partitionIndex, leaderId]));
  }

  /** Broker id of the metadata leader; undefined if nobody knows. */
  async controllerId(): Promise<number | undefined> {
    const answer = await this.askAny(metadataApi, METADATA_VERSION, { topics: [] });
    return answer === undefined || answer.controllerId < 0 ? undefined : answer.controllerId;
  }

  async coordinatorOf(group: string): Promise<{ id: number; endpoint: Endpoint } | undefined> {
    const answer = await this.askAny(findCoordinatorApi, FIND_COORDINATOR_VERSION, { key: group, keyType: 0 });
    if (answer === undefined || answer.errorCode !== 0) return undefined;
    return { id: answer.nodeId, endpoint: { host: answer.host, port: answer.port } };
  }

  /** Creates topics and waits until each partition has a leader. Throws if that takes too long. */
  async createTopics(
    topics: readonly {
      name: string;
      partitions: number;
      replicationFactor: number;
      configs?: Record<string, string>;
    }[],
    timeoutMs: number,
  ): Promise<void> {
    const deadlineMs = performance.now() + timeoutMs;
    const controller = await this.controllerId();
    for (const { name, partitions, replicationFactor, configs = {} } of topics) {
      const request: EncodableRequestOf<typeof createTopicsApi> = {
        topics: [
          {
            name,
            numPartitions: partitions,
            replicationFactor,
            assignments: [],
            configs: Object.entries(configs).map(([key, value]) => ({ name: key, value })),
          },
        ],
        timeoutMs: 15_000,
        validateOnly: false,
      };
      for (;;) {
        // Kafka's controller is another broker than the one asked, Flotilla forwards: so each is asked in turn.
        const answer = await this.askAny(createTopicsApi, CREATE_TOPICS_VERSION, request, 20_000);
        const code = answer?.topics[0]?.errorCode;
        if (code === 0 || code === 36) break;
        if (performance.now() > deadlineMs) {
          throw new Error(`Topic ${name} was not created (controller ${controller}, code ${code})`);
        }
        await pause(LOOK_PAUSE_MS);
      }
      for (let partition = 0; partition < partitions; partition++) {
        if ((await this.leaderOf(name, partition, deadlineMs)) === undefined) {
          throw new Error(`Partition ${partition} of topic ${name} has no leader`);
        }
      }
    }
  }
}

/** A request that has to be answered within `timeoutMs`; else the connection is closed and the promise rejects. */
export function requestWithin<A extends AnyApi>(
  connection: RawConnection,
  api: A,
  version: number,
  body: EncodableRequestOf<A>,
  timeoutMs: number,
): Promise<DecodedResponseOf<A>> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(new Error(`${api.name} was not answered within ${timeoutMs} ms`));
      connection.close();
    }, timeoutMs);
    connection.send(
      api,
      version,
      body,
      (response) => {
        clearTimeout(timer);
        resolve(response);
      },
      (error) => {
        clearTimeout(timer);
        reject(error);
      },
    );
  });
}
