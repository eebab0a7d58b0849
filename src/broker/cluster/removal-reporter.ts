/** Tells the metadata group which replicas this store has deleted, until it has taken note: then their tombstones are gone (DECISIONS I3). */
import type { ReplicaId } from '../../std/brands.ts';
import type { Timers } from '../../std/environment.ts';
import { BackgroundTask } from './background-task.ts';
import type { ChangeClient } from './change-client.ts';
import type { MetadataStateMachine } from './metadata-state-machine.ts';

const REPLICAS_PER_CHANGE_MAX = 1000;
const TIMEOUT_MS = 10_000;
const INTERVAL_MS = 1000;

export interface RemovalReporterOptions {
  readonly changes: ChangeClient;
  readonly stateMachine: MetadataStateMachine;
  readonly timers: Timers;
  fail(error: unknown): void;
}

export class RemovalReporter {
  readonly task: BackgroundTask;
  readonly #options: RemovalReporterOptions;
  readonly #removed = new Set<ReplicaId>();

  constructor(options: RemovalReporterOptions) {
    this.#options = options;
    this.task = new BackgroundTask({
      timers: options.timers,
      intervalMs: INTERVAL_MS,
      run: () => this.#run(),
      fail: (error) => options.fail(error),
    });
  }

  report(replicaIds: readonly ReplicaId[]): void {
    for (const id of replicaIds) this.#removed.add(id);
    this.task.trigger();
  }

  async #run(): Promise<void> {
    const { changes, stateMachine } = this.#options;
    while (this.#removed.size > 0) {
      const replicaIds: ReplicaId[] = [];
      for (const id of this.#removed) {
        // Applied only after its tombstone, so a tombstone that is not there was taken away again.
        if (!stateMachine.image.tombstones.has(id)) this.#removed.delete(id);
        else if (replicaIds.length < REPLICAS_PER_CHANGE_MAX) replicaIds.push(id);
      }
      if (replicaIds.length === 0) return;
      const executed = await changes.execute<'replicasRemoved'>({ kind: 'replicasRemoved', replicaIds }, TIMEOUT_MS);
      if (executed.kind === 'timedOut') return;
      for (const id of replicaIds) this.#removed.delete(id);
    }
  }
}
