/**
 * The follower's end of catch-ups (DECISIONS P3). While one is installed the replica is frozen: no apply, no checkpoint, no entries are taken; terms and votes go on. The state machine
 * makes the pieces durable, then one WAL frame makes them current and voids the log before them; until that frame is flushed a restart finds the old state.
 *
 * Safety: a checkpoint replaces the log only if the log does not contain its last entry. Otherwise entries behind it might be thrown away that this replica acknowledged; then
 * nothing is installed, and the leader goes on from the log.
 */
import { assert } from '../std/assert.ts';
import type { LogIndex, Term } from '../std/brands.ts';
import { CatchUpDataError } from './catch-up-data-error.ts';
import type { Checkpointer } from './checkpointer.ts';
import type { Membership } from './core/types.ts';
import { DeadlineTimer } from './deadline-heap.ts';
import type { DriverContext } from './driver-context.ts';
import { Fifo } from './fifo.ts';
import type { GroupReplica } from './group-replica.ts';
import { decodeMembership } from './membership-codec.ts';
import type { Peer } from './peer.ts';
import type { CatchUpItem } from './peer-codec.ts';
import { encodeCheckpointPayload } from './replica-codec.ts';
import type { CatchUpStream, StateCheckpoint } from './state-machine.ts';
import { CHANNEL } from './transport.ts';

/** Small messages that the bulk channel had no room for; a leader that gets none of them gives up by itself. */
const UNSENT_MAX = 64;

export class CatchUpReceiver {
  readonly #context: DriverContext;
  readonly #checkpointer: Checkpointer;
  readonly #unfrozen: (replica: GroupReplica) => void;
  readonly #receiving = new Map<GroupReplica, Receiving>();

  /** `unfrozen` is called when a replica goes on. */
  constructor(context: DriverContext, checkpointer: Checkpointer, unfrozen: (replica: GroupReplica) => void) {
    this.#context = context;
    this.#checkpointer = checkpointer;
    this.#unfrozen = unfrozen;
  }

