/** Reads a topic from the beginning to the high watermarks that it has meanwhile. Batches are walked by their headers only. */
import { fetchApi } from '../../src/kafka-protocol/messages/fetch.ts';
import { iterateBatches } from '../../src/kafka-protocol/record-batch.ts';
import { shareOut } from './leader-lanes.ts';
import { RawConnection, type TopicLeaders } from './raw-client.ts';

const FETCH_VERSION = 11;
const PARTITION_BYTES = 1024 * 1024;
const FETCH_BYTES = 50 * 1024 * 1024;

export interface ConsumeResult {
  readonly records: number;
  readonly bytes: number;
}

export async function readAll({ leaders }: TopicLeaders, topic: string): Promise<ConsumeResult> {
  let records = 0;
  let bytes = 0;
  await Promise.all(
    shareOut({ leaders }, 1).map(async ({ endpoint, partitions }) => {
      const offsets = new Map(partitions.map((partition) => [partition, 0]));
      const connection = await RawConnection.open(endpoint);
      while (offsets.size > 0) {
        const { responses } = await connection.request(fetchApi, FETCH_VERSION, {
          maxWaitMs: 100,
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
          for (const { partitionIndex, errorCode, highWatermark, records: data } of partitions) {
            if (errorCode !== 0) throw new Error(`Fetch of ${topic}-${partitionIndex} failed with error ${errorCode}`);
            let position = offsets.get(partitionIndex)!;
            if (data !== null) {
              bytes += data.length;
              for (const batch of iterateBatches(data)) {
                records += batch.recordCount;
                position = batch.lastOffset + 1;
              }
            }
            if (position >= highWatermark) offsets.delete(partitionIndex);
            else offsets.set(partitionIndex, position);
          }
        }
      }
      connection.close();
    }),
  );
  return { records, bytes };
}
