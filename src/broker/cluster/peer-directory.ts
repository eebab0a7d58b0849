/**
 * Which brokers this one has links with, and where they are: everybody that is registered, the initial voters until they are, and brokers of this cluster that introduced themselves. A broker that
 * joins is not registered, and to register it needs a link; so it tells the initial voters its address before (formation's Hello) and is expected from then on.
 */

import type { PeerAddress } from '../../raft/transport.ts';
import type { BrokerId } from '../../std/brands.ts';
import type { Timers } from '../../std/environment.ts';
import { BackgroundTask } from './background-task.ts';
import type { MetadataState } from './metadata-state.ts';

/** Introduced and not registered; more are not taken until some of these have registered. */
const INTRODUCED_MAX = 64;
const INTRODUCTION_INTERVAL_MS = 250;

export interface Introduction {
  readonly brokerId: BrokerId;
  readonly storeId: string;
  readonly cluster: { readonly clusterId: string } | undefined;
  readonly address?: { readonly host: string; readonly port: number };
}

export interface PeerDirectoryOptions {
  readonly brokerId: BrokerId;
  readonly initialVoters: readonly PeerAddress[];
  image(): MetadataState;
  setPeers(addresses: readonly PeerAddress[]): void;
}

export class PeerDirectory {
  readonly #options: PeerDirectoryOptions;
  readonly #introduced = new Map<BrokerId, PeerAddress>();
  #brokers: MetadataState['brokers'] | undefined;

  constructor(options: PeerDirectoryOptions) {
    this.#options = options;
  }

  /** Called at the start and whenever the image changed. */
  update(): void {
    const { brokers } = this.#options.image();
    if (brokers === this.#brokers) return;
    this.#brokers = brokers;
    for (const id of brokers.keys()) this.#introduced.delete(id);
    this.#setPeers();
  }

  /** Takes what a broker says of itself. Whether it may speak is decided by the handshake of its link. */
  introduce({ brokerId, storeId, cluster, address }: Introduction): void {
    const { brokerId: own, initialVoters, image } = this.#options;
    const { clusterId, brokers, retiredStores } = image();
    if (address === undefined || cluster?.clusterId !== clusterId || brokerId === own) return;
    if (brokers.has(brokerId) || retiredStores.has(storeId)) return;
    if (initialVoters.some((voter) => voter.brokerId === brokerId)) return;
    const known = this.#introduced.get(brokerId);
    if (known?.host === address.host && known.port === address.port) return;
    if (known === undefined && this.#introduced.size >= INTRODUCED_MAX) return;
    this.#introduced.set(brokerId, { brokerId, host: address.host, port: address.port });
    this.#setPeers();
  }

  #setPeers(): void {
    const { brokerId: own, initialVoters, image, setPeers } = this.#options;
    const peers = new Map<BrokerId, PeerAddress>(this.#introduced);
    for (const { brokerId, host, port } of initialVoters) peers.set(brokerId, { brokerId, host, port });
    for (const { brokerId, raftHost, raftPort } of image().brokers.values()) {
      peers.set(brokerId, { brokerId, host: raftHost, port: raftPort });
    }
    peers.delete(own);
    setPeers([...peers.values()]);
  }
}

/** Introduces this broker to the initial voters until it is registered. For brokers that are none of them. */
export function introductionTask<Voter>(options: {
  readonly voters: readonly Voter[];
  readonly timers: Timers;
  isRegistered(): boolean;
  /** Tells a voter the own presence; rejects if it can not be reached. */
  ask(voter: Voter): Promise<unknown>;
  fail(error: unknown): void;
}): BackgroundTask {
  const { voters, timers, isRegistered, ask, fail } = options;
  return new BackgroundTask({
    timers,
    intervalMs: INTRODUCTION_INTERVAL_MS,
    fail,
    async run() {
      if (isRegistered()) return;
      // Those that can not be reached now hear of it in the next run.
      await Promise.allSettled(voters.map((voter) => ask(voter)));
    },
  });
}
