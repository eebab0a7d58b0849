/**
 * An idempotent producer of one partition with up to five batches in flight, by the rules of Kafka's own clients: consecutive sequences in order; after any error everything unanswered is sent
 * again, in order, to whoever leads now. A batch that reaches its deadline ends as unknown with all behind it, and a new producer id is taken.
 */
import { ErrorCode } from '../../../src/kafka-protocol/error-codes.ts';
import { initProducerIdApi } from '../../../src/kafka-protocol/messages/init-producer-id.ts';
import { produceApi } from '../../../src/kafka-protocol/messages/produce.ts';
import { encodeRecordBatch } from '../../../src/kafka-protocol/records.ts';
import { CheckedError } from '../../chaos/checker/check-answers.ts';
import { encodeValue } from '../../chaos/clients/keys.ts';
import { isWorthAnotherTry, nameOfCode, outcomeOfCode } from '../../chaos/clients/outcome.ts';
import type { EventType, SendMop } from '../../chaos/history/history.ts';
import { Actor, type ActorContext, NAP_MS } from './actor.ts';
import { chooseCompression } from './compression-choice.ts';
import type { Key } from './simulated-history.ts';
import { RoutedConnection, type VirtualConnection } from './virtual-client.ts';

const IN_FLIGHT_MAX = 5;
const RETRY_MS = 30;

export interface SenderOptions {
  readonly key: Key;
  readonly produceVersion: number;
  readonly recordBytesMax: number;
  readonly compresses: boolean;
  /** From the first attempt at a batch until it counts as unknown. */
  readonly deadlineMs: number;
}

interface Batch {
  readonly process: number;
  readonly values: readonly number[];
  readonly bytes: Uint8Array;
  readonly deadlineMs: number;
  /** An attempt had an outcome that leaves open whether it is in the log. */
  isUnknown: boolean;
  attempts: number;
}

export class SequencedSender extends Actor {
  readonly #options: SenderOptions;
  readonly #leader: RoutedConnection;
  readonly #idleProcesses: number[] = [];
  #identity: { id: number; epoch: number; name: string } | undefined;
  #nextSequence = 0;
  #nextBatch = 0;
  #open: Batch[] = [];
  #connection: VirtualConnection | undefined;
  /** How many of the open batches were sent on the current connection. */
  #sent = 0;
  #trouble = false;

  constructor(context: ActorContext, options: SenderOptions) {
    super(context);
    this.#options = options;
    this.#leader = RoutedConnection.toLeader(context.client, options.key.topic, options.key.partition);
  }

  protected async run(): Promise<void> {
    const { client } = this.context;
    let submittedMs = client.options.time.now;
    let paces = 0;
    while (this.isRunning || this.#open.length > 0) {
      const now = client.options.time.now;
      const nextMs = submittedMs + paces * this.context.paceMs;
      if (this.isRunning && this.#open.length < IN_FLIGHT_MAX && now >= nextMs && (await this.#prepare())) {
        this.#submit();
        submittedMs = now;
        paces = client.options.random.next() * 2;
      }
      const head = this.#open[0];
      if (head !== undefined) {
        if (now > head.deadlineMs) this.#giveUp(['deadline']);
        else if (this.#trouble || this.#connection?.isOpen !== true) await this.#reconnect();
        else this.#sendMore();
      }
      if (head === undefined) await client.sleep(Math.min(Math.max(1, nextMs - now), NAP_MS));
      else await client.rest(10);
    }
    this.#leader.close();
  }

  async #prepare(): Promise<boolean> {
    const { plan, client } = this.context;
    const beginsAnew =
      plan.newProducers > 0 && this.#open.length === 0 && client.options.random.chance(plan.newProducers);
    if (this.#identity !== undefined && !beginsAnew) return true;
    const answer = await client.ask(initProducerIdApi, 1, {
      transactionalId: null,
      transactionTimeoutMs: 60_000,
    });
    if (answer === undefined || answer.errorCode !== 0) {
      client.switchBroker();
      await client.rest(RETRY_MS);
      return false;
    }
    const { producerId, producerEpoch } = answer;
    this.#identity = {
      id: producerId,
      epoch: producerEpoch,
      name: `${producerId}.${producerEpoch}.${this.#options.key.key}`,
    };
    this.#nextSequence = 0;
    this.#nextBatch = 0;
    return true;
  }

