/**
 * How replicas come to be and go: created by metadata, recovered from the WAL, removed on a committed tombstone (DECISIONS I3, W4, W6).
 *
 * Recovery of all replicas: restore the state machines from their checkpoints, and only when all are there start the cores, so that nobody's deadline runs while others are still being read. What is
 * known committed behind the checkpoints is applied while groups elect their leaders already: it holds nobody up but its own group, whose leader is ready only when it applied everything. Metadata
 * alone is replayed before, because everything else starts from it.
 */
import { assert } from '../std/assert.ts';
import { type GroupId, type LogIndex, logIndex, METADATA_GROUP_ID, type ReplicaId, type Term } from '../std/brands.ts';
import type { Random } from '../std/environment.ts';
import type { HardState, RecoveredReplica } from '../wal/replica-storage.ts';
import type { ApplyLoop } from './apply-loop.ts';
import { RaftCore } from './core/raft-core.ts';
import type { Configuration, Membership, RaftCoreOptions, ReplicationLimits } from './core/types.ts';
import type { DriverContext } from './driver-context.ts';
import { sealEntry } from './entry-checksum.ts';
import { GroupReplica } from './group-replica.ts';
import { membershipCodec } from './membership-codec.ts';
import type { CreateGroup, RaftGroup } from './raft-group.ts';
import { decodeCheckpointPayload, decodeReplicaDescriptor, encodeReplicaDescriptor } from './replica-codec.ts';
import { StateDamageError } from './state-damage-error.ts';
import type { StateMachine } from './state-machine.ts';

export interface LifecycleOptions {
  readonly random: Random;
  readonly createStateMachine: (group: RaftGroup, descriptor: Uint8Array) => StateMachine;
  readonly destroyRemains?: (groupId: GroupId, replicaId: ReplicaId) => Promise<void>;
  readonly replicationLimits?: Partial<ReplicationLimits>;
  readonly apply: ApplyLoop;
  /** Resolves when nothing runs in the state machine. */
  readonly settled: (replica: GroupReplica) => Promise<void>;
  readonly started: (replica: GroupReplica) => void;
  readonly removed: (replica: GroupReplica) => void;
}

/** State machines restored at the same time. */
const RESTORES_MAX = 32;

type CoreStart = Omit<
  RaftCoreOptions,
  'replicaId' | 'nowMs' | 'random' | 'sealEntry' | 'membershipCodec' | 'electionTimeoutMs' | 'limits' | 'appliedIndex'
>;

