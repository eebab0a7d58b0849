/** Load over all partitions of a topic for a while, so that there is something to recover: not a measurement of throughput. */
import { produceApi } from '../../src/kafka-protocol/messages/produce.ts';
import { encodeRecordBatch } from '../../src/kafka-protocol/records.ts';
import { type Endpoint, RawConnection, type TopicLeaders } from './raw-client.ts';

const PRODUCE_VERSION = 7;
const RECORDS_PER_BATCH = 16;
const RECORD_BYTES = 1024;
const PARTITIONS_PER_REQUEST = 8;
const IN_FLIGHT = 4;

export interface LoadResult {
  /** Acknowledged. */
  readonly megabytes: number;
  /** Batches. */
  readonly refused: number;
}

export async function loadPartitions(
  { leaders }: TopicLeaders,
  topic: string,
  durationMs: number,
): Promise<LoadResult> {
  const value = Buffer.alloc(RECORD_BYTES, 'x');
  const timestamp = Date.now();
  const batch = encodeRecordBatch(Array.from({ length: RECORDS_PER_BATCH }, () => ({ timestamp, value })));
  const byPort = new Map<number, { endpoint: Endpoint; partitions: number[] }>();
  for (const [partition, endpoint] of leaders) {
    const led = byPort.get(endpoint.port) ?? { endpoint, partitions: [] };
    led.partitions.push(partition);
    byPort.set(endpoint.port, led);
  }
  const endMs = performance.now() + durationMs;
  let accepted = 0;
  let refused = 0;
  const senders: Promise<void>[] = [];
  for (const { endpoint, partitions } of byPort.values()) {
    const connection = await RawConnection.open(endpoint);
    let next = 0;
    const send = async (): Promise<void> => {
      while (performance.now() < endMs) {
        const partitionData = [];
        for (let i = 0; i < Math.min(PARTITIONS_PER_REQUEST, partitions.length); i++) {
          partitionData.push({ index: partitions[next++ % partitions.length]!, records: batch });
        }
        const { responses } = await connection.request(produceApi, PRODUCE_VERSION, {
          acks: -1,
          timeoutMs: 30_000,
          topicData: [{ name: topic, partitionData }],
        });
        for (const { errorCode } of responses.flatMap(({ partitionResponses }) => partitionResponses)) {
          if (errorCode === 0) accepted++;
          else refused++;
        }
      }
    };
    senders.push(Promise.all(Array.from({ length: IN_FLIGHT }, send)).then(() => connection.close()));
  }
  await Promise.all(senders);
  return { megabytes: (accepted * RECORDS_PER_BATCH * RECORD_BYTES) / 1e6, refused };
}
