/** Closed loop: as many records as the brokers take with `inFlight` requests open on each connection. Batches are built once and sent again: encoding is not what is measured. */
import { produceApi } from '../../src/kafka-protocol/messages/produce.ts';
import { encodeRecordBatch } from '../../src/kafka-protocol/records.ts';
import { Histogram } from './histogram.ts';
import { type Endpoint, RawConnection, type TopicLeaders } from './raw-client.ts';

export interface ThroughputOptions {
  readonly topic: string;
  readonly recordBytes: number;
  readonly batchBytes: number;
  readonly inFlight: number;
  readonly durationMs: number;
  readonly warmupMs: number;
  /** Partitions of one leader whose batches share a request, as a client with a busy sender would send them. */
  readonly partitionsPerRequest: number;
  /** CPU seconds that the brokers have used so far, if they can be seen from here. */
  readonly brokerCpuSeconds?: (() => number) | undefined;
}

export interface ThroughputResult {
  readonly records: number;
  readonly recordsPerSecond: number;
  readonly megabytesPerSecond: number;
  /** Undefined if it cannot be seen. */
  readonly brokerCpuSecondsPerGigabyte: number | undefined;
  readonly requestP50Ms: number;
  readonly requestP99Ms: number;
  readonly errors: ReadonlyMap<number, number>;
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

  const byLeader = new Map<string, { endpoint: Endpoint; partitions: number[] }>();
  for (const [partition, endpoint] of target.leaders) {
    const key = `${endpoint.host}:${endpoint.port}`;
    const entry = byLeader.get(key) ?? { endpoint, partitions: [] };
    entry.partitions.push(partition);
    byLeader.set(key, entry);
  }
  const failures: Error[] = [];
  const idle: Promise<void>[] = [];
  const connections: RawConnection[] = [];
  for (const { endpoint, partitions } of byLeader.values()) {
    const connection = await RawConnection.open(endpoint);
    connections.push(connection);
    let next = 0;
    for (let slot = 0; slot < options.inFlight; slot++) {
      idle.push(
        new Promise<void>((resolve) => {
          const sendOne = (): void => {
            if (stopped) return resolve();
            const partitionData = [];
            const count = Math.min(options.partitionsPerRequest, partitions.length);
            for (let i = 0; i < count; i++) {
              partitionData.push({ index: partitions[next++ % partitions.length]!, records: batch });
            }
            const sentMs = performance.now();
            connection.send(
              produceApi,
              PRODUCE_VERSION,
              { acks: -1, timeoutMs: 30_000, topicData: [{ name: options.topic, partitionData }] },
              ({ responses }) => {
                let accepted = 0;
                for (const { partitionResponses } of responses) {
                  for (const { errorCode } of partitionResponses) {
                    if (errorCode === 0) accepted += 1;
                    else errors.set(errorCode, (errors.get(errorCode) ?? 0) + 1);
                  }
                }
                if (measuring) {
                  records += accepted * recordsPerBatch;
                  histogram.record(performance.now() - sentMs);
                }
                sendOne();
              },
              (error) => {
                failures.push(error);
                resolve();
              },
            );
          };
          sendOne();
        }),
      );
    }
  }
  await new Promise((resolve) => setTimeout(resolve, options.warmupMs));
  measuring = true;
  const cpuBefore = options.brokerCpuSeconds?.();
  const startedMs = performance.now();
  await new Promise((resolve) => setTimeout(resolve, options.durationMs));
  const elapsedMs = performance.now() - startedMs;
  measuring = false;
  const cpuAfter = options.brokerCpuSeconds?.();
  stopped = true;
  await Promise.all(idle);
  for (const connection of connections) connection.close();
  if (failures.length > 0) throw failures[0];
  return {
    records,
    recordsPerSecond: (records * 1000) / elapsedMs,
    megabytesPerSecond: (records * options.recordBytes) / elapsedMs / 1000,
    brokerCpuSecondsPerGigabyte:
      cpuBefore === undefined || cpuAfter === undefined
        ? undefined
        : ((cpuAfter - cpuBefore) * 1e9) / (records * options.recordBytes),
    requestP50Ms: histogram.quantileMs(0.5),
    requestP99Ms: histogram.quantileMs(0.99),
    errors,
  };
}
