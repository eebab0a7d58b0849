/**
 * Owns the broker's Raft port and everything of grpc-js that is set up by hand: channel options, windows, one connection per
 * stream. It knows no identities; whoever is set as {@link PeerEndpoint.onHello} and {@link PeerEndpoint.onLink} does.
 */

import type { ServerHttp2Session } from 'node:http2';
import type { Duplex } from 'node:stream';
import {
  type ChannelOptions,
  Client,
  logVerbosity,
  Server,
  type ServerDuplexStream,
  setLogVerbosity,
  status,
} from '@grpc/grpc-js';
import { assert } from '../../std/assert.ts';
import type { Timers } from '../../std/environment.ts';
import type { HostPort } from '../transport.ts';
import { ChannelStream } from './channel-stream.ts';
import { FRAME_OVERHEAD_BYTES_MAX, type IncomingFrame, type OutgoingFrame } from './frame-codec.ts';
import type { HelloRequest, HelloResponse } from './peer_pb.ts';
import { clientCredentials, type PeerSecurity, refuseListenHost, serverCredentials } from './peer-security.ts';
import { HELLO_METHOD, LINK_METHOD, PEER_SERVICE } from './peer-service.ts';

/** Largest payload of one frame; the driver cuts larger things. */
export const MESSAGE_BYTES_MAX = 16 * 2 ** 20;

/**
 * HTTP/2 receive window of each stream and connection. With Node's default of 64 KiB a sender waits for a turn of the
 * receiver's event loop after every 64 KiB.
 */
const WINDOW_BYTES = 16 * 2 ** 20;

const MESSAGE_OPTIONS: ChannelOptions = {
  'grpc.max_receive_message_length': MESSAGE_BYTES_MAX + FRAME_OVERHEAD_BYTES_MAX,
  'grpc.max_send_message_length': MESSAGE_BYTES_MAX + FRAME_OVERHEAD_BYTES_MAX,
  'grpc.enable_channelz': 0,
  // Finds connections whose other end is gone without a word. Whether a peer is alive is decided by heartbeats, sooner.
  'grpc.keepalive_time_ms': 10_000,
  'grpc.keepalive_timeout_ms': 10_000,
};

const CLIENT_OPTIONS: ChannelOptions = {
  ...MESSAGE_OPTIONS,
  'grpc-node.flow_control_window': WINDOW_BYTES,
  // Equal channels would share one connection otherwise (DECISIONS L3).
  'grpc.use_local_subchannel_pool': 1,
  // A retrying call keeps a copy of what it sent; links are re-dialed as a whole instead.
  'grpc.enable_retries': 0,
  'grpc.enable_http_proxy': 0,
  'grpc.service_config_disable_resolution': 1,
};

/** What a failing Hello handler throws to tell the caller why. */
export class HelloRefusedError extends Error {
  override name = 'HelloRefusedError';
}

export class PeerEndpoint {
  readonly #security: PeerSecurity;
  readonly #timers: Timers;
  readonly #server = new Server(MESSAGE_OPTIONS);
  #closed = false;
  /** Answers formation's question; a {@link HelloRefusedError} reaches the caller with its text. */
  onHello: (request: HelloRequest) => HelloResponse = () => {
    throw new HelloRefusedError('The broker is starting');
  };
  /** Takes a stream that a peer opened. */
  onLink: (stream: ChannelStream) => void = (stream) => stream.destroy();

  constructor(security: PeerSecurity, timers: Timers) {
    this.#security = security;
    this.#timers = timers;
    // It would print to the terminal; whatever it knows reaches us as errors too.
    setLogVerbosity(logVerbosity.NONE);
    this.#server.addService(PEER_SERVICE, {
      hello: (
        call: { request: HelloRequest },
        answer: (error: { code: number; details: string } | null, response?: HelloResponse) => void,
      ) => {
        try {
          answer(null, this.onHello(call.request));
        } catch (error) {
          if (!(error instanceof HelloRefusedError)) throw error;
          answer({ code: status.FAILED_PRECONDITION, details: error.message });
        }
      },
      link: (call: ServerDuplexStream<IncomingFrame, OutgoingFrame>) => {
        const session = sessionOf(call);
        widenReceiveWindow(session);
        const stream = new ChannelStream(call as unknown as Duplex, () => session.destroy());
        if (this.#closed) stream.destroy();
        else this.onLink(stream);
      },
    });
  }

  /** Listens; `port` 0 takes a free one. Resolves with the port. Rejects where {@link refuseListenHost} has a reason, or the port is taken. */
  listen(address: HostPort): Promise<number> {
    const refusal = refuseListenHost(address.host, this.#security);
    if (refusal !== undefined) return Promise.reject(new Error(refusal));
    return new Promise((resolve, reject) => {
      this.#server.bindAsync(authority(address), serverCredentials(this.#security), (error, port) => {
        if (error === null) resolve(port);
        else {
          // grpc-js lists what each resolved address said in brackets.
          const reason = /errors: \[(.*)\]$/.exec(error.message)?.[1] ?? error.message;
          reject(new Error(`Cannot listen on ${authority(address)} for peers: ${reason}`, { cause: error }));
        }
      });
    });
  }

  /** Opens a stream on a connection of its own. Failures arrive as its end. */
  openStream(address: HostPort): ChannelStream {
    const client = this.#client(address);
    const call = client.makeBidiStreamRequest(
      LINK_METHOD.path,
      LINK_METHOD.requestSerialize,
      LINK_METHOD.responseDeserialize,
    );
    return new ChannelStream(call as unknown as Duplex, () => {
      call.cancel();
      client.close();
    });
  }

  /** Asks a peer who it is. Rejects when it cannot be reached within `timeoutMs`, or with a {@link HelloRefusedError}. */
  hello(address: HostPort, request: HelloRequest, timeoutMs: number): Promise<HelloResponse> {
    const client = this.#client(address);
    return new Promise<HelloResponse>((resolve, reject) => {
      const call = client.makeUnaryRequest(
        HELLO_METHOD.path,
        HELLO_METHOD.requestSerialize,
        HELLO_METHOD.responseDeserialize,
        request,
        (error, response) => {
          timer.cancel();
          client.close();
          if (error !== null) {
            reject(error.code === status.FAILED_PRECONDITION ? new HelloRefusedError(error.details) : error);
          } else if (response !== undefined) resolve(response);
          else reject(new Error('The peer sent no answer'));
        },
      );
      const timer = this.#timers.after(timeoutMs, () => call.cancel());
    });
  }

  /** Stops listening and drops all connections. */
  close(): void {
    this.#closed = true;
    this.#server.forceShutdown();
  }

  #client(address: HostPort): Client {
    return new Client(authority(address), clientCredentials(this.#security), CLIENT_OPTIONS);
  }
}

function authority(address: HostPort): string {
  return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}

/**
 * The HTTP/2 connection that carries an accepted call. grpc-js keeps it private and has neither an option for a server's
 * windows nor a way to drop one connection, so this reaches inside; the endpoint's test fails when the inside changes.
 */
function sessionOf(call: ServerDuplexStream<IncomingFrame, OutgoingFrame>): ServerHttp2Session {
  const inside = call as unknown as { call?: { stream?: { session?: ServerHttp2Session } } };
  const session = inside.call?.stream?.session;
  assert(session !== undefined, 'grpc-js does not hold the HTTP/2 stream of a call where this version should');
  return session;
}

function widenReceiveWindow(session: ServerHttp2Session): void {
  session.settings({ initialWindowSize: WINDOW_BYTES });
  session.setLocalWindowSize(WINDOW_BYTES);
}
