import { describe, expect, it } from 'vitest';
import {
  decodeVersioned,
  groupMetadataKey,
  groupMetadataValue,
  offsetCommitKey,
  offsetCommitValue,
  versionOf,
} from '../../kafka-protocol/coordinator-records.ts';
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import { iterateBatches } from '../../kafka-protocol/record-batch.ts';
import { readRecords } from '../../kafka-protocol/records.ts';
import { logIndex, term } from '../../std/brands.ts';
import { ConsumerOffsetsExtension } from './consumer-offsets-extension.ts';
import { encodeGroupCommand, type GroupCommand } from './group-command.ts';
import { partitionOf } from './group-coordinator.ts';

const CONTEXT = { index: logIndex(1), term: term(1), nextOffset: 0, logStartOffset: 0, timeMs: 1_700_000_000_000 };
const COMMIT: GroupCommand = {
  kind: 'commitOffsets',
  groupId: 'g',
  generation: -1,
  memberId: '',
  groupInstanceId: null,
  timestampMs: 1_700_000_000_000,
  offsets: [
    { topic: 't', topicId: 'AAAAAAAAAAAAAAAAAAAAAg', partition: 3, offset: 42, leaderEpoch: 7, metadata: 'here' },
  ],
};

function recordsOf(extension: ConsumerOffsetsExtension, command: GroupCommand) {
  const { batches = [] } = extension.apply(encodeGroupCommand(command), CONTEXT);
  return batches.flatMap((batch) => [...iterateBatches(batch)].flatMap((parsed) => readRecords(parsed)));
}

describe('ConsumerOffsetsExtension', () => {
  it('logs a commit as the record that a reader of __consumer_offsets expects', () => {
    const [record] = recordsOf(new ConsumerOffsetsExtension(), COMMIT);
    expect(versionOf(record!.key!)).toBe(1);
    expect(decodeVersioned(offsetCommitKey, record!.key!)).toEqual({ group: 'g', topic: 't', partition: 3 });
    expect(decodeVersioned(offsetCommitValue, record!.value!)).toMatchObject({ offset: 42, metadata: 'here' });
  });

  it('logs a generation, and a deleted group as tombstones', () => {
    const extension = new ConsumerOffsetsExtension();
    const group = {
      groupId: 'g',
      protocolType: 'consumer',
      generation: 4,
      protocol: null,
      leader: null,
      stateTimestampMs: 5,
      members: [],
    };
    recordsOf(extension, COMMIT);
    const [written] = recordsOf(extension, { kind: 'writeGroup', group });
    expect(decodeVersioned(groupMetadataKey, written!.key!)).toEqual({ group: 'g' });
    expect(decodeVersioned(groupMetadataValue, written!.value!)).toMatchObject({ generation: 4 });
    const deleted = recordsOf(extension, { kind: 'deleteGroup', groupId: 'g' });
    expect(deleted.map(({ value }) => value)).toEqual([null, null]);
  });

  it('appends nothing for a command that was refused', () => {
    const extension = new ConsumerOffsetsExtension();
    const refused = extension.apply(encodeGroupCommand({ ...COMMIT, generation: 3, memberId: 'm' }), CONTEXT);
    expect(refused).toEqual({ result: ErrorCode.UNKNOWN_MEMBER_ID });
  });

  it('keeps the log bounded and the state whole', () => {
    const extension = new ConsumerOffsetsExtension();
    let endOffset = 0;
    let logStartOffset = 0;
    for (let i = 0; i < 31_000; i++) {
      const context = { ...CONTEXT, nextOffset: endOffset, logStartOffset };
      const { moveLogStartTo } = extension.apply(encodeGroupCommand(COMMIT), context);
      endOffset += 1;
      logStartOffset = moveLogStartTo ?? logStartOffset;
      expect(endOffset - logStartOffset).toBeLessThanOrEqual(20_000);
    }
    expect(logStartOffset).toBeGreaterThan(20_000);
    const successor = new ConsumerOffsetsExtension();
    successor.restoreState(extension.encodeState());
    expect(successor.state.offsets('g').get('t')?.get(3)?.offset).toBe(42);
    successor.restoreState(new Uint8Array(0));
    expect([...successor.state.groups()]).toEqual([]);
  });
});

describe('partitionOf()', () => {
  it('agrees with Java', () => {
    // "polygenelubricants".hashCode() is Integer.MIN_VALUE, whose absolute value Kafka takes as 0; the others are from Java's own hashCode.
    expect(partitionOf('polygenelubricants', 50)).toBe(0);
    expect(partitionOf('my-group', 50)).toBe(1_906_497_762 % 50);
    expect(partitionOf('ünïcode-группа', 50)).toBe(488_259_741 % 50);
    expect(partitionOf('', 50)).toBe(0);
  });
});
