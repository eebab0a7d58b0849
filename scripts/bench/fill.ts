/** Fills partitions with so many bytes of records as fast as brokers take them, each batch acknowledged before the next of its slot. */
import { produceApi } from '../../src/kafka-protocol/messages/produce.ts';
import { encodeRecordBatch } from '../../src/kafka-protocol/records.ts';
import { shareOut } from './produce-throughput.ts';
import { RawConnection, type TopicLeaders } from './raw-client.ts';

const PRODUCE_VERSION = 7;
const RECORD_BYTES = 1024;
const RECORDS_PER_BATCH = 64;
const BATCH_BYTES = RECORD_BYTES * RECORDS_PER_BATCH;
const PARTITIONS_PER_REQUEST = 8;
const IN_FLIGHT = 4;
const RETRY_BACKOFF_MS = 100;

/** Resolves with the records that each partition got. */
export async function fill(
  target: TopicLeaders & { readonly topic: string },
  totalBytes: number,
): Promise<ReadonlyMap<number, number>> {
  const value = Buffer.alloc(RECORD_BYTES, 'x');
  const timestamp = Date.now();
  const records = encodeRecordBatch(Array.from({ length: RECORDS_PER_BATCH }, () => ({ timestamp, value })));
  const batchesPerPartition = Math.max(1, Math.ceil(totalBytes / BATCH_BYTES / target.leaders.size));
  const filled = new Map<number, number>();
  await Promise.all(
    shareOut(target, 1).map(async ({ endpoint, partitions }) => {
      const connection = await RawConnection.open(endpoint);
      /** Partitions in the order in which they get their next batch. */
      const queue: number[] = [];
      for (let i = 0; i < batchesPerPartition; i++) queue.push(...partitions);
      let next = 0;
      const retries: number[] = [];
      const take = (): number[] => {
        const taken = retries.splice(0, PARTITIONS_PER_REQUEST);
        while (taken.length < PARTITIONS_PER_REQUEST && next < queue.length) taken.push(queue[next++]!);
        return taken;
      };
      const work = async (): Promise<void> => {
        for (let indexes = take(); indexes.length > 0; indexes = take()) {
          const partitionData = indexes.map((index) => ({ index, records }));
          const body = { acks: -1, timeoutMs: 30_000, topicData: [{ name: target.topic, partitionData }] };
          const { responses } = await connection.request(produceApi, PRODUCE_VERSION, body);
          let refused = false;
          for (const { index, errorCode } of responses.flatMap(({ partitionResponses }) => partitionResponses)) {
            if (errorCode === 0) filled.set(index, (filled.get(index) ?? 0) + RECORDS_PER_BATCH);
            else {
              refused = true;
              retries.push(index);
            }
          }
          if (refused) await new Promise((resolve) => setTimeout(resolve, RETRY_BACKOFF_MS));
        }
      };
      await Promise.all(Array.from({ length: IN_FLIGHT }, work));
      connection.close();
    }),
  );
  return filled;
}