  #submit(): void {
    const { history, client } = this.context;
    const { key, recordBytesMax, deadlineMs, compresses } = this.#options;
    const { random, time } = client.options;
    const { id, epoch, name } = this.#identity!;
    const values = Array.from({ length: random.between(1, 4) }, () => history.newValue());
    const process = this.#idleProcesses.pop() ?? history.newProcess();
    const bytes = encodeRecordBatch(
      values.map((value) => ({
        timestamp: time.wallMs(),
        value: encodeValue(value, random.between(10, recordBytesMax)),
      })),
      {
        ...chooseCompression(random, compresses),
        producerId: id,
        producerEpoch: epoch,
        baseSequence: this.#nextSequence,
      },
    );
    const mops = values.map((value): SendMop => ['send', key.key, value]);
    history.client(process, 'invoke', 'send', mops, { acks: -1, sequence: [name, this.#nextBatch++] });
    this.#nextSequence += values.length;
    this.#open.push({ process, values, bytes, deadlineMs: time.now + deadlineMs, isUnknown: false, attempts: 0 });
  }

  async #reconnect(): Promise<void> {
    if (this.#trouble) await this.context.client.rest(RETRY_MS);
    this.#trouble = false;
    this.#sent = 0;
    this.#leader.lose();
    this.#connection = await this.#leader.get();
    if (this.#connection === undefined) await this.context.client.rest(RETRY_MS);
    else this.#sendMore();
  }

  #sendMore(): void {
    const connection = this.#connection!;
    while (this.#sent < this.#open.length && connection.isOpen) this.#send(connection, this.#open[this.#sent++]!);
  }

  #send(connection: VirtualConnection, batch: Batch): void {
    const { key, produceVersion } = this.#options;
    const { requestTimeoutMs, time } = this.context.client.options;
    batch.attempts++;
    const timer = time.after(requestTimeoutMs, () => {
      batch.isUnknown = true;
      connection.close();
    });
    connection.send(
      produceApi,
      produceVersion,
      {
        acks: -1,
        timeoutMs: requestTimeoutMs,
        topicData: [{ name: key.topic, partitionData: [{ index: key.partition, records: batch.bytes }] }],
      },
      ({ responses }) => {
        timer.cancel();
        const { errorCode, baseOffset } = responses[0]!.partitionResponses[0]!;
        this.#answered(batch, errorCode, baseOffset, connection);
      },
      () => {
        timer.cancel();
        batch.isUnknown = true;
      },
    );
  }

  #answered(batch: Batch, code: number, baseOffset: number, connection: VirtualConnection): void {
    const at = this.#open.indexOf(batch);
    if (at === -1 || this.#connection !== connection) return;
    if (code === ErrorCode.NONE || code === ErrorCode.DUPLICATE_SEQUENCE_NUMBER) {
      this.#open.splice(at, 1);
      this.#sent--;
      const { key } = this.#options.key;
      const offset = code === ErrorCode.NONE && baseOffset >= 0 ? baseOffset : null;
      if (offset !== null) this.context.truth.acknowledged(this.#options.key, offset, batch.bytes);
      this.#settle(
        batch,
        'ok',
        batch.values.map((v, i): SendMop => ['send', key, [offset === null ? null : offset + i, v]]),
      );
      return;
    }
    if (outcomeOfCode(code) === 'info') batch.isUnknown = true;
    // Batches behind one that was refused are refused too; what counts is the oldest.
    if (at > 0) return;
    if (isWorthAnotherTry(code)) {
      this.#trouble = true;
      return;
    }
    const isSequence = code === ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER || code === ErrorCode.UNKNOWN_PRODUCER_ID;
    this.#giveUp(isSequence ? [CheckedError.outOfOrderAtHead, this.#options.key.key, code] : [nameOfCode(code)]);
  }

  /** Ends all that is open, and this producer id with it: what was never sent certainly failed, the rest is unknown. */
  #giveUp(headError: readonly (string | number)[]): void {
    const open = this.#open;
    this.#open = [];
    this.#sent = 0;
    this.#trouble = true;
    this.#connection?.close();
    this.#identity = undefined;
    open.forEach((batch, at) => {
      const isUnknown = batch.isUnknown || batch.attempts > 1 || (at > 0 && batch.attempts > 0);
      const mops = batch.values.map((value): SendMop => ['send', this.#options.key.key, value]);
      const isFailed = !isUnknown && (batch.attempts === 0 || headError[0] !== 'deadline');
      this.#settle(batch, isFailed ? 'fail' : 'info', mops, at === 0 ? headError : ['behind', ...headError]);
    });
  }

  #settle(batch: Batch, type: EventType, value: readonly SendMop[], error?: readonly (string | number)[]): void {
    this.context.history.client(batch.process, type, 'send', value, error === undefined ? {} : { error });
    if (type !== 'info') this.#idleProcesses.push(batch.process);
  }
}
