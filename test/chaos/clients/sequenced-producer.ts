/**
 * An idempotent producer of one partition on the bare protocol, with several requests in flight: the client that finds out whether sequence numbers survive changes of leader.
 *
 * Its rules are those of Kafka's own clients: batches have consecutive sequences and stay in order; after any error everything unanswered is sent again in order on a new connection; the
 * window is at most the five batches that brokers remember. When a batch reaches its deadline all that is open ends as unknown and a new producer id is taken.
 */

import type { RawConnection } from '../../../scripts/bench/raw-client.ts';
import { ErrorCode } from '../../../src/kafka-protocol/error-codes.ts';
import { initProducerIdApi } from '../../../src/kafka-protocol/messages/init-producer-id.ts';
import { produceApi } from '../../../src/kafka-protocol/messages/produce.ts';
import { encodeRecordBatch } from '../../../src/kafka-protocol/records.ts';
import { CheckedError } from '../checker/check-answers.ts';
import type { EventType, SendMop } from '../history/history.ts';
import type { Recorder } from '../history/recorder.ts';
import { encodeValue, type Keys } from './keys.ts';
import { type ClientNetwork, pause } from './network.ts';
import { isWorthAnotherTry, nameOfCode, outcomeOfCode } from './outcome.ts';

const PRODUCE_VERSION = 7;
const INIT_PRODUCER_ID_VERSION = 0;
const RETRY_PAUSE_MS = 25;

export interface SequencedProducerOptions {
  readonly network: ClientNetwork;
  readonly recorder: Recorder;
  readonly keys: Keys;
  readonly key: number;
  readonly window: number;
  readonly requestTimeoutMs: number;
  /** From the first attempt at a batch until it counts as unknown. */
  readonly deadlineMs: number;
}

interface Batch {
  readonly process: number;
  readonly values: readonly number[];
  readonly recordBytes: number;
  readonly sequence: number;
  readonly deadlineMs: number;
  readonly settled: () => void;
  /** An attempt had an outcome that leaves open whether it is in the log. */
  isUnknown: boolean;
  attempts: number;
}

interface Identity {
  readonly id: number;
  readonly epoch: number;
  /** Unique in the history. */
  readonly name: string;
}

export class SequencedProducer {
  readonly #options: SequencedProducerOptions;
  readonly #topic: string;
  readonly #partition: number;
  readonly #idleProcesses: number[] = [];
  #identity: Identity | undefined;
  #nextSequence = 0;
  #nextBatch = 0;
  #open: Batch[] = [];
  /** How many of the open batches were sent on the current connection. */
  #sent = 0;
  #connection: RawConnection | undefined;
  #isRunning = false;

