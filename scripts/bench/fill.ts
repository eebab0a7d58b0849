/** Fills partitions with so many bytes of records as fast as brokers take them, each batch acknowledged before the next of its slot. */
import { produceApi } from '../../src/kafka-protocol/messages/produce.ts';
import { encodeRecordBatch } from '../../src/kafka-protocol/records.ts';
import { type Lane, LeaderLanes } from './leader-lanes.ts';
import { RETRY_BACKOFF_MS, type TopicLeaders } from './raw-client.ts';

const PRODUCE_VERSION = 7;
const RECORD_BYTES = 1024;
const RECORDS_PER_BATCH = 64;
const BATCH_BYTES = RECORD_BYTES * RECORDS_PER_BATCH;
const PARTITIONS_PER_REQUEST = 8;
const IN_FLIGHT = 4;

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
  let lanes: LeaderLanes | undefined;
  /** Batches that a partition has not been sent yet. */
  const unsent = new Map([...target.leaders.keys()].map((partition) => [partition, batchesPerPartition]));
  let unacknowledged = batchesPerPartition * target.leaders.size;
  await new Promise<void>((resolve, reject) => {
    const fillOn = (lane: Lane): void => {
      let next = 0;
      const take = (): number[] => {
        const taken: number[] = [];
        const { partitions } = lane;
        for (let seen = 0; seen < partitions.length && taken.length < PARTITIONS_PER_REQUEST; seen++) {
          const partition = partitions[next++ % partitions.length]!;
          const left = unsent.get(partition)!;
          if (left === 0) continue;
          unsent.set(partition, left - 1);
          taken.push(partition);
        }
        return taken;
      };
      const work = async (): Promise<void> => {
        while (unacknowledged > 0) {
          const partitionData = take().map((index) => ({ index, records }));
          let refused = partitionData.length === 0;
          if (!refused) {
            const body = { acks: -1, timeoutMs: 30_000, topicData: [{ name: target.topic, partitionData }] };
            const { responses } = await lane.connection.request(produceApi, PRODUCE_VERSION, body);
            for (const { index, errorCode } of responses.flatMap(({ partitionResponses }) => partitionResponses)) {
              if (errorCode === 0) {
                filled.set(index, (filled.get(index) ?? 0) + RECORDS_PER_BATCH);
                unacknowledged -= 1;
              } else {
                refused = true;
                unsent.set(index, unsent.get(index)! + 1);
                lanes?.refused(errorCode);
              }
            }
          }
          if (unacknowledged === 0) resolve();
          else if (refused) await new Promise((again) => setTimeout(again, RETRY_BACKOFF_MS));
        }
      };
      for (let slot = 0; slot < IN_FLIGHT; slot++) work().catch(reject);
    };
    LeaderLanes.open(target, { topic: target.topic, onLane: fillOn, onFailure: reject }).then((opened) => {
      lanes = opened;
    }, reject);
  }).finally(() => lanes?.close());
  return filled;
}
