/**
 * Brings metadata changes and reads to the leader of the metadata group, wherever it is: executes here if this broker leads, else asks the leader, and tries again while leadership moves.
 *
 * Promises: an answer `done` means that the change is in effect exactly once; when the time is up the caller learns whether the change may still be on its way.
 */

import type { RaftGroups } from '../../raft/raft-group.ts';
import { type BrokerId, METADATA_GROUP_ID } from '../../std/brands.ts';
import type { Clock, Timers } from '../../std/environment.ts';
import type { ChangeExecutor } from './change-executor.ts';
import type { ConditionWaiters } from './condition-waiters.ts';
import {
  type ChangeKind,
  type ChangeOf,
  type ChangeReply,
  type ChangeRequest,
  type ChangeResults,
  decodeMessage,
  encodeMessage,
  type MetadataChange,
} from './metadata-change.ts';
import type { MetadataStateMachine } from './metadata-state-machine.ts';

export const SERVICE = {
  change: 'metadata.change',
  readIndex: 'metadata.readIndex',
  awaitApplied: 'metadata.awaitApplied',
  membership: 'metadata.membership',
  wallClock: 'metadata.wallClock',
} as const;

const PAUSE_FIRST_MS = 10;
const PAUSE_MAX_MS = 200;
/** A request is never given less, so that a caller's tiny time-out does not turn every answer into "unknown". */
const REQUEST_TIMEOUT_MIN_MS = 100;

export type Executed<Kind extends ChangeKind> =
  | { readonly kind: 'done'; readonly index: number; readonly result: ChangeResults[Kind] }
  /** Not in effect as far as is known; `maybe`: it may still take effect. */
  | { readonly kind: 'timedOut'; readonly maybe: boolean; readonly reason: string };

export interface ChangeClientOptions {
  readonly brokerId: BrokerId;
  readonly groups: RaftGroups;
  readonly stateMachine: MetadataStateMachine;
  readonly executor: ChangeExecutor;
  /** Checked whenever the image or leaders change. */
  readonly waiters: ConditionWaiters;
  readonly clock: Clock;
  readonly timers: Timers;
}

export class ChangeClient {
  readonly #options: ChangeClientOptions;

  constructor(options: ChangeClientOptions) {
    this.#options = options;
    const { groups, executor } = options;
    groups.serve(SERVICE.change, async (_, payload) =>
      encodeMessage(await executor.execute(decodeMessage<ChangeRequest>(payload))),
    );
    groups.serve(SERVICE.readIndex, async () => encodeMessage({ index: (await this.#readHere()) ?? -1 }));
  }

  /** Leader of the metadata group; undefined during an election. */
  get leader(): BrokerId | undefined {
    const { groups, brokerId } = this.#options;
    const group = groups.get(METADATA_GROUP_ID);
    if (group?.role === 'leader') return brokerId;
    return groups.leaderOf(METADATA_GROUP_ID)?.leader ?? group?.leader;
  }

  async execute<Kind extends ChangeKind>(change: ChangeOf<Kind>, timeoutMs: number): Promise<Executed<Kind>> {
    let maybe = false;
    let reason = 'The metadata group has no leader';
    const reply = await this.#untilAnswered(timeoutMs, async (leader, leftMs) => {
      const answer = await this.#ask(leader, {
        change: change as MetadataChange,
        isRepeat: maybe,
        timeoutMs: leftMs,
      });
      if (answer.kind === 'done') return answer as Extract<ChangeReply<Kind>, { kind: 'done' }>;
      if (answer.kind === 'unknown') maybe = true;
      reason = answer.reason;
      return undefined;
    });
    return reply ?? { kind: 'timedOut', maybe, reason };
  }

  /** An index that contains everything committed before the call, confirmed by a quorum (DECISIONS L5); undefined if none was found in time. */
  async readIndex(timeoutMs: number): Promise<number | undefined> {
    return this.#untilAnswered(timeoutMs, async (leader, leftMs) => {
      if (leader === this.#options.brokerId) return this.#readHere();
      const answer = await this.#request<{ index: number }>(leader, SERVICE.readIndex, {}, leftMs);
      // Nothing was changed, so nothing is lost: the next attempt asks whoever leads then.
      return typeof answer === 'string' || answer.index < 0 ? undefined : answer.index;
    });
  }

  async #ask(leader: BrokerId, request: ChangeRequest): Promise<ChangeReply> {
    const { brokerId, executor } = this.#options;
    if (leader === brokerId) return executor.execute(request);
    const answer = await this.#request<ChangeReply>(leader, SERVICE.change, request, request.timeoutMs);
    if (typeof answer === 'object') return answer;
    // The change may be on its way.
    return { kind: 'unknown', reason: `Broker ${leader}, which led the metadata group, did not answer: ${answer}` };
  }

  /** The answer, or why there is none. Ends early when somebody else leads: whatever the broker that was asked still does, the new leader knows it or it will never be. */
  async #request<Message extends object>(
    leader: BrokerId,
    service: string,
    message: object,
    timeoutMs: number,
  ): Promise<Message | string> {
    const { groups, waiters } = this.#options;
    let answer: Message | string | undefined;
    groups.request(leader, service, encodeMessage(message), timeoutMs).then(
      (payload) => {
        answer = decodeMessage<Message>(payload);
        waiters.check();
      },
      (error: unknown) => {
        answer = String(error);
        waiters.check();
      },
    );
    const isOvertaken = (): boolean => this.leader !== undefined && this.leader !== leader;
    await waiters.until(() => answer !== undefined || isOvertaken(), timeoutMs);
    return answer ?? 'no answer in time';
  }

  /** Index up to which this leader had applied when a quorum confirmed it; undefined if it does not lead. */
  #readHere(): Promise<number | undefined> {
    const group = this.#options.groups.get(METADATA_GROUP_ID);
    if (group === undefined || group.role !== 'leader') return Promise.resolve(undefined);
    return new Promise((resolve) => {
      group.readBarrier((confirmed) => resolve(confirmed ? this.#options.stateMachine.image.appliedIndex : undefined));
    });
  }

  /** Calls `attempt` with whoever leads until it answers; pauses in between end early when leaders change. One attempt is made even with no time left. */
  async #untilAnswered<T>(
    timeoutMs: number,
    attempt: (leader: BrokerId, leftMs: number) => Promise<T | undefined>,
  ): Promise<T | undefined> {
    const { clock, waiters } = this.#options;
    const endMs = clock.monotonicMs() + timeoutMs;
    for (let pauseMs = PAUSE_FIRST_MS; ; pauseMs = Math.min(2 * pauseMs, PAUSE_MAX_MS)) {
      const leader = this.leader;
      if (leader !== undefined) {
        const answer = await attempt(leader, Math.max(endMs - clock.monotonicMs(), REQUEST_TIMEOUT_MIN_MS));
        if (answer !== undefined) return answer;
      }
      const leftMs = endMs - clock.monotonicMs();
      if (leftMs <= 0) return undefined;
      await waiters.until(() => this.leader !== undefined && this.leader !== leader, Math.min(pauseMs, leftMs));
    }
  }
}