  received(peer: Peer, item: CatchUpItem): void {
    if (item.kind === 'catchUpStart') return this.#start(peer, item);
    for (const receiving of this.#receiving.values()) if (receiving.is(peer, item.id)) return receiving.received(item);
  }

  #start(peer: Peer, item: Extract<CatchUpItem, { kind: 'catchUpStart' }>): void {
    const replica = this.#context.replicas.get(item.groupId);
    // A leader runs one catch-up for a follower at a time: it gave up the one before, and the word of it may not have got through.
    const before = replica === undefined ? undefined : this.#receiving.get(replica);
    if (before?.isFrom(peer) === true) before.fail('The leader began another one');
    if (replica !== undefined) this.#followAgain(peer, replica, item);
    const problem = this.#problem(replica, item);
    if (problem !== undefined || replica === undefined) {
      const reason = problem ?? 'Unknown replica';
      this.#context.sendItem(peer, CHANNEL.bulk, { kind: 'catchUpAbort', id: item.id, byReceiver: true, reason });
      return;
    }
    replica.frozen = true;
    const receiving = new Receiving(this.#context, peer, item, replica, () => {
      this.#receiving.delete(replica);
      replica.frozen = false;
      if (!replica.removed) this.#unfrozen(replica);
    });
    this.#receiving.set(replica, receiving);
    // The position must not move any more: what is being read for apply is dropped by the freeze, a running checkpoint is waited for.
    this.#checkpointer.settled(replica).then(
      () => this.#context.enqueue(() => receiving.begin()),
      (error: unknown) => this.#context.fail(error),
    );
  }

  /**
   * A replica that campaigned in vain has forgotten its leader. Entries would remind it, but to one that needs a catch-up none are sent; so what the peer announces, and still
   * stands for, counts again.
   */
  #followAgain(peer: Peer, replica: GroupReplica, item: Extract<CatchUpItem, { kind: 'catchUpStart' }>): void {
    const { core, replicaId } = replica;
    const announced = peer.leaderships.get(item.groupId);
    if (core === undefined || core.leaderId !== 0 || replicaId !== item.to || announced?.receiver !== replicaId) return;
    if (announced.leader !== item.from || announced.term !== item.term || item.term < core.term || !peer.fit) return;
    const { nowMs } = this.#context;
    this.#context.step(replica, { kind: 'leaderAnnounced', nowMs, leader: item.from, term: item.term });
  }

  #problem(
    replica: GroupReplica | undefined,
    item: Extract<CatchUpItem, { kind: 'catchUpStart' }>,
  ): string | undefined {
    const core = replica?.core;
    if (replica === undefined || core === undefined || replica.replicaId !== item.to) return 'Unknown replica';
    if (core.term !== item.term || core.leaderId !== item.from) return 'Another leader is followed';
    if (replica.frozen) return 'Another catch-up is under way';
    if (this.#receiving.size >= this.#context.config.catchUpsReceivingMax) return 'Too many catch-ups are under way';
    return undefined;
  }

  /** A frozen replica was offered entries by the leader it follows. One of another term began no catch-up, and the word that the one before is over may not have got through. */
  refusedEntries(replica: GroupReplica): void {
    const receiving = this.#receiving.get(replica);
    if (receiving !== undefined && receiving.leaderTerm !== replica.core?.term)
      receiving.fail('The leader lost its office');
  }

  writable(peer: Peer): void {
    for (const receiving of this.#receiving.values()) if (receiving.isFrom(peer)) receiving.writable();
  }

  linkDown(peer: Peer): void {
    for (const receiving of [...this.#receiving.values()])
      if (receiving.isFrom(peer)) receiving.fail('The link went down');
  }

  removed(replica: GroupReplica): void {
    this.#receiving.get(replica)?.fail('The replica is removed');
  }

  /** Resolves when nothing is being installed into this replica. */
  async settled(replica: GroupReplica): Promise<void> {
    await this.#receiving.get(replica)?.over;
  }

  close(): void {
    for (const receiving of [...this.#receiving.values()]) receiving.fail('The broker stops');
  }
}

class CatchUpFailure extends Error {
  override name = 'CatchUpFailure';
}

/** begun (position told) → open (state machine reads pieces) → installed, flushed. */
class Receiving {
  readonly #context: DriverContext;
  readonly #peer: Peer;
  readonly #id: number;
  readonly leaderTerm: Term;
  readonly #replica: GroupReplica;
  readonly #stall: DeadlineTimer;
  readonly #finished: () => void;
  /** Resolves when the state machine is left alone. */
  readonly over: Promise<void>;
  #resolveOver: () => void = () => undefined;
  #stage: 'begun' | 'installing' | 'flushing' | 'over' = 'begun';
  #index = 0 as LogIndex;
  #term = 0 as Term;
  #membership: Membership | undefined;
  readonly #pieces = new Fifo<Uint8Array>();
  #ended = false;
  #failure: CatchUpFailure | undefined;
  #wake: (() => void) | undefined;
  readonly #unsent: CatchUpItem[] = [];

  constructor(
    context: DriverContext,
    peer: Peer,
    { id, term }: { readonly id: number; readonly term: Term },
    replica: GroupReplica,
    finished: () => void,
  ) {
    this.#context = context;
    this.#peer = peer;
    this.#id = id;
    this.leaderTerm = term;
    this.#replica = replica;
    this.#finished = finished;
    this.#stall = new DeadlineTimer(() => this.fail('It made no progress'));
    this.over = new Promise((resolve) => {
      this.#resolveOver = resolve;
    });
    this.#progressed();
  }

  is(peer: Peer, id: number): boolean {
    return this.#peer === peer && this.#id === id;
  }

  isFrom(peer: Peer): boolean {
    return this.#peer === peer;
  }

  begin(): void {
    if (this.#failure !== undefined || this.#replica.removed) return this.#end();
    this.#send({ kind: 'catchUpPosition', id: this.#id, position: this.#replica.stateMachine.catchUpPosition() });
  }

  received(item: CatchUpItem): void {
    if (this.#failure !== undefined) return;
    this.#progressed();
    switch (item.kind) {
      case 'catchUpOpen':
        if (this.#stage === 'begun') this.#open(item);
        return;
      case 'catchUpPiece':
        if (this.#stage !== 'installing') return;
        this.#pieces.push(item.piece);
        this.#wakeReader();
        return;
      case 'catchUpEnd':
        this.#ended = true;
        this.#wakeReader();
        return;
      case 'catchUpAbort':
        this.fail(item.reason);
        return;
      default:
        return;
    }
  }

  #open(item: Extract<CatchUpItem, { kind: 'catchUpOpen' }>): void {
    const { replicaId, commitIndex } = this.#replica;
    this.#index = item.index;
    this.#term = item.term;
    this.#membership = decodeMembership(item.membership);
    if (item.index <= commitIndex || this.#context.storage.termAt(replicaId, item.index) === item.term) {
      // The leader goes on from there; what it sends next is compared with the log as always.
      this.#send({ kind: 'catchUpInstalled', id: this.#id });
      this.#end();
      return;
    }
    this.#stage = 'installing';
    const stream: CatchUpStream = { index: item.index, term: item.term, pieces: () => this.#read() };
    this.#replica.stateMachine.installCatchUp(stream).then(
      (checkpoint) => this.#context.enqueue(() => this.#installed(checkpoint)),
      (error: unknown) =>
        this.#context.enqueue(() => {
          // The stream's own failure is expected, and what it carried is the leader's word; anything else broke the state machine.
          if (error instanceof CatchUpFailure) this.#end();
          else if (error instanceof CatchUpDataError) this.#refuse(error.message);
          else this.#context.fail(error);
        }),
    );
  }

  /** The content does not hold: the leader tries again after a pause, and so does this end. */
  #refuse(reason: string): void {
    const { groupId } = this.#replica;
    this.#context.log.error({ groupId, peer: this.#peer.brokerId, reason }, 'A catch-up was refused');
    this.fail(reason);
    this.#end();
  }

  async *#read(): AsyncGenerator<Uint8Array> {
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure;
      const piece = this.#pieces.shift();
      if (piece !== undefined) {
        this.#context.enqueue(() => this.#send({ kind: 'catchUpCredit', id: this.#id, bytes: piece.length }));
        yield piece;
      } else if (this.#ended) {
        return;
      } else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }

  #wakeReader(): void {
    this.#wake?.();
    this.#wake = undefined;
  }

  #installed(checkpoint: StateCheckpoint): void {
    const replica = this.#replica;
    // Durable already; a leader that went away meanwhile does not make committed state wrong.
    if (replica.removed) return this.#end();
    const { storage } = this.#context;
    const { index, term } = checkpoint;
    const membership = this.#membership;
    assert(
      membership !== undefined && index === this.#index && term === this.#term,
      'What was installed is what was sent',
    );
    assert(index > replica.appliedIndex, 'A catch-up never goes back');
    assert(replica.role !== 'leader', 'A leader installs nothing');
    assert(storage.termAt(replica.replicaId, index) !== term, 'A frozen log does not grow');
    this.#stage = 'flushing';
    const payload = encodeCheckpointPayload({ membership, state: checkpoint.payload });
    const lsn = storage.setCheckpoint(replica.replicaId, { index, term, payload }, { resetLog: true });
    this.#context.afterFlush(lsn, () => {
      if (replica.removed) return this.#end();
      replica.appliedIndex = index;
      replica.appliedTerm = term;
      replica.applyTarget = index;
      replica.checkpointIndex = index;
      replica.membershipHistory.reset(index, membership);
      this.#context.metrics.catchUpsInstalled++;
      this.#context.step(replica, { kind: 'snapshotInstalled', nowMs: this.#context.nowMs, index, term, membership });
      replica.stateMachine.checkpointDurable?.(index);
      this.#send({ kind: 'catchUpInstalled', id: this.#id });
      this.#end();
    });
  }

  writable(): void {
    const unsent = this.#unsent.splice(0);
    for (const item of unsent) this.#send(item);
  }

  #send(item: CatchUpItem): void {
    if (this.#unsent.length > 0 || !this.#context.sendItem(this.#peer, CHANNEL.bulk, item)) {
      if (this.#unsent.length < UNSENT_MAX) this.#unsent.push(item);
    }
  }

  #progressed(): void {
    this.#context.deadlines.schedule(this.#stall, this.#context.nowMs + this.#context.config.catchUpStallMs);
  }

  /** Link, leader or time: nothing of it counts. The replica thaws when the state machine let go. */
  fail(reason: string): void {
    if (this.#failure !== undefined || this.#stage === 'flushing' || this.#stage === 'over') return;
    this.#failure = new CatchUpFailure(reason);
    this.#context.sendItem(this.#peer, CHANNEL.bulk, { kind: 'catchUpAbort', id: this.#id, byReceiver: true, reason });
    if (this.#stage === 'begun') this.#end();
    else this.#wakeReader();
  }

  #end(): void {
    if (this.#stage === 'over') return;
    this.#stage = 'over';
    this.#context.deadlines.cancel(this.#stall);
    this.#finished();
    this.#resolveOver();
  }
}
