/** A cluster to measure, whoever wrote its brokers. */
import type { Endpoint } from './raw-client.ts';

export interface System {
  readonly name: string;
  /** Brokers listen on these while the system runs. */
  readonly endpoints: readonly Endpoint[];
  /** Processes of the brokers, by number of the broker (from 1); empty if they cannot be seen from here. */
  pids(): ReadonlyMap<number, number>;
  /** `false`: it ran before, and we neither start nor kill it. */
  readonly managed: boolean;
  /** Where the brokers keep their files; undefined if that is not known. */
  readonly dataDirectory: string | undefined;
  /** Its own counters of one broker in the format of Prometheus; undefined if it has none. */
  metrics(broker: number): Promise<string | undefined>;
  /** Milliseconds since the first broker was started until the call returned, with data if there is some. */
  start(): Promise<number>;
  /** Starts one broker again that was killed; does not wait for it. */
  revive(broker: number): Promise<void>;
  stop(): Promise<void>;
  /** Kills all brokers and deletes their data. */
  wipe(): Promise<void>;
}

/** Makes systems of one kind. They may run side by side if they differ in `slot`. */
export interface SystemKind {
  readonly name: string;
  /** As that of its systems. */
  readonly managed: boolean;
  create(options: { readonly nodes: number; readonly slot: number }): System;
}
