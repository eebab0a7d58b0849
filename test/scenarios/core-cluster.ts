/**
 * A cluster of Raft cores without driver: disks that flush when told, messages that lie in the network until somebody delivers, drops or repeats them. Transcripts move it by hand,
 * the random test by dice; the invariants are checked in both.
 */

import { RaftCore } from '../../src/raft/core/raft-core.ts';
import type {
  AppendRange,
  Effects,
  Membership,
  RaftEvent,
  RaftMessage,
  ReplicationLimits,
} from '../../src/raft/core/types.ts';
import { membershipCodec } from '../../src/raft/membership-codec.ts';
import { assert } from '../../src/std/assert.ts';
import { type LogIndex, logIndex, type ReplicaId, replicaId, type Term, term } from '../../src/std/brands.ts';
import { ENTRY_KIND, type Entry } from '../../src/wal/replica-storage.ts';
import { CoreDisk } from './core-disk.ts';
import { CoreInvariants } from './core-invariants.ts';

export interface CoreReplica {
  core: RaftCore;
  readonly disk: CoreDisk;
  alive: boolean;
  /** Per read under way: what was committed anywhere when it came. */
  readonly readFloors: Map<number, LogIndex>;
}

export type NetworkMessage = RaftMessage | SnapshotMessage;

/** A catch-up under way: the leader's state at (index, term). */
export interface SnapshotMessage {
  readonly kind: 'snapshot';
  readonly from: ReplicaId;
  readonly to: ReplicaId;
  readonly term: Term;
  readonly index: LogIndex;
  readonly indexTerm: Term;
  readonly membership: Membership;
}

export interface CoreClusterOptions {
  readonly random: () => number;
  readonly limits?: Partial<ReplicationLimits>;
  /** Sees every step after the invariants were checked. */
  readonly onStep?: (replica: CoreReplica, event: RaftEvent, effects: Effects) => void;
}

export const ELECTION_TIMEOUT_MS = 100;

export class CoreCluster {
  readonly replicas = new Map<ReplicaId, CoreReplica>();
  /** In the order sent. */
  network: NetworkMessage[] = [];
  nowMs = 0;
  readonly invariants: CoreInvariants;
  readonly #options: CoreClusterOptions;

  constructor(options: CoreClusterOptions) {
    this.#options = options;
    this.invariants = new CoreInvariants(this.replicas);
  }

