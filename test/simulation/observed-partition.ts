/**
 * The production partition in the place of the list of the Raft simulation: each command becomes a record batch that carries its id and index, so that what an oracle must know can be read back from
 * the log. Whatever a restart, a checkpoint or a catch-up left is read as a consumer would, and shown.
 */

import { PARTITIONS_DIRECTORY } from '../../src/broker/partition/log-files.ts';
import { encodeBatchesHeader } from '../../src/broker/partition/partition-command.ts';
import { PartitionDamageError } from '../../src/broker/partition/partition-damage-error.ts';
import { createPartitionResources, type PartitionResources } from '../../src/broker/partition/partition-resources.ts';
import { PartitionStateMachine } from '../../src/broker/partition/partition-state-machine.ts';
import type { SegmentedLog } from '../../src/broker/partition/segmented-log.ts';
import { RecordBatch } from '../../src/kafka-protocol/record-batch.ts';
import { encodeRecordBatch, readRecords } from '../../src/kafka-protocol/records.ts';
import type {
  AppliedEntry,
  CatchUpSource,
  CatchUpStream,
  StateCheckpoint,
  StateMachine,
} from '../../src/raft/state-machine.ts';
import { assert } from '../../src/std/assert.ts';
import { type LogIndex, logIndex, type ReplicaId, type Term } from '../../src/std/brands.ts';
import type { Disk } from '../../src/std/disk.ts';
import type { ListItem, ListObserver } from './list-state-machine.ts';
import type { SimulatedMachineTime } from './simulated-clock.ts';

/** What the partitions of one simulated process share. */
export function observedPartitions(
  disk: Disk,
  time: SimulatedMachineTime,
  failed: (error: unknown) => void,
  damaged: (replicaId: ReplicaId, error: PartitionDamageError) => void,
) {
  const resources = createPartitionResources({
    disk,
    clock: time,
    timers: time,
    clusterTimeMs: () => undefined,
    stampMs: () => Math.round(time.wallMs()),
    onFailure: failed,
    onDamage: (error, directory) =>
      damaged(Number(directory.slice(directory.lastIndexOf('.') + 1)) as ReplicaId, error),
    tailBytesMax: 64 * 1024,
    filesMax: 4,
  });
  return {
    resources,
    create: (replicaId: ReplicaId, observer: ListObserver): ObservedPartition =>
      new ObservedPartition(resources, replicaId, observer),
    destroyRemains: (replicaId: ReplicaId): Promise<void> =>
      disk.removeDirectory(`${PARTITIONS_DIRECTORY}/simulated-0.${replicaId}`),
  };
}

export class ObservedPartition implements StateMachine {
  readonly #replicaId: ReplicaId;
  #machine: PartitionStateMachine;
  readonly #resources: PartitionResources;
  readonly #observer: ListObserver;
  #items: ListItem[] = [];

  constructor(resources: PartitionResources, replicaId: ReplicaId, observer: ListObserver) {
    this.#observer = observer;
    this.#resources = resources;
    this.#replicaId = replicaId;
    this.#machine = this.#create();
  }

