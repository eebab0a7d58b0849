/** A producer without sequence numbers on the bare protocol that sends each batch once: acks all, 1 or 0. What it sends can never be there twice. */

import type { RawConnection } from '../../../scripts/bench/raw-client.ts';
import { produceApi } from '../../../src/kafka-protocol/messages/produce.ts';
import { encodeRecordBatch } from '../../../src/kafka-protocol/records.ts';
import type { EventType, SendMop } from '../history/history.ts';
import type { Recorder } from '../history/recorder.ts';
import { encodeValue, type Keys } from './keys.ts';
import { type ClientNetwork, requestWithin } from './network.ts';
import { nameOfCode, outcomeOfCode } from './outcome.ts';
import { sends } from './sequenced-producer.ts';

const PRODUCE_VERSION = 7;

export interface PlainProducerOptions {
  readonly network: ClientNetwork;
  readonly recorder: Recorder;
  readonly keys: Keys;
  readonly key: number;
  readonly acks: -1 | 0 | 1;
  readonly requestTimeoutMs: number;
}

export class PlainProducer {
  readonly #options: PlainProducerOptions;
  #process: number;
  #connection: RawConnection | undefined;

  constructor(options: PlainProducerOptions) {
    this.#options = options;
    this.#process = options.recorder.newProcess();
  }

  /** Sends one batch and records what came of it; never rejects. One at a time. */
  async send(values: readonly number[], recordBytes: number): Promise<void> {
    const { network, recorder, keys, key, acks, requestTimeoutMs } = this.#options;
    const { topic, partition } = keys.partitionOf(key);
    const connection = await this.#connect();
    if (connection === undefined) return;
    const timestamp = Date.now();
    const body = {
      acks,
      timeoutMs: requestTimeoutMs,
      topicData: [
        {
          name: topic,
          partitionData: [
            {
              index: partition,
              records: encodeRecordBatch(
                values.map((value) => ({ timestamp, value: encodeValue(value, recordBytes) })),
              ),
            },
          ],
        },
      ],
    };
    recorder.client(this.#process, 'invoke', 'send', sends(key, values), { acks });
    if (acks === 0) {
      connection.sendOneWay(produceApi, PRODUCE_VERSION, body);
      this.#complete('info', sends(key, values), ['acks-0']);
      return;
    }
    try {
      const { responses } = await requestWithin(connection, produceApi, PRODUCE_VERSION, body, requestTimeoutMs * 2);
      const { errorCode, baseOffset } = responses[0]!.partitionResponses[0]!;
      if (errorCode === 0) {
        this.#complete(
          'ok',
          values.map((value, i): SendMop => ['send', key, [baseOffset + i, value]]),
        );
        return;
      }
      network.forgetLeader(topic, partition);
      this.close();
      this.#complete(outcomeOfCode(errorCode), sends(key, values), [nameOfCode(errorCode)]);
    } catch (error) {
      network.forgetLeader(topic, partition);
      this.close();
      this.#complete('info', sends(key, values), ['network', (error as Error).message]);
    }
  }

  close(): void {
    this.#connection?.close();
    this.#connection = undefined;
  }

  #complete(type: EventType, value: readonly SendMop[], error?: readonly string[]): void {
    const { recorder } = this.#options;
    recorder.client(this.#process, type, 'send', value, error === undefined ? {} : { error });
    if (type === 'info') this.#process = recorder.newProcess();
  }

  async #connect(): Promise<RawConnection | undefined> {
    if (this.#connection?.isOpen === true) return this.#connection;
    const { network, keys, key } = this.#options;
    const { topic, partition } = keys.partitionOf(key);
    const leader = await network.leaderOf(topic, partition, performance.now() + 500);
    if (leader === undefined) return undefined;
    try {
      this.#connection = await network.connect(leader);
    } catch {
      network.forgetLeader(topic, partition);
      return undefined;
    }
    return this.#connection;
  }
}
