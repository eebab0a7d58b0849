/** The little of HTTP that a broker serves: GET of a few paths. On Node: `src/node/node-http.ts`. */
import type { Listener } from './network.ts';

export interface HttpReply {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}

export interface HttpServer {
  /** `answer` gets the path without its query; a rejection becomes status 500. Rejects when the address can not be bound. */
  listen(address: { host: string; port: number }, answer: (path: string) => Promise<HttpReply>): Promise<Listener>;
}
