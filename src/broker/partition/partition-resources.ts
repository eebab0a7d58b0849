/** What all partitions of a broker share. Made once by the composition root. */
import type { Disk } from '../../std/disk.ts';
import type { Clock, Timers } from '../../std/environment.ts';
import { ByteCache } from './byte-cache.ts';
import { FilePool } from './file-pool.ts';
import type { PartitionDamageError } from './partition-damage-error.ts';
import { SyncGate } from './sync-gate.ts';
import { TailCache } from './tail-cache.ts';

/** Fewer than the partitions that are written to, and each of their writes would open and close a file; well below what a process may open. */
const FILES_MAX = 2_048;
/** As much as a disk takes in some milliseconds. */
const SYNCING_BYTES_MAX = 4 * 1024 * 1024;

export interface PartitionResources {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly tail: TailCache;
  readonly files: FilePool;
  readonly syncs: SyncGate;
  readonly indexes: ByteCache;
  /** Cluster time (DECISIONS P4); undefined while the brokers do not agree on one. */
  readonly clusterTimeMs: () => number | undefined;
  /** What records and commits are stamped with: cluster time, until there is one the latest clock that is known. An integer. */
  readonly stampMs: () => number;
  /** A write or fsync failed: the broker stops. */
  readonly onFailure: (error: Error) => void;
  /** Damage was found while reading; the broker bars the replica of this directory. */
  readonly onDamage: (error: PartitionDamageError, directory: string) => void;
}

export interface PartitionResourceOptions {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly clusterTimeMs: () => number | undefined;
  readonly stampMs: () => number;
  readonly onFailure: (error: Error) => void;
  readonly onDamage: (error: PartitionDamageError, directory: string) => void;
  /** Budget of the hot tail of all partitions. */
  readonly tailBytesMax?: number;
  /** Budget of loaded index files of old segments. */
  readonly indexBytesMax?: number;
  /** Open segment files. */
  readonly filesMax?: number;
}

export function createPartitionResources(options: PartitionResourceOptions): PartitionResources {
  const { disk, clock, timers, clusterTimeMs, stampMs, onFailure, onDamage } = options;
  return {
    disk,
    clock,
    timers,
    clusterTimeMs,
    stampMs,
    onFailure,
    onDamage,
    tail: new TailCache(options.tailBytesMax ?? 64 * 1024 * 1024),
    files: new FilePool(disk, options.filesMax ?? FILES_MAX, onFailure),
    syncs: new SyncGate(SYNCING_BYTES_MAX),
    indexes: new ByteCache(options.indexBytesMax ?? 16 * 1024 * 1024),
  };
}
