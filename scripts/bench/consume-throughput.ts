/** Reads a topic from the beginning to the high watermarks that it has meanwhile. Batches are walked by their headers only. */
import { fetchApi } from '../../src/kafka-protocol/messages/fetch.ts';
import { iterateBatches } from '../../src/kafka-protocol/record-batch.ts';
import { isMoved, type Lane, LeaderLanes } from './leader-lanes.ts';
import { RETRY_BACKOFF_MS, type TopicLeaders } from './raw-client.ts';

const FETCH_VERSION = 11;
const PARTITION_BYTES = 1024 * 1024;
const FETCH_BYTES = 50 * 1024 * 1024;

export interface ConsumeResult {
  readonly records: number;
  readonly bytes: number;
}

export async function readAll(target: TopicLeaders, topic: string): Promise<ConsumeResult> {
  let records = 0;
  let bytes = 0;
  /** Where to read on, of partitions that are not read to their end. */
  const positions = new Map([...target.leaders.keys()].map((partition) => [partition, 0]));
  let lanes: LeaderLanes | undefined;
  const read = async (lane: Lane): Promise<void> => {
    while (positions.size > 0) {
      const partitions = lane.partitions.filter((partition) => positions.has(partition));
      let refused = partitions.length === 0;
      if (!refused) {
        const { responses } = await lane.connection.request(fetchApi, FETCH_VERSION, {
          maxWaitMs: 100,
          minBytes: 1,
          maxBytes: FETCH_BYTES,
          topics: [
            {
              topic,
              partitions: partitions.map((partition) => ({
                partition,
                fetchOffset: positions.get(partition)!,
                partitionMaxBytes: PARTITION_BYTES,
              })),
            },
          ],
          forgottenTopicsData: [],
        });
        for (const { partitionIndex, errorCode, highWatermark, records: data } of responses[0]?.partitions ?? []) {
          if (errorCode !== 0) {
            if (!isMoved(errorCode)) throw new Error(`Fetch of ${topic}-${partitionIndex} failed: error ${errorCode}`);
            lanes?.refused(errorCode);
            refused = true;
            continue;
          }
          let position = positions.get(partitionIndex);
          // Read to its end over another connection, if its leader changed meanwhile.
          if (position === undefined) continue;
          if (data !== null) {
            bytes += data.length;
            for (const batch of iterateBatches(data)) {
              records += batch.recordCount;
              position = batch.lastOffset + 1;
            }
          }
          if (position >= highWatermark) positions.delete(partitionIndex);
          else positions.set(partitionIndex, position);
        }
      }
      if (refused && positions.size > 0) await new Promise((resolve) => setTimeout(resolve, RETRY_BACKOFF_MS));
    }
  };
  try {
    await new Promise<void>((resolve, reject) => {
      const onLane = (lane: Lane): void => {
        read(lane).then(resolve, reject);
      };
      LeaderLanes.open(target, { topic, onLane, onFailure: reject }).then((opened) => {
        lanes = opened;
      }, reject);
    });
  } finally {
    lanes?.close();
  }
  return { records, bytes };
}
