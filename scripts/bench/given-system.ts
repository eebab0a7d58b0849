/** A cluster that runs already: it is measured, and nothing else is done to it. */
import { type Endpoint, parseEndpoints } from './raw-client.ts';
import type { System, SystemKind } from './system.ts';

export class GivenKind implements SystemKind {
  readonly name: string;
  readonly managed = false;
  readonly #system: System;

  /** `text` is [NAME=]HOST:PORT[,…]; `pids` are those of its brokers, if they run on this machine. */
  constructor(text: string, pids: readonly number[], index: number) {
    const at = text.indexOf('=');
    this.name = at < 0 ? `cluster-${index + 1}` : text.slice(0, at);
    this.#system = new GivenSystem(this.name, parseEndpoints(text.slice(at + 1)), pids);
  }

  create(): System {
    return this.#system;
  }
}

class GivenSystem implements System {
  readonly name: string;
  readonly endpoints: readonly Endpoint[];
  readonly managed = false;
  readonly dataDirectory = undefined;
  readonly #pids: ReadonlyMap<number, number>;

  constructor(name: string, endpoints: readonly Endpoint[], pids: readonly number[]) {
    this.name = name;
    this.endpoints = endpoints;
    this.#pids = new Map(pids.map((pid, i) => [i + 1, pid]));
  }

  pids(): ReadonlyMap<number, number> {
    return this.#pids;
  }

  async metrics(): Promise<undefined> {
    return undefined;
  }

  async start(): Promise<number> {
    return 0;
  }

  revive(): Promise<void> {
    throw new Error('A cluster that was not started here is not restarted here');
  }

  async stop(): Promise<void> {}

  async wipe(): Promise<void> {}
}
