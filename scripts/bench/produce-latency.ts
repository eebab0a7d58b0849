/**
 * Open loop: records leave at their scheduled times whatever the brokers do, and a latency counts from the scheduled time, so a stall is charged to every record that it delayed
 * (no coordinated omission).
 */
import { produceApi } from '../../src/kafka-protocol/messages/produce.ts';
import { encodeRecordBatch } from '../../src/kafka-protocol/records.ts';
import { Histogram } from './histogram.ts';
import { RawConnection, type TopicLeaders } from './raw-client.ts';

export interface LatencyOptions {
  readonly topic: string;
  readonly recordBytes: number;
  readonly recordsPerSecond: number;
  readonly durationMs: number;
  readonly warmupMs: number;
}

export interface LatencyResult {
  readonly records: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  readonly maxMs: number;
  readonly errors: number;
}

const PRODUCE_VERSION = 7;

/** One partition (0), one connection, a batch of one record a request. */
export async function produceLatency(target: TopicLeaders, options: LatencyOptions): Promise<LatencyResult> {
  const connection = await RawConnection.open(target.leaders.get(0)!);
  const records = encodeRecordBatch([{ timestamp: Date.now(), value: Buffer.alloc(options.recordBytes, 'x') }]);
  const histogram = new Histogram();
  const intervalMs = 1000 / options.recordsPerSecond;
  const startMs = performance.now();
  const total = Math.floor((options.warmupMs + options.durationMs) / intervalMs);
  const warmup = Math.floor(options.warmupMs / intervalMs);
  let errors = 0;
  let answered = 0;
  await new Promise<void>((resolve, reject) => {
    let sent = 0;
    const sendDue = (): void => {
      const dueCount = Math.min(total, Math.floor((performance.now() - startMs) / intervalMs) + 1);
      for (; sent < dueCount; sent++) {
        const index = sent;
        const dueMs = startMs + index * intervalMs;
        connection.send(
          produceApi,
          PRODUCE_VERSION,
          { acks: -1, timeoutMs: 30_000, topicData: [{ name: options.topic, partitionData: [{ index: 0, records }] }] },
          ({ responses }) => {
            if (responses[0]?.partitionResponses[0]?.errorCode !== 0) errors += 1;
            else if (index >= warmup) histogram.record(performance.now() - dueMs);
            answered += 1;
            if (answered === total) resolve();
          },
          reject,
        );
      }
      if (sent === total) return;
      const waitMs = startMs + sent * intervalMs - performance.now();
      // Timers have a millisecond's grain; the rest of the wait is turns of the event loop.
      if (waitMs > 2) setTimeout(sendDue, waitMs - 1);
      else setImmediate(sendDue);
    };
    sendDue();
  });
  connection.close();
  return {
    records: histogram.count,
    p50Ms: histogram.quantileMs(0.5),
    p99Ms: histogram.quantileMs(0.99),
    p999Ms: histogram.quantileMs(0.999),
    maxMs: histogram.maxMs,
    errors,
  };
}
