/**
 * The group coordinator's changes as records of `__consumer_offsets`, in the layout of Kafka's own formatter, so that tools which read that topic find what they expect.
 * State is never rebuilt from them: it is applied from commands and kept in checkpoints (group-state.ts).
 */
import {
  encodeVersioned,
  groupMetadataKey,
  groupMetadataValue,
  offsetCommitKey,
  offsetCommitValue,
} from '../../kafka-protocol/coordinator-records.ts';
import { encodeRecordBatch, type NewRecord } from '../../kafka-protocol/records.ts';
import type { GroupRecord } from './group-state.ts';

const OFFSET_KEY_VERSION = 1;
const GROUP_KEY_VERSION = 2;
/** The newest that every released Kafka tool reads. */
const VALUE_VERSION = 3;

/** One batch with all records of one command; at least one. Offsets and epoch are stamped by the partition. */
export function encodeGroupRecords(records: readonly GroupRecord[], timestampMs: number): Uint8Array {
  return encodeRecordBatch(records.map((record) => toRecord(record, timestampMs)));
}

function toRecord(record: GroupRecord, timestamp: number): NewRecord {
  if (record.kind === 'group') {
    const { value } = record;
    return {
      timestamp,
      key: encodeVersioned(groupMetadataKey, { group: record.groupId }, GROUP_KEY_VERSION),
      value:
        value === null
          ? null
          : encodeVersioned(
              groupMetadataValue,
              {
                protocolType: value.protocolType,
                generation: value.generation,
                protocol: value.protocol,
                leader: value.leader,
                currentStateTimestamp: value.stateTimestampMs,
                members: value.members.map(({ rebalanceTimeoutMs, sessionTimeoutMs, ...member }) => ({
                  ...member,
                  rebalanceTimeout: rebalanceTimeoutMs,
                  sessionTimeout: sessionTimeoutMs,
                })),
              },
              VALUE_VERSION,
            ),
    };
  }
  const { groupId: group, topic, partition, value } = record;
  return {
    timestamp,
    key: encodeVersioned(offsetCommitKey, { group, topic, partition }, OFFSET_KEY_VERSION),
    value:
      value === null
        ? null
        : encodeVersioned(
            offsetCommitValue,
            {
              offset: value.offset,
              leaderEpoch: value.leaderEpoch,
              metadata: value.metadata,
              commitTimestamp: value.commitTimestampMs,
            },
            VALUE_VERSION,
          ),
  };
}
