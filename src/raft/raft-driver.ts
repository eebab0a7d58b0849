/**
 * Runs thousands of pure Raft cores of one broker on one WAL and a few links.
 *
 * Everything happens in passes. A pass takes all input that is there (messages, proposals, ended flushes, disk reads, deadlines), steps the cores concerned, writes what they
 * want written into the WAL's buffer, asks for one flush, and sends one batch per peer and channel. Cores hold back what must wait for a flush, so entries travel to the
 * followers while the own disk writes them. Between a flush and the answer it allows there is no promise and no timer.
 *
 * Nothing costs anything for a group in which nothing happens: deadlines are in one heap, liveness is per peer (liveness.ts), in-sync replicas are looked at only where a
 * follower is behind (leading.ts).
 *
 * Driver time (DECISIONS L2): advances after all pending input was handled, by at most one step a pass, so an event loop or process that stood still finds its peers'
 * messages before their silence.
 */
import { assert } from '../std/assert.ts';
import type { BrokerId, GroupId, LogIndex, Lsn, ReplicaId } from '../std/brands.ts';
import type { Clock, Random, TimerHandle, Timers } from '../std/environment.ts';
import type { Log } from '../std/log.ts';
import { DamageError, type ReplicaStorage } from '../wal/replica-storage.ts';
import { AppendSender } from './append-sender.ts';
import { ApplyLoop } from './apply-loop.ts';
import { CatchUpReceiver } from './catch-up-receiver.ts';
import { CatchUpSender } from './catch-up-sender.ts';
import { Checkpointer } from './checkpointer.ts';
import { ControlSender } from './control-sender.ts';
import type { Effects, OutboundMessage, RaftEvent, ReplicationLimits } from './core/types.ts';
import { DeadlineHeap } from './deadline-heap.ts';
import type { DriverContext } from './driver-context.ts';
import { payloadBytes } from './entry-checksum.ts';
import { Fifo } from './fifo.ts';
import { Following } from './following.ts';
import type { GroupReplica } from './group-replica.ts';
import { LeaderTable } from './leader-table.ts';
import { LeadershipList } from './leadership-list.ts';
import { Leading } from './leading.ts';
import { Liveness } from './liveness.ts';
import { type InboundMessage, MessageDispatch } from './message-dispatch.ts';
import { Peer } from './peer.ts';
import { type PeerItem, startPeerMessage, writePeerItem } from './peer-codec.ts';
import { PeerRequests } from './peer-requests.ts';
import { RAFT_DRIVER_DEFAULTS, type RaftDriverConfig } from './raft-driver-config.ts';
import { RaftDriverMetrics } from './raft-driver-metrics.ts';
import type { CreateGroup, LeaderAnnouncement, RaftGroup, RaftGroups } from './raft-group.ts';
import { RepairWatch } from './repair-watch.ts';
import { ReplicaLifecycle } from './replica-lifecycle.ts';
import { resignAll } from './resign-all.ts';
import type { StateMachine } from './state-machine.ts';
import {
  CHANNEL,
  type Channel,
  type LinkDownReason,
  type LinkInfo,
  type PeerAddress,
  type Transport,
} from './transport.ts';

export interface RaftDriverOptions {
  readonly brokerId: BrokerId;
  /** Hex. */
  readonly storeId: string;
  readonly clock: Clock;
  readonly timers: Timers;
  /** Spreads election timeouts. */
  readonly random: Random;
  readonly log: Log;
  /** Open and recovered; the caller closes it after the driver. */
  readonly storage: ReplicaStorage;
  /** Not started; the driver starts it when its replicas are ready to take part, and closes it. */
  readonly transport: Transport;
  /** Makes the state machine of a replica from what {@link CreateGroup.descriptor} said, when it is created and after each restart. */
  readonly createStateMachine: (group: RaftGroup, descriptor: Uint8Array) => StateMachine;
  /** Deletes what a removal that a crash interrupted left of a replica that the WAL no longer knows. */
  readonly destroyRemains?: (groupId: GroupId, replicaId: ReplicaId) => Promise<void>;
  /** The broker cannot go on (failed flush, broken invariant): it must stop. Called once. */
  readonly fatal: (error: unknown) => void;
  readonly config?: Partial<RaftDriverConfig>;
  readonly replicationLimits?: Partial<ReplicationLimits>;
}

