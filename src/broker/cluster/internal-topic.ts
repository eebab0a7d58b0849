/** A topic that brokers write themselves: created on first use, once, with its own partition count and replication factor. */
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import type { Cluster } from './cluster.ts';

export interface InternalTopicOptions {
  readonly cluster: Cluster;
  readonly name: string;
  readonly partitionCount: number;
  readonly replicationFactor: number;
  readonly timeoutMs: number;
}

export class InternalTopic {
  readonly #options: InternalTopicOptions;
  /** The creation under way; all who need the topic share it. */
  #creation: Promise<ErrorCode> | undefined;

  constructor(options: InternalTopicOptions) {
    this.#options = options;
  }

  /** NONE once the topic exists and the local image has it; else why it could not be created now. */
  async ensure(): Promise<ErrorCode> {
    const { cluster, name } = this.#options;
    if (cluster.image.topics.has(name)) return ErrorCode.NONE;
    this.#creation ??= this.#create();
    return this.#creation;
  }

  async #create(): Promise<ErrorCode> {
    const { cluster, name, partitionCount, replicationFactor, timeoutMs } = this.#options;
    const [outcome] = await cluster.createTopics(
      [{ name, partitionCount, replicationFactor, assignments: [], configs: [] }],
      { validateOnly: false, timeoutMs, internal: true },
    );
    this.#creation = undefined;
    if (outcome?.errorCode !== ErrorCode.TOPIC_ALREADY_EXISTS) return outcome?.errorCode ?? ErrorCode.REQUEST_TIMED_OUT;
    return (await cluster.refresh(timeoutMs)) ? ErrorCode.NONE : ErrorCode.REQUEST_TIMED_OUT;
  }
}
