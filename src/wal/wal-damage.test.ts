/** What recovery says about a store that was torn, damaged, mixed up or written to by a failing disk (RELIABILITY, section 7). */
import { describe, expect, it } from 'vitest';
import { contentOf, makeEntries, R1, R2, STORE_ID, WalFixture } from '../../test/simulation/wal-fixture.ts';
import { logIndex, replicaId, term } from '../std/brands.ts';
import { SeededRandom } from '../std/seeded-random.ts';
import { SECTOR_BYTES } from './layout.ts';
import { walkSegment } from './segment-walk.ts';
import { Stamps } from './stamp.ts';
import type { Wal } from './wal.ts';

const hint = logIndex(0);
const SEGMENT_BYTES = 32 * 1024;

/** A WAL of three acknowledged flushes behind the table; without an idle marker. */
async function threeFlushes(): Promise<{ fixture: WalFixture; path: string; content: string[] }> {
  const fixture = new WalFixture({ segmentBytes: SEGMENT_BYTES, idleMs: 1e9 });
  const wal = await fixture.open();
  wal.createReplica(R1, Uint8Array.of(1));
  wal.createReplica(R2, Uint8Array.of(2));
  wal.setHardState(R1, { currentTerm: term(2), votedFor: R2 });
  await fixture.flush(wal);
  wal.appendEntries(R1, makeEntries(1, 3, { term: 2, bytes: 900 }), hint);
  wal.appendEntries(R2, makeEntries(1, 2, { bytes: 300 }), hint);
  await fixture.flush(wal);
  wal.setHardState(R2, { currentTerm: term(5), votedFor: R1 });
  wal.appendEntries(R1, makeEntries(4, 1, { term: 2, bytes: 100 }), hint);
  await fixture.flush(wal);
  fixture.powerLoss('lose');
  const path = 'wal/00000001.wal';
  const content = await contentAfter(fixture.fork());
  return { fixture, path, content };
}

async function contentAfter(fixture: WalFixture): Promise<string[]> {
  return contentOf(fixture, await fixture.open());
}

const isReported = (wal: Wal): boolean =>
  wal.storeDamage !== undefined || wal.recovered.some((replica) => replica.damage !== undefined);

