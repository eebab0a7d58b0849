/**
 * The table of served APIs. It is what ApiVersions answers from, so that nothing can be advertised that has no handler.
 *
 * A handler gets a decoded request and gives the response, or a promise of it, or undefined where the protocol has none (Produce with acks 0). It never throws for what a client can send:
 * refusals are error codes in the response. What it does throw is a broken invariant and stops the broker.
 */
import type { AnyApi, RequestOf, ResponseOf } from '../../kafka-protocol/api.ts';
import { includesVersion, type VersionRange } from '../../kafka-protocol/schema.ts';
import { assert } from '../../std/assert.ts';

/** Facts about one request besides its body. */
export interface RequestContext {
  readonly apiVersion: number;
  readonly clientId: string | null;
  /** Address of the client, without its port. */
  readonly clientHost: string;
  /** Unique in the life of the broker's process. */
  readonly connectionId: number;
  /** True once the connection is gone: nobody waits for the answer any more. */
  readonly isClosed: boolean;
  /** Closes the connection instead of answering (Produce with acks 0 that failed). */
  closeConnection(reason: string): void;
  /** Calls back when the connection ends before the request is answered; for requests that wait long. Returns the unsubscribe function. */
  onClosed(listener: () => void): () => void;
}

export type HandlerResult<A extends AnyApi> = ResponseOf<A> | undefined | Promise<ResponseOf<A> | undefined>;

export interface Handler<A extends AnyApi> {
  readonly api: A;
  /**
   * True: requests of this API are handed over in order of arrival without waiting for the answers to earlier ones of the same kind (answers still leave in order). False: the request
   * waits until every earlier one of its connection was answered, which is what clients of Kafka rely on.
   */
  readonly isPipelined?: boolean;
  handle(request: RequestOf<A>, context: RequestContext): HandlerResult<A>;
}

/** A handler of any API, for the table. */
export interface AnyHandler {
  readonly api: AnyApi;
  readonly isPipelined: boolean;
  handle(request: unknown, context: RequestContext): unknown;
}

/** Keeps the types of request and response together; the table forgets them. */
export function defineHandler<A extends AnyApi>(handler: Handler<A>): AnyHandler {
  return {
    api: handler.api,
    isPipelined: handler.isPipelined ?? false,
    handle: (request, context) => handler.handle(request as RequestOf<A>, context),
  };
}

export interface ServedApi {
  readonly key: number;
  readonly advertised: VersionRange;
}

export class HandlerTable {
  readonly #handlers = new Map<number, AnyHandler>();

  constructor(handlers: readonly AnyHandler[] = []) {
    for (const handler of handlers) this.add(handler);
  }

  add(handler: AnyHandler): void {
    assert(!this.#handlers.has(handler.api.key), `Two handlers for API ${handler.api.name}`);
    this.#handlers.set(handler.api.key, handler);
  }

  /** The handler that serves this version, undefined if the API or the version is not served. */
  find(apiKey: number, apiVersion: number): AnyHandler | undefined {
    const handler = this.#handlers.get(apiKey);
    return handler !== undefined && includesVersion(handler.api.versions, apiVersion) ? handler : undefined;
  }

  /** What ApiVersions names, by key. */
  served(): readonly ServedApi[] {
    return [...this.#handlers.values()]
      .map(({ api }) => ({ key: api.key, advertised: api.advertised }))
      .sort((left, right) => left.key - right.key);
  }
}
