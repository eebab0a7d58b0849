/**
 * What replicas of a partition ask each other about their files, and the bytes of it. What is applied is committed and never changes, so that any two replicas that have an offset have the same bytes
 * there: no question needs a place in the log, and each may be asked again.
 *
 *     partition.read    group int64 | offset int64 | bytes int32                      → status | record batches from the one that begins at that offset on
 *     partition.digest  group int64 | from int64 | to int64 | full speed int8         → status | bytes int64 | CRC-32C uint32 of the batches from..to in the files
 *     partition.restore group int64 | from int64 | to int64 | broker int32            → status: the files are made equal to that broker's, which most replicas agree with
 *
 * Question and answer begin with a version (int8, 0); status is an int8: 0 done, 1 not here, or not all of it.
 */
import { ByteReader } from '../../kafka-protocol/byte-reader.ts';
import { ByteWriter } from '../../kafka-protocol/byte-writer.ts';
import type { RaftGroups } from '../../raft/raft-group.ts';
import { type BrokerId, brokerId, type GroupId, groupId } from '../../std/brands.ts';

const VERSION = 0;
const STATUS = { done: 0, notHere: 1 } as const;
export const SCRUB_SERVICE = {
  read: 'partition.read',
  digest: 'partition.digest',
  restore: 'partition.restore',
} as const;
/** What answers begin with. */
const DONE = Uint8Array.of(VERSION, STATUS.done);
const NOT_HERE = Uint8Array.of(VERSION, STATUS.notHere);
const READ_TIMEOUT_MS = 10_000;
/** A digest is read at the speed of the slower of two scrubbers. */
const DIGEST_TIMEOUT_MS = 120_000;

/** Batches from the one that begins at `from` to the one that begins at `to`. */
export interface OffsetRange {
  readonly from: number;
  readonly to: number;
}

export interface RangeDigest {
  readonly sizeBytes: number;
  readonly checksum: number;
}

/** The asking side. Undefined: that broker could not tell, for whatever reason. */
export class ScrubPeers {
  readonly #groups: Pick<RaftGroups, 'request'>;

  constructor(groups: Pick<RaftGroups, 'request'>) {
    this.#groups = groups;
  }

  async read(from: BrokerId, group: GroupId, offset: number, maxBytes: number): Promise<Uint8Array | undefined> {
    const question = start(group);
    question.int64(offset);
    question.int32(maxBytes);
    const answer = await this.#ask(from, SCRUB_SERVICE.read, question, READ_TIMEOUT_MS);
    return answer?.view(answer.remaining);
  }

  async digest(
    of: BrokerId,
    group: GroupId,
    range: OffsetRange,
    isFullSpeed: boolean,
  ): Promise<RangeDigest | undefined> {
    const question = start(group);
    question.int64(range.from);
    question.int64(range.to);
    question.int8(isFullSpeed ? 1 : 0);
    const answer = await this.#ask(of, SCRUB_SERVICE.digest, question, DIGEST_TIMEOUT_MS);
    return answer === undefined ? undefined : { sizeBytes: answer.int64(), checksum: answer.uint32() };
  }

  /** True if `at` has the same as `source` now. */
  async restore(at: BrokerId, group: GroupId, range: OffsetRange, source: BrokerId): Promise<boolean> {
    const question = start(group);
    question.int64(range.from);
    question.int64(range.to);
    question.int32(source);
    return (await this.#ask(at, SCRUB_SERVICE.restore, question, DIGEST_TIMEOUT_MS)) !== undefined;
  }

  async #ask(to: BrokerId, service: string, question: ByteWriter, timeoutMs: number): Promise<ByteReader | undefined> {
    try {
      const bytes = await this.#groups.request(to, service, Buffer.concat(question.finish()), timeoutMs);
      const answer = new ByteReader(bytes);
      if (answer.int8() !== VERSION) return undefined;
      return answer.int8() === STATUS.done ? answer : undefined;
    } catch {
      // Away, busy, older than this service, or its answer makes no sense: others are asked, or it is asked again later.
      return undefined;
    }
  }
}

function start(group: GroupId): ByteWriter {
  const writer = new ByteWriter(64);
  writer.int8(VERSION);
  writer.int64(group);
  return writer;
}

/** What is asked of a group here. */
export interface ScrubAnswers {
  read(group: GroupId, offset: number, maxBytes: number): Promise<readonly Uint8Array[] | undefined>;
  digest(group: GroupId, range: OffsetRange, isFullSpeed: boolean): Promise<RangeDigest | undefined>;
  restore(group: GroupId, range: OffsetRange, source: BrokerId): Promise<boolean>;
}

/** The answering side. */
export function serveScrub(groups: Pick<RaftGroups, 'serve'>, answers: ScrubAnswers): void {
  const serve = (
    service: string,
    handle: (group: GroupId, question: ByteReader) => Promise<readonly Uint8Array[] | undefined>,
  ): void =>
    groups.serve(service, async (_, payload) => {
      const question = new ByteReader(payload);
      const version = question.int8();
      if (version !== VERSION) throw new Error(`Questions of version ${version} are not known here`);
      const content = await handle(groupId(question.int64()), question);
      return Buffer.concat(content === undefined ? [NOT_HERE] : [DONE, ...content]);
    });
  serve(SCRUB_SERVICE.read, (group, question) => answers.read(group, question.int64(), question.int32()));
  serve(SCRUB_SERVICE.digest, async (group, question) => {
    const range = { from: question.int64(), to: question.int64() };
    const digest = await answers.digest(group, range, question.int8() === 1);
    if (digest === undefined) return undefined;
    const writer = new ByteWriter(16);
    writer.int64(digest.sizeBytes);
    writer.uint32(digest.checksum);
    return writer.finish();
  });
  serve(SCRUB_SERVICE.restore, async (group, question) => {
    const range = { from: question.int64(), to: question.int64() };
    return (await answers.restore(group, range, brokerId(question.int32()))) ? [] : undefined;
  });
}
