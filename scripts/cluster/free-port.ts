/** Ports for a cluster beside the user's. */
import { createServer } from 'node:net';

const PORT_FIRST = 21_092;
const PORT_STEP = 1000;
/** Where Linux begins to give ports to clients: one of them could take a broker's between its kill and its start. */
export const CLIENT_PORT_FIRST = 32_768;

/** A FLOTILLA_PORT from which on all ports of `nodes` brokers are free; rejects if there is none. */
export async function findFreePort(nodes: number): Promise<number> {
  for (let port = PORT_FIRST; port + PORT_STEP <= CLIENT_PORT_FIRST; port += PORT_STEP)
    if (await isFree(port, nodes)) return port;
  throw new Error(
    `No free range of ports between ${PORT_FIRST} and ${CLIENT_PORT_FIRST} was found for another cluster`,
  );
}

async function isFree(port: number, nodes: number): Promise<boolean> {
  for (const offset of [0, 100, 200]) {
    for (let i = 0; i < nodes; i++) if (!(await canListen(port + offset + i))) return false;
  }
  return true;
}

/** Whether nobody listens on this port of 127.0.0.1 at the moment. */
export function canListen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}
