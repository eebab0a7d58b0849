/** {@link HttpServer} on Node: GET and HEAD only, bounded headers and time, nothing kept of a request's body. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { HttpReply, HttpServer } from '../std/http.ts';
import type { Listener } from '../std/network.ts';

const LIMITS = { requestTimeout: 10_000, headersTimeout: 5_000, keepAliveTimeout: 5_000, maxHeaderSize: 8192 };
const CONNECTIONS_MAX = 256;

export class NodeHttpServer implements HttpServer {
  listen(address: { host: string; port: number }, answer: (path: string) => Promise<HttpReply>): Promise<Listener> {
    return new Promise((resolve, reject) => {
      const server = createServer(LIMITS, (request, response) => void serve(request, response, answer));
      server.maxConnections = CONNECTIONS_MAX;
      server.once('error', reject);
      server.listen({ port: address.port, ...(address.host === '' ? {} : { host: address.host }) }, () => {
        server.off('error', reject);
        const bound = server.address();
        resolve({
          port: typeof bound === 'object' && bound !== null ? bound.port : 0,
          close: () =>
            new Promise((closed) => {
              server.close(() => closed());
              server.closeAllConnections();
            }),
        });
      });
    });
  }
}

async function serve(
  request: IncomingMessage,
  response: ServerResponse,
  answer: (path: string) => Promise<HttpReply>,
): Promise<void> {
  request.resume();
  let reply: HttpReply;
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    reply = { status: 405, contentType: 'text/plain', body: 'Only GET is served\n' };
  } else {
    try {
      reply = await answer((request.url ?? '/').split('?', 1)[0]!);
    } catch (error) {
      reply = { status: 500, contentType: 'text/plain', body: `${error instanceof Error ? error.message : error}\n` };
    }
  }
  response.writeHead(reply.status, {
    'content-type': reply.contentType,
    'content-length': Buffer.byteLength(reply.body),
  });
  response.end(request.method === 'HEAD' ? undefined : reply.body);
}
