/**
 * Small requests between brokers over the control channel: forwarded commands, questions to a leader. Bounded in number and size both ways; a request whose link goes down
 * rejects, because nobody knows whether it was handled.
 */
import type { BrokerId } from '../std/brands.ts';
import { DeadlineTimer } from './deadline-heap.ts';
import type { DriverContext } from './driver-context.ts';
import type { Peer } from './peer.ts';
import type { RequestItem } from './peer-codec.ts';

/** A request to another broker that was not answered. Whether it was handled is unknown. */
export class PeerRequestError extends Error {
  override name = 'PeerRequestError';
}

type Handler = (from: BrokerId, payload: Uint8Array) => Promise<Uint8Array>;

interface Outstanding {
  readonly to: BrokerId;
  readonly resolve: (payload: Uint8Array) => void;
  readonly reject: (error: PeerRequestError) => void;
  readonly timer: DeadlineTimer;
}

export class PeerRequests {
  readonly #context: DriverContext;
  readonly #handlers = new Map<string, Handler>();
  readonly #outstanding = new Map<number, Outstanding>();
  readonly #outstandingPerPeer = new Map<BrokerId, number>();
  readonly #servingPerPeer = new Map<BrokerId, number>();
  #nextId = 1;

  constructor(context: DriverContext) {
    this.#context = context;
  }

  serve(service: string, handler: Handler): void {
    this.#handlers.set(service, handler);
  }

  request(to: BrokerId, service: string, payload: Uint8Array, timeoutMs: number): Promise<Uint8Array> {
    if (to === this.#context.brokerId) return this.#requestSelf(service, payload);
    if (payload.length > this.#context.config.requestBytesMax) {
      return Promise.reject(new PeerRequestError('The request is too large'));
    }
    return new Promise((resolve, reject) => {
      this.#context.enqueue(() => {
        const peer = this.#context.peers.get(to);
        const running = this.#outstandingPerPeer.get(to) ?? 0;
        if (peer?.link === undefined) return reject(new PeerRequestError(`The link to broker ${to} is down`));
        if (running >= this.#context.config.requestsMax) {
          return reject(new PeerRequestError(`Too many requests to broker ${to} are under way`));
        }
        this.#outstandingPerPeer.set(to, running + 1);
        const id = this.#nextId++;
        const timer = new DeadlineTimer(() => this.#end(id)?.reject(new PeerRequestError('The request timed out')));
        this.#outstanding.set(id, { to, resolve, reject, timer });
        this.#context.deadlines.schedule(timer, this.#context.nowMs + timeoutMs);
        this.#context.sendControl(peer, { kind: 'request', id, service, payload });
      });
    });
  }

  async #requestSelf(service: string, payload: Uint8Array): Promise<Uint8Array> {
    const handler = this.#handlers.get(service);
    if (handler === undefined) throw new PeerRequestError(`Unknown service: ${service}`);
    return handler(this.#context.brokerId, payload);
  }

  received(peer: Peer, item: RequestItem): void {
    if (item.kind === 'request') {
      this.#serve(peer, item.id, item.service, item.payload);
      return;
    }
    const outstanding = this.#outstanding.get(item.id);
    if (outstanding === undefined || outstanding.to !== peer.brokerId) return;
    this.#end(item.id);
    if (item.ok) outstanding.resolve(item.payload);
    else outstanding.reject(new PeerRequestError(Buffer.from(item.payload).toString('utf8')));
  }

  #serve(peer: Peer, id: number, service: string, payload: Uint8Array): void {
    const { link, brokerId } = peer;
    const answer = (ok: boolean, content: Uint8Array): void => {
      // The answer to a request of an earlier life of the link would be mistaken for another one's.
      if (peer.link === link) this.#context.sendControl(peer, { kind: 'response', id, ok, payload: content });
    };
    const serving = this.#servingPerPeer.get(brokerId) ?? 0;
    const handler = this.#handlers.get(service);
    if (handler === undefined) return answer(false, Buffer.from(`Unknown service: ${service}`));
    if (serving >= this.#context.config.requestsMax)
      return answer(false, Buffer.from('Too many requests are under way'));
    this.#servingPerPeer.set(brokerId, serving + 1);
    const settled = (ok: boolean, content: Uint8Array): void =>
      this.#context.enqueue(() => {
        this.#servingPerPeer.set(brokerId, this.#servingPerPeer.get(brokerId)! - 1);
        answer(ok, content);
      });
    handler(brokerId, payload).then(
      (content) => settled(true, content),
      (error: unknown) => settled(false, Buffer.from(error instanceof Error ? error.message : String(error))),
    );
  }

  linkDown(peer: Peer): void {
    for (const [id, { to, reject }] of this.#outstanding) {
      if (to !== peer.brokerId) continue;
      this.#end(id);
      reject(new PeerRequestError(`The link to broker ${to} went down`));
    }
  }

  close(): void {
    for (const [id, { reject }] of this.#outstanding) {
      this.#end(id);
      reject(new PeerRequestError('The broker stops'));
    }
  }

  #end(id: number): Outstanding | undefined {
    const outstanding = this.#outstanding.get(id);
    if (outstanding === undefined) return undefined;
    this.#outstanding.delete(id);
    this.#context.deadlines.cancel(outstanding.timer);
    this.#outstandingPerPeer.set(outstanding.to, this.#outstandingPerPeer.get(outstanding.to)! - 1);
    return outstanding;
  }
}
