/**
 * Owns what is read when the WAL opens: which segment files form the log, in which order, where it ends, and what of it
 * cannot be believed. Changes nothing on disk except for the copy of a torn tail, so it may be interrupted and repeated.
 */
import type { DiskFile } from '../std/disk.ts';
import type { Log } from '../std/log.ts';
import { decodeFlushHeader, FLUSH_FLAG } from './flush-block.ts';
import { BLOCK_BYTES, SECTOR_BYTES, SECTOR_WORDS, SEGMENT_DATA_POSITION, STAMP_WORD, wordsOf } from './layout.ts';
import { RecoveredEntries } from './recovered-entries.ts';
import { Replay } from './replay.ts';
import type { ReplicaLog } from './replica-log.ts';
import { decodeSegmentHeader, Segment, SegmentChain } from './segment.ts';
import type { SegmentFiles } from './segment-files.ts';
import { hasFreshSectors, type SegmentWalk, walkSegment } from './segment-walk.ts';
import type { Stamps } from './stamp.ts';

/** A segment file with a life. */
interface FoundSegment {
  readonly file: DiskFile;
  readonly sequence: number;
  readonly sizeBytes: number;
  readonly continues: { readonly sequence: number; readonly position: number } | undefined;
  /** The file is shorter than it should be. */
  readonly cut: boolean;
}

export interface Recovered {
  readonly logs: Map<number, ReplicaLog>;
  readonly chain: SegmentChain;
  readonly nextLsn: number;
  /** Above all sequence numbers ever seen. */
  readonly nextSequence: number;
  /** Where the trusted part of the log ends; what lies behind must be appended again. Undefined if the WAL is empty. */
  readonly continues: { readonly sequence: number; readonly position: number } | undefined;
  /** Content of the last segment, stamps replaced. */
  readonly lastBytes: Uint8Array;
  readonly storeDamage: string | undefined;
  /** All that was read of the segments in use. */
  readonly entries: RecoveredEntries;
}

export interface RecoveryOptions {
  readonly files: SegmentFiles;
  readonly storeId: Uint8Array;
  readonly stamps: Stamps;
  readonly log: Log;
  /** Reads a whole segment file. */
  readonly load: (file: DiskFile, sizeBytes: number) => Promise<Uint8Array>;
}

export async function recover(options: RecoveryOptions): Promise<Recovered> {
  const { files, stamps, log } = options;
  const chain = new SegmentChain();
  const entries = new RecoveredEntries();
  const replay = new Replay(chain, stamps);
  const { found, aside } = await findSegments(options);
  const nextSequence = (found.at(-1)?.sequence ?? 0) + 1;

  const end = await findLast(found, options);
  if (end === undefined) {
    if (aside > 0) replay.lose(`Segment ${aside} has no readable header`);
    for (const segment of found) await files.giveBack(segment.file, segment.sizeBytes);
    return {
      logs: replay.logs,
      chain,
      nextLsn: 1,
      nextSequence,
      continues: undefined,
      lastBytes: new Uint8Array(0),
      storeDamage: replay.storeDoubt,
      entries,
    };
  }

  const steps = chainOf(found, end);
  const inChain = new Set(steps.map((step) => step.found));
  for (const segment of found) if (!inChain.has(segment)) await files.giveBack(segment.file, segment.sizeBytes);

  let lastBytes = end.bytes;
  let ahead: Promise<Uint8Array> | undefined;
  let trustedEnd = SEGMENT_DATA_POSITION;
  for (const [i, step] of steps.entries()) {
    const { found: segment } = step;
    const isLast = i === steps.length - 1;
    const bytes: Uint8Array = isLast ? end.bytes : await (ahead ?? options.load(segment.file, segment.sizeBytes));
    const next = steps[i + 1];
    // The next segment is read while this one is replayed.
    ahead =
      next !== undefined && i + 2 < steps.length ? options.load(next.found.file, next.found.sizeBytes) : undefined;
    ahead?.catch(() => undefined);
    const walk = isLast
      ? end.walk
      : walkSegment(bytes, segment.sequence, stamps, {
          followed: true,
          ...(step.endPosition === undefined ? {} : { endPosition: step.endPosition }),
        });
    replay.beginSegment(new Segment(segment.sequence, segment.sizeBytes, segment.file), bytes);
    if (segment.continues !== undefined) replay.expectedLsn = undefined;
    if (step.gapBefore) replay.lose(`The segments before segment ${segment.sequence} are missing`);
    if (segment.cut) replay.lose(`Segment ${segment.sequence} is shorter than it was made`);
    trustedEnd = await applyWalk(replay, walk, bytes, segment, options);
    entries.add(segment.sequence, bytes);
    if (isLast) lastBytes = bytes;
  }
  // After all else: no table that was replayed knows of what lay behind it (seed 3200647).
  if (aside > end.found.sequence) replay.lose(`Segment ${aside} has no readable header`);
  replay.finish();
  if (replay.storeDamage !== undefined)
    log.error({ reason: replay.storeDamage }, 'The WAL is damaged: no replica of this store may vote');
  return {
    logs: replay.logs,
    chain,
    nextLsn: replay.highestLsn + 1,
    nextSequence,
    continues: { sequence: end.found.sequence, position: trustedEnd },
    lastBytes,
    storeDamage: replay.storeDamage,
    entries,
  };
}

