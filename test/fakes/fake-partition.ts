/** Partitions that store nothing, for tests of what creates, finds and removes partitions. */
import type { PartitionLog } from '../../src/broker/partition/partition-log.ts';
import type { RaftGroup } from '../../src/raft/raft-group.ts';
import type { CatchUpSource, StateCheckpoint, StateMachine } from '../../src/raft/state-machine.ts';
import { logIndex, offset, term } from '../../src/std/brands.ts';

export class NullStateMachine implements StateMachine {
  destroyed = false;

  apply(): unknown {
    return undefined;
  }

  advance(): void {}

  restore(): Promise<void> {
    return Promise.resolve();
  }

  checkpoint(): Promise<StateCheckpoint> {
    return Promise.resolve({ index: logIndex(0), term: term(0), payload: new Uint8Array(0) });
  }

  bytesSinceCheckpoint(): number {
    return 0;
  }

  catchUpPosition(): Uint8Array {
    return new Uint8Array(0);
  }

  openCatchUp(): Promise<CatchUpSource> {
    return Promise.reject(new Error('This state machine has nothing to catch up with'));
  }

  installCatchUp(): Promise<StateCheckpoint> {
    return Promise.reject(new Error('This state machine has nothing to catch up with'));
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  destroy(): Promise<void> {
    this.destroyed = true;
    return Promise.resolve();
  }
}

export function fakePartition(group: RaftGroup, topic: string, topicId: string, partition: number): PartitionLog {
  const refuse = (): never => {
    throw new Error('This partition stores nothing');
  };
  return {
    group,
    groupId: group.groupId,
    topic,
    topicId,
    partition,
    logStartOffset: offset(0),
    highWatermark: offset(0),
    leaderEpoch: term(0),
    get isLeader() {
      return group.role === 'leader';
    },
    get isReady() {
      return group.isReady;
    },
    sizeBytes: 0,
    produce: refuse,
    read: refuse,
    bytesAvailable: () => 0,
    onChange: () => () => {},
    findByTimestamp: refuse,
    findMaxTimestamp: refuse,
    endOffsetForEpoch: refuse,
    moveLogStart: refuse,
  };
}
