/** A consumer group without members on the bare protocol, used as a register: one writer that commits growing offsets, and readers. What it reads back has to be linearizable. */

import type { RawConnection } from '../../../scripts/bench/raw-client.ts';
import { offsetCommitApi } from '../../../src/kafka-protocol/messages/offset-commit.ts';
import { offsetFetchApi } from '../../../src/kafka-protocol/messages/offset-fetch.ts';
import type { EventType } from '../history/history.ts';
import type { Recorder } from '../history/recorder.ts';
import type { Keys } from './keys.ts';
import { type ClientNetwork, requestWithin } from './network.ts';
import { nameOfCode, outcomeOfCode } from './outcome.ts';

const OFFSET_COMMIT_VERSION = 3;
const OFFSET_FETCH_VERSION = 5;

export interface OffsetRegisterOptions {
  readonly network: ClientNetwork;
  readonly recorder: Recorder;
  readonly keys: Keys;
  readonly group: string;
  readonly requestTimeoutMs: number;
}

/** One client of the register; does one thing at a time. */
export class OffsetRegister {
  readonly #options: OffsetRegisterOptions;
  #process: number;
  #connection: RawConnection | undefined;

  constructor(options: OffsetRegisterOptions) {
    this.#options = options;
    this.#process = options.recorder.newProcess();
  }

  /** Commits one offset, once. */
  async commit(key: number, offset: number): Promise<void> {
    const { recorder, keys, group, requestTimeoutMs } = this.#options;
    const connection = await this.#coordinator();
    if (connection === undefined) return;
    const { topic, partition } = keys.partitionOf(key);
    const value = { group, offsets: { [key]: offset } };
    recorder.client(this.#process, 'invoke', 'commit', value);
    const complete = (type: EventType, error?: readonly string[]): void => {
      recorder.client(this.#process, type, 'commit', value, error === undefined ? {} : { error });
      if (type === 'info') this.#process = recorder.newProcess();
      if (type !== 'ok') this.close();
    };
    try {
      const { topics } = await requestWithin(
        connection,
        offsetCommitApi,
        OFFSET_COMMIT_VERSION,
        {
          groupId: group,
          generationIdOrMemberEpoch: -1,
          memberId: '',
          topics: [
            {
              name: topic,
              partitions: [{ partitionIndex: partition, committedOffset: offset, committedMetadata: null }],
            },
          ],
        },
        requestTimeoutMs,
      );
      const { errorCode } = topics[0]!.partitions[0]!;
      if (errorCode === 0) complete('ok');
      else complete(outcomeOfCode(errorCode), [nameOfCode(errorCode)]);
    } catch (error) {
      complete('info', ['network', (error as Error).message]);
    }
  }

  /** Reads the committed offset. */
  async read(key: number): Promise<void> {
    const { recorder, keys, group, requestTimeoutMs } = this.#options;
    const connection = await this.#coordinator();
    if (connection === undefined) return;
    const { topic, partition } = keys.partitionOf(key);
    const nothing = { group, offsets: {} };
    recorder.client(this.#process, 'invoke', 'committed', nothing);
    const fail = (...error: readonly string[]): void => {
      recorder.client(this.#process, 'fail', 'committed', nothing, { error });
      this.close();
    };
    try {
      const answer = await requestWithin(
        connection,
        offsetFetchApi,
        OFFSET_FETCH_VERSION,
        { groupId: group, topics: [{ name: topic, partitionIndexes: [partition] }] },
        requestTimeoutMs,
      );
      if (answer.errorCode !== 0) return fail(nameOfCode(answer.errorCode));
      const { errorCode, committedOffset } = answer.topics[0]!.partitions[0]!;
      if (errorCode !== 0) return fail(nameOfCode(errorCode));
      recorder.client(this.#process, 'ok', 'committed', { group, offsets: { [key]: committedOffset } });
    } catch (error) {
      fail('network', (error as Error).message);
    }
  }

  close(): void {
    this.#connection?.close();
    this.#connection = undefined;
  }

  async #coordinator(): Promise<RawConnection | undefined> {
    if (this.#connection?.isOpen === true) return this.#connection;
    const { network, group } = this.#options;
    const coordinator = await network.coordinatorOf(group);
    if (coordinator === undefined) return undefined;
    this.#connection = await network.connect(coordinator.endpoint).catch(() => undefined);
    return this.#connection;
  }
}
