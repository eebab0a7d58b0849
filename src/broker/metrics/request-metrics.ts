/** Counts what connections and handlers do. */
import type { AnyApi } from '../../kafka-protocol/api.ts';
import { Histogram } from '../../std/histogram.ts';
import type { RequestObserver } from '../network/request-observer.ts';
import { errorCodeVisitor, type VisitErrorCodes } from './error-counter.ts';

export class ApiMetrics {
  readonly apiName: string;
  readonly latency = new Histogram();
  /** Answers by error code: one per code in the response, so a response for three partitions counts three times. */
  readonly errorCounts = new Map<number, number>();
  readonly visitErrorCodes: VisitErrorCodes;
  readonly countErrorCode = (errorCode: number): void => {
    this.errorCounts.set(errorCode, (this.errorCounts.get(errorCode) ?? 0) + 1);
  };

  constructor(api: AnyApi) {
    this.apiName = api.name;
    this.visitErrorCodes = errorCodeVisitor(api);
  }
}

export class RequestMetrics implements RequestObserver {
  requestBytes = 0;
  responseBytes = 0;
  connectionsOpened = 0;
  connectionsOpen = 0;
  readonly #apis = new Map<number, ApiMetrics>();

  apis(): Iterable<ApiMetrics> {
    return this.#apis.values();
  }

  answered(api: AnyApi, response: unknown, latencyMs: number, requestBytes: number): void {
    let metrics = this.#apis.get(api.key);
    if (metrics === undefined) {
      metrics = new ApiMetrics(api);
      this.#apis.set(api.key, metrics);
    }
    this.requestBytes += requestBytes;
    metrics.latency.observe(latencyMs);
    if (response !== undefined) metrics.visitErrorCodes(response, metrics.countErrorCode);
  }

  sent(sizeBytes: number): void {
    this.responseBytes += sizeBytes;
  }

  connectionOpened(): void {
    this.connectionsOpened++;
    this.connectionsOpen++;
  }

  connectionClosed(): void {
    this.connectionsOpen--;
  }
}
