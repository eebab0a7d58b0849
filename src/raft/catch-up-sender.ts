/**
 * The leader's end of catch-ups (DECISIONS P3): a follower whose next entry is gone from the WAL gets the state itself, from its own position on, over the bulk channel; then
 * the log goes on behind it. Holds the WAL meanwhile, unless the WAL is under pressure: then the follower gets a second, shorter catch-up.
 *
 * Whatever fails ends this catch-up only; the core asks again after a pause. Nothing here is durable.
 */
import { type LogIndex, logIndex, type ReplicaId, type Term } from '../std/brands.ts';
import { DeadlineTimer } from './deadline-heap.ts';
import type { DriverContext } from './driver-context.ts';
import { Fifo } from './fifo.ts';
import type { GroupReplica } from './group-replica.ts';
import { encodeMembership } from './membership-codec.ts';
import type { Peer } from './peer.ts';
import type { CatchUpItem } from './peer-codec.ts';
import { StateDamageError } from './state-damage-error.ts';
import type { CatchUpSource } from './state-machine.ts';
import { CHANNEL } from './transport.ts';

interface Hold {
  readonly replica: GroupReplica;
  readonly follower: ReplicaId;
  readonly sinceMs: number;
  /** Set when the catch-up is installed: released once the follower's log reached so far, or at `untilMs`. */
  until: { readonly index: LogIndex; readonly ms: number } | undefined;
}

export class CatchUpSender {
  readonly #context: DriverContext;
  readonly #waiting = new Fifo<{ readonly replica: GroupReplica; readonly follower: ReplicaId; readonly term: Term }>();
  readonly #running = new Map<number, Sending>();
  readonly #holds = new Map<string, Hold>();
  #nextId = 1;

  constructor(context: DriverContext) {
    this.#context = context;
  }

  /** The core needs `follower` brought up to date. Answered by a snapshotSent event, whatever happens. */
  start(replica: GroupReplica, follower: ReplicaId): void {
    this.#waiting.push({ replica, follower, term: replica.currentTerm });
    this.#startNext();
  }

