/** What metrics learn from connections; called once per request, connection or write, never per record. */
import type { AnyApi } from '../../kafka-protocol/api.ts';

export interface RequestObserver {
  /** A request was answered (`response` undefined: by nothing), `latencyMs` after it had arrived completely. */
  answered(api: AnyApi, response: unknown, latencyMs: number, requestBytes: number): void;
  /** Bytes handed to the socket. */
  sent(sizeBytes: number): void;
  connectionOpened(): void;
  connectionClosed(): void;
}
