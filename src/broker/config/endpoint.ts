/** Addresses in properties: listeners (`NAME://host:port`), plain endpoints (`host:port`) and quorum voters (`id@host:port`). */
import { RefusedConfigError } from './refused-config-error.ts';

export interface Endpoint {
  /** Without brackets; empty: all interfaces. */
  readonly host: string;
  /** 0 to 65535; 0 asks the system for a free port. */
  readonly port: number;
}

export interface Voter extends Endpoint {
  readonly brokerId: number;
}

const HOST_PORT = /^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]*):(\d{1,5})$/;

/** `host:port`, IPv6 in brackets. */
export function parseEndpoint(text: string): Endpoint {
  const match = HOST_PORT.exec(text.trim());
  if (match === null) throw new RefusedConfigError(`"${text}" is not host:port`);
  const bracketed = match[1]!.startsWith('[');
  const host = bracketed ? match[1]!.slice(1, -1) : match[1]!;
  if (bracketed && !host.includes(':')) throw new RefusedConfigError(`"${match[1]}" is not an IPv6 address`);
  const port = Number(match[2]);
  if (port > 65_535) throw new RefusedConfigError(`Port ${port} is above 65535`);
  return { host, port };
}

/** `PLAINTEXT://host:port`, exactly one: a broker registers one address for clients. */
export function parseListener(text: string): Endpoint {
  const parts = text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
  const seen = new Set<string>();
  for (const part of parts) {
    if (seen.has(part)) throw new RefusedConfigError(`"${part}" is listed twice`);
    seen.add(part);
  }
  if (parts.length !== 1)
    throw new RefusedConfigError(`${parts.length} listeners are given, but a broker serves exactly one`);
  const match = /^([A-Za-z0-9_-]+):\/\/(.*)$/.exec(parts[0]!);
  if (match === null) throw new RefusedConfigError(`"${parts[0]}" is not PLAINTEXT://host:port`);
  if (match[1]!.toUpperCase() !== 'PLAINTEXT') {
    throw new RefusedConfigError(`Security protocol ${match[1]} is not served, only PLAINTEXT is`);
  }
  return parseEndpoint(match[2]!);
}

/** `1@host:port,2@host:port,…` with distinct ids and addresses. */
export function parseVoters(text: string): readonly Voter[] {
  const voters: Voter[] = [];
  const ids = new Set<number>();
  const addresses = new Set<string>();
  for (const part of text.split(',')) {
    const match = /^\s*(\d{1,9})@(.+)$/.exec(part);
    if (match === null) throw new RefusedConfigError(`"${part.trim()}" is not id@host:port`);
    const brokerId = Number(match[1]);
    const endpoint = parseEndpoint(match[2]!);
    if (endpoint.host === '' || endpoint.port === 0) {
      throw new RefusedConfigError(`"${part.trim()}" needs a host and a port that others can connect to`);
    }
    if (ids.has(brokerId)) throw new RefusedConfigError(`Voter ${brokerId} is listed twice`);
    const address = `${endpoint.host}:${endpoint.port}`;
    if (addresses.has(address)) throw new RefusedConfigError(`Address ${address} is listed twice`);
    ids.add(brokerId);
    addresses.add(address);
    voters.push({ brokerId, ...endpoint });
  }
  if (voters.length !== 1 && voters.length !== 3 && voters.length !== 5) {
    throw new RefusedConfigError(`${voters.length} voters are given, but a metadata quorum has 1, 3 or 5`);
  }
  return voters.sort((left, right) => left.brokerId - right.brokerId);
}

/** True for addresses that only this machine can reach. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);
}
