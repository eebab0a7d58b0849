/** What clients ask the oracle when a broker tells them something: whether it is true at this moment. */
import type { ClusterOracle } from './cluster-oracle.ts';
import type { Key } from './simulated-history.ts';

export class ClusterTruth {
  readonly #oracle: ClusterOracle;
  readonly #find: (key: Key) => number | undefined;
  readonly #groups = new Map<Key, number>();

  /** `find`: the Raft group of a key; undefined while no broker knows it. */
  constructor(oracle: ClusterOracle, find: (key: Key) => number | undefined) {
    this.#oracle = oracle;
    this.#find = find;
  }

  /** A producer was told that its batch is in the log. An offset below 0 says nothing. */
  acknowledged(key: Key, baseOffset: number, batch: Uint8Array): void {
    const group = this.#groupOf(key);
    if (group !== undefined && baseOffset >= 0) this.#oracle.acknowledged(group, baseOffset, batch);
  }

  /** A consumer was given a batch. */
  fetched(key: Key, baseOffset: number, batch: Uint8Array): void {
    const group = this.#groupOf(key);
    if (group !== undefined) this.#oracle.fetched(group, baseOffset, batch);
  }

  offsetCommitted(group: string, { topic, partition }: Key, offset: number): void {
    this.#oracle.offsetCommitted(group, topic, partition, offset);
  }

  #groupOf(key: Key): number | undefined {
    const known = this.#groups.get(key) ?? this.#find(key);
    if (known !== undefined) this.#groups.set(key, known);
    return known;
  }
}
