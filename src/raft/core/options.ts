/** Defaults of the core's limits. Every one bounds memory or work per peer; none of them is about safety. */
import type { ReplicationLimits } from './types.ts';

export const REPLICATION_LIMITS: ReplicationLimits = {
  appendsInFlightMax: 64,
  appendEntriesMax: 1024,
  probeEntriesMax: 8,
  appendRetryMs: 1000,
  overloadPauseMs: 25,
  snapshotRetryMs: 1000,
};

/** A peer that never answers is probed less and less often, up to this many times `appendRetryMs`: it announces itself by `peerReset` when it is back. */
export const RETRY_BACKOFF_MAX = 64;

/** Responses that wait for a flush, at most; more are dropped, as a network may drop them. One per peer and kind is kept. */
export const WAITING_RESPONSES_MAX = 64;
