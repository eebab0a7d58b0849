/**
 * Executes metadata changes on the leader of the metadata group, one at a time: each is planned against a state in which everything before it is applied, so two concurrent creations of one name
 * can not both be found right. A change costs one commit; everything that is large (many topics, partitions, replicas) travels in one change.
 */

import type { ProposalOutcome, RaftGroup, RaftGroups } from '../../raft/raft-group.ts';
import { assert } from '../../std/assert.ts';
import { METADATA_GROUP_ID } from '../../std/brands.ts';
import type { Clock, Random } from '../../std/environment.ts';
import type { ApplyResult } from './apply-metadata-command.ts';
import { CHANGES_QUEUED_MAX, type ChangeReply, type ChangeRequest } from './metadata-change.ts';
import { encodeMetadataCommand } from './metadata-command.ts';
import type { MetadataStateMachine } from './metadata-state-machine.ts';
import type { PlacementBroker } from './placement.ts';
import { planAnyChange } from './plan-change.ts';

export interface ClusterDefaults {
  /** num.partitions */
  readonly partitionCount: number;
  /** default.replication.factor */
  readonly replicationFactor: number;
  /** delete.topic.enable */
  readonly allowsTopicDeletion: boolean;
}

export interface ChangeExecutorOptions {
  readonly groups: Pick<RaftGroups, 'get'>;
  readonly stateMachine: MetadataStateMachine;
  readonly clock: Clock;
  readonly random: Random;
  readonly defaults: ClusterDefaults;
  liveBrokers(): readonly PlacementBroker[];
}

export class ChangeExecutor {
  readonly #options: ChangeExecutorOptions;
  /** Settles when the last change in the queue has ended; never rejects. */
  #tail: Promise<unknown> = Promise.resolve();
  #queued = 0;

  constructor(options: ChangeExecutorOptions) {
    this.#options = options;
  }

  /** Resolves when the change is applied here, or with the reason why it is not. A change that waited longer than its time-out is not begun. */
  execute(request: ChangeRequest): Promise<ChangeReply> {
    if (this.#queued >= CHANGES_QUEUED_MAX) {
      return Promise.resolve({ kind: 'refused', reason: 'Too many metadata changes are waiting' });
    }
    this.#queued++;
    const expiresAtMs = this.#options.clock.monotonicMs() + request.timeoutMs;
    const ended = this.#tail.then(() => this.#executeNow(request, expiresAtMs));
    this.#tail = ended.then(
      () => this.#queued--,
      () => this.#queued--,
    );
    return ended;
  }

  async #executeNow(request: ChangeRequest, expiresAtMs: number): Promise<ChangeReply> {
    const { groups, stateMachine, clock, random, defaults } = this.#options;
    if (clock.monotonicMs() > expiresAtMs) return { kind: 'refused', reason: 'The change waited too long' };
    const group = groups.get(METADATA_GROUP_ID);
    if (group === undefined || group.role !== 'leader') {
      return { kind: 'refused', reason: 'This broker does not lead the metadata group' };
    }
    // Only then is everything applied that an earlier leader committed (DECISIONS L6).
    if (!group.isReady) return { kind: 'refused', reason: 'The leader of the metadata group is not ready yet' };
    const plan = planAnyChange(
      {
        state: stateMachine.image,
        liveBrokers: this.#options.liveBrokers(),
        membership: group.membership,
        random,
        defaults,
        allowsTopicDeletion: defaults.allowsTopicDeletion,
        isRepeat: request.isRepeat,
      },
      request.change,
    );
    if (plan.command === undefined) {
      return { kind: 'done', index: stateMachine.image.appliedIndex, result: plan.finish(undefined) };
    }
    const outcome = await proposed(group, encodeMetadataCommand(plan.command));
    if (outcome.kind === 'unknown') return { kind: 'unknown', reason: 'The leader of the metadata group stepped down' };
    if (outcome.kind === 'refused') return { kind: 'refused', reason: `The metadata group refused: ${outcome.reason}` };
    assert(stateMachine.image.appliedIndex >= outcome.index, 'An applied change is in the image');
    return { kind: 'done', index: outcome.index, result: plan.finish(outcome.result as ApplyResult) };
  }
}

function proposed(group: RaftGroup, payload: readonly Uint8Array[]): Promise<ProposalOutcome> {
  return new Promise((resolve) => group.propose(payload, resolve));
}