describe('Wal, torn or damaged', () => {
  it('a flipped bit anywhere in acknowledged flushes is never taken for a torn flush', async () => {
    const { fixture, path } = await threeFlushes();
    const bytes = fixture.platter.readBytes(path);
    const stamps = new Stamps(STORE_ID);
    const end = walkSegment(bytes, 1, stamps, { followed: false }).tail.position;
    expect(end).toBe(5 * 4096);
    const random = new SeededRandom(1);
    for (let at = 4096; at < end; at++) {
      const flipped = 1 << random.below(8);
      bytes[at]! ^= flipped;
      const walk = walkSegment(bytes, 1, stamps, { followed: false });
      expect(walk.tail.verdict, `byte ${at}`).not.toBe('torn');
      const isSeen = walk.tail.verdict === 'damage' || walk.extents.some((extent) => extent.kind !== 'flush');
      expect(isSeen, `byte ${at}`).toBe(true);
      bytes[at]! ^= flipped;
    }
  });

  it('after a flipped bit a store either has everything or says what it may have lost', async () => {
    const { fixture, path, content } = await threeFlushes();
    const random = new SeededRandom(2);
    let reported = 0;
    for (let at = 0; at < 5 * 4096; at += 1 + random.below(120)) {
      const damaged = fixture.fork();
      damaged.platter.flipBit(path, at, random.below(8));
      const wal = await damaged.open();
      if (isReported(wal)) {
        reported++;
        // What was found stays known until the driver repaired it, also through another restart.
        const before = await contentOf(damaged, wal);
        damaged.powerLoss('lose');
        const again = await damaged.open();
        expect(again.storeDamage).toBe(wal.storeDamage);
        expect(await contentOf(damaged, again)).toEqual(before);
      } else expect(await contentOf(damaged, wal), `byte ${at}`).toEqual(content);
    }
    expect(reported).toBeGreaterThan(50);
  });

  it('damage in one frame of entries is reported for its replica only, and forgotten once repaired', async () => {
    const { fixture, path } = await threeFlushes();
    // The payload of the first entries frame of the second flush.
    fixture.platter.flipBit(path, 3 * 4096 + SECTOR_BYTES + 600, 3);
    const wal = await fixture.open();
    expect(wal.storeDamage).toBeUndefined();
    const [first, second] = wal.recovered;
    expect(first).toMatchObject({ replicaId: 1, lastIndex: 0, damage: { kind: 'entries', fromIndex: 1 } });
    expect(first!.hardState).toEqual({ currentTerm: 2, votedFor: 2 });
    expect(second).toMatchObject({ replicaId: 2, lastIndex: 2, damage: undefined, hardState: { currentTerm: 5 } });
    wal.appendEntries(R1, makeEntries(1, 4, { term: 2, bytes: 900 }), hint);
    wal.repaired(R1);
    await fixture.flush(wal);
    fixture.powerLoss('lose');
    const again = await fixture.open();
    expect(again.recovered[0]).toMatchObject({ lastIndex: 4, damage: undefined });
  });

  it('a replica whose state is lost keeps its term and vote only, and is damaged until repaired', async () => {
    const { fixture } = await threeFlushes();
    const wal = await fixture.open();
    wal.setCheckpoint(R1, { index: logIndex(2), term: term(2), payload: Uint8Array.of(9) });
    wal.lose(R1, 'Gone');
    await fixture.flush(wal);
    expect([wal.firstIndex(R1), wal.lastIndex(R1), wal.pinnedBytes(R1)]).toEqual([1, 0, 0]);
    // What was known committed is known still: this store acted on it.
    const empty = { lastIndex: 0, checkpoint: undefined, termRuns: [], commitHint: 2 };
    const damage = { kind: 'entries', fromIndex: 1, reason: 'Gone' };
    // From its frame, and then from the table that the restart wrote.
    for (let restarts = 0; restarts < 2; restarts++) {
      fixture.powerLoss('lose');
      const { recovered } = await fixture.open();
      expect(recovered[0]).toMatchObject({ ...empty, hardState: { currentTerm: 2, votedFor: R2 }, damage });
      expect(recovered[1]).toMatchObject({ replicaId: R2, lastIndex: 2, damage: undefined });
    }
    fixture.powerLoss('lose');
    const again = await fixture.open();
    again.appendEntries(R1, makeEntries(1, 3, { term: 2, bytes: 100 }), logIndex(1));
    await fixture.flush(again);
    fixture.powerLoss('lose');
    const refilled = await fixture.open();
    expect(refilled.recovered[0]).toMatchObject({ lastIndex: 3, commitHint: 2, damage });
    refilled.repaired(R1);
    await fixture.flush(refilled);
    fixture.powerLoss('lose');
    expect((await fixture.open()).recovered[0]).toMatchObject({ lastIndex: 3, damage: undefined });
  });

  it('an unreadable frame header forbids every replica of the store to vote', async () => {
    const { fixture, path } = await threeFlushes();
    fixture.platter.damage(path, 3 * 4096 + SECTOR_BYTES, new Uint8Array(40).fill(0xff));
    const wal = await fixture.open();
    expect(wal.storeDamage).toContain('frame header');
    expect(wal.recovered.map((replica) => replica.damage?.kind)).toEqual(['identity', 'identity']);
  });

  it('a segment that lost its header and where it begins is missed, although an empty one was made behind it (seed 3200647)', async () => {
    const { fixture, path } = await threeFlushes();
    expect(fixture.platter.paths().filter((each) => each.endsWith('.wal')).length).toBeGreaterThan(1);
    for (const block of [0, 4096]) fixture.platter.damage(path, block, new Uint8Array(SECTOR_BYTES).fill(0xff));
    const wal = await fixture.open();
    expect(wal.storeDamage).toContain('Segment 1 has no readable header');
  });

  it('a flush that was moved to another block is damage', async () => {
    const { fixture, path } = await threeFlushes();
    fixture.platter.damage(path, 4 * 4096, fixture.platter.readBytes(path, 2 * 4096, 4096));
    const wal = await fixture.open();
    expect(isReported(wal)).toBe(true);
  });

  for (const life of ['first', 'reused'] as const) {
    it(`any missing sectors of the last flush are a torn flush, in the ${life} life of a segment`, async () => {
      const fixture = new WalFixture({ segmentBytes: SEGMENT_BYTES, bytesLimit: 4 * SEGMENT_BYTES, idleMs: 1e9 });
      const wal = await fixture.open();
      wal.createReplica(R1, Uint8Array.of(1));
      await fixture.flush(wal);
      let next = 1;
      const rounds = life === 'first' ? 1 : 40;
      for (let round = 0; round < rounds; round++) {
        wal.appendEntries(R1, makeEntries(next, 5, { bytes: 1000 }), hint);
        next += 5;
        await fixture.flush(wal);
        wal.setCheckpoint(R1, { index: logIndex(next - 2), term: term(1), payload: new Uint8Array(3) });
        await fixture.flush(wal);
      }
      expect(wal.stats.segmentsReused > 0).toBe(life === 'reused');
      // Away from the beginning of a segment.
      wal.setHardState(R1, { currentTerm: term(1), votedFor: 0 });
      await fixture.flush(wal);
      // The last flush is written and never synced.
      await fixture.time.runFor(5);
      const before = next - 1;
      wal.appendEntries(R1, makeEntries(next, 1, { bytes: 1500 }), hint);
      let path = '';
      fixture.platter.onOperation = (operation) => {
        if (operation.kind === 'write') path = operation.path;
        return operation.kind === 'sync' && operation.path === path ? { halt: true } : undefined;
      };
      wal.flush();
      await fixture.time.drain();
      fixture.platter.onOperation = () => undefined;
      expect(fixture.platter.pendingSectors(path)).toBe(8);
      const outcomes = { torn: 0, whole: 0, nothing: 0 };
      for (let subset = 0; subset < 256; subset++) {
        const torn = fixture.fork();
        torn.platter.crashChoosing((_, sector) => (subset & (1 << sector)) !== 0);
        const again = await torn.open();
        expect(again.recovered[0]).toMatchObject({
          damage: undefined,
          lastIndex: subset === 255 ? before + 1 : before,
        });
        const hasTorn = torn.platter.paths().some((name) => name.startsWith('wal/torn/'));
        outcomes[subset === 255 ? 'whole' : hasTorn ? 'torn' : 'nothing']++;
        // Opened once more, it says the same.
        torn.powerLoss('lose');
        expect((await torn.open()).recovered[0]).toMatchObject({
          damage: undefined,
          lastIndex: subset === 255 ? before + 1 : before,
        });
      }
      expect(outcomes).toEqual({ torn: 254, whole: 1, nothing: 1 });
    });
  }

  it('a torn flush is damage once the log says that it was flushed', async () => {
    const fixture = new WalFixture({ segmentBytes: SEGMENT_BYTES, idleMs: 5 });
    const wal = await fixture.open();
    wal.createReplica(R1, Uint8Array.of(1));
    await fixture.flush(wal);
    const { flushes } = wal.stats;
    await fixture.time.runFor(100);
    // Exactly one empty flush in an idle period.
    expect(wal.stats.flushes).toBe(flushes + 1);
    fixture.powerLoss('lose');
    // The last flush with content loses a sector: rot that looks like tearing.
    fixture.platter.damage('wal/00000001.wal', 2 * 4096 + SECTOR_BYTES, new Uint8Array(SECTOR_BYTES));
    expect(isReported(await fixture.open())).toBe(true);
  });

  it('what a restart has shown survives a power loss right after it', async () => {
    for (let seed = 1; seed < 40; seed++) {
      const fixture = new WalFixture({ segmentBytes: SEGMENT_BYTES, disk: { seed } });
      const wal = await fixture.open();
      wal.createReplica(R1, Uint8Array.of(1));
      await fixture.flush(wal);
      wal.appendEntries(R1, makeEntries(1, 8, { bytes: 500 }), hint);
      wal.setHardState(R1, { currentTerm: term(3), votedFor: R2 });
      wal.flush();
      await fixture.time.runFor(0.02);
      fixture.kill(seed);
      const shown = await contentAfter(fixture);
      fixture.powerLoss('lose', seed);
      expect(await contentAfter(fixture)).toEqual(shown);
    }
  });

  it('a failed sync is final: it is reported once, nothing is flushed after it, and a restart shows what was flushed before', async () => {
    for (const kind of ['sync', 'write'] as const) {
      for (let seed = 1; seed < 20; seed++) {
        const fixture = new WalFixture({ segmentBytes: SEGMENT_BYTES, disk: { seed } });
        const wal = await fixture.open();
        wal.createReplica(R1, Uint8Array.of(1));
        wal.appendEntries(R1, makeEntries(1, 2), hint);
        await fixture.flush(wal);
        // The next segment is ready: only the flush is on its way.
        await fixture.time.runFor(5);
        const { flushedLsn } = wal;
        wal.appendEntries(R1, makeEntries(3, 2), hint);
        let failed = false;
        fixture.platter.onOperation = (operation) => {
          if (operation.kind !== kind || failed) return undefined;
          failed = true;
          return { error: 'EIO' };
        };
        await fixture.flush(wal);
        wal.flush();
        await fixture.time.runFor(1000);
        expect(fixture.failures.map((error) => error.message)).toEqual([expect.stringContaining('EIO')]);
        expect(wal.flushedLsn).toBe(flushedLsn);
        expect(() => wal.appendEntries(R1, makeEntries(5, 1), hint)).toThrow(
          'Nothing is appended after a failed flush',
        );
        fixture.powerLoss(undefined, seed);
        const [replica] = (await fixture.open()).recovered;
        expect(replica!.damage).toBeUndefined();
        expect([2, 4]).toContain(replica!.lastIndex);
      }
    }
  });
});

