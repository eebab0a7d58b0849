/**
 * A partition's state machine on a simulated disk, and entries for it. Shared by the tests of src/broker/partition.
 */

import { encodeBatchesHeader, encodeMoveLogStart } from '../../src/broker/partition/partition-command.ts';
import type { PartitionDamageError } from '../../src/broker/partition/partition-damage-error.ts';
import type { PartitionExtension } from '../../src/broker/partition/partition-extension.ts';
import { createPartitionResources, type PartitionResources } from '../../src/broker/partition/partition-resources.ts';
import { PartitionStateMachine } from '../../src/broker/partition/partition-state-machine.ts';
import type { LogSettings } from '../../src/broker/partition/segmented-log.ts';
import { storedBaseOffset, storedNextOffset, storedSizeBytes } from '../../src/broker/partition/stored-batch.ts';
import { type BatchOptions, encodeRecordBatch } from '../../src/kafka-protocol/records.ts';
import type { StateCheckpoint } from '../../src/raft/state-machine.ts';
import { logIndex, term } from '../../src/std/brands.ts';
import { SimulatedTime } from '../simulation/simulated-clock.ts';
import { SimulatedDisk } from '../simulation/simulated-disk.ts';

export interface TestBatch {
  readonly records?: number;
  readonly valueBytes?: number;
  readonly timestampMs?: number;
  readonly options?: BatchOptions;
}

/** A batch of `records` records whose values have `valueBytes` bytes. */
export function testBatch(batch: TestBatch = {}): Uint8Array {
  const { records = 1, valueBytes = 20, timestampMs = 1_000, options = {} } = batch;
  return encodeRecordBatch(
    Array.from({ length: records }, (_, index) => ({
      timestamp: timestampMs + index,
      value: Buffer.alloc(valueBytes, index + 65),
    })),
    options,
  );
}

export function batchesCommand(batches: readonly Uint8Array[], timeMs = -1): Uint8Array {
  return Buffer.concat([encodeBatchesHeader(timeMs, batches.length), ...batches]);
}

export const moveLogStartCommand = (to: number): Uint8Array => encodeMoveLogStart(-1, to);

export interface StoredBatch {
  readonly baseOffset: number;
  readonly nextOffset: number;
  readonly bytes: Uint8Array;
}

/** Cuts pieces of a log into its batches. */
export function splitBatches(pieces: readonly Uint8Array[]): StoredBatch[] {
  const batches: StoredBatch[] = [];
  for (const piece of pieces) {
    for (let at = 0; at < piece.length; at += storedSizeBytes(piece, at)) {
      const bytes = piece.slice(at, at + storedSizeBytes(piece, at));
      batches.push({ baseOffset: storedBaseOffset(bytes, 0), nextOffset: storedNextOffset(bytes, 0), bytes });
    }
  }
  return batches;
}

export interface FixtureOptions {
  readonly seed?: number;
  readonly settings?: Partial<LogSettings>;
  readonly tailBytesMax?: number;
  readonly filesMax?: number;
  readonly replicaId?: number;
  readonly time?: SimulatedTime;
  readonly platter?: SimulatedDisk;
  readonly extension?: () => PartitionExtension;
}

/** One replica on one disk; the process can end and start again. */
export class PartitionFixture {
  readonly time: SimulatedTime;
  readonly platter: SimulatedDisk;
  readonly options: FixtureOptions;
  settings: LogSettings;
  clusterTimeMs: number | undefined;
  failures: Error[] = [];
  damages: PartitionDamageError[] = [];
  resources!: PartitionResources;
  machine!: PartitionStateMachine;

  constructor(options: FixtureOptions = {}) {
    this.options = options;
    this.time = options.time ?? new SimulatedTime();
    this.platter = options.platter ?? new SimulatedDisk(this.time, { seed: options.seed ?? 0 });
    this.settings = { segmentBytes: 1 << 30, segmentMs: 2 ** 40, indexIntervalBytes: 4096, ...options.settings };
  }

  /** A new process on the disk as it is: restores `checkpoint`. */
  async start(checkpoint?: StateCheckpoint): Promise<PartitionStateMachine> {
    await this.time.settle(this.launch(checkpoint));
    return this.machine;
  }

  /** As {@link start}, for who wants to run time himself. */
  launch(checkpoint?: StateCheckpoint): Promise<void> {
    const machineTime = this.time.machine();
    this.resources = createPartitionResources({
      disk: this.platter.mount(machineTime),
      clock: machineTime,
      timers: machineTime,
      clusterTimeMs: () => this.clusterTimeMs,
      stampMs: () => Math.round(this.clusterTimeMs ?? machineTime.wallMs()),
      onFailure: (error) => this.failures.push(error),
      onDamage: (error) => this.damages.push(error),
      ...(this.options.tailBytesMax === undefined ? {} : { tailBytesMax: this.options.tailBytesMax }),
      ...(this.options.filesMax === undefined ? {} : { filesMax: this.options.filesMax }),
    });
    this.machine = new PartitionStateMachine({
      resources: this.resources,
      topic: 'orders',
      partition: 3,
      replicaId: this.options.replicaId ?? 7,
      settings: () => this.settings,
      ...(this.options.extension === undefined ? {} : { extension: this.options.extension() }),
    });
    return this.machine.restore(checkpoint);
  }

  apply(payload: Uint8Array, entryTerm = 1): unknown {
    return this.machine.apply({ index: logIndex(this.machine.appliedIndex + 1), term: term(entryTerm), payload });
  }

  checkpoint(): Promise<StateCheckpoint> {
    return this.time.settle(this.machine.checkpoint());
  }

  /** All batches of the log, read through reads of `maxBytes`. */
  async readAll(maxBytes = 100_000): Promise<StoredBatch[]> {
    const { log } = this.machine;
    const batches: StoredBatch[] = [];
    for (let offset = log.startOffset; offset < log.endOffset; ) {
      const result = log.read(offset, maxBytes, true);
      const read = result instanceof Promise ? await this.time.settle(result) : result;
      if (read === undefined || read.sizeBytes === 0) throw new Error(`Nothing was read at offset ${offset}`);
      batches.push(...splitBatches(read.pieces));
      offset = read.nextOffset;
    }
    return batches;
  }
}
