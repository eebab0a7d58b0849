import { describe, expect, it } from 'vitest';
import { makeEntries, plain, R1, R2, readAll, WalFixture } from '../../test/simulation/wal-fixture.ts';
import { logIndex, replicaId, term } from '../std/brands.ts';
import { crc32c } from '../std/crc32c.ts';
import { ENTRY_KIND } from './replica-storage.ts';

const hint = logIndex(0);

describe('Wal', () => {
  it('gives back after a power loss everything that was flushed', async () => {
    const fixture = new WalFixture();
    const wal = await fixture.open();
    expect(wal.recovered).toEqual([]);
    wal.createReplica(R1, Uint8Array.of(1, 2, 3));
    wal.setHardState(R1, { currentTerm: term(3), votedFor: R2 });
    wal.appendEntries(R1, makeEntries(1, 10, { term: 2 }), hint);
    wal.appendEntries(R1, makeEntries(11, 5, { term: 3, kind: ENTRY_KIND.configuration }), logIndex(10));
    await fixture.flush(wal);
    fixture.powerLoss('lose');
    const again = await fixture.open();
    expect(again.recovered).toEqual([
      {
        replicaId: R1,
        descriptor: Uint8Array.of(1, 2, 3),
        hardState: { currentTerm: 3, votedFor: R2 },
        checkpoint: undefined,
        lastIndex: 15,
        termRuns: [
          { firstIndex: 1, term: 2 },
          { firstIndex: 11, term: 3 },
        ],
        configurationIndexes: [11, 12, 13, 14, 15],
        commitHint: 10,
        damage: undefined,
      },
    ]);
    const entries = await readAll(fixture, again, R1);
    expect(entries.map(plain)).toEqual(
      [...makeEntries(1, 10, { term: 2 }), ...makeEntries(11, 5, { term: 3, kind: ENTRY_KIND.configuration })].map(
        plain,
      ),
    );
  });

  it('one flush carries everything that queued while the one before ran', async () => {
    const fixture = new WalFixture();
    const wal = await fixture.open();
    wal.createReplica(R1, new Uint8Array());
    await fixture.flush(wal);
    const before = wal.stats.flushes;
    const flushed: number[] = [];
    wal.onFlushed = (lsn) => flushed.push(lsn);
    wal.appendEntries(R1, makeEntries(1, 1), hint);
    wal.flush();
    for (let i = 2; i <= 50; i++) {
      wal.appendEntries(R1, makeEntries(i, 1), hint);
      wal.flush();
    }
    const target = wal.appendedLsn;
    await fixture.time.runUntilTrue(() => wal.flushedLsn === target);
    expect(wal.stats.flushes - before).toBe(2);
    expect(flushed).toEqual([target - 49, target]);
  });

  it('derives the checksum of a frame from those of its payloads, where they are known', async () => {
    for (const isKnown of [() => true, (i: number) => i % 3 > 0]) {
      const fixture = new WalFixture({ cacheBytes: 4096 });
      const wal = await fixture.open();
      wal.createReplica(R1, new Uint8Array());
      const entries = makeEntries(1, 40, { bytes: 3_000 }).map((entry, i) => {
        const [bytes] = entry.payload as [Uint8Array];
        const payload = [bytes.subarray(0, 61), bytes.subarray(61)];
        return isKnown(i) ? { ...entry, payload, payloadChecksum: crc32c(bytes) } : { ...entry, payload };
      });
      for (let at = 0; at < entries.length; at += 4) wal.appendEntries(R1, entries.slice(at, at + 4), hint);
      await fixture.flush(wal);
      wal.endReplay();
      // From the segments, where each frame's checksum is looked at.
      expect((await readAll(fixture, wal, R1)).map(plain)).toEqual(makeEntries(1, 40, { bytes: 3_000 }).map(plain));
    }
  });

  it('recycles segments under pressure without losing live entries, votes or truncations', async () => {
    const fixture = new WalFixture({ cacheBytes: 4096 });
    const wal = await fixture.open();
    wal.createReplica(R1, new Uint8Array(10));
    wal.createReplica(R2, new Uint8Array(20));
    wal.setHardState(R2, { currentTerm: term(9), votedFor: R1 });
    wal.appendEntries(R2, makeEntries(1, 20), hint);
    wal.truncate(R2, logIndex(11));
    let next = 1;
    for (let round = 0; round < 400; round++) {
      wal.appendEntries(R1, makeEntries(next, 10, { bytes: 500 }), hint);
      next += 10;
      await fixture.flush(wal);
      if (round % 20 === 19) {
        wal.setCheckpoint(R1, { index: logIndex(next - 5), term: term(1), payload: Uint8Array.of(round) });
      }
    }
    await fixture.flush(wal);
    expect(fixture.failures).toEqual([]);
    expect(wal.stats.segments).toBeLessThanOrEqual(8);
    expect(wal.stats.segmentsReused).toBeGreaterThan(10);
    expect(fixture.pressure.length).toBeGreaterThan(0);
    const expected = await readAll(fixture, wal, R1, next - 4);
    expect(expected.map(plain)).toEqual(makeEntries(next - 4, 4, { bytes: 500 }).map(plain));
    expect((await readAll(fixture, wal, R2)).map(plain)).toEqual(makeEntries(1, 10).map(plain));
    fixture.powerLoss('lose');
    const again = await fixture.open();
    const [first, second] = again.recovered;
    expect(first).toMatchObject({
      replicaId: 1,
      lastIndex: next - 1,
      damage: undefined,
      checkpoint: { index: next - 5 },
    });
    expect(second).toMatchObject({
      replicaId: 2,
      lastIndex: 10,
      damage: undefined,
      hardState: { currentTerm: 9, votedFor: 1 },
    });
    expect((await readAll(fixture, again, R2)).map(plain)).toEqual(makeEntries(1, 10).map(plain));
  });

  it('reads old entries from segments and recent ones from memory', async () => {
    const fixture = new WalFixture({ cacheBytes: 10_000, segmentBytes: 256 * 1024 });
    const wal = await fixture.open();
    wal.createReplica(R1, new Uint8Array());
    wal.createReplica(R2, new Uint8Array());
    for (let i = 0; i < 60; i++) {
      wal.appendEntries(R1, makeEntries(1 + 3 * i, 3, { bytes: 700 }), hint);
      wal.appendEntries(R2, makeEntries(1 + i, 1, { bytes: 100 }), hint);
      if (i % 7 === 0) await fixture.flush(wal);
    }
    await fixture.flush(wal);
    expect(wal.readEntries(R1, logIndex(1), logIndex(180), 5000)).toBeInstanceOf(Promise);
    expect(wal.readEntries(R1, logIndex(179), logIndex(180), 5000)).toHaveLength(2);
    expect((await readAll(fixture, wal, R1)).map(plain)).toEqual(makeEntries(1, 180, { bytes: 700 }).map(plain));
    expect((await readAll(fixture, wal, R2)).map(plain)).toEqual(makeEntries(1, 60, { bytes: 100 }).map(plain));
  });

  it('answers for entries that are not flushed yet, however small the budget', async () => {
    const fixture = new WalFixture({ cacheBytes: 0 });
    const wal = await fixture.open();
    wal.createReplica(replicaId(7), new Uint8Array());
    wal.appendEntries(replicaId(7), makeEntries(1, 100, { bytes: 100 }), hint);
    expect(wal.readEntries(replicaId(7), logIndex(1), logIndex(100), 1e9)).toHaveLength(100);
  });
});