describe('Wal, crashed at any disk operation', () => {
  /** A short life with everything in it: entries, votes, truncation, checkpoints, removal, several lives of each segment. */
  async function live(fixture: WalFixture, onFlushed: (wal: Wal) => void): Promise<void> {
    const { time } = fixture;
    const wal = await fixture.open();
    for (const id of [R1, R2, replicaId(3)]) wal.createReplica(id, Uint8Array.of(id));
    wal.setHardState(R2, { currentTerm: term(3), votedFor: R1 });
    wal.appendEntries(R2, makeEntries(1, 6, { bytes: 200 }), hint);
    for (let round = 0; round < 9; round++) {
      wal.appendEntries(R1, makeEntries(1 + 4 * round, 4, { bytes: 1500 }), hint);
      if (round === 2) wal.truncate(R2, logIndex(4));
      if (round === 3) wal.removeReplica(replicaId(3));
      if (round === 5) wal.setHardState(R2, { currentTerm: term(4), votedFor: 0 });
      if (round > 0)
        wal.setCheckpoint(R1, { index: logIndex(4 * round), term: term(1), payload: Uint8Array.of(round) });
      wal.flush();
      const target = wal.appendedLsn;
      await time.runUntilTrue(() => wal.flushedLsn >= target || fixture.machine!.state === 'killed');
      if (fixture.machine!.state === 'killed') return;
      onFlushed(wal);
    }
    await time.runFor(20);
  }

  /** What a replica must show at least, whatever the crash. */
  interface Floor {
    readonly lastIndex: number;
    readonly checkpoint: number;
  }

  const options = { segmentBytes: 16 * 1024, bytesLimit: 64 * 1024, idleMs: 3 };

  async function crashAt(
    operation: number,
    seed: number,
  ): Promise<{ fixture: WalFixture; floor: Floor; halted: boolean }> {
    const fixture = new WalFixture({ ...options, disk: { seed } });
    let floor: Floor = { lastIndex: 0, checkpoint: 0 };
    let halted = false;
    fixture.platter.onOperation = ({ number }) => {
      if (number !== operation) return undefined;
      halted = true;
      return { halt: true };
    };
    let round = 0;
    await live(fixture, (wal) => {
      floor = { lastIndex: wal.lastIndex(R1), checkpoint: 4 * round };
      round++;
    }).catch((error: Error) => {
      // The halted process never opens: nothing is left to happen.
      if (!halted) throw error;
    });
    fixture.platter.onOperation = () => undefined;
    fixture.powerLoss(undefined, operation * 7 + seed);
    return { fixture, floor, halted };
  }

  function expectFloor(wal: Wal, floor: Floor): void {
    expect(wal.storeDamage).toBeUndefined();
    for (const replica of wal.recovered) expect(replica.damage).toBeUndefined();
    const first = wal.recovered.find((replica) => replica.replicaId === R1);
    expect(first?.lastIndex ?? 0).toBeGreaterThanOrEqual(floor.lastIndex);
    expect(first?.checkpoint?.index ?? 0).toBeGreaterThanOrEqual(floor.checkpoint);
    const second = wal.recovered.find((replica) => replica.replicaId === R2);
    if (floor.lastIndex >= 12) expect(second?.lastIndex).toBe(3);
    if (floor.lastIndex >= 16) expect(wal.recovered.some((replica) => replica.replicaId === 3)).toBe(false);
    if (floor.lastIndex >= 24) expect(second?.hardState).toEqual({ currentTerm: 4, votedFor: 0 });
  }

  it('while living: everything flushed is there, and recovering twice shows the same', async () => {
    let operation = 1;
    let crashes = 0;
    for (; ; operation++) {
      const { fixture, floor, halted } = await crashAt(operation, 1);
      if (!halted) break;
      crashes++;
      const wal = await fixture.open();
      expectFloor(wal, floor);
      const content = await contentOf(fixture, wal);
      fixture.powerLoss('lose');
      expect(await contentAfter(fixture)).toEqual(content);
    }
    expect(crashes).toBeGreaterThan(80);
  });

  it('while recovering, at every operation of it', async () => {
    const { fixture, floor } = await crashAt(75, 3);
    const content = await contentAfter(fixture.fork());
    for (let operation = 1; ; operation++) {
      const again = fixture.fork();
      let halted = false;
      again.platter.onOperation = ({ number }) => {
        if (number !== operation) return undefined;
        halted = true;
        return { halt: true };
      };
      await again.open().catch(() => undefined);
      again.platter.onOperation = () => undefined;
      again.powerLoss(undefined, operation);
      const wal = await again.open();
      expectFloor(wal, floor);
      expect(await contentOf(again, wal)).toEqual(content);
      if (!halted) break;
    }
  });
});

