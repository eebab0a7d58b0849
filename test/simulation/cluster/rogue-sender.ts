/** An idempotent producer that leaves gaps in its sequence: what it sends behind a gap must be refused, and must never be in the log. */
import { ErrorCode } from '../../../src/kafka-protocol/error-codes.ts';
import { initProducerIdApi } from '../../../src/kafka-protocol/messages/init-producer-id.ts';
import { produceApi } from '../../../src/kafka-protocol/messages/produce.ts';
import { encodeRecordBatch } from '../../../src/kafka-protocol/records.ts';
import { encodeValue } from '../../chaos/clients/keys.ts';
import { nameOfCode, outcomeOfCode } from '../../chaos/clients/outcome.ts';
import type { SendMop } from '../../chaos/history/history.ts';
import { Violation } from '../raft-oracle.ts';
import { Actor, type ActorContext } from './actor.ts';
import type { SenderOptions } from './sequenced-sender.ts';
import { ProcessPool } from './simulated-history.ts';
import { RoutedConnection } from './virtual-client.ts';

const GAP = 7;

export class RogueSender extends Actor {
  readonly #options: SenderOptions;
  readonly #leader: RoutedConnection;
  readonly #processes: ProcessPool;
  #identity: { readonly producerId: number; readonly producerEpoch: number } | undefined;
  #sequence = 0;

  constructor(context: ActorContext, options: SenderOptions) {
    super(context);
    this.#options = options;
    this.#processes = new ProcessPool(context.history);
    this.#leader = RoutedConnection.toLeader(context.client, options.key.topic, options.key.partition);
  }

  protected async run(): Promise<void> {
    while (this.isRunning) {
      await this.pace();
      if (this.#identity === undefined && !(await this.#begin())) continue;
      const hasGap = this.context.client.options.random.chance(0.4);
      const code = await this.#send(hasGap);
      if (hasGap && code === ErrorCode.NONE) {
        throw new Violation(`A batch of key ${this.#options.key.key} with a gap before it was accepted`);
      }
      // Only of what is certainly the last batch it is known what follows.
      if (code !== ErrorCode.NONE && code !== ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER) this.#identity = undefined;
    }
    this.#leader.close();
  }

  async #begin(): Promise<boolean> {
    const { client } = this.context;
    const answer = await client.ask(initProducerIdApi, 1, { transactionalId: null, transactionTimeoutMs: 60_000 });
    if (answer === undefined || answer.errorCode !== ErrorCode.NONE) {
      client.switchBroker();
      return false;
    }
    this.#identity = answer;
    this.#sequence = 0;
    return true;
  }

  /** The error code; undefined without an answer. */
  async #send(hasGap: boolean): Promise<number | undefined> {
    const connection = await this.#leader.get();
    if (connection === undefined) return undefined;
    const { history, client, truth } = this.context;
    const { key, produceVersion } = this.#options;
    const { random, time, requestTimeoutMs } = client.options;
    const value = history.newValue();
    const mops: SendMop[] = [['send', key.key, value]];
    const records = encodeRecordBatch(
      [{ timestamp: time.wallMs(), value: encodeValue(value, random.between(10, 60)) }],
      {
        producerId: this.#identity!.producerId,
        producerEpoch: this.#identity!.producerEpoch,
        baseSequence: this.#sequence + (hasGap ? GAP : 0),
      },
    );
    const process = this.#processes.take();
    history.client(process, 'invoke', 'send', mops, { acks: -1 });
    let reason = 'network';
    try {
      const { responses } = await connection.request(
        produceApi,
        produceVersion,
        {
          acks: -1,
          timeoutMs: requestTimeoutMs,
          topicData: [{ name: key.topic, partitionData: [{ index: key.partition, records }] }],
        },
        2 * requestTimeoutMs,
      );
      const { errorCode, baseOffset } = responses[0]!.partitionResponses[0]!;
      if (errorCode === ErrorCode.NONE) {
        truth.acknowledged(key, baseOffset, records);
        history.client(process, 'ok', 'send', [['send', key.key, [baseOffset, value]]]);
        this.#processes.giveBack(process);
        this.#sequence++;
        return errorCode;
      }
      const isRefused = errorCode === ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER;
      const type = isRefused ? 'fail' : outcomeOfCode(errorCode);
      history.client(process, type, 'send', mops, { error: [nameOfCode(errorCode)] });
      if (type !== 'info') this.#processes.giveBack(process);
      if (!isRefused) this.#leader.lose();
      return errorCode;
    } catch (error) {
      reason = (error as Error).message;
    }
    history.client(process, 'info', 'send', mops, { error: [reason] });
    this.#leader.lose();
    return undefined;
  }
}
