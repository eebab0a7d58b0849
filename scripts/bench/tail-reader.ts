/** Consumers that follow the end of partitions with long polls. Batches are walked by their headers only. */
import { fetchApi } from '../../src/kafka-protocol/messages/fetch.ts';
import { iterateBatches } from '../../src/kafka-protocol/record-batch.ts';
import { shareOut } from './leader-lanes.ts';
import { RawConnection, type TopicLeaders } from './raw-client.ts';

const FETCH_VERSION = 11;
const FETCH_WAIT_MS = 500;
const PARTITION_BYTES = 1024 * 1024;
const FETCH_BYTES = 50 * 1024 * 1024;

export interface TailReader {
  /** Bytes of record batches received so far. */
  readonly bytes: number;
  /** Rejects when a connection or a fetch failed before {@link close}; never resolves. */
  readonly failed: Promise<never>;
  close(): void;
}

/** Reads all partitions from offset 0, over one connection to each leader (or more), and calls `received` for each batch with its first and last offset. */
export async function tailPartitions(
  target: TopicLeaders & { readonly topic: string },
  received: (partition: number, first: number, last: number) => void,
  connectionsPerLeader = 1,
): Promise<TailReader> {
  let closed = false;
  let bytes = 0;
  const connections: RawConnection[] = [];
  const loops: Promise<never>[] = [];
  for (const { endpoint, partitions } of shareOut(target, connectionsPerLeader)) {
    const connection = await RawConnection.open(endpoint);
    connections.push(connection);
    loops.push(follow(connection, partitions));
  }
  const failed = Promise.race(loops);
  // Whoever does not ask learns of it from missing records.
  failed.catch(() => undefined);
  return {
    get bytes() {
      return bytes;
    },
    failed,
    close() {
      closed = true;
      for (const connection of connections) connection.close();
    },
  };

  async function follow(connection: RawConnection, partitions: readonly number[]): Promise<never> {
    const offsets = new Map(partitions.map((partition) => [partition, 0]));
    for (;;) {
      try {
        await fetchOnce(connection, offsets);
      } catch (error) {
        if (!closed) throw error;
        await new Promise<never>(() => undefined);
      }
    }
  }

  async function fetchOnce(connection: RawConnection, offsets: Map<number, number>): Promise<void> {
    const { topic } = target;
    const { responses } = await connection.request(fetchApi, FETCH_VERSION, {
      maxWaitMs: FETCH_WAIT_MS,
      minBytes: 1,
      maxBytes: FETCH_BYTES,
      topics: [
        {
          topic,
          partitions: [...offsets].map(([partition, fetchOffset]) => ({
            partition,
            fetchOffset,
            partitionMaxBytes: PARTITION_BYTES,
          })),
        },
      ],
      forgottenTopicsData: [],
    });
    for (const { partitions } of responses) {
      for (const { partitionIndex, errorCode, records } of partitions) {
        if (errorCode !== 0) throw new Error(`Fetch of ${topic}-${partitionIndex} failed with error ${errorCode}`);
        if (records === null) continue;
        bytes += records.length;
        let next = offsets.get(partitionIndex)!;
        for (const batch of iterateBatches(records)) {
          if (batch.lastOffset < next) continue;
          received(partitionIndex, next, batch.lastOffset);
          next = batch.lastOffset + 1;
        }
        offsets.set(partitionIndex, next);
      }
    }
  }
}