describe('Wal, files mixed up', () => {
  /** Several segments in use: one replica live in all of them, and a vote in the first. */
  async function manySegments(): Promise<{ fixture: WalFixture; content: string[] }> {
    const fixture = new WalFixture({ segmentBytes: SEGMENT_BYTES, bytesLimit: 32 * SEGMENT_BYTES });
    const wal = await fixture.open();
    for (const id of [R1, R2]) wal.createReplica(id, Uint8Array.of(id));
    wal.setHardState(R2, { currentTerm: term(7), votedFor: R1 });
    for (let i = 0; i < 20; i++) {
      wal.appendEntries(R1, makeEntries(1 + 5 * i, 5, { bytes: 1000 }), hint);
      await fixture.flush(wal);
    }
    wal.appendEntries(R2, makeEntries(1, 3), hint);
    await fixture.flush(wal);
    fixture.powerLoss('lose');
    expect(fixture.platter.paths().length).toBeGreaterThan(4);
    return { fixture, content: await contentAfter(fixture.fork()) };
  }

  it('a missing segment in the middle is damage of exactly the entries that were in it', async () => {
    const { fixture } = await manySegments();
    fixture.platter.loseFile('wal/00000003.wal');
    const wal = await fixture.open();
    expect(wal.storeDamage).toBeUndefined();
    const [first, second] = wal.recovered;
    expect(first!.damage?.kind).toBe('entries');
    expect(first!.damage?.fromIndex).toBe(first!.lastIndex + 1);
    expect(first!.lastIndex).toBeGreaterThan(0);
    expect(second).toMatchObject({ damage: undefined, lastIndex: 3, hardState: { currentTerm: 7, votedFor: 1 } });
    await contentOf(fixture, wal);
  });

  it('a missing first segment is damage of the entries, not of the votes', async () => {
    const { fixture } = await manySegments();
    fixture.platter.loseFile('wal/00000001.wal');
    const [first, second] = (await fixture.open()).recovered;
    expect(first).toMatchObject({ lastIndex: 0, damage: { kind: 'entries', fromIndex: 1 } });
    expect(second).toMatchObject({ damage: undefined, hardState: { currentTerm: 7, votedFor: 1 } });
  });

  it('refuses segments of another store, and a segment that is there twice', async () => {
    const { fixture } = await manySegments();
    const other = new WalFixture({ segmentBytes: SEGMENT_BYTES, storeId: new Uint8Array(16).fill(9) });
    await other.open();
    other.powerLoss('lose');
    const swapped = fixture.fork();
    swapped.platter.swapWith(other.platter, 'wal/00000002.wal', 'wal/00000001.wal');
    await expect(swapped.open()).rejects.toThrow('belongs to another store');
    const doubled = fixture.fork();
    doubled.platter.damage('wal/00000004.wal', 0, doubled.platter.readBytes('wal/00000003.wal'));
    await expect(doubled.open()).rejects.toThrow('copies of the same WAL segment');
  });

  it('does not mind old lives of segments that are not needed any more', async () => {
    const fixture = new WalFixture({ segmentBytes: SEGMENT_BYTES, bytesLimit: 4 * SEGMENT_BYTES });
    const wal = await fixture.open();
    wal.createReplica(R1, Uint8Array.of(1));
    let old: Uint8Array | undefined;
    for (let next = 1; next < 400; next += 5) {
      wal.appendEntries(R1, makeEntries(next, 5, { bytes: 1000 }), hint);
      await fixture.flush(wal);
      wal.setCheckpoint(R1, { index: logIndex(next + 4), term: term(1), payload: Uint8Array.of(1) });
      if (next === 21) old = fixture.platter.readBytes('wal/00000001.wal');
    }
    await fixture.flush(wal);
    expect(wal.stats.segmentsReused).toBeGreaterThan(4);
    fixture.powerLoss('lose');
    const content = await contentAfter(fixture.fork());
    const file = fixture.platter.mount();
    const copy = await fixture.time.settle(file.openFile('wal/00000099.wal', { create: true }));
    await fixture.time.settle(copy.write(0, [old!]));
    await fixture.time.settle(copy.sync());
    await fixture.time.settle(file.syncDirectory('wal'));
    fixture.powerLoss('lose');
    expect(await contentAfter(fixture)).toEqual(content);
  });

  it('refuses a frame of a kind or a format that it does not know', async () => {
    const fixture = new WalFixture({ segmentBytes: SEGMENT_BYTES });
    await fixture.open();
    fixture.powerLoss('lose');
    const header = fixture.platter.readBytes('wal/00000001.wal', 0, 512);
    header[8] = 2;
    const { crc32c } = await import('../std/crc32c.ts');
    new DataView(header.buffer).setUint32(0, crc32c(header.subarray(4)), true);
    fixture.platter.damage('wal/00000001.wal', 0, header);
    await expect(fixture.open()).rejects.toThrow('format 2');
  });
});

