/** Which topic-partition an integer key stands for, and how a record's value carries its number. */

export interface TopicPartition {
  readonly topic: string;
  readonly partition: number;
}

export class Keys {
  readonly #partitions: TopicPartition[] = [];
  readonly #keys = new Map<string, number>();
  readonly #retired = new Set<number>();

  /** Keys of all partitions of a topic. One that was deleted and is made again gets new ones. */
  addTopic(topic: string, partitions: number): number[] {
    return Array.from({ length: partitions }, (_, partition) => {
      const key = this.#partitions.push({ topic, partition }) - 1;
      this.#keys.set(`${topic}/${partition}`, key);
      return key;
    });
  }

  /** The topic of these keys is deleted. */
  retire(keys: readonly number[]): void {
    for (const key of keys) this.#retired.add(key);
  }

  /** Of topics that exist. */
  get all(): number[] {
    return this.#partitions.map((_, key) => key).filter((key) => !this.#retired.has(key));
  }

  partitionOf(key: number): TopicPartition {
    return this.#partitions[key]!;
  }

  keyOf(topic: string, partition: number): number {
    return this.#keys.get(`${topic}/${partition}`)!;
  }
}

/** A record's bytes: its number, then filling up to `sizeBytes`. */
export function encodeValue(value: number, sizeBytes: number): Buffer {
  const text = `${value}|`;
  return Buffer.from(text.padEnd(sizeBytes, 'x'));
}

/** −1 for bytes that no workload wrote; the checker then calls it never sent. */
export function decodeValue(bytes: Uint8Array | null): number {
  if (bytes === null) return -1;
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
  const match = /^(\d+)\|x*$/.exec(text);
  return match === null ? -1 : Number(match[1]);
}
