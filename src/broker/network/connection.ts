/**
 * One client: bytes → frames → requests in order → answers in order.
 *
 * Promises:
 *  - Requests are handed to handlers in order of arrival and answered in that order. Only pipelined APIs (Produce) are handed over while earlier ones of the same kind wait for their
 *    commit; there is no await between the bytes of such a request and its handler, so arrival order is append order.
 *  - Memory follows limits, not clients: bytes of requests count against the connection and the broker from the moment they are read; above a limit, or while the client does not read its
 *    answers, the socket is not read.
 *  - Malformed bytes close this connection with one log line and touch nothing else.
 */
import { ApiKey, apiName } from '../../kafka-protocol/api-keys.ts';
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import { FrameParser } from '../../kafka-protocol/framing.ts';
import { decodeRequest, decodeRequestPrefix, encodeResponse } from '../../kafka-protocol/headers.ts';
import { apiVersionsApi } from '../../kafka-protocol/messages/api-versions.ts';
import { ProtocolError } from '../../kafka-protocol/protocol-error.ts';
import type { Clock } from '../../std/environment.ts';
import type { Socket, SocketHandlers } from '../../std/network.ts';
import type { AnyHandler, HandlerTable, RequestContext } from './dispatch.ts';
import type { MemoryBudget } from './memory-budget.ts';
import type { RateLimitedLog } from './rate-limited-log.ts';
import type { RequestObserver } from './request-observer.ts';

const FRAME_SIZE_FIELD_BYTES = 4;
/** A client that reads slower than this for longer than the grace is treated as gone. */
const READ_RATE_MIN_BYTES_PER_MS = 64;
const READ_GRACE_MS = 60_000;

export interface ConnectionLimits {
  readonly frameBytesMax: number;
  readonly inFlightRequestsMax: number;
  readonly inFlightBytesMax: number;
  readonly bufferedResponseBytesMax: number;
  readonly idleMs: number;
}

/** What all connections of a broker share. */
export interface ConnectionEnvironment {
  readonly handlers: HandlerTable;
  readonly requestMemory: MemoryBudget;
  readonly responseMemory: MemoryBudget;
  readonly limits: ConnectionLimits;
  readonly clock: Clock;
  readonly log: RateLimitedLog;
  readonly observer: RequestObserver;
  /** A handler failed: a broken invariant. The broker stops. */
  readonly onFailure: (error: unknown) => void;
}

/** A request that was handed over and is not answered yet. */
class InFlightRequest implements RequestContext {
  readonly handler: AnyHandler;
  readonly apiVersion: number;
  readonly correlationId: number;
  readonly clientId: string | null;
  readonly sizeBytes: number;
  readonly arrivedMs: number;
  readonly #connection: ClientConnection;
  /** Encoded answer; empty: answered by nothing; undefined: not answered yet. */
  answer: readonly Uint8Array[] | undefined;
  closedListener: (() => void) | undefined;

  constructor(
    connection: ClientConnection,
    handler: AnyHandler,
    header: { apiVersion: number; correlationId: number; clientId: string | null },
    sizeBytes: number,
    arrivedMs: number,
  ) {
    this.#connection = connection;
    this.handler = handler;
    this.apiVersion = header.apiVersion;
    this.correlationId = header.correlationId;
    this.clientId = header.clientId;
    this.sizeBytes = sizeBytes;
    this.arrivedMs = arrivedMs;
  }

  get clientHost(): string {
    return this.#connection.clientHost;
  }

  get connectionId(): number {
    return this.#connection.id;
  }

  get isClosed(): boolean {
    return this.#connection.isClosed;
  }

  closeConnection(reason: string): void {
    this.#connection.close(reason);
  }

  onClosed(listener: () => void): () => void {
    this.closedListener = listener;
    return () => {
      if (this.closedListener === listener) this.closedListener = undefined;
    };
  }
}

export class ClientConnection implements SocketHandlers {
  readonly id: number;
  readonly #socket: Socket;
  readonly #environment: ConnectionEnvironment;
  readonly #onClosed: (connection: ClientConnection) => void;
  readonly #parser: FrameParser;
  /** Frames that were read and not handed over yet, from #backlogHead on. */
  #backlog: Uint8Array[] = [];
  #backlogHead = 0;
  readonly #inFlight: InFlightRequest[] = [];
  #inFlightBytes = 0;
  /** Bytes of unfinished frames and of the backlog. */
  #unservedBytes = 0;
  #bufferedResponseBytes = 0;
  #oldestUnwrittenMs = 0;
  #lastActiveMs: number;
  #isPaused = false;
  #isAdvancing = false;
  #isClosed = false;
  #isStopping = false;
  #hasReceived = false;
  readonly #memoryFreed = (): void => this.#updateReading();

