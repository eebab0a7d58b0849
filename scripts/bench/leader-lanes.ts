/**
 * Connections to the leaders of a topic's partitions, each with the partitions that it is for. Learns new leaders as clients do: a partition that was refused by who does not lead it (or does not know
 * it yet) makes it ask for metadata.
 */
import { type Endpoint, RawConnection, RETRY_BACKOFF_MS, requestLeaders, type TopicLeaders } from './raw-client.ts';

export interface Lane {
  readonly endpoint: Endpoint;
  readonly connection: RawConnection;
  /** Changes when leaders do; empty while the broker leads nothing. */
  partitions: readonly number[];
}

const NOT_LEADER_OR_FOLLOWER = 6;
const UNKNOWN_TOPIC_OR_PARTITION = 3;

/** Whether an error code says that another broker is to be asked, or the same one later. */
export function isMoved(errorCode: number): boolean {
  return errorCode === NOT_LEADER_OR_FOLLOWER || errorCode === UNKNOWN_TOPIC_OR_PARTITION;
}

export class LeaderLanes {
  readonly #topic: string;
  readonly #connectionsPerLeader: number;
  readonly #lanes: Lane[] = [];
  readonly #onLane: (lane: Lane) => void;
  readonly #onFailure: (error: Error) => void;
  #asking: Promise<void> | undefined;
  #closed = false;

  private constructor(options: LaneOptions) {
    this.#topic = options.topic;
    this.#connectionsPerLeader = options.connectionsPerLeader ?? 1;
    this.#onLane = options.onLane;
    this.#onFailure = options.onFailure;
  }

  static async open(target: TopicLeaders, options: LaneOptions): Promise<LeaderLanes> {
    const lanes = new LeaderLanes(options);
    await lanes.#assign(target);
    return lanes;
  }

  /** To be told of each refused partition. */
  refused(errorCode: number): void {
    if (!isMoved(errorCode) || this.#asking !== undefined || this.#closed) return;
    this.#asking = this.#learn()
      .catch((error: Error) => {
        if (!this.#closed) this.#onFailure(error);
      })
      .finally(() => {
        this.#asking = undefined;
      });
  }

  close(): void {
    this.#closed = true;
    for (const { connection } of this.#lanes) connection.close();
  }

  async #learn(): Promise<void> {
    // On a connection of its own: answers come in the order of requests, and produce requests take long.
    const connection = await RawConnection.open(this.#lanes[0]!.endpoint);
    try {
      const { leaders } = await requestLeaders(connection, this.#topic);
      await this.#assign({ leaders });
    } finally {
      connection.close();
    }
    // Whoever was asked may not know it yet; then the next refusal asks again.
    await new Promise((resolve) => setTimeout(resolve, RETRY_BACKOFF_MS));
  }

  async #assign(target: TopicLeaders): Promise<void> {
    const free = new Set(this.#lanes);
    for (const { endpoint, partitions } of shareOut(target, this.#connectionsPerLeader)) {
      const known = [...free].find(
        (lane) => lane.endpoint.host === endpoint.host && lane.endpoint.port === endpoint.port,
      );
      if (known !== undefined) {
        known.partitions = partitions;
        free.delete(known);
        continue;
      }
      const lane: Lane = { endpoint, partitions, connection: await RawConnection.open(endpoint) };
      if (this.#closed) return lane.connection.close();
      this.#lanes.push(lane);
      this.#onLane(lane);
    }
    for (const lane of free) lane.partitions = [];
  }
}

export interface LaneOptions {
  readonly topic: string;
  /** Its partitions are shared out among them; 1 unless given. */
  readonly connectionsPerLeader?: number | undefined;
  /** Called for each new connection. */
  readonly onLane: (lane: Lane) => void;
  /** Metadata could not be had, or a new leader not be connected to. */
  readonly onFailure: (error: Error) => void;
}

/** The partitions of each leader, dealt to its connections; none stays without a partition. */
export function shareOut(
  { leaders }: TopicLeaders,
  connectionsPerLeader: number,
): { endpoint: Endpoint; partitions: number[] }[] {
  const byLeader = new Map<string, { endpoint: Endpoint; partitions: number[] }>();
  for (const [partition, endpoint] of leaders) {
    const key = `${endpoint.host}:${endpoint.port}`;
    const entry = byLeader.get(key) ?? { endpoint, partitions: [] };
    entry.partitions.push(partition);
    byLeader.set(key, entry);
  }
  return [...byLeader.values()].flatMap(({ endpoint, partitions }) =>
    Array.from({ length: Math.min(connectionsPerLeader, partitions.length) }, (_, at) => ({
      endpoint,
      partitions: partitions.filter((_, i) => i % connectionsPerLeader === at),
    })),
  );
}
