/**
 * Owns the virtual network: a {@link Transport} for each simulated process, links with latency that can break, stall in one direction, or be cut by a partition. Keeps the
 * promises of transport.ts: within one life of a link the messages of a channel arrive in order, all, once; both sides see its end before its next beginning.
 *
 * A dead process refuses connections; one behind a partition does not answer at all. A paused process answers nothing and hears everything when it goes on.
 */

import type {
  Channel,
  LinkDownReason,
  LinkInfo,
  PeerAddress,
  Transport,
  TransportHandlers,
} from '../../src/raft/transport.ts';
import { assert } from '../../src/std/assert.ts';
import type { BrokerId } from '../../src/std/brands.ts';
import type { SeededRandom } from '../../src/std/seeded-random.ts';
import { EventHash } from './event-hash.ts';
import type { SimulatedMachineTime, SimulatedTime } from './simulated-clock.ts';

const CHANNELS = 3;
const REDIAL_MAX_MS = 50;

interface Message {
  readonly bytes: Uint8Array;
  readonly readyMs: number;
}

/** One direction of one life of a link. */
class Lane {
  readonly from: BrokerId;
  readonly to: BrokerId;
  readonly queues: Message[][] = Array.from({ length: CHANNELS }, () => []);
  readonly queuedBytes = new Array<number>(CHANNELS).fill(0);
  readonly lastReadyMs = new Array<number>(CHANNELS).fill(0);
  readonly pumping = new Array<boolean>(CHANNELS).fill(false);
  readonly refused = new Array<boolean>(CHANNELS).fill(false);
  readonly muted = new Array<boolean>(CHANNELS).fill(false);

  constructor(from: BrokerId, to: BrokerId) {
    this.from = from;
    this.to = to;
  }
}

interface Life {
  readonly number: number;
  /** The processes it connects; not those that came after them. */
  readonly processes: readonly [SimulatedTransport, SimulatedTransport];
  readonly lanes: readonly [Lane, Lane];
}

/** A pair of brokers. */
interface Pair {
  readonly low: BrokerId;
  readonly high: BrokerId;
  life: Life | undefined;
  dialing: boolean;
  /** In vain, since there was a link. */
  attempts: number;
  /** Two processes are examining each other, or have. */
  admission: Admission | undefined;
}

interface Admission {
  readonly low: SimulatedTransport;
  readonly high: SimulatedTransport;
  verdict: 'pending' | 'admitted' | 'refused';
}

/** Whether a process wants to hear a peer; what its handshake decides. May take virtual time. */
export type Admit = (peer: LinkInfo) => Promise<boolean>;

export interface SimulatedNetworkOptions {
  readonly latencyMs?: (random: SeededRandom) => number;
  /** Bytes under way per (link, direction, channel). */
  readonly budgetBytes?: number;
}

export class SimulatedNetwork {
  readonly time: SimulatedTime;
  readonly random: SeededRandom;
  latencyMs: (random: SeededRandom) => number;
  readonly budgetBytes: number;
  readonly #processes = new Map<BrokerId, SimulatedTransport>();
  readonly #pairs = new Map<string, Pair>();
  /** Directions in which nothing moves. */
  readonly #blocked = new Set<string>();
  #lives = 0;
  messages = 0;
  readonly #hash = new EventHash();
  /** Sees every message when it is sent. */
  onSend: (from: BrokerId, to: BrokerId, channel: Channel, bytes: Uint8Array) => void = () => undefined;

  /** Whether a channel has no room at the moment, beside what its budget says: messages of others fill it. Who is refused is not told when there is room again; use it for messages that are not tried again. */
  isFull: (from: BrokerId, to: BrokerId, channel: Channel) => boolean = () => false;

  /** May change a message on its way, in place. */
  onWire: (from: BrokerId, to: BrokerId, channel: Channel, bytes: Uint8Array) => void = () => undefined;

  constructor(time: SimulatedTime, random: SeededRandom, options: SimulatedNetworkOptions = {}) {
    this.time = time;
    this.random = random;
    this.latencyMs = options.latencyMs ?? ((source) => 0.2 + source.next() * 0.6);
    this.budgetBytes = options.budgetBytes ?? 2 * 2 ** 20;
  }

  /** Of all messages delivered, and changes of links. */
  get hash(): number {
    return this.#hash.value;
  }

