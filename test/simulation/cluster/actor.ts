/** What all simulated clients share: a client of their own, the history, and when to stop. */
import type { ClusterTruth } from './cluster-truth.ts';
import type { SimulatedHistory } from './simulated-history.ts';
import type { VirtualClient } from './virtual-client.ts';

export interface ActorContext {
  readonly client: VirtualClient;
  readonly history: SimulatedHistory;
  /** Milliseconds between two things it does, on average. */
  readonly paceMs: number;
  readonly truth: ClusterTruth;
}

export abstract class Actor {
  protected readonly context: ActorContext;
  #stopping = false;
  #ended: Promise<void> | undefined;
  isEnded = false;

  constructor(context: ActorContext) {
    this.context = context;
  }

  /** `failed`: the actor itself broke. */
  start(failed: (error: unknown) => void): void {
    this.#ended = this.run()
      .catch(failed)
      .then(() => {
        this.isEnded = true;
        this.context.client.close();
      });
  }

  /** Begins nothing new. Resolves when everything has an outcome. */
  stop(): Promise<void> {
    this.#stopping = true;
    return this.#ended ?? Promise.resolve();
  }

  protected get isRunning(): boolean {
    return !this.#stopping;
  }

  protected pace(): Promise<void> {
    const { client, paceMs } = this.context;
    return client.sleep(client.options.random.next() * 2 * paceMs);
  }

  protected abstract run(): Promise<void>;
}
