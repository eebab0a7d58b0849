/**
 * Owns who may listen and dial how (DECISIONS I5): peers are spoken to on loopback, over mutual TLS, or on a network that the
 * operator has explicitly called trusted.
 */
import { isIPv4 } from 'node:net';
import { ChannelCredentials, ServerCredentials } from '@grpc/grpc-js';

/** PEM texts. Both sides present `cert` and demand one signed by `ca`. */
export interface PeerTls {
  readonly ca: Buffer;
  readonly cert: Buffer;
  readonly key: Buffer;
}

export interface PeerSecurity {
  readonly tls?: PeerTls;
  /** The operator's word that nobody else is on the network of the Raft ports. */
  readonly allowInsecurePeers?: boolean;
}

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIPv4(host) && host.startsWith('127.'));
}

/** Why `host` must not be listened on; undefined if it may. */
export function refuseListenHost(host: string, security: PeerSecurity): string | undefined {
  if (security.tls !== undefined || security.allowInsecurePeers === true || isLoopback(host)) return undefined;
  return `The Raft port may listen on ${host} only with mutual TLS or where the network is declared trusted; otherwise on a loopback address`;
}

export function serverCredentials(security: PeerSecurity): ServerCredentials {
  if (security.tls === undefined) return ServerCredentials.createInsecure();
  const { ca, cert, key } = security.tls;
  return ServerCredentials.createSsl(ca, [{ cert_chain: cert, private_key: key }], true);
}

export function clientCredentials(security: PeerSecurity): ChannelCredentials {
  if (security.tls === undefined) return ChannelCredentials.createInsecure();
  return ChannelCredentials.createSsl(security.tls.ca, security.tls.key, security.tls.cert);
}