  /** The transport of a new process. At most one process of a broker lives at a time. */
  process(machine: SimulatedMachineTime, info: LinkInfo, admit?: Admit): SimulatedTransport {
    assert(!this.#processes.has(info.brokerId), 'A broker has one process');
    const transport = new SimulatedTransport(this, machine, info, admit);
    this.#processes.set(info.brokerId, transport);
    return transport;
  }

  /** The process is dead: its connections end, further ones are refused. */
  kill(brokerId: BrokerId): void {
    const transport = this.#processes.get(brokerId);
    if (transport === undefined) return;
    this.#processes.delete(brokerId);
    transport.dead = true;
    for (const pair of this.#pairs.values()) {
      if (pair.low !== brokerId && pair.high !== brokerId) continue;
      const other = pair.low === brokerId ? pair.high : pair.low;
      // Whoever cannot hear it does not hear its end either.
      if (this.isBlocked(brokerId, other)) {
        for (const lane of pair.life?.lanes ?? []) for (const queue of lane.queues) queue.length = 0;
      } else this.breakLink(brokerId, other);
    }
  }

  // -------------------------------------------------------------- faults

  isBlocked(from: BrokerId, to: BrokerId): boolean {
    return this.#blocked.has(`${from}>${to}`);
  }

  /** Nothing moves in this direction until it is unblocked: a stalled connection, or half of a partition. */
  block(from: BrokerId, to: BrokerId): void {
    this.#blocked.add(`${from}>${to}`);
  }

  unblock(from: BrokerId, to: BrokerId): void {
    if (!this.#blocked.delete(`${from}>${to}`)) return;
    const pair = this.#pair(from, to);
    const { life } = pair;
    pair.attempts = 0;
    if (life === undefined) return;
    if (life.processes.some((process) => process.dead)) {
      this.breakLink(from, to);
      return;
    }
    for (const lane of life.lanes) {
      if (lane.from === from)
        for (let channel = 0; channel < CHANNELS; channel++) this.#pump(pair, life, lane, channel);
    }
  }

  heal(): void {
    for (const key of [...this.#blocked]) {
      const [from, to] = key.split('>').map(Number) as [BrokerId, BrokerId];
      this.unblock(from, to);
    }
  }

  /** Ends the life of a link; what was under way is lost. It is dialed again. */
  breakLink(some: BrokerId, other: BrokerId): void {
    const pair = this.#pair(some, other);
    const { life } = pair;
    if (life === undefined) return;
    pair.life = undefined;
    this.#note(`down ${pair.low} ${pair.high}`);
    for (const [self, peer] of [
      [pair.low, pair.high],
      [pair.high, pair.low],
    ] as const) {
      this.#processes.get(self)?.deliverDown(peer, 'broken', this.random.next());
    }
    this.#redial(pair, 1 + this.random.next() * 5);
  }

  /** What is sent on this channel from now on does not arrive until the link is made anew, and nobody is told. False if there is no link, or it does so already. */
  muteChannel(from: BrokerId, to: BrokerId, channel: Channel): boolean {
    const lanes = this.#pair(from, to).life?.lanes;
    const lane = lanes?.find((each) => each.from === from);
    if (lane === undefined || lane.muted[channel]) return false;
    lane.muted[channel] = true;
    return true;
  }

  // -------------------------------------------------------------- links

  dial(some: BrokerId, other: BrokerId): void {
    this.#redial(this.#pair(some, other), this.random.next());
  }

  #redial(pair: Pair, delayMs: number): void {
    if (pair.dialing) return;
    pair.dialing = true;
    this.time.after(delayMs, () => {
      pair.dialing = false;
      this.#attempt(pair);
    });
  }

  #attempt(pair: Pair): void {
    // Nobody is left who could notice that it ended.
    if (pair.life?.processes.every((process) => process.dead)) pair.life = undefined;
    if (pair.life !== undefined) return;
    const low = this.#processes.get(pair.low);
    const high = this.#processes.get(pair.high);
    const wanted = (low?.wants(pair.high) ?? false) || (high?.wants(pair.low) ?? false);
    if (!wanted) return;
    const blocked = this.isBlocked(pair.low, pair.high) || this.isBlocked(pair.high, pair.low);
    if (!blocked) {
      if (low?.wants(pair.high) && high?.wants(pair.low)) {
        if (low.isRunning && high.isRunning && !low.isTold(pair.high) && !high.isTold(pair.low)) {
          if (this.#isAdmitted(pair, low, high)) {
            this.#connect(pair, low, high);
            return;
          }
        }
      } else {
        if (low?.wants(pair.high) && high === undefined) low.deliverDown(pair.high, 'refused', 0.1);
        if (high?.wants(pair.low) && low === undefined) high.deliverDown(pair.low, 'refused', 0.1);
      }
    }
    // Further and further apart, or links that are cut for long would be most of what happens.
    pair.attempts++;
    this.#redial(pair, Math.min(5 * pair.attempts, REDIAL_MAX_MS) * (1 + this.random.next()));
  }

  /** The handshake. Asked again with each attempt until both sides have decided. */
  #isAdmitted(pair: Pair, low: SimulatedTransport, high: SimulatedTransport): boolean {
    if (low.admit === undefined && high.admit === undefined) return true;
    let { admission } = pair;
    if (admission?.low !== low || admission.high !== high) {
      admission = { low, high, verdict: 'pending' };
      pair.admission = admission;
      this.#examine(admission);
    }
    if (admission.verdict === 'pending') return false;
    pair.admission = undefined;
    if (admission.verdict === 'admitted') return true;
    this.#note(`rejected ${pair.low} ${pair.high}`);
    low.deliverDown(pair.high, 'rejected', 0.1);
    high.deliverDown(pair.low, 'rejected', 0.1);
    return false;
  }

