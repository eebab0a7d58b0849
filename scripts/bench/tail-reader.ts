/** Consumers that follow the end of partitions with long polls. Batches are walked by their headers only. */
import { fetchApi } from '../../src/kafka-protocol/messages/fetch.ts';
import { iterateBatches } from '../../src/kafka-protocol/record-batch.ts';
import { isMoved, type Lane, LeaderLanes } from './leader-lanes.ts';
import { RETRY_BACKOFF_MS, type TopicLeaders } from './raw-client.ts';

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
  const { topic } = target;
  const offsets = new Map([...target.leaders.keys()].map((partition) => [partition, 0]));
  let fail: (error: Error) => void = () => undefined;
  const failed = new Promise<never>((_, reject) => {
    fail = reject;
  });
  // Whoever does not ask learns of it from missing records.
  failed.catch(() => undefined);
  let lanes: LeaderLanes | undefined;
  const onLane = (lane: Lane): void => {
    follow(lane).catch((error: Error) => {
      if (!closed) fail(error);
    });
  };
  lanes = await LeaderLanes.open(target, { topic, connectionsPerLeader, onLane, onFailure: fail });
  return {
    get bytes() {
      return bytes;
    },
    failed,
    close() {
      closed = true;
      lanes.close();
    },
  };

  async function follow(lane: Lane): Promise<void> {
    while (!closed) {
      const isRead = lane.partitions.length > 0 && (await fetchOnce(lane));
      if (!isRead) await new Promise((resolve) => setTimeout(resolve, RETRY_BACKOFF_MS));
    }
  }

  /** False if some partition has moved. */
  async function fetchOnce(lane: Lane): Promise<boolean> {
    const { responses } = await lane.connection.request(fetchApi, FETCH_VERSION, {
      maxWaitMs: FETCH_WAIT_MS,
      minBytes: 1,
      maxBytes: FETCH_BYTES,
      topics: [
        {
          topic,
          partitions: lane.partitions.map((partition) => ({
            partition,
            fetchOffset: offsets.get(partition)!,
            partitionMaxBytes: PARTITION_BYTES,
          })),
        },
      ],
      forgottenTopicsData: [],
    });
    let isRead = true;
    for (const { partitions } of responses) {
      for (const { partitionIndex, errorCode, records } of partitions) {
        if (isMoved(errorCode)) {
          lanes?.refused(errorCode);
          isRead = false;
          continue;
        }
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
    return isRead;
  }
}
