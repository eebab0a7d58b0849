/**
 * {@link Network} on Node's TCP sockets.
 *
 * Writes of one turn are corked into one writev: when a flush commits a hundred requests of a connection, their answers leave in one system call.
 */
import { createServer, type Server, type Socket as TcpSocket } from 'node:net';
import type { Listener, Network, Socket, SocketHandlers } from '../std/network.ts';

const BACKLOG = 1024;
const NO_HANDLERS: SocketHandlers = { data() {}, closed() {} };

export class NodeNetwork implements Network {
  listen(address: { host: string; port: number }, accept: (socket: Socket) => void): Promise<Listener> {
    return new Promise((resolve, reject) => {
      const server = createServer({ noDelay: true, keepAlive: true, pauseOnConnect: false }, (socket) =>
        accept(new NodeSocket(socket)),
      );
      server.once('error', reject);
      const options = { port: address.port, backlog: BACKLOG, ...(address.host === '' ? {} : { host: address.host }) };
      server.listen(options, () => {
        server.off('error', reject);
        resolve(new NodeListener(server));
      });
    });
  }
}

class NodeListener implements Listener {
  readonly port: number;
  readonly #server: Server;

  constructor(server: Server) {
    const address = server.address();
    this.port = typeof address === 'object' && address !== null ? address.port : 0;
    this.#server = server;
  }

  close(): Promise<void> {
    // Its callback waits for the open connections, which their owner closes when it wants to.
    this.#server.close();
    return Promise.resolve();
  }
}

class NodeSocket implements Socket {
  readonly remoteAddress: string;
  handlers: SocketHandlers = NO_HANDLERS;
  readonly #socket: TcpSocket;
  #corked = false;

  constructor(socket: TcpSocket) {
    this.#socket = socket;
    this.remoteAddress = `${socket.remoteAddress ?? 'unknown'}:${socket.remotePort ?? 0}`;
    socket.on('data', (chunk: Buffer) => this.handlers.data(chunk));
    // An error is always followed by close, which is what is acted on: how a client went away makes no difference.
    socket.on('error', () => {});
    socket.on('close', () => this.handlers.closed());
    socket.on('end', () => socket.end());
  }

  write(pieces: readonly Uint8Array[], written: () => void): void {
    const socket = this.#socket;
    if (!this.#corked) {
      this.#corked = true;
      socket.cork();
      process.nextTick(() => {
        this.#corked = false;
        socket.uncork();
      });
    }
    const last = pieces.length - 1;
    for (let index = 0; index < last; index++) socket.write(pieces[index]!);
    socket.write(pieces[last]!, () => written());
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  end(): void {
    this.#socket.end();
  }

  destroy(): void {
    this.#socket.destroy();
  }
}
