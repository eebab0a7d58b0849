/**
 * A TCP proxy for one link, one-way faults included: delays, holds, corrupts and resets what passes. What is held is passed on after healing, as TCP would after a partition; connections made
 * meanwhile are accepted and get nothing. Counts what took effect.
 */
import { connect, createServer, type Server, type Socket } from 'node:net';
import type { SeededRandom } from '../../../src/std/seeded-random.ts';

/** What happens to one direction. */
export interface LinkRule {
  readonly delayMs?: number;
  readonly jitterMs?: number;
  /** Nothing passes until it is healed. */
  readonly held?: boolean;
  /** Chance that a chunk gets one of its bytes changed. */
  readonly corruptChance?: number;
}

export interface LinkCounters {
  delayedChunks: number;
  heldChunks: number;
  corruptedChunks: number;
  resets: number;
  refused: number;
}

const NO_RULE: LinkRule = {};
/** Above this a direction is not read any more, as a full window would have it. */
const QUEUE_BYTES_MAX = 1 << 20;

class Direction {
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #link: FaultyLink;
  readonly #side: 'up' | 'down';
  #queue: { chunk: Buffer; atMs: number }[] = [];
  #queuedBytes = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(link: FaultyLink, side: 'up' | 'down', from: Socket, to: Socket) {
    this.#link = link;
    this.#side = side;
    this.#from = from;
    this.#to = to;
    from.on('data', (chunk) => this.#take(chunk as Buffer));
    from.on('end', () => {
      // While held the end is not seen by the other side either; the sockets end with the link's healing or reset.
      if (this.#link.rule(this.#side).held !== true) to.end();
    });
    to.on('drain', () => this.pump());
  }

  pump(): void {
    clearTimeout(this.#timer);
    const now = performance.now();
    while (this.#queue.length > 0) {
      if (this.#link.rule(this.#side).held === true) return;
      const next = this.#queue[0]!;
      if (next.atMs > now) {
        this.#timer = setTimeout(() => this.pump(), next.atMs - now);
        return;
      }
      this.#queue.shift();
      this.#queuedBytes -= next.chunk.length;
      if (!this.#to.destroyed && !this.#to.write(next.chunk)) break;
    }
    if (this.#queuedBytes < QUEUE_BYTES_MAX) this.#from.resume();
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#queue = [];
  }

  #take(chunk: Buffer): void {
    const { counters, random } = this.#link;
    const { delayMs = 0, jitterMs = 0, held, corruptChance = 0 } = this.#link.rule(this.#side);
    if (corruptChance > 0 && random.chance(corruptChance)) {
      const at = random.below(chunk.length);
      chunk[at] = chunk[at]! ^ (1 << random.below(8));
      counters.corruptedChunks += 1;
    }
    if (held === true) counters.heldChunks += 1;
    const waitMs = delayMs + jitterMs * random.next();
    if (waitMs > 0) counters.delayedChunks += 1;
    else if (held !== true && this.#queue.length === 0) {
      if (!this.#to.destroyed && !this.#to.write(chunk)) {
        this.#from.pause();
        this.#to.once('drain', () => this.#from.resume());
      }
      return;
    }
    const lastMs = this.#queue.at(-1)?.atMs ?? 0;
    this.#queue.push({ chunk, atMs: Math.max(lastMs, performance.now() + waitMs) });
    this.#queuedBytes += chunk.length;
    if (this.#queuedBytes >= QUEUE_BYTES_MAX) this.#from.pause();
    this.pump();
  }
}

export class FaultyLink {
  readonly random: SeededRandom;
  readonly counters: LinkCounters = { delayedChunks: 0, heldChunks: 0, corruptedChunks: 0, resets: 0, refused: 0 };
  readonly #targetPort: number;
  readonly #server: Server;
  readonly #connections = new Set<{ near: Socket; far: Socket; directions: Direction[] }>();
  #rules: { up: LinkRule; down: LinkRule } = { up: NO_RULE, down: NO_RULE };
  #isRefusing = false;

  private constructor(targetPort: number, random: SeededRandom) {
    this.#targetPort = targetPort;
    this.random = random;
    this.#server = createServer({ noDelay: true }, (near) => this.#accept(near));
  }

  static open(targetPort: number, random: SeededRandom): Promise<FaultyLink> {
    const link = new FaultyLink(targetPort, random);
    return new Promise((resolve, reject) => {
      link.#server.once('error', reject);
      link.#server.listen(0, '127.0.0.1', () => resolve(link));
    });
  }

  /** Where to connect instead of the target. */
  get port(): number {
    const address = this.#server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  }

  get openConnections(): number {
    return this.#connections.size;
  }

  /** `up` is from whoever connects to the target, `down` the way back. */
  rule(side: 'up' | 'down'): LinkRule {
    return this.#rules[side];
  }

  setRules(rules: { up?: LinkRule; down?: LinkRule }): void {
    this.#rules = { ...this.#rules, ...rules };
    this.#pump();
  }

  /** Ends all connections as if the peer's machine had said that it does not know them. */
  reset(): void {
    for (const { near, far, directions } of this.#connections) {
      this.counters.resets += 1;
      for (const direction of directions) direction.close();
      near.resetAndDestroy();
      far.resetAndDestroy();
    }
    this.#connections.clear();
  }

  /** New connections are ended at once. */
  refuse(isRefusing: boolean): void {
    this.#isRefusing = isRefusing;
  }

  heal(): void {
    this.#isRefusing = false;
    this.#rules = { up: NO_RULE, down: NO_RULE };
    this.#pump();
  }

  close(): void {
    this.reset();
    this.#server.close();
  }

  #pump(): void {
    for (const { directions } of this.#connections) for (const direction of directions) direction.pump();
  }

  #accept(near: Socket): void {
    if (this.#isRefusing) {
      this.counters.refused += 1;
      near.resetAndDestroy();
      return;
    }
    const far = connect({ host: '127.0.0.1', port: this.#targetPort, noDelay: true });
    const connection = {
      near,
      far,
      directions: [new Direction(this, 'up', near, far), new Direction(this, 'down', far, near)],
    };
    this.#connections.add(connection);
    const close = (): void => {
      this.#connections.delete(connection);
      for (const direction of connection.directions) direction.close();
      near.destroy();
      far.destroy();
    };
    for (const socket of [near, far]) {
      socket.on('error', close);
      socket.on('close', close);
    }
  }
}