  /** A replica with an empty log, or with entries of the given terms from index 1 on. */
  add(
    id: number,
    membership: Membership,
    image: { terms?: readonly number[]; currentTerm?: number } = {},
  ): CoreReplica {
    const disk = new CoreDisk(membership);
    const terms = image.terms ?? [];
    for (const log of [disk.memory, disk.durable]) {
      log.hardState = { currentTerm: term(image.currentTerm ?? terms[terms.length - 1] ?? 0), votedFor: 0 };
      terms.forEach((entryTerm, i) => {
        log.append({
          index: logIndex(i + 1),
          term: term(entryTerm),
          kind: ENTRY_KIND.command,
          payload: [],
          checksum: 0,
        });
      });
    }
    const replica: CoreReplica = { core: this.#start(replicaId(id), disk), disk, alive: true, readFloors: new Map() };
    this.replicas.set(replicaId(id), replica);
    return replica;
  }

  get(id: number): CoreReplica {
    const replica = this.replicas.get(replicaId(id));
    assert(replica !== undefined, `There is no replica ${id}`);
    return replica;
  }

  alive(): CoreReplica[] {
    return [...this.replicas.values()].filter((replica) => replica.alive);
  }

  step(replica: CoreReplica, event: RaftEvent): Effects {
    assert(replica.alive, 'A dead replica takes no step');
    const { commitIndex, configuration } = replica.core;
    const before = { commitIndex, membership: configuration.membership, configurationIndex: configuration.index };
    if (event.kind === 'read') replica.readFloors.set(event.requestId, this.invariants.committedIndex);
    const effects = replica.core.step(event);
    replica.disk.write(effects);
    this.invariants.stepped(replica, effects, before);
    for (const message of effects.send)
      this.network.push(message.kind === 'appendRange' ? fetchEntries(replica, message) : message);
    for (const to of effects.needSnapshot) this.network.push(snapshotFor(replica, to));
    this.#options.onStep?.(replica, event, effects);
    return effects;
  }

  /** Flushes the first `count` writes under way and reports them. */
  flush(replica: CoreReplica, count = Number.POSITIVE_INFINITY): void {
    const write = replica.disk.pendingWrites.slice(0, count).pop();
    if (write === undefined) return;
    replica.disk.flushTo(write);
    this.step(replica, { kind: 'persisted', nowMs: this.nowMs, write });
  }

  /** Applies everything that may be applied. */
  apply(replica: CoreReplica): void {
    const index = replica.core.applyIndex;
    if (index > replica.core.appliedIndex) this.step(replica, { kind: 'applied', index });
  }

  /** A message arrives; at a dead or unknown replica it is lost. */
  deliver(message: NetworkMessage): void {
    const replica = this.replicas.get(message.to);
    if (replica === undefined || !replica.alive) return;
    if (message.kind === 'snapshot') this.#installSnapshot(replica, message);
    else this.step(replica, { kind: 'message', nowMs: this.nowMs, message });
  }

  /** A catch-up was lost on the way: its sender notices. */
  failSnapshot(message: SnapshotMessage): void {
    const leader = this.replicas.get(message.from);
    if (leader?.alive)
      this.step(leader, { kind: 'snapshotSent', nowMs: this.nowMs, replica: message.to, index: undefined });
  }

  crash(replica: CoreReplica, kept = 0): void {
    replica.alive = false;
    replica.disk.crash(kept);
    replica.readFloors.clear();
  }

  restart(replica: CoreReplica, barred = false): void {
    assert(!replica.alive, 'Only a dead replica can be restarted');
    replica.core = this.#start(replica.core.replicaId, replica.disk, barred);
    replica.alive = true;
  }

  /** Makes a checkpoint at `index` (applied): the log before it is gone. */
  compact(replica: CoreReplica, index: LogIndex): void {
    replica.disk.compactTo(index);
    this.step(replica, { kind: 'compacted', firstIndex: logIndex(index + 1) });
  }

  #installSnapshot(replica: CoreReplica, message: SnapshotMessage): void {
    const { core, disk } = replica;
    if (core.role === 'leader' || message.term < core.term) return this.failSnapshot(message);
    // The driver's rule: what the log has already (the entry itself, or a checkpoint behind it) is not installed over it.
    const known = core.commitIndex >= message.index || core.termAt(message.index) === message.indexTerm;
    if (!known) {
      this.step(replica, { kind: 'leaderAnnounced', nowMs: this.nowMs, leader: message.from, term: message.term });
      disk.reset(message.index, message.indexTerm, message.membership);
      const { index, indexTerm, membership } = message;
      this.step(replica, { kind: 'snapshotInstalled', nowMs: this.nowMs, index, term: indexTerm, membership });
    }
    const leader = this.replicas.get(message.from);
    if (leader?.alive)
      this.step(leader, { kind: 'snapshotSent', nowMs: this.nowMs, replica: message.to, index: message.index });
  }

  #start(id: ReplicaId, disk: CoreDisk, barred = false): RaftCore {
    const { durable } = disk;
    const commitIndex = logIndex(Math.max(Math.min(durable.commitHint, durable.lastIndex), durable.baseIndex));
    return new RaftCore({
      replicaId: id,
      hardState: durable.hardState,
      checkpointIndex: durable.baseIndex,
      checkpointTerm: durable.baseTerm,
      lastIndex: durable.lastIndex,
      termRuns: durable.termRuns(),
      configurations: durable.configurations(),
      commitIndex,
      appliedIndex: durable.baseIndex,
      barred,
      nowMs: this.nowMs,
      random: this.#options.random,
      sealEntry: (index, entryTerm, kind, payload) => ({ index, term: entryTerm, kind, payload, checksum: 0 }),
      membershipCodec,
      electionTimeoutMs: ELECTION_TIMEOUT_MS,
      ...(this.#options.limits && { limits: this.#options.limits }),
    });
  }
}

/** What a driver does with a range: it reads the entries from the log as it is now. */
function fetchEntries(replica: CoreReplica, range: AppendRange): RaftMessage {
  const { kind: _, lastIndex, ...rest } = range;
  const entries: Entry[] = [];
  for (let i = range.prevIndex + 1; i <= lastIndex; i++) {
    const entry = replica.disk.memory.entryAt(logIndex(i));
    assert(entry !== undefined, 'A leader names only entries that it can read');
    entries.push(entry);
  }
  return { ...rest, kind: 'appendEntries', entries };
}

function snapshotFor(replica: CoreReplica, to: ReplicaId): SnapshotMessage {
  const { core, disk } = replica;
  const index = core.appliedIndex;
  const configurations = disk.memory.configurations(index);
  return {
    kind: 'snapshot',
    from: core.replicaId,
    to,
    term: core.term,
    index,
    indexTerm: disk.memory.termAt(index)!,
    membership: configurations[configurations.length - 1]!.membership,
  };
}
