/** Reads a topic from the beginning to the high watermarks that it has at the start; bytes of record batches a second. Batches are walked by their headers only. */
import { fetchApi } from '../../src/kafka-protocol/messages/fetch.ts';
import { iterateBatches } from '../../src/kafka-protocol/record-batch.ts';
import { type Endpoint, RawConnection, type TopicLeaders } from './raw-client.ts';

const FETCH_VERSION = 11;
const PARTITION_BYTES = 1024 * 1024;
const FETCH_BYTES = 50 * 1024 * 1024;

export interface ConsumeResult {
  readonly records: number;
  readonly megabytesPerSecond: number;
  readonly recordsPerSecond: number;
}

export async function consumeThroughput(target: TopicLeaders, topic: string): Promise<ConsumeResult> {
  const byLeader = new Map<string, { endpoint: Endpoint; offsets: Map<number, number> }>();
  for (const [partition, endpoint] of target.leaders) {
    const key = `${endpoint.host}:${endpoint.port}`;
    const entry = byLeader.get(key) ?? { endpoint, offsets: new Map() };
    entry.offsets.set(partition, 0);
    byLeader.set(key, entry);
  }
  let records = 0;
  let bytes = 0;
  const startedMs = performance.now();
  await Promise.all(
    [...byLeader.values()].map(async ({ endpoint, offsets }) => {
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
  const elapsedMs = performance.now() - startedMs;
  return {
    records,
    megabytesPerSecond: bytes / elapsedMs / 1000,
    recordsPerSecond: (records * 1000) / elapsedMs,
  };
}
