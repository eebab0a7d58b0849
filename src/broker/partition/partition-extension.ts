/**
 * Hook for a state machine that lives on a partition's log, as the group coordinator does on `__consumer_offsets`: its own commands and state, in the same entries, checkpoints and catch-ups as the
 * partition's, so that there is no second durability path.
 *
 * How it works: `Partition.proposeExtension(pieces, done)` proposes one command in the extension's own codec (version and kind inside, DECISIONS I4). On every replica, in log order,
 * {@link PartitionExtension.apply} gets its bytes, changes the extension's state, and may give back record batches that go to the log's end and a new log start behind what they replace. Its `result`
 * reaches `done` on the proposing broker. The state up to the checkpoint's index is in the checkpoint; replay starts behind it, so nothing is ever read back from the log.
 *
 * Apply must be pure (DECISIONS P1): no clock, settings, current term or randomness, only the command and the state. Batches are a function of the command, too: best made by the proposer and carried in
 * the command as they are. Do not keep views of `command` after apply returned.
 */
import type { LogIndex, Term } from '../../std/brands.ts';

export interface ExtensionContext {
  readonly index: LogIndex;
  /** Of the entry: the leader epoch that its batches are stamped with. */
  readonly term: Term;
  /** Offset that the first emitted record will have. */
  readonly nextOffset: number;
  readonly logStartOffset: number;
  /** Cluster time when the leader proposed, -1 if the cluster had none. */
  readonly timeMs: number;
}

export interface ExtensionEffects {
  /** For the proposer; nothing durable. */
  readonly result: unknown;
  /** Whole record batches (format 2, valid; base offset and epoch are stamped here), appended in order. */
  readonly batches?: readonly Uint8Array[];
  /** Moves the log start, after the batches were appended; ignored below the present one. */
  readonly moveLogStartTo?: number;
}

export interface PartitionExtension {
  /** Must not throw for any command that a leader of a supported version can have proposed: a throw stops the broker. */
  apply(command: Uint8Array, context: ExtensionContext): ExtensionEffects;
  /** The whole state, called synchronously at a checkpoint or catch-up; equal states should have equal bytes. Large ones become a file. */
  encodeState(): Uint8Array;
  /** Replaces the state; empty bytes: the initial one. The bytes must not be kept. */
  restoreState(bytes: Uint8Array): void;
  /** After every change of role, leader, term or readiness. */
  leadershipChanged?(): void;
}
