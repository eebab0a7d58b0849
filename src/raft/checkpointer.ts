/**
 * Makes checkpoints so that WAL segments become free (DECISIONS W5, P2): of groups that pin the oldest segment, of groups that applied much, of all at shutdown. A bounded
 * number runs at a time; a checkpoint is current when its WAL frame is flushed.
 */
import { assert } from '../std/assert.ts';
import type { DriverContext } from './driver-context.ts';
import { Fifo } from './fifo.ts';
import type { GroupReplica } from './group-replica.ts';
import { encodeCheckpointPayload } from './replica-codec.ts';
import type { StateCheckpoint } from './state-machine.ts';

/** Looking for the groups that hold most of the WAL costs a walk over all of them. */
const RELIEVE_MS = 20;
/** How many checkpoints are asked for at a time, for each one that may run: enough for the time until the next look. */
const RELIEVE_ROUNDS = 4;

export class Checkpointer {
  readonly #context: DriverContext;
  readonly #queue = new Fifo<GroupReplica>();
  /** Replicas whose last checkpoint is to be replaced. */
  readonly #again = new Set<GroupReplica>();
  #running = 0;
  #relievedMs = Number.NEGATIVE_INFINITY;
  #idleWaiters: (() => void)[] = [];

  constructor(context: DriverContext) {
    this.#context = context;
  }

  /** Asks for a checkpoint of a replica; one that runs or waits is enough. */
  request(replica: GroupReplica): void {
    if (replica.appliedIndex > replica.checkpointIndex) this.#queueUp(replica);
  }

  /** Asks for a checkpoint although the last one may be of the same index: its files are damaged. */
  again(replica: GroupReplica): void {
    if (replica.appliedIndex === 0 || replica.frozen) return;
    this.#again.add(replica);
    this.#queueUp(replica);
  }

  #queueUp(replica: GroupReplica): void {
    if (replica.checkpointRequested || replica.checkpointing || replica.removed) return;
    replica.checkpointRequested = true;
    this.#queue.push(replica);
    this.#startNext();
  }

  /** The WAL fills up: the groups that hold most of it come first. At most a few are asked for at a time, because their checkpoints change the picture. */
  relieve(): void {
    const { storage, replicas, nowMs, config } = this.#context;
    if (this.#running + this.#queue.size >= config.checkpointsRunningMax || nowMs < this.#relievedMs + RELIEVE_MS)
      return;
    this.#relievedMs = nowMs;
    const holding: { readonly replica: GroupReplica; readonly bytes: number }[] = [];
    for (const replica of replicas.values()) {
      if (replica.appliedIndex <= replica.checkpointIndex || replica.checkpointing || replica.frozen) continue;
      holding.push({ replica, bytes: storage.pinnedBytes(replica.replicaId) });
    }
    holding.sort((some, other) => other.bytes - some.bytes);
    for (const { replica } of holding.slice(0, config.checkpointsRunningMax * RELIEVE_ROUNDS)) this.request(replica);
  }

  /** Applied enough since the last one? */
  considerSize(replica: GroupReplica): void {
    if (replica.checkpointRequested || replica.checkpointing) return;
    if (replica.stateMachine.bytesSinceCheckpoint() >= this.#context.config.checkpointBytes) this.request(replica);
  }

  /** Resolves when no checkpoint of this replica runs; none starts while it is frozen. */
  async settled(replica: GroupReplica): Promise<void> {
    while (replica.checkpointing) await new Promise<void>((resolve) => this.#idleWaiters.push(resolve));
  }

  /** Resolves when nothing runs or waits. */
  async idle(): Promise<void> {
    while (this.#running > 0 || this.#queue.size > 0) {
      await new Promise<void>((resolve) => this.#idleWaiters.push(resolve));
    }
  }

  #startNext(): void {
    while (this.#running < this.#context.config.checkpointsRunningMax) {
      const replica = this.#queue.shift();
      if (replica === undefined) return;
      replica.checkpointRequested = false;
      if (replica.removed || replica.frozen || replica.core === undefined) continue;
      this.#start(replica);
    }
  }

  #start(replica: GroupReplica): void {
    replica.checkpointing = true;
    this.#running++;
    replica.stateMachine.checkpoint().then(
      (checkpoint) => this.#context.enqueue(() => this.#made(replica, checkpoint)),
      (error: unknown) => {
        if (!replica.removed) return this.#context.fail(error);
        this.#context.enqueue(() => this.#settled(replica));
      },
    );
  }

  #made(replica: GroupReplica, checkpoint: StateCheckpoint): void {
    const isNewer = checkpoint.index > replica.checkpointIndex;
    const isAgain = this.#again.delete(replica) && checkpoint.index === replica.checkpointIndex;
    if (!replica.removed && (isNewer || isAgain)) this.#write(replica, checkpoint);
    this.#settled(replica);
  }

  #settled(replica: GroupReplica): void {
    this.#running--;
    replica.checkpointing = false;
    this.#startNext();
    const waiters = this.#idleWaiters;
    this.#idleWaiters = [];
    for (const resolve of waiters) resolve();
  }

  #write(replica: GroupReplica, checkpoint: StateCheckpoint): void {
    const { storage, metrics, nowMs } = this.#context;
    const { index, term } = checkpoint;
    assert(index <= replica.appliedIndex, 'A checkpoint holds what was applied');
    assert(storage.termAt(replica.replicaId, index) === term, 'A checkpoint names the term of its last entry');
    const membership = replica.membershipHistory.at(index);
    const payload = encodeCheckpointPayload({ membership, state: checkpoint.payload });
    const lsn = storage.setCheckpoint(replica.replicaId, { index, term, payload });
    this.#context.afterFlush(lsn, () => {
      if (!replica.removed) replica.stateMachine.checkpointDurable?.(index);
    });
    replica.checkpointIndex = index;
    replica.checkpointedMs = nowMs;
    replica.membershipHistory.checkpointed(index);
    metrics.checkpoints++;
    const firstIndex = storage.firstIndex(replica.replicaId);
    this.#context.step(replica, { kind: 'compacted', firstIndex });
  }
}
