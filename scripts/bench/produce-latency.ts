/**
 * Open loop: records leave at their times whatever the brokers do. One partition (0), a batch of one record a request; a consumer on a connection of its own reads along with long polls.
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
  readonly takeSnapshot: () => CpuSnapshot;
}

export interface LatencyResult {
  readonly records: number;
  readonly errors: ReadonlyMap<number, number>;
  /** From sending to the acknowledgement. */
  readonly acknowledged: Quantiles;
  /** From sending until the consumer has it. */
  readonly consumed: Quantiles;
  readonly before: CpuSnapshot;
  readonly after: CpuSnapshot;
}

const PRODUCE_VERSION = 7;

export async function produceLatency(target: TopicLeaders, options: LatencyOptions): Promise<LatencyResult> {
  const leader = target.leaders.get(0)!;
  const producer = await RawConnection.open(leader);
  const records = encodeRecordBatch([{ timestamp: Date.now(), value: Buffer.alloc(options.recordBytes, 'x') }]);
  const acknowledged = new Histogram();
  const consumed = new Histogram();
  const errors = new Map<number, number>();
  const perSecond = options.recordsPerSecond;
  const warmup = Math.floor((options.warmupMs * perSecond) / 1000);
  const total = warmup + Math.floor((options.durationMs * perSecond) / 1000);
  const dueMs = new Float64Array(total);
  let answered = 0;
  let before = options.takeSnapshot();

  let allRead = (): void => {};
  const readAll = new Promise<void>((resolve) => {
    allRead = resolve;
  });
  const reader = await tailPartitions({ leaders: new Map([[0, leader]]), topic: options.topic }, (_, first, last) => {
    const nowMs = performance.now();
    for (let offset = first; offset <= last; offset++) {
      if (offset >= warmup && offset < total) consumed.record(nowMs - dueMs[offset]!);
      if (offset === total - 1) allRead();
    }
  });
  const reading = Promise.race([readAll, reader.failed]);
  await new Promise<void>((resolve, reject) => {
    const sending = openLoop({ perSecond, total }, (index, due) => {
      if (index === warmup) before = options.takeSnapshot();
      dueMs[index] = due;
      producer.send(
        produceApi,
        PRODUCE_VERSION,
        { acks: -1, timeoutMs: 30_000, topicData: [{ name: options.topic, partitionData: [{ index: 0, records }] }] },
        ({ responses }) => {
          const code = responses[0]?.partitionResponses[0]?.errorCode ?? -1;
          if (code !== 0) errors.set(code, (errors.get(code) ?? 0) + 1);
          else if (index >= warmup) acknowledged.record(performance.now() - due);
          answered += 1;
          if (answered === total) resolve();
        },
        reject,
      );
    });
    Promise.all([sending, reading]).catch(reject);
  });
  // Refused records never come; what was read until now is the result.
  if (errors.size === 0) await reading;
  const after = options.takeSnapshot();
  producer.close();
  reader.close();
  return {
    records: acknowledged.count,
    errors,
    acknowledged: acknowledged.quantiles(),
    consumed: consumed.quantiles(),
    before,
    after,
  };
}