export class ReplicaLifecycle {
  readonly #context: DriverContext & {
    readonly replicas: Map<GroupId, GroupReplica>;
    readonly replicasById: Map<ReplicaId, GroupReplica>;
  };
  readonly #options: LifecycleOptions;
  /** Replicas whose state is not there yet; what is created meanwhile must not be removed under it. */
  readonly #restoring = new Map<GroupReplica, Promise<void>>();
  readonly #removing = new Map<ReplicaId, Promise<void>>();
  readonly #replaying = new Map<GroupReplica, () => void>();
  /** Started before they applied what was recovered as committed, up to there. */
  readonly #catchingUp = new Map<GroupReplica, LogIndex>();

  constructor(
    context: DriverContext & {
      readonly replicas: Map<GroupId, GroupReplica>;
      readonly replicasById: Map<ReplicaId, GroupReplica>;
    },
    options: LifecycleOptions,
  ) {
    this.#context = context;
    this.#options = options;
  }

  // -------------------------------------------------------------- creation

  create(group: CreateGroup): GroupReplica {
    const { groupId, replicaId, membership, descriptor } = group;
    const existing = this.#context.replicas.get(groupId);
    if (existing !== undefined) {
      assert(existing.replicaId === replicaId, `Group ${groupId} has another replica on this broker`);
      return existing;
    }
    const replica = new GroupReplica(this.#context, groupId, replicaId, membership, undefined);
    this.#register(replica);
    this.#context.storage.createReplica(replicaId, encodeReplicaDescriptor({ groupId, membership, descriptor }));
    replica.attach(this.#options.createStateMachine(replica, descriptor));
    const restored = replica.stateMachine.restore(undefined);
    this.#restoring.set(replica, restored);
    restored.then(
      () =>
        this.#context.enqueue(() => {
          this.#restoring.delete(replica);
          if (replica.removed) return;
          this.#startCore(replica, {
            hardState: { currentTerm: 0 as Term, votedFor: 0 },
            checkpointIndex: logIndex(0),
            checkpointTerm: 0 as Term,
            lastIndex: logIndex(0),
            termRuns: [],
            configurations: [{ index: logIndex(0), membership }],
            commitIndex: logIndex(0),
          });
        }),
      (error: unknown) => this.#context.fail(error),
    );
    // The frame is flushed in the next pass, with or before anything that this replica tells anybody.
    this.#context.schedule();
    return replica;
  }

  #register(replica: GroupReplica): void {
    this.#context.replicas.set(replica.groupId, replica);
    this.#context.replicasById.set(replica.replicaId, replica);
  }

  #startCore(replica: GroupReplica, start: CoreStart): void {
    const { groupId } = replica;
    replica.start(
      new RaftCore({
        ...start,
        replicaId: replica.replicaId,
        appliedIndex: replica.appliedIndex,
        nowMs: this.#context.nowMs,
        random: () => this.#options.random.next(),
        sealEntry: (index, term, kind, payload) => sealEntry(groupId, index, term, kind, payload),
        membershipCodec,
        electionTimeoutMs: this.#context.config.electionTimeoutMs,
        ...(this.#options.replicationLimits === undefined ? {} : { limits: this.#options.replicationLimits }),
      }),
    );
    this.#options.started(replica);
  }

  // -------------------------------------------------------------- recovery

  async recover(): Promise<void> {
    const { storeDamage } = this.#context.storage;
    // No replica of this store may act, not even under ids that look whole (DECISIONS W6).
    if (storeDamage !== undefined) {
      throw new Error(
        `The WAL is damaged in a way that may hide votes; this broker needs an empty data directory, with which it rejoins: ${storeDamage}`,
      );
    }
    const recovered = [...this.#context.storage.recovered];
    for (const { damage, descriptor } of recovered) {
      if (damage?.kind !== 'identity' || decodeReplicaDescriptor(descriptor).groupId !== METADATA_GROUP_ID) continue;
      // Metadata names successors of other replicas, nobody one of its own; without it this broker would lead by topics and settings of the past, for good (seeds 3001217 and 3100665).
      throw new Error(
        `The replica of cluster metadata may have forgotten a vote; this broker needs an empty data directory, with which it rejoins: ${damage.reason}`,
      );
    }
    const starts: { readonly replica: GroupReplica; readonly start: CoreStart }[] = [];
    const worker = async (): Promise<void> => {
      for (let next = recovered.shift(); next !== undefined; next = recovered.shift()) {
        const started = await this.#restore(next);
        if (started !== undefined) starts.push(started);
      }
    };
    await Promise.all(Array.from({ length: RESTORES_MAX }, worker));
    await new Promise<void>((resolve) => {
      this.#context.enqueue(() => {
        // In an order that does not depend on whose files were read first.
        starts.sort((some, other) => some.replica.groupId - other.replica.groupId);
        for (const { replica, start } of starts) {
          if (replica.removed) continue;
          if (start.commitIndex > replica.appliedIndex) this.#catchingUp.set(replica, start.commitIndex);
          replica.applyTarget = start.commitIndex;
          this.#startCore(replica, start);
          this.#options.apply.offer(replica);
        }
        this.#endReplay();
        resolve();
      });
    });
  }

  /** Brings one replica to the state at its commit hint. Undefined: it must not take part. */
  async #restore(recovered: RecoveredReplica): Promise<{ replica: GroupReplica; start: CoreStart } | undefined> {
    const { replicaId, checkpoint, lastIndex, hardState, termRuns, damage } = recovered;
    const { groupId, membership: initial, descriptor } = decodeReplicaDescriptor(recovered.descriptor);
    const payload = checkpoint === undefined ? undefined : decodeCheckpointPayload(checkpoint.payload);
    const membership = payload?.membership ?? initial;
    const checkpointIndex = checkpoint?.index ?? logIndex(0);
    const checkpointTerm = checkpoint?.term ?? (0 as Term);
    const replica = new GroupReplica(this.#context, groupId, replicaId, membership, damage);
    replica.membershipHistory.reset(checkpointIndex, membership);
    replica.appliedIndex = checkpointIndex;
    replica.appliedTerm = checkpointTerm;
    replica.checkpointIndex = checkpointIndex;
    replica.commitIndexAtStart = logIndex(Math.max(checkpointIndex, recovered.commitHint));
    this.#register(replica);
    replica.attach(this.#options.createStateMachine(replica, descriptor));
    try {
      await replica.stateMachine.restore(
        checkpoint === undefined || payload === undefined
          ? undefined
          : { index: checkpoint.index, term: checkpoint.term, payload: payload.state },
      );
    } catch (error) {
      if (!(error instanceof StateDamageError) || checkpoint === undefined) throw error;
      return this.#restoreNothing(replica, hardState, membership, error);
    }
    if (damage !== undefined)
      this.#context.log.error({ groupId, replicaId, ...damage }, 'A replica lost data to a damaged disk');
    const commitIndex = logIndex(Math.min(replica.commitIndexAtStart, lastIndex));
    if (groupId === METADATA_GROUP_ID) await this.#replay(replica, commitIndex);
    // Damage may have hidden a vote: acting under this id again could elect a second leader (DECISIONS W6).
    if (damage?.kind === 'identity') return undefined;
    const configurations: Configuration[] = [{ index: checkpointIndex, membership }];
    for (const index of recovered.configurationIndexes) {
      const [entry] = await this.#context.storage.readEntries(replicaId, index, index, 1);
      assert(entry?.index === index, 'A configuration entry can be read');
      configurations.push({ index, membership: membershipCodec.decode(entry.payload) });
    }
    const barred = damage !== undefined;
    return {
      replica,
      start: { hardState, checkpointIndex, checkpointTerm, lastIndex, termRuns, configurations, commitIndex, barred },
    };
  }

  /**
   * The state cannot be restored: the core starts as one that has nothing, barred, with the term and vote that it gave. Nothing is thrown away yet: with a majority in this condition no leader can be
   * elected, and then what is left on the disks may be the last there is.
   */
  #restoreNothing(
    replica: GroupReplica,
    hardState: HardState,
    membership: Membership,
    error: StateDamageError,
  ): { replica: GroupReplica; start: CoreStart } | undefined {
    const { groupId, replicaId, damage } = replica;
    const none = logIndex(0);
    const reason = error.message;
    replica.stateLost = reason;
    replica.frozen = true;
    replica.damage = { kind: damage?.kind ?? 'entries', fromIndex: logIndex(1), reason };
    replica.appliedIndex = none;
    replica.appliedTerm = 0 as Term;
    replica.checkpointIndex = none;
    replica.membershipHistory.reset(none, membership);
    this.#context.log.error(
      { groupId, replicaId, reason },
      membership.voters.length + membership.votersOutgoing.length > 1
        ? 'A replica lost its state to a damaged disk: it neither votes nor leads until it has everything back from a leader'
        : 'The only replica of a group lost its state to a damaged disk: nothing of it is served',
    );
    if (replica.damage.kind === 'identity') return undefined;
    return {
      replica,
      start: {
        hardState,
        checkpointIndex: none,
        checkpointTerm: 0 as Term,
        lastIndex: none,
        termRuns: [],
        configurations: [{ index: none, membership }],
        commitIndex: none,
        barred: true,
      },
    };
  }

  /**
   * A replica whose state is lost follows a leader. That one was elected without its vote, by replicas that have everything that was committed (Raft paper, section 5.4.3): what is left here is
   * not needed any more, and makes way for what the leader sends. The frame before the files: a crash in between finds nothing to restore.
   */
  renew(replica: GroupReplica): void {
    const { storage, log } = this.#context;
    const { groupId, replicaId, stateLost } = replica;
    assert(stateLost !== undefined && replica.frozen, 'Only a replica without state is renewed');
    replica.stateLost = undefined;
    log.info({ groupId, replicaId }, 'A replica without state takes everything from its leader');
    this.#context.afterFlush(storage.lose(replicaId, stateLost), () => {
      if (replica.removed) return;
      const restored = replica.stateMachine.restore(undefined);
      this.#restoring.set(replica, restored);
      restored.then(
        () =>
          this.#context.enqueue(() => {
            this.#restoring.delete(replica);
            replica.frozen = false;
          }),
        (error: unknown) => this.#context.fail(error),
      );
    });
  }

  #replay(replica: GroupReplica, commitIndex: LogIndex): Promise<void> {
    if (commitIndex <= replica.appliedIndex) return Promise.resolve();
    return new Promise((resolve) => {
      this.#replaying.set(replica, resolve);
      this.#context.enqueue(() => {
        replica.applyTarget = commitIndex;
        this.#options.apply.offer(replica);
      });
    });
  }

  /** The replica applied something. */
  applied(replica: GroupReplica): void {
    if (replica.core !== undefined) this.#caughtUp(replica);
    else if (replica.appliedIndex >= replica.applyTarget) {
      this.#replaying.get(replica)?.();
      this.#replaying.delete(replica);
    }
  }

  /** Some replica did not apply yet what was recovered as committed: if it has to lead, that takes a while. */
  get isReplaying(): boolean {
    return this.#catchingUp.size > 0;
  }

  #caughtUp(replica: GroupReplica): void {
    const target = this.#catchingUp.get(replica);
    if (target === undefined || (replica.appliedIndex < target && !replica.removed)) return;
    this.#catchingUp.delete(replica);
    this.#endReplay();
  }

  /** What was recovered stays in memory until it is applied. */
  #endReplay(): void {
    if (this.#catchingUp.size === 0) this.#context.storage.endReplay();
  }

  // -------------------------------------------------------------- end

  /** Metadata may ask again before it has its answer: there is one removal. */
  remove(groupId: GroupId, replicaId: ReplicaId): Promise<void> {
    const running = this.#removing.get(replicaId);
    if (running !== undefined) return running;
    const removal = this.#remove(groupId, replicaId).finally(() => this.#removing.delete(replicaId));
    this.#removing.set(replicaId, removal);
    return removal;
  }

  #remove(groupId: GroupId, replicaId: ReplicaId): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#context.enqueue(() => {
        const replica = this.#context.replicasById.get(replicaId);
        if (replica === undefined) {
          (this.#options.destroyRemains?.(groupId, replicaId) ?? Promise.resolve()).then(resolve, reject);
          return;
        }
        assert(replica.groupId === groupId, 'A replica belongs to one group');
        this.#context.replicas.delete(groupId);
        this.#context.replicasById.delete(replicaId);
        replica.abandon();
        this.#options.removed(replica);
        this.#caughtUp(replica);
        this.#keepRemovalKnown();
        // First the frame, then the files: what a crash in between leaves is removed when metadata asks again, which it does until it gets its answer.
        const lsn = this.#context.storage.removeReplica(replicaId);
        this.#context.afterFlush(lsn, () => {
          this.#destroy(replica).then(resolve, (error: unknown) => {
            this.#context.fail(error);
            reject(error);
          });
        });
      });
    });
  }

  /**
   * A removal follows from what this broker applied of metadata. That must be known committed after a restart as well: an image from before it would place the replica on this store again, which would
   * create it empty under the same id, and its vote would elect a leader without what it once acknowledged (DECISIONS I3).
   */
  #keepRemovalKnown(): void {
    const metadata = this.#context.replicas.get(METADATA_GROUP_ID);
    if (metadata !== undefined) this.#context.storage.noteCommitted(metadata.replicaId, metadata.appliedIndex);
  }

  async #destroy(replica: GroupReplica): Promise<void> {
    await this.#restoring.get(replica);
    await this.#options.settled(replica);
    await replica.stateMachine.destroy();
  }

  async closeReplica(replica: GroupReplica): Promise<void> {
    await this.#restoring.get(replica);
    await this.#options.settled(replica);
    await replica.stateMachine.close();
  }
}
