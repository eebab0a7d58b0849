/**
 * What a broker may hold for others: within its limits while everything goes on, and nothing for anybody once all is quiet. What is taken and not given back would stop a broker after weeks, when
 * nobody looks.
 */
import type { RaftDriver } from '../../../src/raft/raft-driver.ts';
import type { MemoryPool, MemoryPoolName } from '../../../src/std/memory-pool.ts';

export interface MemoryFacts {
  readonly pools: readonly MemoryPool[];
  readonly driver: RaftDriver;
  /** Most connections of clients that were open at a time, and the largest piece of bytes that any of them brought. */
  readonly connectionsPeak: number;
  readonly chunkBytesPeak: number;
  readonly bufferedResponseBytesMax: number;
}

/** Behind its pages that wait for the disk ({@link TailCache}). */
const TAIL_OVERFULL = 4;
/** Behind its limit the WAL may grow to twice that, while segments are released more slowly than they fill. */
const WAL_GROWTH = 2;
/** An entry has at most a quarter of a segment. */
const SEGMENTS_UNDER_WAY = 4;
/** A page of the tail is at most a quarter larger than what it is for, and as small as this. */
const PAGE_BYTES_MIN = 4 * 1024;
/** Size of an entry beside its payload, as the WAL's cache counts. */
const ENTRY_BYTES = 250;

/** What is held beyond its limit, and beyond what may be under way when the limit is met; undefined if nothing is. */
export function beyondLimits(facts: MemoryFacts): string | undefined {
  const { pools, driver, connectionsPeak, chunkBytesPeak, bufferedResponseBytesMax } = facts;
  const { config, storage } = driver;
  const { stats, entryBytesMax } = storage;
  const limitOf = (name: MemoryPoolName): number => pools.find((pool) => pool.name === name)!.limitBytes;
  const message = Math.max(config.appendMessageBytes, entryBytesMax);
  const walBytesMax = WAL_GROWTH * stats.bytesLimit + SEGMENTS_UNDER_WAY * 4 * entryBytesMax;
  const beyond: Record<MemoryPoolName, number> = {
    // Who holds nothing may always read one piece.
    requests: connectionsPeak * chunkBytesPeak,
    responses: connectionsPeak * (bufferedResponseBytesMax + message),
    // One proposal is always allowed.
    proposed: entryBytesMax,
    received: message,
    // A follower applies whatever is committed: then its pages are bounded by what no checkpoint covers, that is by the WAL.
    tail: (TAIL_OVERFULL - 1) * limitOf('tail') + walBytesMax + driver.replicas.size * PAGE_BYTES_MIN,
    entries: 2 * (limitOf('proposed') + limitOf('received') + message) + ENTRY_BYTES * 4_096,
  };
  for (const { name, usedBytes, limitBytes } of pools) {
    if (usedBytes > limitBytes + beyond[name]) return `${usedBytes} bytes of ${name}, the limit is ${limitBytes}`;
  }
  if (stats.bytesInUse > walBytesMax) return `${stats.bytesInUse} bytes of WAL, the limit is ${stats.bytesLimit}`;
  for (const { brokerId, controlBacklogBytes } of driver.peers.values()) {
    if (controlBacklogBytes <= config.controlBacklogBytesMax + message) continue;
    return `${controlBacklogBytes} bytes of control messages for broker ${brokerId}`;
  }
  return undefined;
}

/** Nobody asks for anything any more: is this as it should be then? */
export function isAtRest({ name, usedBytes, limitBytes }: MemoryPool): boolean {
  switch (name) {
    case 'requests':
    case 'responses':
    case 'proposed':
    case 'received':
      return usedBytes === 0;
    case 'tail':
      return usedBytes <= limitBytes;
    case 'entries':
      // Trimmed by the next append.
      return true;
  }
}
