/**
 * Open loop: records leave at their times whatever the brokers do, so that a stall delays, and counts for, all that would have been sent meanwhile (no coordinated omission). Latencies count from the
 * moment a record was written to the socket. One partition (0), a batch of one record a request; a consumer on a connection of its own reads along with long polls.
 */
import { fetchApi } from '../../src/kafka-protocol/messages/fetch.ts';
import { produceApi } from '../../src/kafka-protocol/messages/produce.ts';
import { iterateBatches } from '../../src/kafka-protocol/record-batch.ts';
import { encodeRecordBatch } from '../../src/kafka-protocol/records.ts';
import { Histogram } from './histogram.ts';
import { openLoop } from './open-loop.ts';
import { RawConnection, type TopicLeaders } from './raw-client.ts';

export interface LatencyOptions {
  /** Empty: the n-th record has offset n. */
  readonly topic: string;
  readonly recordBytes: number;
  readonly recordsPerSecond: number;
  readonly durationMs: number;
  readonly warmupMs: number;
}

export interface Quantiles {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  readonly maxMs: number;
}

export interface LatencyResult {
  readonly records: number;
  readonly errors: number;
  /** From sending to the acknowledgement. */
  readonly acknowledged: Quantiles;
  /** From sending until the consumer has it. */
  readonly consumed: Quantiles;
}

const PRODUCE_VERSION = 7;
const FETCH_VERSION = 11;
const FETCH_WAIT_MS = 500;
const FETCH_BYTES = 1024 * 1024;

export async function produceLatency(target: TopicLeaders, options: LatencyOptions): Promise<LatencyResult> {
  const leader = target.leaders.get(0)!;
  const producer = await RawConnection.open(leader);
  const consumer = await RawConnection.open(leader);
  const records = encodeRecordBatch([{ timestamp: Date.now(), value: Buffer.alloc(options.recordBytes, 'x') }]);
  const acknowledged = new Histogram();
  const consumed = new Histogram();
  const { recordsPerSecond } = options;
  const warmup = Math.floor((options.warmupMs * recordsPerSecond) / 1000);
  const total = warmup + Math.floor((options.durationMs * recordsPerSecond) / 1000);
  const sentMs: number[] = [];
  let errors = 0;
  let answered = 0;

  const reading = consume(consumer, options.topic, total, (offset) => {
    if (offset >= warmup) consumed.record(performance.now() - sentMs[offset]!);
  });
  await new Promise<void>((resolve, reject) => {
    const sending = openLoop({ recordsPerSecond, total }, (index) => {
      sentMs.push(performance.now());
      producer.send(
        produceApi,
        PRODUCE_VERSION,
        { acks: -1, timeoutMs: 30_000, topicData: [{ name: options.topic, partitionData: [{ index: 0, records }] }] },
        ({ responses }) => {
          if (responses[0]?.partitionResponses[0]?.errorCode !== 0) errors += 1;
          else if (index >= warmup) acknowledged.record(performance.now() - sentMs[index]!);
          answered += 1;
          if (answered === total) resolve();
        },
        reject,
      );
    });
    Promise.all([sending, reading]).catch(reject);
  });
  // Refused records never come; what was read until now is the result.
  if (errors === 0) await reading;
  producer.close();
  consumer.close();
  return {
    records: acknowledged.count,
    errors,
    acknowledged: quantilesOf(acknowledged),
    consumed: quantilesOf(consumed),
  };
}

/** Reads offsets 0 to `total` − 1 of partition 0 as they come. */
async function consume(
  connection: RawConnection,
  topic: string,
  total: number,
  received: (offset: number) => void,
): Promise<void> {
  let fetchOffset = 0;
  while (fetchOffset < total && connection.isOpen) {
    const { responses } = await connection.request(fetchApi, FETCH_VERSION, {
      maxWaitMs: FETCH_WAIT_MS,
      minBytes: 1,
      maxBytes: FETCH_BYTES,
      topics: [{ topic, partitions: [{ partition: 0, fetchOffset, partitionMaxBytes: FETCH_BYTES }] }],
      forgottenTopicsData: [],
    });
    const partition = responses[0]?.partitions[0];
    if (partition === undefined || partition.errorCode !== 0) {
      throw new Error(`Fetch of ${topic} failed with error ${partition?.errorCode}`);
    }
    if (partition.records === null) continue;
    for (const batch of iterateBatches(partition.records)) {
      for (; fetchOffset <= batch.lastOffset; fetchOffset++) received(fetchOffset);
    }
  }
}

function quantilesOf(histogram: Histogram): Quantiles {
  return {
    p50Ms: histogram.quantileMs(0.5),
    p99Ms: histogram.quantileMs(0.99),
    p999Ms: histogram.quantileMs(0.999),
    maxMs: histogram.maxMs,
  };
}
