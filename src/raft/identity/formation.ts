/**
 * Owns how a store becomes part of a cluster (DECISIONS I2).
 *
 * A cluster forms once: when every listed voter says that its store is empty, that it lists the same voters, and that it has
 * seen the same stores (its candidate cluster id). Then each voter binds itself, alone, to the id that follows from those
 * stores. A voter that bound itself told its candidate before and never another one after, so two voters never bind to
 * different clusters. One that crashed before it bound finds its own store among the initial voters of those that did.
 * A broker whose store is not among them joins; a voter whose store is another than the one that formed is `replaced`, and
 * never acts as its old self. A store that is bound already needs nobody.
 */
import type { BrokerId } from '../../std/brands.ts';
import type { TimerHandle, Timers } from '../../std/environment.ts';
import { bytesEqual } from '../../std/hex.ts';
import type { Log } from '../../std/log.ts';
import {
  type ClusterIdentity,
  deriveClusterId,
  sortVoters,
  type VoterAddress,
  votersDigest,
} from './cluster-identity.ts';
import { IdentityError } from './identity-error.ts';

/** What a broker says of itself before links exist. */
export interface Presence {
  readonly brokerId: BrokerId;
  /** Hex. */
  readonly storeId: string;
  readonly cluster: ClusterIdentity | undefined;
  /** Of the listed voters; empty if the broker is not one of them. */
  readonly votersDigest: Uint8Array;
  /** The cluster id that follows from the stores of all voters, as seen now; empty while some are missing. */
  readonly candidateClusterId: string;
  /** Where other brokers reach it; undefined if it does not say. */
  readonly address?: { readonly host: string; readonly port: number };
}

export interface FormationNetwork {
  /** Tells `voter` the own presence and gets its. Rejects when it can not be reached or says why it does not answer; must end by itself within a second or so. */
  ask(voter: VoterAddress, presence: Presence): Promise<Presence>;
}

/** formed: the store is one of the initial voters. joined: it never was a voter. replaced: its broker id was, with a store that is gone; it may come back only as a learner. */
export interface Formation extends ClusterIdentity {
  readonly kind: 'formed' | 'joined' | 'replaced';
}

/** The part of a {@link Store} that formation works on. */
export interface FormationStore {
  readonly brokerId: BrokerId;
  /** Hex. */
  readonly storeId: string;
  readonly cluster: ClusterIdentity | undefined;
  bind(cluster: ClusterIdentity): Promise<void>;
}

export interface ClusterFormationOptions {
  readonly store: FormationStore;
  /** controller.quorum.voters. */
  readonly voters: readonly VoterAddress[];
  /** Own Raft port as others reach it, told to whoever asks. */
  readonly address?: { readonly host: string; readonly port: number };
  readonly network: FormationNetwork;
  readonly timers: Timers;
  readonly log: Log;
  /** Pause between the first two questions to the same voter. */
  readonly retryMs?: number;
}

const RETRY_MS = 25;
/** The pause grows up to this: a voter that comes late asks the others itself, so nobody needs to look for it often. */
const RETRY_MS_MAX = 250;
const RETRY_GROWTH = 1.1;

export class ClusterFormation {
  readonly #options: ClusterFormationOptions;
  readonly #others: readonly VoterAddress[];
  readonly #isVoter: boolean;
  readonly #digest: Uint8Array;
  /** The latest word of each unbound voter. */
  readonly #seen = new Map<BrokerId, Presence>();
  readonly #warned = new Set<string>();
  #candidate = '';
  #binding = false;
  #stopped = false;
  #wakers = new Set<() => void>();
  #settle: { resolve(formation: Formation): void; reject(error: unknown): void } | undefined;

  constructor(options: ClusterFormationOptions) {
    this.#options = options;
    const { store, voters } = options;
    this.#others = voters.filter((voter) => voter.brokerId !== store.brokerId);
    this.#isVoter = this.#others.length < voters.length;
    this.#digest = this.#isVoter ? votersDigest(voters) : new Uint8Array(0);
    this.#updateCandidate();
  }

  /** What this broker answers when it is asked, before, during and after formation. */
  presence(): Presence {
    const { store, address } = this.#options;
    return {
      ...(address === undefined ? {} : { address }),
      brokerId: store.brokerId,
      storeId: store.storeId,
      cluster: store.cluster,
      votersDigest: this.#digest,
      candidateClusterId: this.#candidate,
    };
  }

