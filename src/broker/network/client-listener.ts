/**
 * The Kafka listener: accepts connections up to the limit and closes those that are idle, do not read, or hold memory without getting on.
 */
import type { TimerHandle, Timers } from '../../std/environment.ts';
import type { Listener, Network, Socket } from '../../std/network.ts';
import { ClientConnection, type ConnectionEnvironment } from './connection.ts';

const SWEEP_INTERVAL_MS = 1000;
/** Sweeps in a row that find request memory used up, until the largest unfinished request is given up. */
const SWEEPS_WITHOUT_MEMORY_MAX = 10;

export interface ClientListenerOptions {
  readonly network: Network;
  readonly timers: Timers;
  readonly address: { host: string; port: number };
  readonly connectionsMax: number;
  readonly environment: ConnectionEnvironment;
}

export class ClientListener {
  readonly #options: ClientListenerOptions;
  readonly #connections = new Set<ClientConnection>();
  #listener: Listener | undefined;
  #sweepTimer: TimerHandle | undefined;
  #nextConnectionId = 1;
  #sweepsWithoutMemory = 0;
  #onAllClosed: (() => void) | undefined;

  constructor(options: ClientListenerOptions) {
    this.#options = options;
  }

  /** The bound port. */
  get port(): number {
    return this.#listener?.port ?? this.#options.address.port;
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  /** Rejects when the address can not be bound. */
  async open(): Promise<void> {
    this.#listener = await this.#options.network.listen(this.#options.address, (socket) => this.#accept(socket));
    this.#scheduleSweep();
  }

  /** Stops accepting, answers what is in flight, and closes; what is not done after `timeoutMs` is cut off. */
  async close(timeoutMs: number): Promise<void> {
    this.#sweepTimer?.cancel();
    await this.#listener?.close();
    if (this.#connections.size === 0) return;
    await new Promise<void>((resolve) => {
      this.#onAllClosed = resolve;
      const timer = this.#options.timers.after(timeoutMs, () => {
        for (const connection of [...this.#connections]) connection.destroy();
      });
      for (const connection of [...this.#connections]) connection.stop();
      const finish = resolve;
      this.#onAllClosed = () => {
        timer.cancel();
        finish();
      };
      if (this.#connections.size === 0) this.#onAllClosed();
    });
  }

  #accept(socket: Socket): void {
    const { environment, connectionsMax } = this.#options;
    if (this.#connections.size >= connectionsMax) {
      environment.log.warn({ client: socket.remoteAddress, connectionsMax }, 'Refusing a connection above the limit');
      socket.destroy();
      return;
    }
    environment.observer.connectionOpened();
    this.#connections.add(
      new ClientConnection(this.#nextConnectionId++, socket, environment, (connection) => {
        environment.observer.connectionClosed();
        this.#connections.delete(connection);
        if (this.#connections.size === 0) this.#onAllClosed?.();
      }),
    );
  }

  #scheduleSweep(): void {
    this.#sweepTimer = this.#options.timers.after(SWEEP_INTERVAL_MS, () => {
      this.#sweep();
      this.#scheduleSweep();
    });
  }

  #sweep(): void {
    const { clock, requestMemory } = this.#options.environment;
    const nowMs = clock.monotonicMs();
    for (const connection of [...this.#connections]) {
      const reason = connection.reasonToClose(nowMs);
      if (reason !== undefined) connection.close(reason);
    }
    this.#sweepsWithoutMemory = requestMemory.isExhausted ? this.#sweepsWithoutMemory + 1 : 0;
    if (this.#sweepsWithoutMemory >= SWEEPS_WITHOUT_MEMORY_MAX) this.#closeLargestUnfinished();
  }

  /** Unfinished requests fill the memory and no one gets on: only the clients could end that, so the largest loses. */
  #closeLargestUnfinished(): void {
    let largest: ClientConnection | undefined;
    for (const connection of this.#connections) {
      if (connection.pendingBytes > (largest?.pendingBytes ?? 0)) largest = connection;
    }
    largest?.close('Memory for requests is used up, and its request is the largest that does not arrive completely');
  }
}
