/** Limits of the group coordinator, from the broker's properties of the same names. */
export interface GroupConfig {
  /** group.initial.rebalance.delay.ms */
  readonly initialRebalanceDelayMs: number;
  /** group.min.session.timeout.ms, group.max.session.timeout.ms */
  readonly sessionTimeoutMinMs: number;
  readonly sessionTimeoutMaxMs: number;
  /** group.max.size */
  readonly membersMax: number;
  /** offset.metadata.max.bytes */
  readonly offsetMetadataBytesMax: number;
  /** offsets.retention.minutes */
  readonly offsetsRetentionMs: number;
  /** offsets.retention.check.interval.ms */
  readonly retentionCheckIntervalMs: number;
}
