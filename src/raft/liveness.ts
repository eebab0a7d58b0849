/**
 * The life of peers (DECISIONS L1, L4, W11): hears them, misses them, sends heartbeats and acknowledgements. One heartbeat per peer and interval speaks for all groups; what
 * it means for groups is in leading.ts and following.ts.
 */
import type { BrokerId } from '../std/brands.ts';
import type { DriverContext } from './driver-context.ts';
import type { Following } from './following.ts';
import type { LeaderTable } from './leader-table.ts';
import type { LeadershipList } from './leadership-list.ts';
import type { Leading } from './leading.ts';
import type { Peer } from './peer.ts';
import { type Heartbeat, startPeerMessage } from './peer-codec.ts';
import { CHANNEL, type Channel, type LinkDownReason, type LinkInfo } from './transport.ts';

/** A link that carried nothing for so many liveness timeouts is ended, in case only this connection is dead. */
const SILENT_LINK_TIMEOUTS = 5;
/**
 * Channels other than control may have nothing to carry for hours, and each has a connection of its own: what breaks there while heartbeats go on (a length that a flipped bit made larger, so that the receiver waits for
 * bytes that never come; a window that is never opened again) would be noticed by nobody. So they carry an empty message now and then, and one on which nothing arrives ends the link.
 */
const QUIET_CHANNELS = [CHANNEL.append, CHANNEL.bulk] as const;

export class Liveness {
  readonly #context: DriverContext;
  readonly #list: LeadershipList;
  readonly #leading: Leading;
  readonly #following: Following;
  readonly #table: LeaderTable;
  readonly #listeners: ((broker: BrokerId, live: boolean) => void)[] = [];
  #nextHeartbeatMs: number;
  #nextProbeMs: number;
  #ownDiskStalled = false;

  constructor(
    context: DriverContext,
    list: LeadershipList,
    leading: Leading,
    following: Following,
    table: LeaderTable,
  ) {
    this.#context = context;
    this.#list = list;
    this.#leading = leading;
    this.#following = following;
    this.#table = table;
    this.#nextHeartbeatMs = context.nowMs;
    this.#nextProbeMs = context.nowMs;
  }

  onChanged(listener: (broker: BrokerId, live: boolean) => void): void {
    this.#listeners.push(listener);
  }

  get nextHeartbeatMs(): number {
    return this.#nextHeartbeatMs;
  }

  /** The own disk stalls: nothing is led meanwhile. */
  get ownDiskStalled(): boolean {
    return this.#ownDiskStalled;
  }