  constructor(options: SequencedProducerOptions) {
    this.#options = options;
    ({ topic: this.#topic, partition: this.#partition } = options.keys.partitionOf(options.key));
  }

  get openBatches(): number {
    return this.#open.length;
  }

  /** Gets an identity if there is none; false if nobody gave one. Has to succeed before `submit`. */
  async prepare(): Promise<boolean> {
    if (this.#identity !== undefined) return true;
    const answer = await this.#options.network.askAny(initProducerIdApi, INIT_PRODUCER_ID_VERSION, {
      transactionalId: null,
      transactionTimeoutMs: 60_000,
    });
    if (answer === undefined || answer.errorCode !== 0) return false;
    const name = `${answer.producerId}.${answer.producerEpoch}.${this.#options.key}`;
    this.#identity = { id: answer.producerId, epoch: answer.producerEpoch, name };
    this.#nextSequence = 0;
    this.#nextBatch = 0;
    return true;
  }

  /** Sends one batch; resolves when its outcome is recorded. At most `window` may be open, and `prepare` must have succeeded. */
  submit(values: readonly number[], recordBytes: number): Promise<void> {
    const { recorder, key, deadlineMs } = this.#options;
    const process = this.#idleProcesses.pop() ?? recorder.newProcess();
    recorder.client(process, 'invoke', 'send', sends(key, values), {
      acks: -1,
      sequence: [this.#identity!.name, this.#nextBatch++],
    });
    return new Promise((resolve) => {
      this.#open.push({
        process,
        values,
        recordBytes,
        sequence: this.#nextSequence,
        deadlineMs: performance.now() + deadlineMs,
        settled: resolve,
        isUnknown: false,
        attempts: 0,
      });
      this.#nextSequence += values.length;
      if (!this.#isRunning) void this.#run();
      else this.#sendMore();
    });
  }

  close(): void {
    this.#disconnect();
  }

  /** Keeps a connection to the leader while anything is open, and gives up what is too old. */
  async #run(): Promise<void> {
    this.#isRunning = true;
    const { network, requestTimeoutMs } = this.#options;
    while (this.#open.length > 0) {
      if (performance.now() > this.#open[0]!.deadlineMs) {
        this.#giveUp('deadline');
        continue;
      }
      const connection = this.#connection;
      if (connection === undefined || !connection.isOpen) {
        this.#disconnect();
        const leader = await network.leaderOf(this.#topic, this.#partition, this.#open[0]!.deadlineMs);
        if (leader === undefined) continue;
        try {
          this.#connection = await network.connect(leader);
        } catch {
          network.forgetLeader(this.#topic, this.#partition);
          await pause(RETRY_PAUSE_MS);
          continue;
        }
      }
      this.#sendMore();
      await this.#waitForTrouble(requestTimeoutMs);
    }
    this.#isRunning = false;
  }

  /** Resolves when nothing is open any more, the connection is gone, or the oldest batch was not answered in time. */
  async #waitForTrouble(timeoutMs: number): Promise<void> {
    let waitedMs = 0;
    let head = this.#open[0];
    while (this.#open.length > 0 && this.#connection?.isOpen === true) {
      if (this.#open[0] !== head) {
        head = this.#open[0];
        waitedMs = 0;
      }
      if (waitedMs > timeoutMs) {
        head!.isUnknown = true;
        this.#options.network.forgetLeader(this.#topic, this.#partition);
        this.#disconnect();
        return;
      }
      await pause(10);
      waitedMs += 10;
    }
  }

  #sendMore(): void {
    const connection = this.#connection;
    if (connection === undefined || !connection.isOpen) return;
    while (this.#sent < this.#open.length) this.#send(connection, this.#open[this.#sent++]!);
  }

  #send(connection: RawConnection, batch: Batch): void {
    const { requestTimeoutMs } = this.#options;
    const identity = this.#identity!;
    const timestamp = Date.now();
    batch.attempts += 1;
    connection.send(
      produceApi,
      PRODUCE_VERSION,
      {
        acks: -1,
        timeoutMs: requestTimeoutMs,
        topicData: [
          {
            name: this.#topic,
            partitionData: [
              {
                index: this.#partition,
                records: encodeRecordBatch(
                  batch.values.map((value) => ({ timestamp, value: encodeValue(value, batch.recordBytes) })),
                  { producerId: identity.id, producerEpoch: identity.epoch, baseSequence: batch.sequence },
                ),
              },
            ],
          },
        ],
      },
      ({ responses }) => {
        if (this.#connection !== connection) return;
        const answer = responses[0]!.partitionResponses[0]!;
        this.#answered(batch, answer.errorCode, answer.baseOffset);
      },
      () => {
        batch.isUnknown = true;
        if (this.#connection === connection) this.#options.network.forgetLeader(this.#topic, this.#partition);
      },
    );
  }

  #answered(batch: Batch, code: number, baseOffset: number): void {
    if (code === ErrorCode.NONE || code === ErrorCode.DUPLICATE_SEQUENCE_NUMBER) {
      const at = this.#open.indexOf(batch);
      this.#open.splice(at, 1);
      this.#sent -= 1;
      const offset = code === ErrorCode.NONE && baseOffset >= 0 ? baseOffset : null;
      const { key } = this.#options;
      const value = batch.values.map((v, i): SendMop => ['send', key, [offset === null ? null : offset + i, v]]);
      this.#settle(batch, 'ok', value);
      return;
    }
    if (outcomeOfCode(code) === 'info') batch.isUnknown = true;
    // Batches behind one that was refused are refused too; what counts is the oldest.
    if (batch !== this.#open[0]) return;
    if (isWorthAnotherTry(code)) {
      this.#options.network.forgetLeader(this.#topic, this.#partition);
      this.#disconnect();
      return;
    }
    const isSequence = code === ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER || code === ErrorCode.UNKNOWN_PRODUCER_ID;
    this.#giveUp(nameOfCode(code), isSequence ? [CheckedError.outOfOrderAtHead, this.#options.key, code] : undefined);
  }

  /** Ends all that is open, and this producer id with it: what was never sent certainly failed, the rest is unknown. */
  #giveUp(reason: string, headError?: readonly (string | number)[]): void {
    const open = this.#open;
    this.#open = [];
    this.#disconnect();
    this.#identity = undefined;
    open.forEach((batch, i) => {
      const isUnknown = batch.isUnknown || batch.attempts > 1 || (i > 0 && batch.attempts > 0);
      const type = isUnknown ? 'info' : 'fail';
      this.#settle(batch, type, sends(this.#options.key, batch.values), i === 0 && headError ? headError : [reason]);
    });
  }

  #settle(batch: Batch, type: EventType, value: readonly SendMop[], error?: readonly (string | number)[]): void {
    this.#options.recorder.client(batch.process, type, 'send', value, error === undefined ? {} : { error });
    if (type !== 'info') this.#idleProcesses.push(batch.process);
    batch.settled();
  }

  #disconnect(): void {
    const connection = this.#connection;
    this.#connection = undefined;
    this.#sent = 0;
    connection?.close();
  }
}

export function sends(key: number, values: readonly number[]): SendMop[] {
  return values.map((value) => ['send', key, value]);
}