  /** Takes the presence of a broker that asked. */
  heard(presence: Presence): void {
    const { store } = this.#options;
    if (store.cluster !== undefined || this.#binding || this.#stopped || presence.brokerId === store.brokerId) return;
    if (presence.cluster !== undefined) this.#heardCluster(presence.brokerId, presence.cluster);
    else if (this.#isVoter && this.#others.some((voter) => voter.brokerId === presence.brokerId)) {
      this.#heardVoter(presence);
    }
  }

  /** Resolves when the store is durably bound to a cluster. Rejects when the disk fails. Called once. */
  run(): Promise<Formation> {
    const { store } = this.#options;
    if (store.cluster !== undefined) return Promise.resolve(formationOf(store, store.cluster));
    const done = new Promise<Formation>((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    this.#formIfAgreed();
    for (const voter of this.#others) void this.#askUntilBound(voter);
    return done;
  }

  /** Asks nobody any more; {@link run} then never settles. */
  stop(): void {
    this.#stopped = true;
    this.#wake();
  }

  async #askUntilBound(voter: VoterAddress): Promise<void> {
    let pauseMs = this.#options.retryMs ?? RETRY_MS;
    while (!this.#stopped && !this.#binding) {
      const told = this.#candidate;
      try {
        const presence = await this.#options.network.ask(voter, this.presence());
        if (presence.brokerId === voter.brokerId) this.heard(presence);
        else this.#warnOnce(`Broker ${presence.brokerId} answers at the address of voter ${voter.brokerId}`);
      } catch (error) {
        // Not up yet, most often; a voter that is up and refuses says why in words worth showing.
        if (error instanceof IdentityError) this.#warnOnce(error.message);
      }
      // What it does not know yet it shall hear at once.
      if (told === this.#candidate && !this.#stopped && !this.#binding) await this.#pause(pauseMs);
      pauseMs = Math.min(RETRY_MS_MAX, pauseMs * RETRY_GROWTH);
    }
  }

  #pause(pauseMs: number): Promise<void> {
    return new Promise((resolve) => {
      let timer: TimerHandle | undefined;
      const wake = (): void => {
        this.#wakers.delete(wake);
        timer?.cancel();
        resolve();
      };
      timer = this.#options.timers.after(pauseMs, wake);
      this.#wakers.add(wake);
    });
  }

  #wake(): void {
    for (const wake of [...this.#wakers]) wake();
  }

  #heardVoter(presence: Presence): void {
    if (!bytesEqual(presence.votersDigest, this.#digest)) {
      this.#seen.delete(presence.brokerId);
      this.#updateCandidate();
      this.#warnOnce(
        `Broker ${presence.brokerId} has another list of voters (controller.quorum.voters) than this broker; no cluster forms until they are the same`,
      );
      return;
    }
    this.#seen.set(presence.brokerId, presence);
    this.#updateCandidate();
    this.#formIfAgreed();
  }

  #updateCandidate(): void {
    const { store } = this.#options;
    const complete = this.#isVoter && this.#others.every((voter) => this.#seen.has(voter.brokerId));
    const candidate = complete ? deriveClusterId([store, ...this.#seen.values()]) : '';
    if (candidate === this.#candidate) return;
    this.#candidate = candidate;
    this.#wake();
  }

  #formIfAgreed(): void {
    if (this.#candidate === '' || this.#settle === undefined) return;
    for (const presence of this.#seen.values()) if (presence.candidateClusterId !== this.#candidate) return;
    const { store, voters } = this.#options;
    const initialVoters = sortVoters(voters).map((voter) => ({
      brokerId: voter.brokerId,
      host: voter.host,
      port: voter.port,
      storeId: this.#seen.get(voter.brokerId)?.storeId ?? store.storeId,
    }));
    this.#bind({ clusterId: this.#candidate, initialVoters });
  }

  #heardCluster(from: BrokerId, cluster: ClusterIdentity): void {
    if (this.#settle === undefined) return;
    if (deriveClusterId(cluster.initialVoters) !== cluster.clusterId) {
      this.#warnOnce(`Broker ${from} claims cluster ${cluster.clusterId}, which is not that of its initial voters`);
      return;
    }
    this.#bind(cluster);
  }

  #bind(cluster: ClusterIdentity): void {
    const { store } = this.#options;
    const settle = this.#settle;
    this.#binding = true;
    this.#wake();
    store.bind(cluster).then(
      () => {
        if (!this.#stopped) settle?.resolve(formationOf(store, cluster));
      },
      (error: unknown) => settle?.reject(error),
    );
  }

  #warnOnce(sentence: string): void {
    if (this.#warned.has(sentence)) return;
    this.#warned.add(sentence);
    this.#options.log.warn({}, sentence);
  }
}

/** What a store bound to `cluster` is in it. */
export function formationOf(
  store: { readonly brokerId: BrokerId; readonly storeId: string },
  cluster: ClusterIdentity,
): Formation {
  const same = cluster.initialVoters.find((voter) => voter.brokerId === store.brokerId);
  const kind = same === undefined ? 'joined' : same.storeId === store.storeId ? 'formed' : 'replaced';
  return { kind, clusterId: cluster.clusterId, initialVoters: cluster.initialVoters };
}