  #examine(admission: Admission): void {
    const { low, high } = admission;
    const admits = (some: SimulatedTransport, other: SimulatedTransport): Promise<boolean> =>
      some.admit?.(other.info) ?? Promise.resolve(true);
    // A process that dies meanwhile never answers; whatever comes after it is examined anew.
    void Promise.all([admits(low, high), admits(high, low)]).then((verdicts) => {
      admission.verdict = verdicts.every((verdict) => verdict) ? 'admitted' : 'refused';
    });
  }

  #connect(pair: Pair, low: SimulatedTransport, high: SimulatedTransport): void {
    const life: Life = {
      number: ++this.#lives,
      processes: [low, high],
      lanes: [new Lane(pair.low, pair.high), new Lane(pair.high, pair.low)],
    };
    pair.life = life;
    pair.attempts = 0;
    this.#note(`up ${pair.low} ${pair.high}`);
    low.deliverUp(high.info, life.number);
    high.deliverUp(low.info, life.number);
  }

  #pair(some: BrokerId, other: BrokerId): Pair {
    const low = some < other ? some : other;
    const high = some < other ? other : some;
    const key = `${low}-${high}`;
    let pair = this.#pairs.get(key);
    if (pair === undefined) {
      pair = { low, high, life: undefined, dialing: false, attempts: 0, admission: undefined };
      this.#pairs.set(key, pair);
    }
    return pair;
  }

  #lane(
    from: BrokerId,
    to: BrokerId,
    lifeNumber: number | undefined,
  ): { pair: Pair; life: Life; lane: Lane } | undefined {
    const pair = this.#pair(from, to);
    const { life } = pair;
    if (life === undefined || life.number !== lifeNumber) return undefined;
    return { pair, life, lane: life.lanes[0].from === from ? life.lanes[0] : life.lanes[1] };
  }

  // -------------------------------------------------------------- messages

  send(
    from: BrokerId,
    to: BrokerId,
    life: number | undefined,
    channel: Channel,
    pieces: readonly Uint8Array[],
  ): boolean {
    const found = this.#lane(from, to, life);
    if (found === undefined) return false;
    const { lane, pair } = found;
    if (lane.queuedBytes[channel]! > this.budgetBytes) {
      lane.refused[channel] = true;
      return false;
    }
    if (this.isFull(from, to, channel)) return false;
    const bytes = Buffer.concat(pieces);
    this.onSend(from, to, channel, bytes);
    this.onWire(from, to, channel, bytes);
    const readyMs = Math.max(lane.lastReadyMs[channel]!, this.time.now + this.latencyMs(this.random));
    lane.lastReadyMs[channel] = readyMs;
    lane.queues[channel]!.push({ bytes, readyMs });
    lane.queuedBytes[channel]! += bytes.length;
    this.#pump(pair, found.life, lane, channel);
    return true;
  }

  queuedBytes(from: BrokerId, to: BrokerId, life: number | undefined, channel: Channel): number {
    return this.#lane(from, to, life)?.lane.queuedBytes[channel] ?? 0;
  }

  #pump(pair: Pair, life: Life, lane: Lane, channel: number): void {
    const next = lane.queues[channel]![0];
    if (lane.pumping[channel] || next === undefined || pair.life !== life) return;
    if (this.isBlocked(lane.from, lane.to)) return;
    lane.pumping[channel] = true;
    this.time.after(Math.max(0, next.readyMs - this.time.now), () => {
      lane.pumping[channel] = false;
      if (pair.life !== life || this.isBlocked(lane.from, lane.to)) return;
      const message = lane.queues[channel]!.shift();
      if (message === undefined) return;
      lane.queuedBytes[channel]! -= message.bytes.length;
      if (lane.muted[channel]) {
        this.#pump(pair, life, lane, channel);
        return;
      }
      this.messages++;
      this.#hash.number(lane.from).number(lane.to).number(channel).bytes(message.bytes).number(this.time.now);
      this.#processes.get(lane.to)?.deliverMessage(lane.from, life.number, channel as Channel, message.bytes);
      if (lane.refused[channel] && lane.queuedBytes[channel]! <= this.budgetBytes / 2) {
        lane.refused[channel] = false;
        this.#processes.get(lane.from)?.deliverWritable(lane.to, life.number, channel as Channel);
      }
      this.#pump(pair, life, lane, channel);
    });
  }

  #note(what: string): void {
    this.#hash.text(what).number(this.time.now);
  }
}

