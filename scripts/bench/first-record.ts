/** Tries until a record is acknowledged, as a client does that was told to start before the brokers are there. */
import { metadataApi } from '../../src/kafka-protocol/messages/metadata.ts';
import { produceApi } from '../../src/kafka-protocol/messages/produce.ts';
import { encodeRecordBatch } from '../../src/kafka-protocol/records.ts';
import { createTopic, type Endpoint, RawConnection } from './raw-client.ts';

const PRODUCE_VERSION = 7;
const METADATA_VERSION = 8;
const CONNECT_TIMEOUT_MS = 500;
/** A broker that is starting may accept a connection long before it answers. */
const ANSWER_TIMEOUT_MS = 3_000;
const RETRY_MS = 20;
const GIVE_UP_MS = 180_000;

/** Milliseconds since `startMs` until a record of `topic` partition 0 was acknowledged; rejects after three minutes. `create`: the topic is made first, with so many replicas. */
export async function untilFirstRecord(
  endpoints: readonly Endpoint[],
  topic: string,
  { startMs, create }: { readonly startMs: number; readonly create?: number },
): Promise<number> {
  let created = create === undefined;
  let lastError = 'no broker could be asked';
  for (let attempt = 0; ; attempt++) {
    const endpoint = endpoints[attempt % endpoints.length]!;
    try {
      if (!created) {
        await soon(createIfMissing(endpoint, topic, create!));
        created = true;
      }
      if (await soon(sendOne(endpoint, topic))) return performance.now() - startMs;
      lastError = 'the record was refused, or no leader is known';
    } catch (error) {
      // Not up yet, or not ready: said by a closed connection, or by an error code, or by silence.
      lastError = (error as Error).message;
    }
    if (performance.now() - startMs > GIVE_UP_MS) {
      throw new Error(`No record was acknowledged within ${GIVE_UP_MS / 1000} s: ${lastError}`);
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

/** An attempt that got no answer may have made it. */
async function createIfMissing(endpoint: Endpoint, name: string, replicationFactor: number): Promise<void> {
  try {
    await createTopic(endpoint, { name, partitions: 1, replicationFactor });
  } catch (error) {
    if (!(error as Error).message.includes('error 36')) throw error;
  }
}

/** Rejects if it takes too long; what was asked for may still happen. */
async function soon<T>(work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('No answer in time')), ANSWER_TIMEOUT_MS);
  });
  work.catch(() => undefined);
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Asks one broker who leads partition 0 and sends that one a record. */
async function sendOne(endpoint: Endpoint, topic: string): Promise<boolean> {
  const asked = await RawConnection.open(endpoint, CONNECT_TIMEOUT_MS);
  try {
    const { brokers, topics } = await asked.request(metadataApi, METADATA_VERSION, { topics: [{ name: topic }] });
    const leaderId = topics[0]?.partitions.find(({ partitionIndex }) => partitionIndex === 0)?.leaderId;
    const leader = brokers.find(({ nodeId }) => nodeId === leaderId);
    if (leader === undefined) return false;
    const connection = await RawConnection.open(leader, CONNECT_TIMEOUT_MS);
    try {
      const records = encodeRecordBatch([{ timestamp: Date.now(), value: Buffer.from('first') }]);
      const { responses } = await connection.request(produceApi, PRODUCE_VERSION, {
        acks: -1,
        timeoutMs: 1_000,
        topicData: [{ name: topic, partitionData: [{ index: 0, records }] }],
      });
      return responses[0]?.partitionResponses[0]?.errorCode === 0;
    } finally {
      connection.close();
    }
  } finally {
    asked.close();
  }
}
