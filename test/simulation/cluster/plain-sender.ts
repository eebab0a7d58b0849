/** A producer without sequence numbers that sends each batch once, with acks 1 or all, and one at a time. */
import { ErrorCode } from '../../../src/kafka-protocol/error-codes.ts';
import { produceApi } from '../../../src/kafka-protocol/messages/produce.ts';
import { encodeRecordBatch } from '../../../src/kafka-protocol/records.ts';
import { encodeValue } from '../../chaos/clients/keys.ts';
import { nameOfCode, outcomeOfCode } from '../../chaos/clients/outcome.ts';
import type { SendMop } from '../../chaos/history/history.ts';
import { Actor, type ActorContext } from './actor.ts';
import { chooseCompression } from './compression-choice.ts';
import type { SenderOptions } from './sequenced-sender.ts';
import { RoutedConnection } from './virtual-client.ts';

export class PlainSender extends Actor {
  readonly #options: SenderOptions;
  readonly #leader: RoutedConnection;
  #process: number;

  constructor(context: ActorContext, options: SenderOptions) {
    super(context);
    this.#options = options;
    this.#leader = RoutedConnection.toLeader(context.client, options.key.topic, options.key.partition);
    this.#process = context.history.newProcess();
  }

  protected async run(): Promise<void> {
    while (this.isRunning) {
      await this.pace();
      await this.#sendOne();
    }
    this.#leader.close();
  }

  async #sendOne(): Promise<void> {
    const connection = await this.#leader.get();
    if (connection === undefined) return;
    const { history, client } = this.context;
    const { key, produceVersion, recordBytesMax, compresses } = this.#options;
    const { random, time, requestTimeoutMs } = client.options;
    const values = Array.from({ length: random.between(1, 3) }, () => history.newValue());
    const acks = random.pick([1, -1]);
    const mops = values.map((value): SendMop => ['send', key.key, value]);
    history.client(this.#process, 'invoke', 'send', mops, { acks });
    const records = encodeRecordBatch(
      values.map((value) => ({
        timestamp: time.wallMs(),
        value: encodeValue(value, random.between(10, recordBytesMax)),
      })),
      chooseCompression(random, compresses),
    );
    try {
      const { responses } = await connection.request(
        produceApi,
        produceVersion,
        {
          acks,
          timeoutMs: requestTimeoutMs,
          topicData: [{ name: key.topic, partitionData: [{ index: key.partition, records }] }],
        },
        2 * requestTimeoutMs,
      );
      const { errorCode, baseOffset } = responses[0]!.partitionResponses[0]!;
      if (errorCode === ErrorCode.NONE) {
        this.context.truth.acknowledged(key, baseOffset, records);
        const placed = values.map((value, at): SendMop => ['send', key.key, [baseOffset + at, value]]);
        history.client(this.#process, 'ok', 'send', placed);
        return;
      }
      this.#failed(outcomeOfCode(errorCode), mops, nameOfCode(errorCode));
    } catch (error) {
      this.#failed('info', mops, (error as Error).message);
    }
    this.#leader.lose();
  }

  #failed(type: 'fail' | 'info', mops: readonly SendMop[], error: string): void {
    this.context.history.client(this.#process, type, 'send', mops, { error: [error] });
    if (type === 'info') this.#process = this.context.history.newProcess();
  }
}
