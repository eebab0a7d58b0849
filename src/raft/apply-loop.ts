/**
 * Applies committed entries, group after group, a bounded piece in each pass, so that one group with a long backlog starves nobody.
 *
 * Invariants: entries are applied in log order, each once in the life of the process; only what is committed and flushed here (DECISIONS W7); a group whose entries are being
 * read from the disk, or that installs a catch-up, waits.
 *
 * A leader that is not ready has clients waiting, so it comes first: after a restart a broker has much to apply, most of it for groups that others lead.
 */
import { assert, unreachable } from '../std/assert.ts';
import { logIndex } from '../std/brands.ts';
import { ENTRY_KIND, type Entry } from '../wal/replica-storage.ts';
import type { DriverContext } from './driver-context.ts';
import { isEntryIntact, payloadBytes } from './entry-checksum.ts';
import { Fifo } from './fifo.ts';
import type { GroupReplica } from './group-replica.ts';
import { membershipCodec } from './membership-codec.ts';

/** Payload bytes applied for one group before the next group's turn. */
const TURN_BYTES = 256 * 1024;
/** Groups whose entries are being read from the disk at the same time. */
const READS_MAX = 16;
const NO_BYTES = new Uint8Array(0);

export class ApplyLoop {
  readonly #context: DriverContext;
  readonly #applied: (replica: GroupReplica) => void;
  readonly #queue = new Fifo<GroupReplica>();
  /** Leaders that are not ready. They may be in the other queue as well. */
  readonly #hurried = new Fifo<GroupReplica>();
  readonly #waitingToRead = new Fifo<GroupReplica>();
  #reads = 0;

  /** `applied` is called after each piece of a group was applied. */
  constructor(context: DriverContext, applied: (replica: GroupReplica) => void) {
    this.#context = context;
    this.#applied = applied;
  }

  get hasWork(): boolean {
    return this.#queue.size > 0 || this.#hurried.size > 0;
  }

  /** The replica may have something to apply. */
  offer(replica: GroupReplica): void {
    if (replica.applyQueued || replica.applyReading || replica.frozen || replica.removed) return;
    if (replica.appliedIndex >= replica.applyTarget) return;
    replica.applyQueued = true;
    if (replica.role === 'leader' && !replica.isReady) this.#hurried.push(replica);
    else this.#queue.push(replica);
  }

  /** The replica leads from now on. */
  hurry(replica: GroupReplica): void {
    if (replica.applyQueued && !replica.isReady) this.#hurried.push(replica);
  }

  /** One pass's share. */
  run(): void {
    let bytes = this.#context.config.applyBytesPerPass;
    let entries = this.#context.config.applyEntriesPerPass;
    while (bytes > 0 && entries > 0) {
      const replica = this.#hurried.shift() ?? this.#queue.shift();
      if (replica === undefined) return;
      // Was in both queues.
      if (!replica.applyQueued) continue;
      replica.applyQueued = false;
      if (replica.frozen || replica.removed || replica.applyReading) continue;
      const taken = this.#take(replica, Math.min(bytes, TURN_BYTES));
      bytes -= taken.bytes;
      entries -= taken.entries;
      this.offer(replica);
    }
  }

  #take(replica: GroupReplica, bytesMax: number): { readonly bytes: number; readonly entries: number } {
    const { replicaId, appliedIndex, applyTarget } = replica;
    if (this.#reads >= READS_MAX) {
      replica.applyReading = true;
      this.#waitingToRead.push(replica);
      return { bytes: 0, entries: 0 };
    }
    const entries = this.#context.storage.readEntries(replicaId, logIndex(appliedIndex + 1), applyTarget, bytesMax);
    if (!(entries instanceof Promise)) return { bytes: this.#apply(replica, entries), entries: entries.length };
    this.#reads++;
    replica.applyReading = true;
    entries.then(
      (read) => this.#context.enqueue(() => this.#readDone(replica, read)),
      (error: unknown) => {
        if (!replica.removed) this.#context.fail(error);
      },
    );
    return { bytes: 0, entries: 0 };
  }

  #readDone(replica: GroupReplica, entries: readonly Entry[]): void {
    this.#reads--;
    replica.applyReading = false;
    for (let next = this.#waitingToRead.shift(); next !== undefined; next = this.#waitingToRead.shift()) {
      next.applyReading = false;
      this.offer(next);
    }
    if (replica.frozen || replica.removed) return;
    for (const entry of entries) {
      assert(
        isEntryIntact(replica.groupId, entry),
        `Entry ${entry.index} of group ${replica.groupId} was read back damaged`,
      );
    }
    this.#apply(replica, entries);
    this.offer(replica);
  }

  #apply(replica: GroupReplica, entries: readonly Entry[]): number {
    let bytes = 0;
    for (const entry of entries) {
      assert(entry.index === replica.appliedIndex + 1, 'Entries are applied in the order of the log');
      assert(entry.index <= replica.applyTarget, 'Only committed entries are applied');
      bytes += this.#applyEntry(replica, entry);
    }
    this.#context.metrics.entriesApplied += entries.length;
    this.#context.metrics.bytesApplied += bytes;
    if (replica.core !== undefined) this.#context.step(replica, { kind: 'applied', index: replica.appliedIndex });
    this.#applied(replica);
    return bytes;
  }

  #applyEntry(replica: GroupReplica, entry: Entry): number {
    const { stateMachine } = replica;
    const { index, term, kind } = entry;
    switch (kind) {
      case ENTRY_KIND.noop:
        replica.appliedIndex = index;
        replica.appliedTerm = term;
        stateMachine.advance(index, term);
        return 0;
      case ENTRY_KIND.configuration:
        replica.appliedIndex = index;
        replica.appliedTerm = term;
        replica.membershipHistory.applied(index, membershipCodec.decode(entry.payload));
        stateMachine.advance(index, term);
        return 0;
      case ENTRY_KIND.command: {
        const result = stateMachine.apply({ index, term, payload: joinPayload(entry) });
        replica.appliedIndex = index;
        replica.appliedTerm = term;
        const proposal = replica.proposals.applied(index, term, result, (required) =>
          replica.isFlushedBy(required, index),
        );
        if (proposal !== undefined) {
          this.#context.metrics.observeCommit(this.#context.clock.monotonicMs() - proposal.proposedMs);
        }
        return payloadBytes(entry);
      }
      default:
        return unreachable(kind, 'kind of entry');
    }
  }
}

/** The payload as one view: copied only where a leader's proposal came in pieces. */
function joinPayload(entry: Entry): Uint8Array {
  const { payload } = entry;
  if (payload.length === 1) return payload[0]!;
  return payload.length === 0 ? NO_BYTES : Buffer.concat(payload);
}
