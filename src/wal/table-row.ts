/**
 * Owns the bytes of one row of the table that opens every segment (DECISIONS W1): all that is known of one replica,
 * except the bytes of its entries. With it, recovery needs no frame from before the segment to know votes, terms,
 * truncations, creations and removals.
 *
 *     u64 current term, u64 voted for, u64 commit hint, u64 last index,
 *     u32 descriptor length, u32 checkpoint length, u32 number of term runs, u8 damage, u8 has checkpoint, u16 reason length,
 *     u64 damage from index, u64 checkpoint index, u64 checkpoint term,
 *     term runs (u64 first index, u64 term), descriptor, checkpoint payload, damage reason
 */
import { logIndex, term } from '../std/brands.ts';
import { HARD_STATE_BYTES, readHardState, writeHardState } from './frame.ts';
import { readU53, viewOf, writeU53 } from './layout.ts';
import type { Checkpoint, HardState, ReplicaDamage, TermRun } from './replica-storage.ts';

const FIXED_BYTES = 72;
const RUN_BYTES = 16;
const DAMAGE_KINDS = [undefined, 'entries', 'identity'] as const;
const REASON_BYTES_MAX = 500;

export interface TableRow {
  readonly descriptor: Uint8Array;
  readonly hardState: HardState;
  readonly commitHint: number;
  readonly lastIndex: number;
  readonly checkpoint: Checkpoint | undefined;
  /** Terms of the entries behind the checkpoint. */
  readonly termRuns: readonly TermRun[];
  readonly damage: ReplicaDamage | undefined;
}

export function encodeTableRow(row: TableRow): Uint8Array {
  const reason = Buffer.from(row.damage?.reason ?? '').subarray(0, REASON_BYTES_MAX);
  const checkpointPayload = row.checkpoint?.payload ?? new Uint8Array(0);
  const runsBytes = row.termRuns.length * RUN_BYTES;
  const bytes = new Uint8Array(
    FIXED_BYTES + runsBytes + row.descriptor.length + checkpointPayload.length + reason.length,
  );
  const view = viewOf(bytes);
  writeHardState(view, 0, row.hardState);
  writeU53(view, HARD_STATE_BYTES, row.commitHint);
  writeU53(view, 24, row.lastIndex);
  view.setUint32(32, row.descriptor.length, true);
  view.setUint32(36, checkpointPayload.length, true);
  view.setUint32(40, row.termRuns.length, true);
  view.setUint8(44, DAMAGE_KINDS.indexOf(row.damage?.kind));
  view.setUint8(45, row.checkpoint === undefined ? 0 : 1);
  view.setUint16(46, reason.length, true);
  writeU53(view, 48, row.damage?.fromIndex ?? 0);
  writeU53(view, 56, row.checkpoint?.index ?? 0);
  writeU53(view, 64, row.checkpoint?.term ?? 0);
  let at = FIXED_BYTES;
  for (const run of row.termRuns) {
    writeU53(view, at, run.firstIndex);
    writeU53(view, at + 8, run.term);
    at += RUN_BYTES;
  }
  bytes.set(row.descriptor, at);
  bytes.set(checkpointPayload, at + row.descriptor.length);
  bytes.set(reason, at + row.descriptor.length + checkpointPayload.length);
  return bytes;
}

export function decodeTableRow(bytes: Uint8Array): TableRow {
  const view = viewOf(bytes);
  const descriptorLength = view.getUint32(32, true);
  const checkpointLength = view.getUint32(36, true);
  const termRuns: TermRun[] = [];
  let at = FIXED_BYTES;
  for (let i = view.getUint32(40, true); i > 0; i--) {
    termRuns.push({ firstIndex: logIndex(readU53(view, at)), term: term(readU53(view, at + 8)) });
    at += RUN_BYTES;
  }
  const descriptor = bytes.slice(at, at + descriptorLength);
  at += descriptorLength;
  const checkpointPayload = bytes.slice(at, at + checkpointLength);
  at += checkpointLength;
  const damageKind = DAMAGE_KINDS[view.getUint8(44)];
  const reason = Buffer.from(bytes.subarray(at, at + view.getUint16(46, true))).toString();
  return {
    descriptor,
    hardState: readHardState(view, 0),
    commitHint: readU53(view, HARD_STATE_BYTES),
    lastIndex: readU53(view, 24),
    checkpoint:
      view.getUint8(45) === 1
        ? { index: logIndex(readU53(view, 56)), term: term(readU53(view, 64)), payload: checkpointPayload }
        : undefined,
    termRuns,
    damage: damageKind && { kind: damageKind, fromIndex: logIndex(readU53(view, 48)), reason },
  };
}
