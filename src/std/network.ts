/**
 * Byte streams of clients, as the broker sees them. On Node: `src/node/node-network.ts`; in the simulator: virtual connections.
 *
 * Promises: `data` chunks arrive in order and are the receiver's to keep; after `closed` no other call comes. Every `written` callback of {@link Socket.write} is called exactly once, also
 * when the connection ends before the bytes left.
 */
export interface SocketHandlers {
  data(chunk: Uint8Array): void;
  /** The connection is gone, for whatever reason; called exactly once. */
  closed(): void;
}

export interface Socket {
  /** For logs. */
  readonly remoteAddress: string;
  /** Set by the acceptor before it returns. */
  handlers: SocketHandlers;
  /** Queues pieces in order; they must not change until `written` is called. All writes of one turn leave together. */
  write(pieces: readonly Uint8Array[], written: () => void): void;
  /** Stops and resumes reading; chunks that were read already may still arrive after a pause. */
  pause(): void;
  resume(): void;
  /** Sends what is queued, then closes. */
  end(): void;
  /** Closes at once. */
  destroy(): void;
}

export interface Listener {
  /** The port that is really bound. */
  readonly port: number;
  /** Stops accepting. Open connections live on. */
  close(): Promise<void>;
}

export interface Network {
  /** `host` empty: all interfaces. Rejects when the address can not be bound. */
  listen(address: { host: string; port: number }, accept: (socket: Socket) => void): Promise<Listener>;
}
