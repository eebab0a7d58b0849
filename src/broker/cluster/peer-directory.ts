/**
 * Which brokers this one has links with, and where they are: everybody that is registered, the initial voters until they are, and brokers of this cluster that introduced themselves. A broker that
 * joins is not registered, and to register it needs a link; so it tells the others its address before (formation's Hello) and is expected from then on. A registered broker that moved does the same.
 *
 * A peer may be in several places: where it registered, where it says that it is, where this broker's configuration has it, where it was when the cluster was formed. All are tried, because after all brokers
 * moved at once metadata knows old addresses only, and new ones can be registered only over links. An address proves nothing, the handshake of the link does.
 */

import { type HostPort, isSamePlace, type PeerAddress } from '../../raft/transport.ts';
import type { BrokerId } from '../../std/brands.ts';
import type { Timers } from '../../std/environment.ts';
import { BackgroundTask } from './background-task.ts';
import type { MetadataState } from './metadata-state.ts';

/** Introduced and never registered; more are not taken until some of these have registered. */
const INTRODUCED_MAX = 64;
const INTRODUCTION_INTERVAL_MS = 250;

export interface Introduction {
  readonly brokerId: BrokerId;
  readonly storeId: string;
  readonly cluster: { readonly clusterId: string } | undefined;
  readonly address?: HostPort;
}

export interface PeerDirectoryOptions {
  readonly brokerId: BrokerId;
  readonly initialVoters: readonly PeerAddress[];
  /** controller.quorum.voters, as configured now. */
  readonly configuredVoters: readonly PeerAddress[];
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
    for (const { brokerId, raftHost, raftPort } of brokers.values()) {
      const introduced = this.#introduced.get(brokerId);
      if (introduced?.host === raftHost && introduced.port === raftPort) this.#introduced.delete(brokerId);
    }
    this.#setPeers();
  }

  /** Takes what a broker says of itself. Whether it may speak is decided by the handshake of its link. */
  introduce({ brokerId, storeId, cluster, address }: Introduction): void {
    const { brokerId: own, image } = this.#options;
    const { clusterId, retiredStores } = image();
    if (address === undefined || cluster?.clusterId !== clusterId || brokerId === own) return;
    if (retiredStores.has(storeId)) return;
    const isExpected = this.#ids().has(brokerId);
    if (isExpected && this.#placesOf(brokerId).some((place) => isSamePlace(place, address))) return;
    if (!isExpected && this.#strangers() >= INTRODUCED_MAX) return;
    this.#introduced.set(brokerId, { brokerId, host: address.host, port: address.port });
    this.#setPeers();
  }

  /** Every place of every other broker. */
  *places(): Generator<PeerAddress> {
    for (const brokerId of this.#ids()) {
      for (const { host, port } of this.#placesOf(brokerId)) yield { brokerId, host, port };
    }
  }

  #strangers(): number {
    const { brokers } = this.#options.image();
    let count = 0;
    for (const id of this.#introduced.keys()) if (!brokers.has(id)) count++;
    return count;
  }

  #ids(): Set<BrokerId> {
    const { brokerId: own, initialVoters, image } = this.#options;
    const ids = new Set(this.#introduced.keys());
    for (const { brokerId } of initialVoters) ids.add(brokerId);
    for (const brokerId of image().brokers.keys()) ids.add(brokerId);
    ids.delete(own);
    return ids;
  }

  /** The most likely first. */
  #placesOf(brokerId: BrokerId): HostPort[] {
    const { initialVoters, configuredVoters, image } = this.#options;
    const registered = image().brokers.get(brokerId);
    const candidates = [
      registered && { host: registered.raftHost, port: registered.raftPort },
      this.#introduced.get(brokerId),
      configuredVoters.find((voter) => voter.brokerId === brokerId),
      initialVoters.find((voter) => voter.brokerId === brokerId),
    ];
    const places: HostPort[] = [];
    for (const place of candidates) {
      if (place !== undefined && !places.some((other) => isSamePlace(other, place))) places.push(place);
    }
    return places;
  }

  #setPeers(): void {
    const peers: PeerAddress[] = [];
    for (const brokerId of this.#ids()) {
      const [first, ...others] = this.#placesOf(brokerId);
      if (first !== undefined) peers.push({ brokerId, host: first.host, port: first.port, others });
    }
    this.#options.setPeers(peers);
  }
}

/** Introduces this broker to others for as long as it has to. */
export function introductionTask<Place>(options: {
  /** Where others may be that do not know this broker; asked before each run. */
  places(): Iterable<Place>;
  readonly timers: Timers;
  /** The cluster knows this broker, where it is. */
  isKnown(): boolean;
  /** Tells whoever is there the own presence; rejects if nobody can be reached. */
  ask(place: Place): Promise<unknown>;
  fail(error: unknown): void;
}): BackgroundTask {
  const { places, timers, isKnown, ask, fail } = options;
  return new BackgroundTask({
    timers,
    intervalMs: INTRODUCTION_INTERVAL_MS,
    fail,
    async run() {
      if (isKnown()) return;
      // Those that can not be reached now hear of it in the next run.
      await Promise.allSettled([...places()].map((place) => ask(place)));
    },
  });
}