  #startNext(): void {
    while (this.#running.size < this.#context.config.catchUpsSendingMax) {
      const next = this.#waiting.shift();
      if (next === undefined) return;
      const { replica, follower, term } = next;
      const brokerId = replica.brokerOf(follower);
      const peer = brokerId === undefined ? undefined : this.#context.peers.get(brokerId);
      if (replica.removed || replica.role !== 'leader' || replica.currentTerm !== term) continue;
      if (peer?.link === undefined || !peer.fit) {
        this.#report(replica, term, follower, undefined);
        continue;
      }
      const id = this.#nextId++;
      const sending = new Sending(this.#context, id, replica, follower, peer, (index, reason) => {
        this.#running.delete(id);
        this.#ended(replica, follower, index, reason);
        this.#report(replica, term, follower, index);
        this.#startNext();
      });
      this.#running.set(id, sending);
      sending.begin((fromIndex) => this.#hold(replica, follower, fromIndex));
    }
  }

  #ended(replica: GroupReplica, follower: ReplicaId, index: LogIndex | undefined, reason: string): void {
    const { metrics, log, nowMs, config } = this.#context;
    if (index === undefined) {
      metrics.catchUpsFailed++;
      log.warn({ groupId: replica.groupId, follower, reason }, 'A catch-up ended without effect');
      this.#release(replica, follower);
      return;
    }
    metrics.catchUpsSent++;
    const hold = this.#holds.get(holdKey(replica, follower));
    if (hold !== undefined) hold.until = { index: replica.lastIndex, ms: nowMs + config.catchUpHoldMs };
  }

  #report(replica: GroupReplica, term: Term, follower: ReplicaId, index: LogIndex | undefined): void {
    this.#context.enqueue(() => {
      if (replica.removed || replica.role !== 'leader' || replica.currentTerm !== term) return;
      this.#context.step(replica, { kind: 'snapshotSent', nowMs: this.#context.nowMs, replica: follower, index });
    });
  }

  received(peer: Peer, item: CatchUpItem): void {
    const sending = this.#running.get(item.id);
    if (sending?.isTo(peer)) sending.received(item);
  }

  writable(peer: Peer): void {
    for (const sending of this.#running.values()) if (sending.isTo(peer)) sending.writable();
  }

  linkDown(peer: Peer): void {
    for (const sending of [...this.#running.values()])
      if (sending.isTo(peer)) sending.abort('The link went down', false);
  }

  /** A replica is removed or leads no more: its catch-ups end. */
  leadershipLost(replica: GroupReplica): void {
    for (const sending of [...this.#running.values()]) {
      if (sending.replica === replica) sending.abort('The leadership ended', true);
    }
    this.releaseHoldsOf(replica);
  }

  releaseHoldsOf(replica: GroupReplica): void {
    for (const hold of [...this.#holds.values()]) if (hold.replica === replica) this.#release(replica, hold.follower);
  }

  #hold(replica: GroupReplica, follower: ReplicaId, fromIndex: LogIndex): void {
    this.#release(replica, follower);
    this.#context.storage.hold(replica.replicaId, holderName(follower), fromIndex);
    this.#holds.set(holdKey(replica, follower), { replica, follower, sinceMs: this.#context.nowMs, until: undefined });
  }

  #release(replica: GroupReplica, follower: ReplicaId): void {
    if (!this.#holds.delete(holdKey(replica, follower))) return;
    if (!replica.removed) this.#context.storage.release(replica.replicaId, holderName(follower));
  }

  /** Releases holds that served their purpose, or lasted too long. */
  review(): void {
    for (const { replica, follower, until } of [...this.#holds.values()]) {
      if (until === undefined) continue;
      const reached = replica.progressOf(follower)?.matchIndex ?? until.index;
      if (reached >= until.index || this.#context.nowMs >= until.ms) this.#release(replica, follower);
    }
  }

  /** The WAL needs room: holds that are as old as this end. */
  releaseHolds(ageMs: number): void {
    for (const { replica, follower, sinceMs } of [...this.#holds.values()]) {
      if (this.#context.nowMs - sinceMs >= ageMs) this.#release(replica, follower);
    }
  }

  close(): void {
    for (const sending of [...this.#running.values()]) sending.abort('The broker stops', false);
  }
}

function holderName(follower: ReplicaId): string {
  return `catch-up ${follower}`;
}

function holdKey(replica: GroupReplica, follower: ReplicaId): string {
  return `${replica.replicaId} ${follower}`;
}

/** One catch-up: position asked → source opened → pieces within the follower's credit → end → installed. */
class Sending {
  readonly #context: DriverContext;
  readonly #id: number;
  readonly #replica: GroupReplica;
  readonly #follower: ReplicaId;
  readonly #peer: Peer;
  readonly #term: Term;
  readonly #ended: (index: LogIndex | undefined, reason: string) => void;
  readonly #stall: DeadlineTimer;
  #opened: (fromIndex: LogIndex) => void = () => undefined;
  #source: CatchUpSource | undefined;
  #credit: number;
  #piece: Uint8Array | undefined;
  #reading = false;
  #openSent = false;
  /** The source has no more pieces. */
  #finished = false;
  #endSent = false;
  #over = false;

  constructor(
    context: DriverContext,
    id: number,
    replica: GroupReplica,
    follower: ReplicaId,
    peer: Peer,
    ended: (index: LogIndex | undefined, reason: string) => void,
  ) {
    this.#context = context;
    this.#id = id;
    this.#replica = replica;
    this.#follower = follower;
    this.#peer = peer;
    this.#term = replica.currentTerm;
    this.#ended = ended;
    this.#credit = context.config.catchUpWindowBytes;
    this.#stall = new DeadlineTimer(() => this.abort('It made no progress', true));
  }

  get replica(): GroupReplica {
    return this.#replica;
  }

  isTo(peer: Peer): boolean {
    return this.#peer === peer;
  }

  begin(opened: (fromIndex: LogIndex) => void): void {
    this.#opened = opened;
    const { groupId, replicaId } = this.#replica;
    this.#progressed();
    const start = { groupId, from: replicaId, to: this.#follower, term: this.#term };
    if (!this.#send({ kind: 'catchUpStart', id: this.#id, ...start })) this.abort('The channel is full', false);
  }

  received(item: CatchUpItem): void {
    if (this.#over) return;
    this.#progressed();
    switch (item.kind) {
      case 'catchUpPosition':
        if (this.#source === undefined && !this.#reading) this.#open(item.position);
        return;
      case 'catchUpCredit':
        this.#credit += item.bytes;
        return this.#pump();
      case 'catchUpInstalled':
        if (this.#source !== undefined) this.#end(this.#source.index, 'Installed');
        return;
      case 'catchUpAbort':
        return this.#end(undefined, item.reason);
      default:
        return;
    }
  }

  #open(position: Uint8Array): void {
    this.#reading = true;
    this.#replica.stateMachine.openCatchUp(position).then(
      (source) =>
        this.#context.enqueue(() => {
          this.#reading = false;
          if (this.#over) return this.#close(source);
          if (source === undefined) return this.abort('The follower applied more than this leader yet', true);
          this.#source = source;
          this.#opened(logIndex(source.index + 1));
          this.#pump();
        }),
      (error: unknown) => this.#failed(error),
    );
  }

  /** Sends what credit and channel allow, reads the next piece. */
  #pump(): void {
    if (this.#over || this.#source === undefined) return;
    if (!this.#openSent && !this.#sendOpen(this.#source)) return;
    if (this.#finished && !this.#endSent) this.#endSent = this.#send({ kind: 'catchUpEnd', id: this.#id });
    while (!this.#finished) {
      if (this.#piece !== undefined) {
        // A piece larger than the whole window goes when nothing else is under way.
        const { length } = this.#piece;
        if (this.#credit < Math.min(length, this.#context.config.catchUpWindowBytes)) return;
        if (!this.#send({ kind: 'catchUpPiece', id: this.#id, piece: this.#piece })) return;
        this.#credit -= length;
        this.#context.metrics.catchUpBytesSent += length;
        this.#piece = undefined;
        this.#progressed();
      }
      if (this.#reading) return;
      this.#reading = true;
      this.#source.next().then(
        (piece) => this.#context.enqueue(() => this.#read(piece)),
        (error: unknown) => this.#failed(error),
      );
    }
  }

  #sendOpen({ index, term }: CatchUpSource): boolean {
    const membership = encodeMembership(this.#replica.membershipHistory.at(index));
    this.#openSent = this.#send({ kind: 'catchUpOpen', id: this.#id, index, term, membership });
    return this.#openSent;
  }

  /** A removed replica's files may vanish while they are read, and damaged ones are repaired before the next attempt. */
  #failed(error: unknown): void {
    if (this.#replica.removed) return;
    if (!(error instanceof StateDamageError)) return this.#context.fail(error);
    this.#context.enqueue(() => {
      this.#reading = false;
      if (this.#over) return this.#close(this.#source);
      this.abort('What it needs is damaged here', true);
    });
  }

  #read(piece: Uint8Array | undefined): void {
    this.#reading = false;
    if (this.#over) return this.#close(this.#source);
    if (piece === undefined) this.#finished = true;
    else this.#piece = piece;
    this.#pump();
  }

  writable(): void {
    this.#pump();
  }

  #send(item: CatchUpItem): boolean {
    return this.#context.sendItem(this.#peer, CHANNEL.bulk, item);
  }

  #progressed(): void {
    if (this.#over) return;
    this.#context.deadlines.schedule(this.#stall, this.#context.nowMs + this.#context.config.catchUpStallMs);
  }

  abort(reason: string, tell: boolean): void {
    if (this.#over) return;
    if (tell) this.#send({ kind: 'catchUpAbort', id: this.#id, byReceiver: false, reason });
    this.#end(undefined, reason);
  }

  #end(index: LogIndex | undefined, reason: string): void {
    if (this.#over) return;
    this.#over = true;
    this.#context.deadlines.cancel(this.#stall);
    if (!this.#reading) this.#close(this.#source);
    this.#ended(index, reason);
  }

  #close(source: CatchUpSource | undefined): void {
    source?.close().catch((error: unknown) => this.#context.fail(error));
  }
}
