/**
 * Open loop: records come at their times whatever the brokers do. They leave as a client without linger sends them: at once while fewer than five requests are open, otherwise they wait for the next
 * answer and leave together. One partition (0); a consumer on a connection of its own may read along with long polls.
 */
import { produceApi } from '../../src/kafka-protocol/messages/produce.ts';
import { encodeRecordBatch } from '../../src/kafka-protocol/records.ts';
import { Histogram, type Quantiles } from './histogram.ts';
import type { CpuSnapshot } from './machine.ts';
import { openLoop } from './open-loop.ts';
import { RawConnection, type TopicLeaders } from './raw-client.ts';
import { tailPartitions } from './tail-reader.ts';

export interface LatencyOptions {
  /** Empty: the n-th record has offset n. */
  readonly topic: string;
  readonly recordBytes: number;
  readonly recordsPerSecond: number;
  readonly durationMs: number;
  readonly warmupMs: number;
  /** Whether a consumer reads along; it costs the leader about as much as the producer. */
  readonly consume: boolean;
  readonly takeSnapshot: () => CpuSnapshot;
}

export interface LatencyResult {
  readonly records: number;
  readonly errors: ReadonlyMap<number, number>;
  /** From sending to the acknowledgement. */
  readonly acknowledged: Quantiles;
  /** From sending until the consumer has it; of nothing without a consumer. */
  readonly consumed: Quantiles;
  readonly before: CpuSnapshot;
  readonly after: CpuSnapshot;
}

const PRODUCE_VERSION = 7;
/** As Kafka's clients have it (max.in.flight.requests.per.connection). */
const IN_FLIGHT_MAX = 5;
/** Records that wait are sent in batches of so many at most. */
const BATCH_RECORDS_MAX = 128;

export async function produceLatency(target: TopicLeaders, options: LatencyOptions): Promise<LatencyResult> {
  const leader = target.leaders.get(0)!;
  const producer = await RawConnection.open(leader);
  const batchOf = batchCache(options.recordBytes);
  const acknowledged = new Histogram();
  const consumed = new Histogram();
  const errors = new Map<number, number>();
  const perSecond = options.recordsPerSecond;
  const warmup = Math.floor((options.warmupMs * perSecond) / 1000);
  const total = warmup + Math.floor((options.durationMs * perSecond) / 1000);
  const dueMs = new Float64Array(total);
  let before = options.takeSnapshot();

  let allRead = (): void => {};
  const readAll = new Promise<void>((resolve) => {
    allRead = resolve;
  });
  const reader = options.consume
    ? await tailPartitions({ leaders: new Map([[0, leader]]), topic: options.topic }, (_, first, last) => {
        const nowMs = performance.now();
        for (let offset = first; offset <= last; offset++) {
          if (offset >= warmup && offset < total) consumed.record(nowMs - dueMs[offset]!);
          if (offset === total - 1) allRead();
        }
      })
    : undefined;
  const reading = reader === undefined ? Promise.resolve() : Promise.race([readAll, reader.failed]);
  await new Promise<void>((resolve, reject) => {
    let came = 0;
    let left = 0;
    let answered = 0;
    let open = 0;
    const sendWaiting = (): void => {
      while (left < came && open < IN_FLIGHT_MAX) {
        const first = left;
        const count = Math.min(BATCH_RECORDS_MAX, came - left);
        left += count;
        open += 1;
        producer.send(
          produceApi,
          PRODUCE_VERSION,
          {
            acks: -1,
            timeoutMs: 30_000,
            topicData: [{ name: options.topic, partitionData: [{ index: 0, records: batchOf(count) }] }],
          },
          ({ responses }) => {
            const nowMs = performance.now();
            const code = responses[0]?.partitionResponses[0]?.errorCode ?? -1;
            if (code !== 0) errors.set(code, (errors.get(code) ?? 0) + 1);
            else for (let i = Math.max(first, warmup); i < first + count; i++) acknowledged.record(nowMs - dueMs[i]!);
            open -= 1;
            answered += count;
            if (answered === total) resolve();
            else sendWaiting();
          },
          reject,
        );
      }
    };
    const coming = openLoop({ perSecond, total }, (index, due) => {
      if (index === warmup) before = options.takeSnapshot();
      dueMs[index] = due;
      came = index + 1;
      sendWaiting();
    });
    Promise.all([coming, reading]).catch(reject);
  });
  // Refused records never come; what was read until now is the result.
  if (errors.size === 0) await reading;
  const after = options.takeSnapshot();
  producer.close();
  reader?.close();
  return {
    records: acknowledged.count,
    errors,
    acknowledged: acknowledged.quantiles(),
    consumed: consumed.quantiles(),
    before,
    after,
  };
}

/** Batches by their number of records, each encoded once. */
function batchCache(recordBytes: number): (count: number) => Uint8Array {
  const batches = new Map<number, Uint8Array>();
  const record = { timestamp: Date.now(), value: Buffer.alloc(recordBytes, 'x') };
  return (count) => {
    const known = batches.get(count);
    if (known !== undefined) return known;
    const batch = encodeRecordBatch(Array.from({ length: count }, () => record));
    batches.set(count, batch);
    return batch;
  };
}