describe('Wal on a full disk', () => {
  it('goes on with the segments it has when no more can be made', async () => {
    const fixture = new WalFixture({ segmentBytes: SEGMENT_BYTES, bytesLimit: 16 * SEGMENT_BYTES });
    const wal = await fixture.open();
    wal.createReplica(R1, Uint8Array.of(1));
    wal.createReplica(replicaId(3), Uint8Array.of(3));
    wal.setHardState(replicaId(3), { currentTerm: term(4), votedFor: 0 });
    let next = 1;
    for (let i = 0; i < 120; i++) {
      wal.appendEntries(R1, makeEntries(next, 5, { bytes: 1000 }), hint);
      next += 5;
      await fixture.flush(wal);
      await fixture.time.runFor(1);
      wal.setCheckpoint(R1, { index: logIndex(next - 1), term: term(1), payload: Uint8Array.of(1) });
      if (i === 20) fixture.platter.capacityBytes = fixture.platter.usedBytes + 1000;
    }
    expect(fixture.failures).toEqual([]);
    expect(wal.stats.segmentCreationFailures).toBeGreaterThan(0);
    expect(wal.stats.segmentsReused).toBeGreaterThan(5);
    fixture.powerLoss('lose');
    const again = await fixture.open();
    expect(again.recovered).toMatchObject([{ lastIndex: next - 1 }, { hardState: { currentTerm: 4 } }]);
  });
});

