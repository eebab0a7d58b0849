/**
 * Owns which entries a restart must append again: those that lie behind the trusted end of the log, in the last whole
 * flush, which may have reached nothing but caches (DECISIONS W4).
 */
import { readTrustedHeader } from './frame.ts';
import { viewOf } from './layout.ts';
import { entriesAt } from './replay.ts';
import type { ReplicaLog } from './replica-log.ts';
import type { Entry } from './replica-storage.ts';

/**
 * Runs of consecutive live entries of a replica at or behind `end`; `lastBytes` is the content of that segment. Entries
 * there that a checkpoint covers are let go, with all before them.
 */
export function takeUnflushedEntries(
  replica: ReplicaLog,
  end: { readonly sequence: number; readonly position: number },
  lastBytes: Uint8Array,
): Entry[][] {
  const view = viewOf(lastBytes);
  const runs: Entry[][] = [];
  let covered = 0;
  let frameAt = -1;
  let frame: Entry[] = [];
  // Entries that were moved may be from anywhere in the log, so all of it is looked through.
  for (let index: number = replica.firstIndex; index <= replica.lastIndex; index++) {
    const at = replica.positionAt(index);
    if (replica.sequenceAt(index) !== end.sequence || at < end.position) continue;
    if (index < replica.liveFrom) {
      covered = index;
      continue;
    }
    if (at !== frameAt) {
      frame = entriesAt(lastBytes, view, readTrustedHeader(view, at), at);
      frameAt = at;
    }
    const entry = frame[index - frame[0]!.index]!;
    const run = runs.at(-1);
    if (run !== undefined && run[run.length - 1]!.index + 1 === index) run.push(entry);
    else runs.push([entry]);
  }
  if (covered > 0) replica.dropBefore(covered + 1);
  return runs;
}
