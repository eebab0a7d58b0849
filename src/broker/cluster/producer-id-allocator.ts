/**
 * Producer ids of this broker: blocks come from the metadata group, committed, and are handed out from memory. A block that a crash or a lost answer leaves unused is never given again
 *.
 */
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import type { ChangeClient } from './change-client.ts';

const BLOCK_SIZE = 1000;

export class ProducerIdAllocator {
  readonly #changes: ChangeClient;
  #next = 0;
  #end = 0;
  /** The request for a block under way; all who need an id share it. */
  #refill: Promise<ErrorCode> | undefined;

  constructor(changes: ChangeClient) {
    this.#changes = changes;
  }

  async allocate(timeoutMs: number): Promise<{ errorCode: ErrorCode; producerId: number }> {
    while (this.#next >= this.#end) {
      this.#refill ??= this.#requestBlock(timeoutMs);
      const errorCode = await this.#refill;
      if (errorCode !== ErrorCode.NONE) return { errorCode, producerId: -1 };
    }
    return { errorCode: ErrorCode.NONE, producerId: this.#next++ };
  }

  async #requestBlock(timeoutMs: number): Promise<ErrorCode> {
    const executed = await this.#changes.execute<'allocateProducerIds'>(
      { kind: 'allocateProducerIds', count: BLOCK_SIZE },
      timeoutMs,
    );
    this.#refill = undefined;
    // InitProducerId is repeated by every client on this code.
    if (executed.kind === 'timedOut') return ErrorCode.COORDINATOR_LOAD_IN_PROGRESS;
    this.#next = executed.result.first;
    this.#end = executed.result.first + executed.result.count;
    return ErrorCode.NONE;
  }
}