  #create(): PartitionStateMachine {
    const replicaId = this.#replicaId;
    // Replicas cut their files differently, which must not matter.
    const settings = { segmentBytes: 16_384 + 3_000 * (replicaId % 7), segmentMs: 1e12, indexIntervalBytes: 256 };
    return new PartitionStateMachine({
      resources: this.#resources,
      topic: 'simulated',
      partition: 0,
      replicaId,
      settings: () => settings,
    });
  }

  get items(): readonly ListItem[] {
    return this.#items;
  }

  get index(): LogIndex {
    return this.#machine.appliedIndex;
  }

  apply(entry: AppliedEntry): unknown {
    const { index, term, payload } = entry;
    const id = new DataView(payload.buffer, payload.byteOffset).getFloat64(0);
    const value = Buffer.alloc(16 + (payload.length % 97));
    value.writeDoubleBE(index, 0);
    value.writeDoubleBE(id, 8);
    const batch = encodeRecordBatch([{ timestamp: index, value }]);
    const command = Buffer.concat([encodeBatchesHeader(-1, 1), batch]);
    const results = this.#machine.apply({ index, term, payload: command });
    const [result] = results as readonly { readonly errorCode: number; readonly baseOffset: number }[];
    assert(result?.errorCode === 0 && result.baseOffset === this.#items.length, 'Offsets are dense');
    this.#items.push({ index, term, id });
    this.#observer.applied(index, term, id);
    return id;
  }

  advance(index: LogIndex, term: Term): void {
    this.#machine.advance(index, term);
    this.#observer.applied(index, term, undefined);
  }

  async restore(checkpoint: StateCheckpoint | undefined): Promise<void> {
    await this.#machine.restore(checkpoint);
    try {
      await this.#readBack();
    } catch (error) {
      // Looks closer than a start does; what it finds is taken for what a start finds.
      await this.#machine.close();
      this.#machine = this.#create();
      throw error;
    }
    this.#observer.jumped(this.index, this.#items);
  }

  async checkpoint(): Promise<StateCheckpoint> {
    const checkpoint = await this.#machine.checkpoint();
    const { log } = this.#machine;
    const expected = this.#items.slice(0, log.endOffset);
    const read = await this.readLog(expected.length);
    assert(
      read === undefined || JSON.stringify(read) === JSON.stringify(expected),
      'The log reads back as applied, or says that it is damaged',
    );
    return checkpoint;
  }

  /** As a consumer of the files reads it; undefined, and reported, where it is damaged. */
  async readLog(endOffset: number): Promise<readonly ListItem[] | undefined> {
    try {
      return await this.#read(endOffset);
    } catch (error) {
      if (!(error instanceof PartitionDamageError)) throw error;
      this.#resources.onDamage(error, this.#machine.log.directory);
      return undefined;
    }
  }

  get log(): SegmentedLog {
    return this.#machine.log;
  }

  stateFlaw(): Promise<string | undefined> {
    return this.#machine.stateFlaw();
  }

  checkpointDurable(index: LogIndex): void {
    this.#machine.checkpointDurable(index);
  }

  bytesSinceCheckpoint(): number {
    return this.#machine.bytesSinceCheckpoint();
  }

  leadershipChanged(): void {
    this.#machine.leadershipChanged();
    this.#observer.leadershipChanged();
  }

  catchUpPosition(): Uint8Array {
    return this.#machine.catchUpPosition();
  }

  openCatchUp(position: Uint8Array): Promise<CatchUpSource | undefined> {
    return this.#machine.openCatchUp(position);
  }

  async installCatchUp(source: CatchUpStream): Promise<StateCheckpoint> {
    const checkpoint = await this.#machine.installCatchUp(source);
    await this.#readBack();
    this.#observer.jumped(this.index, this.#items);
    return checkpoint;
  }

  close(): Promise<void> {
    return this.#machine.close();
  }

  destroy(): Promise<void> {
    return this.#machine.destroy();
  }

  async #readBack(): Promise<void> {
    this.#items = await this.#read(this.#machine.log.endOffset);
  }

  async #read(endOffset: number): Promise<ListItem[]> {
    const { log } = this.#machine;
    const items: ListItem[] = [];
    for (let offset = 0; offset < endOffset; ) {
      const read = await log.read(offset, 5_000, true);
      assert(read !== undefined && read.sizeBytes > 0, 'Every offset of the log can be read');
      for (const piece of read.pieces) {
        for (let at = 0; at < piece.length; ) {
          const batch = RecordBatch.at(piece, at)!;
          const [record] = readRecords(batch);
          const value = Buffer.from(record!.value!);
          if (items.length === endOffset) return items;
          assert(record!.offset === items.length, 'Offsets are dense');
          const index = logIndex(value.readDoubleBE(0));
          items.push({ index, term: batch.leaderEpoch, id: value.readDoubleBE(8) });
          at += batch.sizeBytes;
        }
      }
      offset = read.nextOffset;
    }
    return items;
  }
}
