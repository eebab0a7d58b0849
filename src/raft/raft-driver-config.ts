/** What can be tuned in the Raft driver, with the values that production starts from. Times are driver milliseconds. */
export interface RaftDriverConfig {
  /** A replica without a leader starts a pre-vote after 1 … 2 times this. */
  readonly electionTimeoutMs: number;
  readonly heartbeatIntervalMs: number;
  /** A peer that was silent for so long is dead (DECISIONS L1). */
  readonly livenessTimeoutMs: number;
  /** A channel of a link on which nothing arrived for so long does not work, and the link is ended. Long enough for the largest message on a slow line. */
  readonly channelSilenceMaxMs: number;
  /** Survivors of a dead leader start their elections one after the other, this far apart (DECISIONS L4). */
  readonly rankDelayMs: number;
  /** The same where nobody leads because all were started together: others wait longer for the preferred leader, which may still be on its way. */
  readonly leaderlessRankDelayMs: number;
  /** Start of the ranks when the leader's broker lives and only stepped down: mostly somebody was asked to take over. */
  readonly steppedDownDelayMs: number;
  /** Most that driver time advances in one pass (DECISIONS L2). */
  readonly timeStepMaxMs: number;
  /** A broker whose oldest flush waits longer is not fit to lead (DECISIONS W11). */
  readonly flushWaitMaxMs: number;
  /** A follower further behind than this is not in sync (replica.lag.time.max.ms, DECISIONS L7). */
  readonly replicaLagTimeMaxMs: number;
  /** How often lagging followers, holds, own disk and the ages of checkpoints are looked at. */
  readonly reviewIntervalMs: number;

  /** Bytes proposed and not yet applied, of one group and of all groups of the broker; above, proposals are refused. The broker's is at most a quarter of the WAL. */
  readonly groupProposedBytesMax: number;
  readonly brokerProposedBytesMax: number;
  /** Bytes received and not yet flushed, of one group and of all; above, an append is rejected as overloaded. The broker's is at most a quarter of the WAL. */
  readonly groupReceivedBytesMax: number;
  readonly brokerReceivedBytesMax: number;
  /** Entry bytes sent to one follower of one group and not yet acknowledged. */
  readonly groupInFlightBytesMax: number;
  /** Size at which a message of entries is closed; one entry may exceed it. */
  readonly appendMessageBytes: number;
  /** Control bytes that may wait for a link that takes nothing; above, the link is ended. */
  readonly controlBacklogBytesMax: number;

  /** Bytes and entries applied in one pass, over all groups. */
  readonly applyBytesPerPass: number;
  readonly applyEntriesPerPass: number;

  /**
   * Shares of the WAL's limit that un-checkpointed entries may take: above the first, the groups that hold most of it are checkpointed; above the second, proposals are refused; above the third, entries
   * of other leaders too. What remains is for what is under way, and for the WAL to move entries.
   */
  readonly walShareCheckpoint: number;
  readonly walShareProposals: number;
  readonly walShareAppends: number;
  readonly checkpointsRunningMax: number;
  /** A checkpoint is made when a state machine applied so many bytes since the last one. */
  readonly checkpointBytes: number;

  readonly catchUpsSendingMax: number;
  readonly catchUpsReceivingMax: number;
  /** Bytes of a catch-up under way, per stream. */
  readonly catchUpWindowBytes: number;
  /** A catch-up that made no step for so long is given up. */
  readonly catchUpStallMs: number;
  /** How long the log behind a finished catch-up is held for the follower to continue from. */
  readonly catchUpHoldMs: number;
  /** A membership change whose new members made no progress for so long is given up. */
  readonly membershipStallMs: number;

  /** Requests under way to, and from, one peer. */
  readonly requestsMax: number;
  readonly requestBytesMax: number;
}

export const RAFT_DRIVER_DEFAULTS: RaftDriverConfig = {
  electionTimeoutMs: 1_000,
  heartbeatIntervalMs: 150,
  livenessTimeoutMs: 1_000,
  channelSilenceMaxMs: 30_000,
  rankDelayMs: 50,
  leaderlessRankDelayMs: 150,
  steppedDownDelayMs: 150,
  timeStepMaxMs: 100,
  flushWaitMaxMs: 3_000,
  replicaLagTimeMaxMs: 10_000,
  reviewIntervalMs: 500,

  groupProposedBytesMax: 16 * 2 ** 20,
  brokerProposedBytesMax: 64 * 2 ** 20,
  groupReceivedBytesMax: 16 * 2 ** 20,
  brokerReceivedBytesMax: 64 * 2 ** 20,
  groupInFlightBytesMax: 4 * 2 ** 20,
  appendMessageBytes: 512 * 1024,
  controlBacklogBytesMax: 16 * 2 ** 20,

  applyBytesPerPass: 4 * 2 ** 20,
  applyEntriesPerPass: 4_096,

  walShareCheckpoint: 0.35,
  walShareProposals: 0.6,
  walShareAppends: 0.8,
  checkpointsRunningMax: 16,
  checkpointBytes: 64 * 2 ** 20,

  catchUpsSendingMax: 4,
  catchUpsReceivingMax: 4,
  catchUpWindowBytes: 4 * 2 ** 20,
  catchUpStallMs: 30_000,
  catchUpHoldMs: 15_000,
  membershipStallMs: 60_000,

  requestsMax: 1_024,
  requestBytesMax: 4 * 2 ** 20,
};
