/**
 * An immutable map whose changed copies share most of their memory with it: a change copies one of 256 shards, so that creating one topic among thousands costs the
 * same as among ten, and comparing two versions looks only at shards that differ.
 *
 * Iteration order depends on the keys and on the order of insertion within a shard; whatever must be equal on all brokers is sorted by whoever writes it.
 */
const SHARDS = 256;

type Shards<K, V> = readonly (ReadonlyMap<K, V> | undefined)[];

export class PersistentMap<K extends string | number, V> implements ReadonlyMap<K, V> {
  readonly size: number;
  readonly #shards: Shards<K, V>;

  private constructor(shards: Shards<K, V>, size: number) {
    this.#shards = shards;
    this.size = size;
  }

  static empty<K extends string | number, V>(): PersistentMap<K, V> {
    return new PersistentMap<K, V>(new Array(SHARDS).fill(undefined), 0);
  }

  static from<K extends string | number, V>(entries: Iterable<readonly [K, V]>): PersistentMap<K, V> {
    return PersistentMap.empty<K, V>().withChanges(entries);
  }

  get(key: K): V | undefined {
    return this.#shards[shardOf(key)]?.get(key);
  }

  has(key: K): boolean {
    return this.#shards[shardOf(key)]?.has(key) ?? false;
  }

  /** A copy with `entries` set and then `removed` keys gone; each shard that changes is copied once. */
  withChanges(entries: Iterable<readonly [K, V]>, removed: Iterable<K> = []): PersistentMap<K, V> {
    const shards = [...this.#shards];
    const copied = new Map<number, Map<K, V>>();
    const writable = (index: number): Map<K, V> => {
      let shard = copied.get(index);
      if (shard === undefined) {
        shard = new Map(shards[index]);
        copied.set(index, shard);
        shards[index] = shard;
      }
      return shard;
    };
    let size = this.size;
    for (const [key, value] of entries) {
      const shard = writable(shardOf(key));
      if (!shard.has(key)) size++;
      shard.set(key, value);
    }
    for (const key of removed) {
      const index = shardOf(key);
      if (shards[index]?.has(key) !== true) continue;
      writable(index).delete(key);
      size--;
    }
    return copied.size === 0 ? this : new PersistentMap(shards, size);
  }

  /** Keys whose value is another one in `previous`, or that only one of both has. */
  *changedSince(previous: PersistentMap<K, V>): Generator<K, undefined, unknown> {
    for (let index = 0; index < SHARDS; index++) {
      const before = previous.#shards[index];
      const after = this.#shards[index];
      if (before === after) continue;
      if (after !== undefined) for (const [key, value] of after) if (before?.get(key) !== value) yield key;
      if (before !== undefined) for (const key of before.keys()) if (after?.has(key) !== true) yield key;
    }
    return undefined;
  }

  *entries(): Generator<[K, V], undefined, unknown> {
    for (const shard of this.#shards) if (shard !== undefined) yield* shard.entries();
    return undefined;
  }

  *keys(): Generator<K, undefined, unknown> {
    for (const shard of this.#shards) if (shard !== undefined) yield* shard.keys();
    return undefined;
  }

  *values(): Generator<V, undefined, unknown> {
    for (const shard of this.#shards) if (shard !== undefined) yield* shard.values();
    return undefined;
  }

  [Symbol.iterator](): Generator<[K, V], undefined, unknown> {
    return this.entries();
  }

  forEach(callback: (value: V, key: K, map: ReadonlyMap<K, V>) => void): void {
    for (const [key, value] of this.entries()) callback(value, key, this);
  }
}

function shardOf(key: string | number): number {
  if (typeof key === 'number') return key % SHARDS;
  let hash = 0x811c9dc5;
  for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ key.charCodeAt(i), 0x01000193);
  return ((hash >>> 16) ^ hash) & (SHARDS - 1);
}