/** What a flush completes: the writes of one step of one core, or something else that waited. */
type AwaitingFlush =
  | { readonly lsn: Lsn; readonly replica: GroupReplica; readonly write: number; readonly receivedBytes: number }
  | { readonly lsn: Lsn; readonly replica?: undefined; readonly done: () => void };

/** A hold younger than this survives pressure of the WAL, or catch-ups would never meet the log. */
const HOLD_MS_MIN = 5_000;

/** An entry that is needed now cannot be read back. The next start decides what was lost, bars the replica and has it refilled (DECISIONS W6); nothing is decided about that while others still count on it. */
export class UnreadableEntryError extends Error {
  override name = 'UnreadableEntryError';

  constructor(damage: DamageError) {
    super(
      `${damage.message}. Start the broker again: it then takes what is missing from its peers, and neither votes nor leads in that group before it has it`,
      { cause: damage },
    );
  }
}

export class RaftDriver implements RaftGroups, DriverContext {
  readonly brokerId: BrokerId;
  readonly storeId: string;
  readonly config: RaftDriverConfig;
  readonly clock: Clock;
  readonly storage: ReplicaStorage;
  readonly transport: Transport;
  readonly metrics = new RaftDriverMetrics();
  readonly log: Log;
  readonly deadlines = new DeadlineHeap();
  readonly peers = new Map<BrokerId, Peer>();
  readonly replicas = new Map<GroupId, GroupReplica>();
  readonly replicasById = new Map<ReplicaId, GroupReplica>();
  /** Set by the broker when its disk is nearly full (DECISIONS W10): proposals are refused here and by leaders elsewhere. */
  diskFull = false;
  proposedBytes = 0;
  receivedBytes = 0;

  readonly #options: RaftDriverOptions;
  #state: 'new' | 'running' | 'closing' | 'stopped' = 'new';
  #inbox = new Fifo<(() => void) | InboundMessage>();
  readonly #awaitingFlush = new Fifo<AwaitingFlush>();
  readonly #leadershipDirty = new Set<GroupReplica>();
  /** Who wants to propose and waits for room, in order. */
  readonly #awaitingRoom = new Fifo<() => void>();
  #scheduled = false;
  #inPass = false;
  #nowMs = 0;
  /** Real time at which driver time was advanced last. */
  #advancedAtMs: number;
  #timer: TimerHandle | undefined;
  #timerAtMs = Number.POSITIVE_INFINITY;
  #nextReviewMs = 0;

  readonly #list = new LeadershipList();
  readonly #table: LeaderTable;
  readonly #leading: Leading;
  readonly #following: Following;
  readonly #liveness: Liveness;
  readonly #controlSender: ControlSender;
  readonly #appendSender: AppendSender;
  readonly #applyLoop: ApplyLoop;
  readonly #checkpointer: Checkpointer;
  readonly #catchUpSender: CatchUpSender;
  readonly #catchUpReceiver: CatchUpReceiver;
  readonly #requests: PeerRequests;
  readonly #repair: RepairWatch;
  readonly #lifecycle: ReplicaLifecycle;
  readonly #dispatch: MessageDispatch;

