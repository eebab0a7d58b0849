/**
 * Effective settings of one topic: its own configs over dynamic broker configs over the broker's properties over Kafka's defaults.
 * Resolved by `topic-config.ts`; partitions get a new object when anything changed.
 */
export interface TopicSettings {
  /** cleanup.policy: only `delete` until compaction exists. */
  readonly cleanupPolicy: 'delete';
  /** retention.ms; -1: forever. */
  readonly retentionMs: number;
  /** retention.bytes per partition; -1: no limit. */
  readonly retentionBytes: number;
  /** segment.bytes */
  readonly segmentBytes: number;
  /** segment.ms */
  readonly segmentMs: number;
  /** index.interval.bytes */
  readonly indexIntervalBytes: number;
  /** max.message.bytes: largest record batch. */
  readonly maxMessageBytes: number;
  /** message.timestamp.type */
  readonly timestampType: 'CreateTime' | 'LogAppendTime';
  /** message.timestamp.before.max.ms / message.timestamp.after.max.ms */
  readonly timestampBeforeMaxMs: number;
  readonly timestampAfterMaxMs: number;
  /** min.insync.replicas */
  readonly minInsyncReplicas: number;
}
