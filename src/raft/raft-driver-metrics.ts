/**
 * Plain counters of the driver, read by the broker's metrics when they are scraped. Counting costs an addition; nothing here allocates after construction.
 */

/** Upper bounds of the buckets of propose-to-applied times, in milliseconds; one more bucket counts what is above. */
export const COMMIT_BUCKETS_MS = [0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096] as const;

export class RaftDriverMetrics {
  passes = 0;
  electionsStarted = 0;
  /** Times a replica of this broker became leader, and stopped being one. */
  leadershipsWon = 0;
  leadershipsLost = 0;
  proposals = 0;
  proposedBytes = 0;
  proposalsRefused = 0;
  proposalsUnknown = 0;
  entriesApplied = 0;
  bytesApplied = 0;
  appendMessagesSent = 0;
  appendEntriesSent = 0;
  appendBytesSent = 0;
  appendsRefused = 0;
  entriesReceived = 0;
  controlMessagesSent = 0;
  messagesReceived = 0;
  bytesReceived = 0;
  heartbeatsSent = 0;
  readRounds = 0;
  readsConfirmed = 0;
  checkpoints = 0;
  catchUpsSent = 0;
  catchUpsFailed = 0;
  catchUpsInstalled = 0;
  catchUpBytesSent = 0;
  linksUp = 0;
  linksLost = 0;
  peersDied = 0;
  checksumFailures = 0;
  /** Times this broker gave up its leaderships because its disk stalled. */
  diskStalls = 0;
  /** Milliseconds of real time that driver time did not follow, because the event loop or the process stood still. */
  stalledMs = 0;
  /** Counts per bucket of {@link COMMIT_BUCKETS_MS}, of proposals that were applied; last: above all. */
  readonly commitCounts = new Float64Array(COMMIT_BUCKETS_MS.length + 1);
  commitMsTotal = 0;

  /** A proposal was applied `tookMs` after it was made. */
  observeCommit(tookMs: number): void {
    let bucket = 0;
    while (bucket < COMMIT_BUCKETS_MS.length && tookMs > COMMIT_BUCKETS_MS[bucket]!) bucket++;
    this.commitCounts[bucket]!++;
    this.commitMsTotal += tookMs;
  }
}