/** Replays one segment; returns where its last whole flush begins. */
async function applyWalk(
  replay: Replay,
  walk: SegmentWalk,
  bytes: Uint8Array,
  segment: FoundSegment,
  options: RecoveryOptions,
): Promise<number> {
  const { sequence } = segment;
  let lastWhole = SEGMENT_DATA_POSITION;
  for (const extent of walk.extents) {
    if (extent.kind === 'flush') {
      replay.applyFlush(extent.header);
      lastWhole = extent.header.position;
    } else if (extent.kind === 'damagedFlush') {
      options.log.error({ sequence, position: extent.header.position }, 'A flush in the WAL is damaged');
      replay.applyDamagedFlush(extent.header);
    } else {
      options.log.error({ sequence, position: extent.position }, 'A part of the WAL is unreadable');
      replay.lose(`Segment ${sequence} is unreadable at ${extent.position}`);
    }
  }
  const { tail } = walk;
  if (tail.verdict === 'torn') {
    options.log.warn(
      { sequence, position: tail.position, bytes: tail.end - tail.position },
      'Cutting a torn flush, which was never acknowledged',
    );
    await options.files.keepTorn(sequence, tail.position, bytes.subarray(tail.position, tail.end));
  } else if (tail.verdict === 'damage') {
    options.log.error({ sequence, position: tail.position }, 'The last flush in the WAL is damaged');
    if (tail.header === undefined) replay.lose(`Segment ${sequence} is unreadable at ${tail.position}`);
    else replay.applyDamagedFlush(tail.header);
  }
  return lastWhole;
}

interface FoundFiles {
  /** Segments with a life, ascending. */
  readonly found: FoundSegment[];
  /** Highest sequence of those put aside: they have content, and nothing that says where it begins. 0 if there is none. */
  readonly aside: number;
}

/** Opens all files and reads their headers. */
async function findSegments(options: RecoveryOptions): Promise<FoundFiles> {
  const { files, storeId, stamps, log } = options;
  const found: FoundSegment[] = [];
  const headless: { file: DiskFile; sizeBytes: number }[] = [];
  for (const file of await files.openAll()) {
    const sizeBytes = await file.size();
    const header = sizeBytes < BLOCK_BYTES ? 'damaged' : decodeSegmentHeader(await file.read(0, BLOCK_BYTES));
    if (header === 'blank') {
      // Either never used, or its header was damaged into zeros: only content can tell.
      headless.push({ file, sizeBytes });
    } else if (header === 'damaged') {
      log.error({ path: file.path }, 'The header of a WAL segment is damaged');
      headless.push({ file, sizeBytes });
    } else {
      if (Buffer.compare(header.storeId, storeId) !== 0)
        throw new Error(`${file.path} belongs to another store than this data directory`);
      found.push({
        file,
        sequence: header.sequence,
        sizeBytes: header.sizeBytes,
        continues: header.continues,
        cut: sizeBytes < header.sizeBytes,
      });
    }
  }
  let aside = 0;
  for (const { file, sizeBytes } of headless) {
    const usable = sizeBytes - (sizeBytes % BLOCK_BYTES);
    const bytes = usable > BLOCK_BYTES ? await options.load(file, usable) : new Uint8Array(0);
    const sequence = newestStamp(bytes, stamps);
    if (sequence === 0) {
      await files.giveBack(file, sizeBytes);
    } else if (decodeFlushHeader(bytes, SEGMENT_DATA_POSITION, sequence, stamps) !== undefined) {
      found.push({ file, sequence, sizeBytes: usable, continues: undefined, cut: false });
    } else {
      // Content in the middle is missed as a gap in the sequence. Content behind the end of the log is not, whatever empty segments lie behind that.
      aside = Math.max(aside, sequence);
      await files.putAside(file, sequence);
    }
  }
  found.sort((a, b) => a.sequence - b.sequence);
  for (const [i, segment] of found.entries()) {
    if (i > 0 && found[i - 1]!.sequence === segment.sequence) {
      throw new Error(
        `${segment.file.path} and ${found[i - 1]!.file.path} are copies of the same WAL segment: one of them must go`,
      );
    }
  }
  return { found, aside };
}

