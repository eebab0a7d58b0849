/** What all simulated clients share: a client of their own, the history, and when to stop. */
import type { ClusterPlan } from './cluster-plan.ts';
import type { ClusterTruth } from './cluster-truth.ts';
import type { SimulatedHistory } from './simulated-history.ts';
import type { VirtualClient } from './virtual-client.ts';

export interface ActorContext {
  readonly client: VirtualClient;
  readonly history: SimulatedHistory;
  /** Milliseconds between two things it does, on average. Changes with the tempo of the run. */
  readonly paceMs: number;
  readonly truth: ClusterTruth;
  readonly plan: Pick<ClusterPlan, 'commitNoteBytes' | 'newProducers'>;
}

/** Longest sleep before a look at whether the tempo is another one. */
export const NAP_MS = 2_000;

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

  /** Until it is time for the next thing. In steps: whoever sleeps in a calm stretch wakes up when it ends. */
  protected async pace(): Promise<void> {
    const { client } = this.context;
    const { time, random } = client.options;
    const paces = random.next() * 2;
    const beganMs = time.now;
    for (;;) {
      const leftMs = beganMs + paces * this.context.paceMs - time.now;
      await client.sleep(Math.min(Math.max(0, leftMs), NAP_MS));
      if (leftMs <= NAP_MS || !this.isRunning) return;
    }
  }

  protected abstract run(): Promise<void>;
}
