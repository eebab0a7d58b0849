/** Closed loop: as many records as the brokers take with `inFlight` requests open on each connection. Batches are built once and sent again: encoding is not what is measured. */
import { produceApi } from '../../src/kafka-protocol/messages/produce.ts';
import { encodeRecordBatch } from '../../src/kafka-protocol/records.ts';
import { Histogram } from './histogram.ts';
import { type Lane, LeaderLanes } from './leader-lanes.ts';
import type { CpuSnapshot } from './machine.ts';
import { RETRY_BACKOFF_MS, type TopicLeaders } from './raw-client.ts';

export interface ThroughputOptions {
  readonly topic: string;
  readonly recordBytes: number;
  readonly batchBytes: number;
  readonly inFlight: number;
  readonly durationMs: number;
  readonly warmupMs: number;
  /** Partitions of one leader whose batches share a request, as a client with a busy sender would send them. */
  readonly partitionsPerRequest: number;
  /** Connections to each leader; its partitions are shared out among them. */
  readonly connectionsPerLeader?: number;
  readonly takeSnapshot: () => CpuSnapshot;
}

export interface ThroughputResult {
  readonly records: number;
  readonly recordsPerSecond: number;
  readonly megabytesPerSecond: number;
  readonly requestP50Ms: number;
  readonly requestP99Ms: number;
  /** Refused batches by error code, also of the warm-up. */
  readonly errors: ReadonlyMap<number, number>;
  /** At the start and the end of what was measured. */
  readonly before: CpuSnapshot;
  readonly after: CpuSnapshot;
}

const PRODUCE_VERSION = 7;

export async function produceThroughput(target: TopicLeaders, options: ThroughputOptions): Promise<ThroughputResult> {
  const recordsPerBatch = Math.max(1, Math.floor(options.batchBytes / options.recordBytes));
  const value = Buffer.alloc(options.recordBytes, 'x');
  const timestamp = Date.now();
  const batch = encodeRecordBatch(Array.from({ length: recordsPerBatch }, () => ({ timestamp, value })));
  const histogram = new Histogram();
  const errors = new Map<number, number>();
  let records = 0;
  let measuring = false;
  let stopped = false;
  const failures: Error[] = [];
  const idle: Promise<void>[] = [];
  const sendOn = (lane: Lane): void => {
    let next = 0;
    const nextPartitions = (): { index: number; records: Uint8Array }[] => {
      const { partitions } = lane;
      const count = Math.min(options.partitionsPerRequest, partitions.length);
      return Array.from({ length: count }, () => ({ index: partitions[next++ % partitions.length]!, records: batch }));
    };
    const keepSending = (resolve: () => void): void => {
      if (stopped) return resolve();
      const sendLater = (): void => {
        setTimeout(() => keepSending(resolve), RETRY_BACKOFF_MS);
      };
      if (lane.partitions.length === 0) return sendLater();
      const sentMs = performance.now();
      lane.connection.send(
        produceApi,
        PRODUCE_VERSION,
        { acks: -1, timeoutMs: 30_000, topicData: [{ name: options.topic, partitionData: nextPartitions() }] },
        ({ responses }) => {
          let accepted = 0;
          for (const { partitionResponses } of responses) {
            for (const { errorCode } of partitionResponses) {
              if (errorCode === 0) accepted += 1;
              else {
                errors.set(errorCode, (errors.get(errorCode) ?? 0) + 1);
                lanes?.refused(errorCode);
              }
            }
          }
          if (measuring) {
            records += accepted * recordsPerBatch;
            histogram.record(performance.now() - sentMs);
          }
          if (accepted > 0) keepSending(resolve);
          else sendLater();
        },
        (error) => {
          failures.push(error);
          resolve();
        },
      );
    };
    for (let slot = 0; slot < options.inFlight; slot++) idle.push(new Promise(keepSending));
  };
  let lanes: LeaderLanes | undefined;
  lanes = await LeaderLanes.open(target, {
    topic: options.topic,
    connectionsPerLeader: options.connectionsPerLeader,
    onLane: sendOn,
    onFailure: (error) => failures.push(error),
  });
  await new Promise((resolve) => setTimeout(resolve, options.warmupMs));
  const before = options.takeSnapshot();
  measuring = true;
  const startedMs = performance.now();
  await new Promise((resolve) => setTimeout(resolve, options.durationMs));
  const elapsedMs = performance.now() - startedMs;
  measuring = false;
  const after = options.takeSnapshot();
  stopped = true;
  await Promise.all(idle);
  lanes.close();
  if (failures.length > 0) throw failures[0];
  if (records === 0) {
    const codes = [...errors].map(([code, count]) => `${count} with error ${code}`).join(', ');
    throw new Error(`Nothing was acknowledged in ${options.durationMs / 1000} s; refused batches: ${codes || 'none'}`);
  }
  return {
    records,
    recordsPerSecond: (records * 1000) / elapsedMs,
    megabytesPerSecond: (records * options.recordBytes) / elapsedMs / 1000,
    requestP50Ms: histogram.quantileMs(0.5),
    requestP99Ms: histogram.quantileMs(0.99),
    errors,
    before,
    after,
  };
}