  constructor(
    id: number,
    socket: Socket,
    environment: ConnectionEnvironment,
    onClosed: (connection: ClientConnection) => void,
  ) {
    this.id = id;
    this.#socket = socket;
    this.#environment = environment;
    this.#onClosed = onClosed;
    this.#parser = new FrameParser(environment.limits.frameBytesMax);
    this.#lastActiveMs = environment.clock.monotonicMs();
    socket.handlers = this;
  }

  get clientHost(): string {
    return this.#socket.remoteAddress.replace(/:\d+$/, '');
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Bytes of a request that has not arrived completely. */
  get pendingBytes(): number {
    return this.#parser.pendingBytes;
  }

  data(chunk: Uint8Array): void {
    if (this.#isClosed) return;
    this.#unservedBytes += chunk.length;
    this.#environment.requestMemory.take(chunk.length);
    this.#lastActiveMs = this.#environment.clock.monotonicMs();
    const first = !this.#hasReceived;
    this.#hasReceived = true;
    try {
      this.#parser.push(chunk, (frame) => this.#backlog.push(frame));
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.close(first ? (greetingOf(chunk) ?? error.message) : error.message);
      return;
    }
    this.#advance();
  }

  closed(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    const { requestMemory } = this.#environment;
    requestMemory.cancel(this.#memoryFreed);
    requestMemory.release(this.#unservedBytes);
    this.#unservedBytes = 0;
    this.#backlog = [];
    this.#backlogHead = 0;
    for (const request of this.#inFlight) request.closedListener?.();
    this.#onClosed(this);
  }

  /** Closes at once, with one line in the log. */
  close(reason: string): void {
    if (this.#isClosed) return;
    this.#environment.log.warn({ client: this.#socket.remoteAddress, reason }, 'Closing the connection of a client');
    this.#socket.destroy();
    this.closed();
  }

  /** Takes no further request; closes when those in flight were answered. */
  stop(): void {
    this.#isStopping = true;
    if (this.#inFlight.length === 0) this.#socket.end();
    this.#updateReading();
  }

  destroy(): void {
    this.#socket.destroy();
    this.closed();
  }

  /** Why this connection should not live on: idle, or a reader too slow to be alive; undefined if it may. */
  reasonToClose(nowMs: number): string | undefined {
    if (this.#bufferedResponseBytes > 0) {
      const allowedMs = READ_GRACE_MS + this.#bufferedResponseBytes / READ_RATE_MIN_BYTES_PER_MS;
      return nowMs - this.#oldestUnwrittenMs > allowedMs ? 'It does not read its responses' : undefined;
    }
    if (this.#inFlight.length > 0) return undefined;
    return nowMs - this.#lastActiveMs > this.#environment.limits.idleMs ? 'It was idle' : undefined;
  }

  /** Hands over what may be handed over now. */
  #advance(): void {
    if (this.#isAdvancing) return;
    this.#isAdvancing = true;
    try {
      while (this.#backlogHead < this.#backlog.length && !this.#isClosed && !this.#isStopping && this.#hasRoom()) {
        const frame = this.#backlog[this.#backlogHead]!;
        if (!this.#handOver(frame)) break;
      }
    } catch (error) {
      if (error instanceof ProtocolError) this.close(error.message);
      else this.#environment.onFailure(error);
    } finally {
      this.#isAdvancing = false;
    }
    if (this.#backlogHead === this.#backlog.length && this.#backlogHead > 0) {
      this.#backlog = [];
      this.#backlogHead = 0;
    }
    this.#updateReading();
  }

  #hasRoom(): boolean {
    const { limits } = this.#environment;
    if (this.#bufferedResponseBytes >= limits.bufferedResponseBytesMax) return false;
    if (this.#inFlight.length === 0) return true;
    return this.#inFlight.length < limits.inFlightRequestsMax && this.#inFlightBytes < limits.inFlightBytesMax;
  }

  /** False: the request has to wait for earlier ones. Throws {@link ProtocolError} for one that is malformed. */
  #handOver(frame: Uint8Array): boolean {
    const { apiKey, apiVersion, correlationId } = decodeRequestPrefix(frame);
    const handler = this.#environment.handlers.find(apiKey, apiVersion);
    const earlier = this.#inFlight.at(-1);
    if (earlier !== undefined && !(earlier.handler.isPipelined && handler?.isPipelined)) return false;
    this.#backlog[this.#backlogHead++] = EMPTY;
    const sizeBytes = frame.length + FRAME_SIZE_FIELD_BYTES;
    this.#unservedBytes -= sizeBytes;

    if (handler === undefined) {
      this.#environment.requestMemory.release(sizeBytes);
      if (apiKey === ApiKey.ApiVersions) this.#refuseApiVersions(correlationId);
      else throw new ProtocolError(`${apiName(apiKey)} (API ${apiKey}) version ${apiVersion} is not served`);
      return true;
    }
    this.#inFlightBytes += sizeBytes;
    let decoded: ReturnType<typeof decodeRequest>;
    try {
      decoded = decodeRequest(handler.api, frame);
    } catch (error) {
      this.#release(sizeBytes);
      throw error instanceof ProtocolError ? error.within(`${handler.api.name} v${apiVersion}`) : error;
    }
    const arrivedMs = this.#environment.clock.monotonicMs();
    const request = new InFlightRequest(this, handler, decoded.header, sizeBytes, arrivedMs);
    this.#inFlight.push(request);
    let result: unknown;
    try {
      result = handler.handle(decoded.body, request);
    } catch (error) {
      this.#fail(request, error);
      return true;
    }
    if (result instanceof Promise) {
      result.then(
        (response: unknown) => this.#answer(request, response),
        (error: unknown) => this.#fail(request, error),
      );
    } else {
      this.#answer(request, result);
    }
    return true;
  }

  #fail(request: InFlightRequest, error: unknown): void {
    if (error instanceof ProtocolError) {
      this.#answer(request, undefined);
      this.close(error.message);
    } else {
      this.#environment.onFailure(error);
    }
  }

  #answer(request: InFlightRequest, response: unknown): void {
    const { observer, clock } = this.#environment;
    request.answer =
      response === undefined || this.#isClosed
        ? []
        : encodeResponse(request.handler.api, request.apiVersion, request.correlationId, response as never);
    observer.answered(request.handler.api, response, clock.monotonicMs() - request.arrivedMs, request.sizeBytes);
    while (this.#inFlight[0]?.answer !== undefined) {
      const first = this.#inFlight.shift()!;
      this.#release(first.sizeBytes);
      this.#write(first.answer!);
    }
    if (this.#isStopping && this.#inFlight.length === 0 && !this.#isClosed) this.#socket.end();
    this.#advance();
  }

  #release(requestBytes: number): void {
    this.#inFlightBytes -= requestBytes;
    this.#environment.requestMemory.release(requestBytes);
  }

  #write(pieces: readonly Uint8Array[]): void {
    if (this.#isClosed || pieces.length === 0) return;
    const { responseMemory, clock, observer } = this.#environment;
    let sizeBytes = 0;
    for (const piece of pieces) sizeBytes += piece.length;
    observer.sent(sizeBytes);
    const nowMs = clock.monotonicMs();
    this.#lastActiveMs = nowMs;
    if (this.#bufferedResponseBytes === 0) this.#oldestUnwrittenMs = nowMs;
    this.#bufferedResponseBytes += sizeBytes;
    responseMemory.take(sizeBytes);
    this.#socket.write(pieces, () => {
      this.#bufferedResponseBytes -= sizeBytes;
      responseMemory.release(sizeBytes);
      this.#oldestUnwrittenMs = clock.monotonicMs();
      if (!this.#isClosed && this.#backlogHead < this.#backlog.length) this.#advance();
    });
  }

  /** KIP-511: a client that speaks a newer version is told our range in version 0, which everybody reads. */
  #refuseApiVersions(correlationId: number): void {
    const { min, max } = apiVersionsApi.versions;
    this.#write(
      encodeResponse(apiVersionsApi, 0, correlationId, {
        errorCode: ErrorCode.UNSUPPORTED_VERSION,
        apiKeys: [{ apiKey: ApiKey.ApiVersions, minVersion: min, maxVersion: max }],
      }),
    );
  }

  #updateReading(): void {
    if (this.#isClosed) return;
    const { requestMemory } = this.#environment;
    // Who holds nothing may always read one chunk, so that a few hoarders can not keep everybody else from small requests.
    const noMemory = requestMemory.isExhausted && this.#unservedBytes + this.#inFlightBytes > 0;
    const pause = this.#isStopping || noMemory || this.#backlogHead < this.#backlog.length;
    if (noMemory) requestMemory.wait(this.#memoryFreed);
    if (pause === this.#isPaused) return;
    this.#isPaused = pause;
    if (pause) this.#socket.pause();
    else this.#socket.resume();
  }
}

const EMPTY = new Uint8Array(0);

/** Other protocols that people point at this port by mistake, by their first bytes. */
function greetingOf(chunk: Uint8Array): string | undefined {
  if (chunk[0] === 0x16 && chunk[1] === 0x03) return 'It speaks TLS, but this listener is PLAINTEXT';
  const start = Buffer.from(chunk.buffer, chunk.byteOffset, Math.min(8, chunk.length)).toString('latin1');
  return /^(GET|POST|HEAD|PUT) \//.test(start) ? 'It speaks HTTP; metrics are served by http.listener' : undefined;
}