/** One process's end. */
export class SimulatedTransport implements Transport {
  readonly info: LinkInfo;
  readonly #network: SimulatedNetwork;
  readonly #machine: SimulatedMachineTime;
  readonly admit: Admit | undefined;
  readonly #peers = new Set<BrokerId>();
  /** Life of the link as this process knows it. */
  readonly #lives = new Map<BrokerId, number>();
  /** Why there is no link, as told last. */
  readonly #refused = new Map<BrokerId, LinkDownReason>();
  #started = false;
  dead = false;
  handlers: TransportHandlers = { linkUp: () => undefined, linkDown: () => undefined, message: () => undefined };
  onWritable: (peer: BrokerId, channel: Channel) => void = () => undefined;

  constructor(network: SimulatedNetwork, machine: SimulatedMachineTime, info: LinkInfo, admit: Admit | undefined) {
    this.admit = admit;
    this.#network = network;
    this.#machine = machine;
    this.info = info;
  }

  start(): Promise<void> {
    this.#started = true;
    for (const peer of this.#peers) this.#network.dial(this.info.brokerId, peer);
    return Promise.resolve();
  }

  setPeers(peers: readonly PeerAddress[]): void {
    const wanted = new Set(peers.map(({ brokerId }) => brokerId));
    for (const peer of [...this.#peers]) {
      if (wanted.has(peer)) continue;
      this.#peers.delete(peer);
      this.#network.breakLink(this.info.brokerId, peer);
    }
    for (const peer of wanted) {
      this.#peers.add(peer);
      if (this.#started) this.#network.dial(this.info.brokerId, peer);
    }
  }

  isUp(peer: BrokerId): boolean {
    return this.#lives.has(peer);
  }

  send(peer: BrokerId, channel: Channel, pieces: readonly Uint8Array[]): boolean {
    return this.#network.send(this.info.brokerId, peer, this.#lives.get(peer), channel, pieces);
  }

  queuedBytes(peer: BrokerId, channel: Channel): number {
    return this.#network.queuedBytes(this.info.brokerId, peer, this.#lives.get(peer), channel);
  }

  reset(peer: BrokerId, _reason: string): void {
    this.#network.breakLink(this.info.brokerId, peer);
  }

  close(): Promise<void> {
    this.#network.kill(this.info.brokerId);
    return Promise.resolve();
  }

  // The network's side.

  wants(peer: BrokerId): boolean {
    return this.#started && this.#peers.has(peer);
  }

  get isRunning(): boolean {
    return this.#machine.state === 'running';
  }

  /** Does this process believe in a link? */
  isTold(peer: BrokerId): boolean {
    return this.#lives.has(peer);
  }

  deliverUp(peer: LinkInfo, life: number): void {
    this.#machine.deliver(() => {
      this.#lives.set(peer.brokerId, life);
      this.#refused.delete(peer.brokerId);
      this.handlers.linkUp(peer);
    });
  }

  deliverDown(peer: BrokerId, reason: LinkDownReason, delayMs: number): void {
    this.#machine.after(delayMs, () => {
      if (reason !== 'broken') {
        if (this.#refused.get(peer) === reason) return;
        this.#refused.set(peer, reason);
      } else if (!this.#lives.delete(peer)) return;
      this.handlers.linkDown(peer, reason);
    });
  }

  deliverMessage(peer: BrokerId, life: number, channel: Channel, bytes: Uint8Array): void {
    this.#machine.deliver(() => {
      if (this.#lives.get(peer) === life) this.handlers.message(peer, channel, bytes);
    });
  }

  deliverWritable(peer: BrokerId, life: number, channel: Channel): void {
    this.#machine.deliver(() => {
      if (this.#lives.get(peer) === life) this.onWritable(peer, channel);
    });
  }
}
