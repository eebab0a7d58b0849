/**
 * Cluster time (DECISIONS P4): the leader of the metadata group asks all live brokers for their wall clocks and commits the median, so that one clock that jumps can not make retention delete
 * anything. It advances no faster than the leader's monotonic clock since the last agreement, never goes back, and stands still without a majority of brokers.
 */

import type { RaftGroups } from '../../raft/raft-group.ts';
import { type BrokerId, METADATA_GROUP_ID } from '../../std/brands.ts';
import type { Clock, Timers } from '../../std/environment.ts';
import { BackgroundTask } from './background-task.ts';
import { type ChangeClient, SERVICE } from './change-client.ts';
import { decodeMessage, encodeMessage } from './metadata-change.ts';
import type { MetadataImage } from './metadata-image.ts';
import type { MetadataStateMachine } from './metadata-state-machine.ts';

const INTERVAL_MS = 10_000;
const ANSWER_TIMEOUT_MS = 1_000;
const COMMIT_TIMEOUT_MS = 5_000;

export interface ClusterClockOptions {
  readonly brokerId: BrokerId;
  readonly groups: RaftGroups;
  readonly stateMachine: MetadataStateMachine;
  readonly changes: ChangeClient;
  readonly clock: Clock;
  readonly timers: Timers;
  /** Whether anything in the image depends on time; without, nothing is committed. */
  isNeeded(image: MetadataImage): boolean;
  liveBrokers(): readonly BrokerId[];
  fail(error: unknown): void;
}

export class ClusterClock {
  readonly task: BackgroundTask;
  readonly #options: ClusterClockOptions;
  /** The last agreed time and when, on the monotonic clock of this broker, it was at most that. */
  #base: { readonly timeMs: number; readonly atMs: number } | undefined;

  constructor(options: ClusterClockOptions) {
    this.#options = options;
    const { groups, stateMachine, clock, timers } = options;
    this.task = new BackgroundTask({
      timers,
      intervalMs: INTERVAL_MS,
      run: () => this.#run(),
      fail: (error) => options.fail(error),
    });
    groups.serve(SERVICE.wallClock, () => Promise.resolve(encodeMessage({ wallMs: clock.wallMs() })));
    stateMachine.onImageChanged(() => this.#observe());
  }

  /** Every broker notes each agreement when it applies it, to go on from there if it comes to lead. */
  #observe(): void {
    const timeMs = this.#options.stateMachine.image.clusterTimeMs;
    if (timeMs === undefined || this.#base?.timeMs === timeMs) return;
    this.#base = { timeMs, atMs: this.#options.clock.monotonicMs() };
  }

  async #run(): Promise<void> {
    const { groups, stateMachine, changes, clock, isNeeded } = this.#options;
    const group = groups.get(METADATA_GROUP_ID);
    if (group === undefined || group.role !== 'leader' || !group.isReady || !isNeeded(stateMachine.image)) return;
    this.#observe();
    const clocks = await this.#wallClocks();
    const brokers = Math.max(stateMachine.image.brokers.size, group.membership.voters.length);
    if (2 * clocks.length <= brokers) return;
    const atMs = clock.monotonicMs();
    const limitMs = this.#base === undefined ? Number.MAX_SAFE_INTEGER : this.#base.timeMs + (atMs - this.#base.atMs);
    const timeMs = Math.floor(Math.min(median(clocks), limitMs));
    if (timeMs <= (stateMachine.image.clusterTimeMs ?? 0)) return;
    const executed = await changes.execute<'clusterTime'>({ kind: 'clusterTime', timeMs }, COMMIT_TIMEOUT_MS);
    // The time was right when it was decided, not when it was applied.
    if (executed.kind === 'done' && stateMachine.image.clusterTimeMs === timeMs) this.#base = { timeMs, atMs };
  }

  async #wallClocks(): Promise<number[]> {
    const { brokerId, groups, clock, liveBrokers } = this.#options;
    const others = liveBrokers().filter((id) => id !== brokerId);
    const answers = await Promise.all(
      others.map((id) =>
        groups.request(id, SERVICE.wallClock, encodeMessage({}), ANSWER_TIMEOUT_MS).then(
          (payload) => decodeMessage<{ wallMs: number }>(payload).wallMs,
          // Not counted; without a majority there is no agreement.
          () => undefined,
        ),
      ),
    );
    return [clock.wallMs(), ...answers.filter((answer) => answer !== undefined)];
  }
}

/** The lower one of two in the middle: too late deletes nothing. */
function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) / 2)] as number;
}