  constructor(options: RaftDriverOptions) {
    this.#options = options;
    this.brokerId = options.brokerId;
    this.storeId = options.storeId;
    const config = { ...RAFT_DRIVER_DEFAULTS, ...options.config };
    // What waits for a stalled disk goes into the WAL at once when it goes on: it must fit.
    const quarter = options.storage.stats.bytesLimit / 4;
    this.config = {
      ...config,
      brokerProposedBytesMax: Math.min(config.brokerProposedBytesMax, quarter),
      brokerReceivedBytesMax: Math.min(config.brokerReceivedBytesMax, quarter),
    };
    this.clock = options.clock;
    this.storage = options.storage;
    this.transport = options.transport;
    this.log = options.log;
    this.#advancedAtMs = options.clock.monotonicMs();
    this.#table = new LeaderTable(this.brokerId, this.#list, this.peers);
    this.#leading = new Leading(this, this.#list, this.#table);
    this.#following = new Following(this, this.#table);
    this.#liveness = new Liveness(this, this.#list, this.#leading, this.#following, this.#table);
    this.#controlSender = new ControlSender(this);
    this.#appendSender = new AppendSender(this);
    this.#applyLoop = new ApplyLoop(this, (replica) => this.#applied(replica));
    this.#checkpointer = new Checkpointer(this);
    this.#catchUpSender = new CatchUpSender(this);
    this.#catchUpReceiver = new CatchUpReceiver(this, this.#checkpointer, (replica) => {
      this.#lifecycle.applied(replica);
      this.#applyLoop.offer(replica);
    });
    this.#requests = new PeerRequests(this);
    this.#repair = new RepairWatch(this);
    this.#lifecycle = new ReplicaLifecycle(this, {
      ...options,
      apply: this.#applyLoop,
      settled: async (replica) => {
        await this.#catchUpReceiver.settled(replica);
        await this.#checkpointer.settled(replica);
      },
      started: (replica) => this.#replicaStarted(replica),
      removed: (replica) => this.#replicaRemoved(replica),
    });
    this.#dispatch = new MessageDispatch(this, {
      liveness: this.#liveness,
      leading: this.#leading,
      requests: this.#requests,
      catchUpSender: this.#catchUpSender,
      catchUpReceiver: this.#catchUpReceiver,
      repair: this.#repair,
    });
  }

  get nowMs(): number {
    return this.#nowMs;
  }

  get walShare(): number {
    const { liveBytes, bytesInUse, bytesLimit } = this.storage.stats;
    // The WAL grows to twice its limit while segments are released more slowly than they fill; then it must get time.
    return Math.max(liveBytes / bytesLimit, bytesInUse / bytesLimit - 1);
  }

  hasRoomFor(bytes: number): boolean {
    const { config, proposedBytes } = this;
    if (proposedBytes > 0 && proposedBytes + bytes > config.brokerProposedBytesMax) return false;
    return this.walShare <= config.walShareProposals;
  }

  whenRoom(callback: () => void): void {
    this.#awaitingRoom.push(callback);
  }

  // -------------------------------------------------------------- start and end

  /** Restores all replicas the WAL knows, starts the cores and then the links; what is known committed is applied meanwhile. Rejects if the broker must not run. */
  async start(): Promise<void> {
    assert(this.#state === 'new', 'A driver starts once');
    this.#state = 'running';
    const { storage, transport } = this;
    storage.onFlushed = () => this.schedule();
    storage.onFailure = (error) => this.fail(error);
    storage.onDamage = (replicaId, index, error) =>
      this.enqueue(() => {
        const replica = this.replicasById.get(replicaId);
        if (replica !== undefined) this.#entryDamaged(replica, index, error);
      });
    storage.onPressure = (replicaIds) => this.enqueue(() => this.#pressure(replicaIds));
    transport.handlers = {
      linkUp: (link) => this.enqueue(() => this.#linkUp(link)),
      linkDown: (peer, reason) => this.enqueue(() => this.#linkDown(peer, reason)),
      message: (peer, channel, bytes) => {
        this.#inbox.push({ peer, channel, bytes });
        this.schedule();
      },
    };
    transport.onWritable = (peer, channel) => this.enqueue(() => this.#writable(peer, channel));
    await this.#lifecycle.recover();
    await transport.start();
    this.schedule();
  }

  /** Checkpoints every replica, ends the links and closes the state machines. For a graceful stop, after {@link transferAll}. */
  async close(): Promise<void> {
    if (this.#state !== 'running') return;
    for (const replica of this.replicas.values()) this.#checkpointer.request(replica);
    await this.#checkpointer.idle();
    await new Promise<void>((resolve) => this.enqueue(() => this.afterFlush(this.storage.appendedLsn, resolve)));
    this.#state = 'closing';
    await this.transport.close();
    // Whatever a closed link still brings is for cores that are about to end.
    this.transport.handlers = { linkUp: () => {}, linkDown: () => {}, message: () => {} };
    await new Promise<void>((resolve) => {
      this.enqueue(() => {
        this.#requests.close();
        this.#catchUpSender.close();
        this.#catchUpReceiver.close();
        for (const replica of this.replicas.values()) replica.abandon();
        resolve();
      });
    });
    for (const replica of this.replicas.values()) await this.#lifecycle.closeReplica(replica);
    this.#stop();
  }

  fail(error: unknown): void {
    if (this.#state === 'stopped') return;
    this.#stop();
    this.#options.fatal(error instanceof DamageError ? new UnreadableEntryError(error) : error);
  }

  #stop(): void {
    this.#state = 'stopped';
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#inbox.clear();
  }

  // -------------------------------------------------------------- passes

  schedule(): void {
    if (this.#scheduled || this.#inPass || this.#state === 'new' || this.#state === 'stopped') return;
    this.#scheduled = true;
    this.#options.timers.soon(() => {
      this.#scheduled = false;
      this.#pass();
    });
  }

  enqueue(task: () => void): void {
    if (this.#state === 'stopped') return;
    this.#inbox.push(task);
    this.schedule();
  }

  #pass(): void {
    if (this.#state === 'stopped') return;
    this.#inPass = true;
    try {
      this.metrics.passes++;
      this.#takeInput();
      this.#takeFlushes();
      this.#advanceTime();
      this.#applyLoop.run();
      if (this.walShare > this.config.walShareCheckpoint) this.#relieveWal();
      if (this.#awaitingRoom.size > 0 && this.hasRoomFor(0)) for (const wake of this.#awaitingRoom.takeAll()) wake();
      this.#tellLeadership();
      this.#leading.flush();
      this.#liveness.write();
      if (this.storage.appendedLsn > this.storage.flushedLsn) this.storage.flush();
      for (const peer of this.peers.values()) {
        this.#appendSender.flush(peer);
        this.#controlSender.flush(peer);
      }
      this.#table.flush();
    } catch (error) {
      this.fail(error);
      return;
    } finally {
      this.#inPass = false;
    }
    const nextFlush = this.#awaitingFlush.peek();
    const isFlushed = nextFlush !== undefined && nextFlush.lsn <= this.storage.flushedLsn;
    if (this.#inbox.size > 0 || this.#applyLoop.hasWork || this.#leadershipDirty.size > 0 || isFlushed) this.schedule();
    this.#armTimer();
  }

  #takeInput(): void {
    const inbox = this.#inbox;
    this.#inbox = new Fifo();
    for (let input = inbox.shift(); input !== undefined; input = inbox.shift()) {
      if (typeof input === 'function') input();
      else this.#dispatch.message(input);
    }
  }

  #takeFlushes(): void {
    const { flushedLsn } = this.storage;
    let persisted: Map<GroupReplica, number> | undefined;
    for (let next = this.#awaitingFlush.peek(); next !== undefined; next = this.#awaitingFlush.peek()) {
      if (next.lsn > flushedLsn) break;
      this.#awaitingFlush.shift();
      if (next.replica === undefined) {
        next.done();
        continue;
      }
      next.replica.receivedBytes -= next.receivedBytes;
      this.receivedBytes -= next.receivedBytes;
      persisted ??= new Map();
      persisted.set(next.replica, next.write);
    }
    if (persisted === undefined) return;
    for (const [replica, write] of persisted) {
      if (replica.removed) continue;
      this.step(replica, { kind: 'persisted', nowMs: this.#nowMs, write });
      replica.flushesAdvanced();
    }
  }

  #advanceTime(): void {
    const realMs = this.clock.monotonicMs();
    const passedMs = realMs - this.#advancedAtMs;
    this.#advancedAtMs = realMs;
    const stepMs = Math.min(Math.max(passedMs, 0), this.config.timeStepMaxMs);
    this.#nowMs += stepMs;
    this.metrics.stalledMs += Math.max(passedMs - stepMs, 0);
    // Without links every peer would soon be missed, and cores told so that have ended.
    if (this.#state === 'closing') return;
    this.deadlines.fire(this.#nowMs);
    this.#liveness.tick();
    if (this.#nowMs < this.#nextReviewMs) return;
    this.#nextReviewMs = this.#nowMs + this.config.reviewIntervalMs;
    this.#leading.review();
    this.#catchUpSender.review();
  }

  #armTimer(): void {
    if (this.#state === 'stopped') return;
    const nextMs = Math.min(this.deadlines.nextMs, this.#liveness.nextHeartbeatMs, this.#nextReviewMs);
    // Half a step at most: driver time must be able to follow real time.
    const delayMs = Math.min(Math.max(1, Math.ceil(nextMs - this.#nowMs)), this.config.timeStepMaxMs / 2);
    const atMs = this.#advancedAtMs + delayMs;
    if (this.#timer !== undefined) {
      if (this.#timerAtMs <= atMs) return;
      this.#timer.cancel();
    }
    this.#timerAtMs = atMs;
    this.#timer = this.#options.timers.after(delayMs, () => {
      this.#timer = undefined;
      this.schedule();
    });
  }

  // -------------------------------------------------------------- cores

  step(replica: GroupReplica, event: RaftEvent): Effects {
    const { core } = replica;
    assert(
      this.#inPass && core !== undefined && !replica.removed,
      'A core is stepped in a pass, while its replica exists',
    );
    const effects = core.step(event);
    if (replica.stateLost !== undefined && core.leaderId !== 0) this.#lifecycle.renew(replica);
    if (effects.write > 0) this.#write(replica, effects);
    if (effects.membershipChanged) replica.membershipChanged();
    if (effects.leadershipChanged) this.#leadershipChanged(replica);
    if (effects.membershipChanged || effects.leadershipChanged) this.#leading.changed(replica);
    for (const message of effects.send) this.#send(replica, message);
    for (const follower of effects.needSnapshot) this.#catchUpSender.start(replica, follower);
    if (effects.reads.length > 0) replica.confirmReads(effects.reads);
    if (effects.applyIndex > replica.applyTarget) {
      replica.applyTarget = effects.applyIndex;
      this.#applyLoop.offer(replica);
    }
    const { deadlineMs } = effects;
    if (deadlineMs !== replica.deadlineMs) {
      // Time moves on before the same core is asked again, whatever it wants.
      this.deadlines.schedule(replica, deadlineMs <= this.#nowMs ? this.#nowMs + 1 : deadlineMs);
    }
    if (core.barred) this.#repair.consider(replica);
    return effects;
  }

  #write(replica: GroupReplica, effects: Effects): void {
    const { storage } = this;
    const { replicaId } = replica;
    let lsn: Lsn | undefined;
    let receivedBytes = 0;
    if (effects.hardState !== undefined) {
      if (effects.hardState.votedFor === replicaId) this.metrics.electionsStarted++;
      lsn = storage.setHardState(replicaId, effects.hardState);
    }
    if (effects.truncateFrom !== undefined) lsn = storage.truncate(replicaId, effects.truncateFrom);
    if (effects.append.length > 0) {
      assert(!replica.frozen, 'A replica takes no entries while it installs a catch-up');
      lsn = storage.appendEntries(replicaId, effects.append, effects.commitIndex);
      if (replica.role === 'leader') {
        this.#leading.appended(replica);
      } else {
        for (const entry of effects.append) receivedBytes += payloadBytes(entry);
        replica.receivedBytes += receivedBytes;
        this.receivedBytes += receivedBytes;
      }
    }
    assert(lsn !== undefined, 'A step that is numbered writes something');
    this.#awaitingFlush.push({ lsn, replica, write: effects.write, receivedBytes });
  }

  afterFlush(lsn: Lsn, done: () => void): void {
    const last = this.#awaitingFlush.last();
    // Whatever waits is in the order of the log.
    this.#awaitingFlush.push({ lsn: last !== undefined && last.lsn > lsn ? last.lsn : lsn, done });
    this.schedule();
  }

  #leadershipChanged(replica: GroupReplica): void {
    const { role, currentTerm } = replica;
    this.#leadershipDirty.add(replica);
    this.#following.reviewGroup(replica.groupId);
    const { ledTerm } = replica;
    if (role === 'leader') {
      if (ledTerm === undefined) this.metrics.leadershipsWon++;
      replica.ledTerm = currentTerm;
      this.#applyLoop.hurry(replica);
    } else if (ledTerm !== undefined) {
      this.metrics.leadershipsLost++;
      this.#leadershipLost(replica);
    }
  }

  #leadershipLost(replica: GroupReplica): void {
    replica.ledTerm = undefined;
    for (const stream of replica.streams.values()) stream.reset();
    this.metrics.proposalsUnknown += replica.proposals.abandon();
    this.#catchUpSender.leadershipLost(replica);
    replica.transfer?.end(true);
    replica.change?.advance();
  }

  /** State machines hear of changes once per pass, when everything they may look at is in place. */
  #tellLeadership(): void {
    if (this.#leadershipDirty.size === 0) return;
    const dirty = [...this.#leadershipDirty];
    this.#leadershipDirty.clear();
    for (const replica of dirty) if (!replica.removed) replica.stateMachine.leadershipChanged?.();
  }

  #applied(replica: GroupReplica): void {
    replica.answerReadsApplied();
    replica.flushesAdvanced();
    replica.change?.advance();
    this.#lifecycle.applied(replica);
    if (replica.core !== undefined) this.#checkpointer.considerSize(replica);
  }

  #replicaStarted(replica: GroupReplica): void {
    this.deadlines.schedule(replica, replica.core!.deadlineMs);
    this.#following.replicaStarted(replica);
    this.#leadershipDirty.add(replica);
    // There is nobody to wait for where this replica is the only voter.
    if (replica.campaignOnStart || isOnlyVoter(replica)) replica.campaignNow();
  }

  #replicaRemoved(replica: GroupReplica): void {
    this.#catchUpSender.leadershipLost(replica);
    this.#catchUpReceiver.removed(replica);
    this.#leading.changed(replica);
    this.#following.reviewGroup(replica.groupId);
  }

  #relieveWal(): void {
    this.#checkpointer.relieve();
    if (this.walShare > this.config.walShareProposals) this.#catchUpSender.releaseHolds(0);
  }

  /** What is applied can do without its entry: a checkpoint takes its place, and who is behind gets the state instead. An entry that only the WAL has is lost here: the next start finds that out, and bars the replica. */
  #entryDamaged(replica: GroupReplica, index: LogIndex, error: DamageError): void {
    const { groupId, replicaId } = replica;
    if (index > replica.appliedIndex) return this.fail(error);
    this.log.error(
      { groupId, replicaId, index, reason: error.message },
      'An applied entry in the WAL is damaged: a checkpoint takes its place',
    );
    this.#catchUpSender.releaseHoldsOf(replica);
    this.#checkpointer.request(replica);
  }

  #pressure(replicaIds: readonly ReplicaId[]): void {
    this.#catchUpSender.releaseHolds(HOLD_MS_MIN);
    for (const replicaId of replicaIds) {
      const replica = this.replicasById.get(replicaId);
      if (replica !== undefined) this.#checkpointer.request(replica);
    }
  }

  // -------------------------------------------------------------- messages out

  #send(replica: GroupReplica, message: OutboundMessage): void {
    const brokerId = replica.brokerOf(message.to);
    const peer = brokerId === undefined ? undefined : this.peers.get(brokerId);
    if (peer?.link === undefined) return;
    if (message.kind === 'appendRange') {
      const stream = replica.streamTo(message.to);
      if (stream !== undefined) this.#appendSender.offer(stream, message);
    } else {
      this.sendControl(peer, { kind: 'raft', message });
    }
  }

  sendControl(peer: Peer, item: PeerItem): void {
    this.#controlSender.add(peer, item);
  }

  sendItem(peer: Peer, channel: Channel, item: PeerItem): boolean {
    if (peer.link === undefined) return false;
    const writer = startPeerMessage();
    writePeerItem(writer, item);
    return this.transport.send(peer.brokerId, channel, writer.finish());
  }

  resetLink(peer: Peer, reason: string): void {
    this.log.warn({ peer: peer.brokerId, reason }, 'A link is ended');
    this.transport.reset(peer.brokerId, reason);
  }

  #writable(brokerId: BrokerId, channel: Channel): void {
    const peer = this.peers.get(brokerId);
    if (peer?.link === undefined) return;
    if (channel === CHANNEL.bulk) {
      this.#catchUpSender.writable(peer);
      this.#catchUpReceiver.writable(peer);
    } else if (channel === CHANNEL.control) {
      this.#controlSender.writable(peer);
    }
  }

  // -------------------------------------------------------------- messages in

  #linkUp(link: LinkInfo): void {
    const peer = this.peers.get(link.brokerId);
    if (peer !== undefined) this.#liveness.linkUp(peer, link);
  }

  #linkDown(brokerId: BrokerId, reason: LinkDownReason): void {
    const peer = this.peers.get(brokerId);
    if (peer === undefined) return;
    this.#liveness.linkDown(peer, reason);
    this.#catchUpSender.linkDown(peer);
    this.#catchUpReceiver.linkDown(peer);
    this.#requests.linkDown(peer);
  }

  reviewFollowing(replica: GroupReplica): void {
    this.#following.reviewGroup(replica.groupId);
  }

  requestRead(replica: GroupReplica, requestId: number): void {
    this.#leading.requestRead(replica, requestId);
  }

  // -------------------------------------------------------------- what the broker uses

  /** Brokers to have links with. */
  setPeers(addresses: readonly PeerAddress[]): void {
    for (const { brokerId } of addresses) {
      if (!this.peers.has(brokerId)) this.peers.set(brokerId, new Peer(brokerId));
    }
    const wanted = new Set(addresses.map(({ brokerId }) => brokerId));
    const gone = [...this.peers.values()].filter(({ brokerId }) => !wanted.has(brokerId));
    this.transport.setPeers(addresses);
    if (gone.length === 0) return;
    this.enqueue(() => {
      for (const peer of gone) {
        this.#linkDown(peer.brokerId, 'refused');
        this.peers.delete(peer.brokerId);
      }
    });
  }

  get(groupId: GroupId): RaftGroup | undefined {
    return this.replicas.get(groupId);
  }

  all(): Iterable<RaftGroup> {
    return this.replicas.values();
  }

  create(group: CreateGroup): RaftGroup {
    return this.#lifecycle.create(group);
  }

  remove(groupId: GroupId, replicaId: ReplicaId): Promise<void> {
    return this.#lifecycle.remove(groupId, replicaId);
  }

  leaderOf(groupId: GroupId): LeaderAnnouncement | undefined {
    return this.#table.leaderOf(groupId);
  }

  onLeadersChanged(listener: (groups: readonly GroupId[]) => void): void {
    this.#table.onChanged(listener);
  }

  isBrokerLive(broker: BrokerId): boolean {
    return broker === this.brokerId || this.peers.get(broker)?.live === true;
  }

  onBrokerLivenessChanged(listener: (broker: BrokerId, live: boolean) => void): void {
    this.#liveness.onChanged(listener);
  }

  request(to: BrokerId, service: string, payload: Uint8Array, timeoutMs: number): Promise<Uint8Array> {
    return this.#requests.request(to, service, payload, timeoutMs);
  }

  serve(service: string, handler: (from: BrokerId, payload: Uint8Array) => Promise<Uint8Array>): void {
    this.#requests.serve(service, handler);
  }

  /**
   * The latest of this broker's wall clock and those that live peers told: for what needs a time before the brokers agreed on one (DECISIONS P4). A clock that is behind must not make anything
   * look old as soon as they do; one that is ahead only keeps it longer.
   */
  latestWallMs(): number {
    let latestMs = this.clock.wallMs();
    for (const { live, wallMs, wallHeardMs } of this.peers.values()) {
      if (live && wallMs !== undefined) latestMs = Math.max(latestMs, wallMs + this.#nowMs - wallHeardMs);
    }
    return latestMs;
  }

  /** Replicas that lost something to a damaged disk and are not repaired. With `identity` they take no part at all: metadata must replace them (DECISIONS W6). */
  damagedReplicas(): {
    readonly groupId: GroupId;
    readonly replicaId: ReplicaId;
    readonly kind: 'entries' | 'identity';
  }[] {
    const damaged = [];
    for (const { groupId, replicaId, damage, core } of this.replicas.values()) {
      if (damage !== undefined && core?.barred !== false) damaged.push({ groupId, replicaId, kind: damage.kind });
    }
    return damaged;
  }

  /** What was recovered as committed is still being applied. */
  get isReplaying(): boolean {
    return this.#lifecycle.isReplaying;
  }

  /** The driver's own disk stalls: leaderships were given up (DECISIONS W11). */
  get isDiskStalled(): boolean {
    return this.#liveness.ownDiskStalled;
  }

  /** Makes everything applied by `replica` so far let go of the WAL. */
  checkpoint(groupId: GroupId): void {
    this.enqueue(() => {
      const replica = this.replicas.get(groupId);
      if (replica !== undefined) this.#checkpointer.request(replica);
    });
  }

  /** The stored form of the last checkpoint of `replica` is damaged, its state in memory is not: another checkpoint is made, even if nothing was applied since. */
  checkpointAgain(groupId: GroupId): void {
    this.enqueue(() => {
      const replica = this.replicas.get(groupId);
      if (replica !== undefined) this.#checkpointer.again(replica);
    });
  }

  transferAll(timeoutMs: number): Promise<void> {
    return resignAll(this, this.#options.timers, timeoutMs, () => this.#state === 'running');
  }
}

function isOnlyVoter({ membership, replicaId }: GroupReplica): boolean {
  const { voters, votersOutgoing } = membership;
  return voters.length === 1 && votersOutgoing.length === 0 && voters[0]!.replicaId === replicaId;
}