describe('Wal that meets damage in a live entry which it has to move', () => {
  /** R2 has entries in the oldest segment that no checkpoint covers, one of them damaged; R1 fills the others. */
  async function withDamagedEntry() {
    const fixture = new WalFixture({ segmentBytes: SEGMENT_BYTES, bytesLimit: 6 * SEGMENT_BYTES, cacheBytes: 4096 });
    const wal = await fixture.open();
    const damages: number[] = [];
    wal.createReplica(R1, Uint8Array.of(1));
    wal.createReplica(R2, Uint8Array.of(2));
    await fixture.flush(wal);
    wal.endReplay();
    wal.appendEntries(R2, makeEntries(1, 4, { bytes: 700 }), hint);
    await fixture.flush(wal);
    const needle = Buffer.from(makeEntries(3, 1, { bytes: 700 })[0]!.payload[0]!.subarray(0, 300));
    const path = 'wal/00000001.wal';
    const at = Buffer.from(fixture.platter.readBytes(path)).indexOf(needle);
    expect(at).toBeGreaterThan(0);
    fixture.platter.flipBit(path, at + 100, 3);
    let next = 1;
    const fillUntil = async (isDone: () => boolean): Promise<void> => {
      for (let round = 0; round < 100 && !isDone(); round++) {
        wal.appendEntries(R1, makeEntries(next, 5, { bytes: 1000 }), hint);
        next += 5;
        await fixture.flush(wal);
        if (fixture.failures.length > 0) return;
        wal.setCheckpoint(R1, { index: logIndex(next - 1), term: term(1), payload: Uint8Array.of(1) });
        await fixture.time.runFor(1);
      }
    };
    return { fixture, wal, damages, fillUntil };
  }

  it('says so, and goes on when a checkpoint has taken its place', async () => {
    const { fixture, wal, damages, fillUntil } = await withDamagedEntry();
    wal.onDamage = (replica, index) => {
      expect(replica).toBe(R2);
      damages.push(index);
    };
    await fillUntil(() => damages.length > 0);
    expect([damages.length, fixture.failures]).toEqual([1, []]);
    const reusedBefore = wal.stats.segmentsReused;
    wal.setCheckpoint(R2, { index: logIndex(4), term: term(1), payload: Uint8Array.of(7) });
    await fillUntil(() => wal.stats.segmentsReused > reusedBefore + 3);
    expect([damages.length, fixture.failures]).toEqual([1, []]);
    expect(wal.stats.segmentsReused).toBeGreaterThan(reusedBefore);
    fixture.powerLoss('lose');
    const again = await fixture.open();
    expect(again.storeDamage).toBeUndefined();
    expect(again.recovered).toMatchObject([{ damage: undefined }, { damage: undefined, checkpoint: { index: 4 } }]);
  });

  it('fails where nobody can do without it', async () => {
    const { fixture, fillUntil } = await withDamagedEntry();
    await fillUntil(() => fixture.failures.length > 0);
    expect(fixture.failures).toHaveLength(1);
  });
});