  linkUp(peer: Peer, link: LinkInfo): void {
    this.#context.metrics.linksUp++;
    peer.resetLink();
    peer.link = link;
    peer.lastHeardMs = this.#context.nowMs;
    peer.channelHeardMs.fill(this.#context.nowMs);
    if (link.session !== peer.session) {
      peer.session = link.session;
      peer.stalled = false;
      peer.diskFull = false;
      this.#following.forgetList(peer);
    }
    peer.heartbeatDue = true;
    if (!peer.live) {
      peer.live = true;
      this.#changed(peer);
    }
    this.#table.touchPeer(peer);
    this.#leading.linkUp(peer);
    this.#leading.peerChanged(peer);
  }

  linkDown(peer: Peer, reason: LinkDownReason): void {
    if (peer.link !== undefined) {
      this.#context.metrics.linksLost++;
      peer.link = undefined;
      peer.resetLink();
      this.#table.touchPeer(peer);
    }
    // A connection that ended may come back; a process that refuses connections is gone, and its leaderships with it (DECISIONS L4).
    if (reason === 'refused') {
      this.#died(peer);
      this.#following.forgetList(peer);
    }
  }

  /** Any valid message is a sign of life. */
  heard(peer: Peer, channel: Channel): void {
    peer.lastHeardMs = this.#context.nowMs;
    peer.channelHeardMs[channel] = this.#context.nowMs;
    if (peer.live || peer.link === undefined) return;
    peer.live = true;
    this.#following.peerBack(peer);
    this.#leading.peerChanged(peer);
    this.#changed(peer);
  }

  heartbeat(peer: Peer, heartbeat: Heartbeat): void {
    peer.wallMs = heartbeat.wallMs;
    peer.wallHeardMs = this.#context.nowMs;
    peer.diskFull = heartbeat.diskFull;
    this.#following.heard(peer, heartbeat);
    const stalled = heartbeat.flushWaitMs > this.#context.config.flushWaitMaxMs;
    if (stalled === peer.stalled) return;
    peer.stalled = stalled;
    if (stalled) this.#following.peerLost(peer);
    else this.#following.peerBack(peer);
    this.#leading.peerChanged(peer);
  }

  /** After driver time moved. */
  tick(): void {
    const { nowMs, config, storage, transport, metrics } = this.#context;
    for (const peer of this.#context.peers.values()) {
      const silentMs = nowMs - peer.lastHeardMs;
      if (peer.live && silentMs > config.livenessTimeoutMs) {
        this.#died(peer);
        this.#following.peerLost(peer);
      }
      if (peer.link !== undefined && silentMs > SILENT_LINK_TIMEOUTS * config.livenessTimeoutMs) {
        peer.lastHeardMs = nowMs;
        transport.reset(peer.brokerId, 'Nothing was heard over the link');
      } else if (peer.link !== undefined) this.#checkChannels(peer);
    }
    const stalled = storage.oldestFlushWaitMs() > config.flushWaitMaxMs;
    if (stalled !== this.#ownDiskStalled) {
      this.#ownDiskStalled = stalled;
      if (stalled) metrics.diskStalls++;
    }
    if (stalled) this.#leading.resignAll();
    if (nowMs >= this.#nextHeartbeatMs) {
      this.#nextHeartbeatMs = nowMs + config.heartbeatIntervalMs;
      for (const peer of this.#context.peers.values()) peer.heartbeatDue = true;
    }
    if (nowMs < this.#nextProbeMs) return;
    this.#nextProbeMs = nowMs + config.livenessTimeoutMs;
    for (const peer of this.#context.peers.values()) {
      if (peer.link === undefined) continue;
      // A channel without room has something that will arrive, or is what the peer finds out.
      for (const channel of QUIET_CHANNELS) transport.send(peer.brokerId, channel, startPeerMessage().finish());
    }
  }

  #checkChannels(peer: Peer): void {
    const { nowMs, config } = this.#context;
    for (const channel of QUIET_CHANNELS) {
      if (nowMs - peer.channelHeardMs[channel] <= config.channelSilenceMaxMs) continue;
      peer.channelHeardMs.fill(nowMs);
      this.#context.resetLink(peer, `Nothing arrives on its channel ${channel}, although heartbeats do`);
      return;
    }
  }

  #died(peer: Peer): void {
    if (!peer.live) return;
    peer.live = false;
    this.#context.metrics.peersDied++;
    this.#table.touchPeer(peer);
    this.#leading.peerChanged(peer);
    this.#changed(peer);
  }

  #changed(peer: Peer): void {
    for (const listener of this.#listeners) listener(peer.brokerId, peer.live);
  }

  /** Writes the heartbeats and acknowledgements that are due into this pass's control messages; the list and the exceptions are up to date. */
  write(): void {
    for (const peer of this.#context.peers.values()) {
      if (peer.link === undefined) continue;
      if (peer.heartbeatDue) {
        this.#writeHeartbeat(peer);
        peer.ackDue ||= peer.ackOwed;
      }
      if (peer.ackDue) this.#writeAck(peer);
    }
  }

  #writeHeartbeat(peer: Peer): void {
    peer.heartbeatDue = false;
    const full = !peer.fullSent;
    this.#context.metrics.heartbeatsSent++;
    this.#context.sendControl(peer, {
      kind: 'heartbeat',
      round: this.#leading.round,
      full,
      sequence: this.#list.sequence,
      announcements: this.#list.changesSince(full ? 0 : peer.sentSequence, peer.brokerId),
      flushWaitMs: this.#context.storage.oldestFlushWaitMs(),
      wallMs: this.#context.clock.wallMs(),
      diskFull: this.#context.diskFull,
    });
    peer.fullSent = true;
    peer.sentSequence = this.#list.sequence;
  }

  #writeAck(peer: Peer): void {
    peer.ackDue = false;
    peer.ackOwed = false;
    const { added, removed } = peer.takeExceptionChanges();
    this.#context.sendControl(peer, {
      kind: 'heartbeatAck',
      round: peer.heardRound,
      sequence: peer.heardSequence,
      exceptionsAdded: added,
      exceptionsRemoved: removed,
    });
  }
}