/** Highest sequence that any sound stamp names, 0 if there is none. */
function newestStamp(bytes: Uint8Array, stamps: Stamps): number {
  const words = wordsOf(bytes.subarray(0, bytes.length - (bytes.length % SECTOR_BYTES)));
  let newest = 0;
  for (let at = 0; at < words.length; at += SECTOR_WORDS) {
    const sequence = words[at + STAMP_WORD]!;
    const second = words[at + STAMP_WORD + 1]!;
    if (sequence > newest && second === stamps.secondWord(sequence, second >>> 16)) newest = sequence;
  }
  return newest;
}

interface LastSegment {
  readonly found: FoundSegment;
  readonly bytes: Uint8Array;
  readonly walk: SegmentWalk;
}

/**
 * The segment in which the log ends: the newest that holds anything. Newer ones are empty, or hold nothing but a flush
 * that was torn, or were begun by a recovery that did not finish.
 */
async function findLast(found: readonly FoundSegment[], options: RecoveryOptions): Promise<LastSegment | undefined> {
  const { stamps } = options;
  let followed = false;
  for (let i = found.length - 1; i >= 0; i--) {
    const segment = found[i]!;
    const bytes = await options.load(segment.file, segment.sizeBytes);
    const walk = walkSegment(bytes, segment.sequence, stamps, { followed });
    const complete =
      segment.continues === undefined
        ? walk.extents.length > 0
        : walk.extents.some(
            (extent) => extent.kind !== 'flush' || (extent.header.flags & FLUSH_FLAG.completesTable) !== 0,
          );
    if (complete || walk.tail.verdict === 'damage') return { found: segment, bytes, walk };
    // An ordinary flush is written only after all before it were synced; an unfinished recovery proves nothing.
    if (segment.continues === undefined && hasFreshSectors(bytes, segment.sequence, stamps)) followed = true;
  }
  return undefined;
}

interface ChainStep {
  readonly found: FoundSegment;
  /** The segment counts up to here: what lies behind was unflushed and was appended again. */
  readonly endPosition: number | undefined;
  readonly gapBefore: boolean;
}

/** The segments that are needed, oldest first. */
function chainOf(found: readonly FoundSegment[], end: LastSegment): ChainStep[] {
  const bySequence = new Map(found.map((segment) => [segment.sequence, segment]));
  const oldest = oldestNeeded(end);
  const steps: ChainStep[] = [];
  let current: FoundSegment | undefined = end.found;
  let endPosition: number | undefined;
  while (current !== undefined) {
    const wanted: number = current.continues?.sequence ?? current.sequence - 1;
    const limit: number | undefined = current.continues?.position;
    let previous: FoundSegment | undefined;
    let gapBefore = false;
    for (let sequence: number = wanted; sequence >= oldest; sequence--) {
      previous = bySequence.get(sequence);
      if (previous !== undefined) break;
      gapBefore = true;
    }
    steps.push({ found: current, endPosition, gapBefore });
    endPosition = previous?.sequence === wanted ? limit : undefined;
    current = previous;
  }
  return steps.reverse();
}

function oldestNeeded(end: LastSegment): number {
  let oldest = 1;
  for (const extent of end.walk.extents)
    if (extent.kind !== 'lost') oldest = Math.max(oldest, extent.header.oldestSequence);
  return oldest;
}
