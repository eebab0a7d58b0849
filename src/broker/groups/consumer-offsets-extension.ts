/**
 * The group coordinator's state on a `__consumer_offsets` partition: its commands are entries of that partition, its state part of that partition's checkpoints and catch-ups (DECISIONS C4).
 *
 * Each change is also appended to the log as records that Kafka's tools read. As nothing is ever rebuilt from them, the log keeps the latest {@link KEPT_RECORDS} only and stays bounded without compaction.
 */
import type { ExtensionContext, ExtensionEffects, PartitionExtension } from '../partition/partition-extension.ts';
import { decodeGroupCommand, decodeGroupSnapshot, encodeGroupSnapshot } from './group-command.ts';
import { encodeGroupRecords } from './group-records.ts';
import { GroupState } from './group-state.ts';

const KEPT_RECORDS = 10_000;

export class ConsumerOffsetsExtension implements PartitionExtension {
  readonly state = new GroupState();
  /** Told after every change of leadership or readiness; set by whoever runs the shard. */
  onLeadershipChanged: () => void = () => undefined;

  apply(command: Uint8Array, { nextOffset, logStartOffset, timeMs }: ExtensionContext): ExtensionEffects {
    const { errorCode, records } = this.state.apply(decodeGroupCommand(command));
    if (records.length === 0) return { result: errorCode };
    const batches = [encodeGroupRecords(records, Math.max(0, timeMs))];
    const endOffset = nextOffset + records.length;
    // In steps, so that not every command moves the start.
    if (endOffset - logStartOffset <= 2 * KEPT_RECORDS) return { result: errorCode, batches };
    return { result: errorCode, batches, moveLogStartTo: endOffset - KEPT_RECORDS };
  }

  encodeState(): Uint8Array {
    return encodeGroupSnapshot(this.state.snapshot());
  }

  restoreState(bytes: Uint8Array): void {
    this.state.restore(bytes.length === 0 ? [] : decodeGroupSnapshot(bytes));
  }

  leadershipChanged(): void {
    this.onLeadershipChanged();
  }
}
