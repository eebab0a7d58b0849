/** kafkajs as an application would use it, and what it was told. */
import { type Admin, Kafka, logLevel, Partitioners, type Producer } from 'kafkajs';
import type { Ledger, ReadRecord } from './ledger.ts';

/** Printed by the demo: what the numbers were measured with. */
export const CLIENT = {
  /** One send fails for good after this many retries, 50–200 ms apart: an application that wants an answer soon. */
  impatient: { retry: { initialRetryTime: 50, maxRetryTime: 200, retries: 3 }, requestTimeout: 1000, timeout: 800 },
  /** Goes on until it succeeds: an application that must not lose its place. */
  patient: { retry: { initialRetryTime: 50, maxRetryTime: 200, retries: 1_000 }, requestTimeout: 1000, timeout: 800 },
} as const;
export type Patience = keyof typeof CLIENT;

export function connect(brokers: string[], patience: Patience): Kafka {
  const { retry, requestTimeout } = CLIENT[patience];
  return new Kafka({
    clientId: 'flotilla-demo',
    brokers,
    logLevel: logLevel.NOTHING,
    connectionTimeout: 500,
    requestTimeout,
    retry,
  });
}

export async function withAdmin<T>(brokers: string[], use: (admin: Admin) => Promise<T>): Promise<T> {
  const admin = connect(brokers, 'patient').admin();
  await admin.connect();
  try {
    return await use(admin);
  } finally {
    await admin.disconnect();
  }
}

/** An idempotent producer with one request in flight that writes down each answer. */
export class RecordingProducer {
  readonly #topic: string;
  readonly #ledger: Ledger;
  readonly #patience: Patience;
  readonly #producer: Producer;

  constructor(brokers: string[], topic: string, ledger: Ledger, patience: Patience) {
    this.#topic = topic;
    this.#ledger = ledger;
    this.#patience = patience;
    this.#producer = connect(brokers, patience).producer({
      idempotent: true,
      maxInFlightRequests: 1,
      allowAutoTopicCreation: false,
      createPartitioner: Partitioners.DefaultPartitioner,
    });
  }

  connect(): Promise<void> {
    return this.#producer.connect();
  }

  disconnect(): Promise<void> {
    return this.#producer.disconnect();
  }

  /** Undefined if acknowledged, else why not. */
  async send(value: string): Promise<string | undefined> {
    this.#ledger.attempted.push(value);
    try {
      await this.#producer.send({
        topic: this.#topic,
        acks: -1,
        timeout: CLIENT[this.#patience].timeout,
        messages: [{ key: 'demo', value }],
      });
    } catch (error) {
      return rootCause(error);
    }
    this.#ledger.acknowledged.push(value);
    return undefined;
  }
}

/** Everything in partition 0, from the beginning to its end as the admin tells it. */
export async function readAll(brokers: string[], topic: string): Promise<ReadRecord[]> {
  const end = await withAdmin(brokers, async (admin) => Number((await admin.fetchTopicOffsets(topic))[0]!.high));
  if (end === 0) return [];
  const consumer = connect(brokers, 'patient').consumer({
    groupId: `demo-${topic}-${Date.now()}`,
    sessionTimeout: 10_000,
    maxWaitTimeInMs: 100,
  });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  const records: ReadRecord[] = [];
  await new Promise<void>((resolve, reject) => {
    consumer
      .run({
        eachMessage: async ({ message }) => {
          records.push({ offset: Number(message.offset), value: message.value?.toString() ?? '' });
          if (Number(message.offset) >= end - 1) resolve();
        },
      })
      .catch(reject);
  });
  await consumer.disconnect();
  return records;
}

function rootCause(error: unknown): string {
  type ClientError = Error & { originalError?: unknown; type?: string };
  let cause = error as ClientError;
  for (let depth = 0; depth < 5; depth++) {
    const next = cause.originalError ?? cause.cause;
    if (!(next instanceof Error)) break;
    cause = next as ClientError;
  }
  return `${cause.type ?? cause.name}: ${cause.message}`;
}
