/**
 * Owns what makes a cluster one: its id and the stores that formed it (DECISIONS I2). The id is a digest of those stores, so
 * every voter computes the same one alone, and a claim to a cluster id can be checked.
 */
import { createHash } from 'node:crypto';
import { type BrokerId, brokerId } from '../../std/brands.ts';
import { fromHex } from '../../std/hex.ts';
import { IdentityError } from './identity-error.ts';

/** A voter as a configuration names it. */
export interface VoterAddress {
  readonly brokerId: BrokerId;
  readonly host: string;
  /** Of its Raft listener. */
  readonly port: number;
}

export interface InitialVoter extends VoterAddress {
  /** Hex of 16 bytes. */
  readonly storeId: string;
}

export interface ClusterIdentity {
  readonly clusterId: string;
  /** Sorted by broker id. */
  readonly initialVoters: readonly InitialVoter[];
}

export function sortVoters<V extends { readonly brokerId: BrokerId }>(voters: readonly V[]): V[] {
  return [...voters].sort((a, b) => a.brokerId - b.brokerId);
}

/** 22 characters, as Kafka's cluster ids. */
export function deriveClusterId(voters: readonly { readonly brokerId: BrokerId; readonly storeId: string }[]): string {
  const hash = createHash('sha256').update('flotilla cluster 1');
  for (const voter of sortVoters(voters)) {
    const id = new Uint8Array(4);
    new DataView(id.buffer).setInt32(0, voter.brokerId);
    hash.update(id).update(fromHex(voter.storeId));
  }
  return hash.digest().subarray(0, 16).toString('base64url');
}

/** The same for brokers whose configuration lists the same voters at the same addresses. */
export function votersDigest(voters: readonly VoterAddress[]): Uint8Array {
  const text = sortVoters(voters).map((voter) => `${voter.brokerId}@${voter.host}:${voter.port}`);
  return createHash('sha256').update(text.join(',')).digest().subarray(0, 16);
}

/** `id@host:port/storeId`, separated by commas. */
export function formatInitialVoters(voters: readonly InitialVoter[]): string {
  return voters.map((voter) => `${voter.brokerId}@${voter.host}:${voter.port}/${voter.storeId}`).join(',');
}

/** Inverse of {@link formatInitialVoters}. Throws an {@link IdentityError}. */
export function parseInitialVoters(text: string): InitialVoter[] {
  return text.split(',').map((part) => {
    const match = /^(\d+)@(.+):(\d+)\/([0-9a-f]{32})$/.exec(part);
    if (match === null) throw new IdentityError(`"${part}" in the list of initial voters is not id@host:port/store`);
    const [, id, host, port, storeId] = match as unknown as [string, string, string, string, string];
    return { brokerId: brokerId(Number(id)), host, port: Number(port), storeId };
  });
}
