/**
 * The WAL against a model in memory: random operations on many replicas, crashes of every kind at any event, also while
 * recovering. After each crash the store must be exactly what the model was after some prefix of the operations that
 * contains everything flushed: nothing acknowledged is lost, nothing truncated, removed or outvoted comes back.
 */
import { describe, expect, it } from 'vitest';
import { makeEntries, plain, WalFixture } from '../../test/simulation/wal-fixture.ts';
import { logIndex, type ReplicaId, replicaId, term } from '../std/brands.ts';
import { SeededRandom } from '../std/seeded-random.ts';
import { type Checkpoint, ENTRY_KIND, type Entry, type HardState } from './replica-storage.ts';
import type { Wal } from './wal.ts';

interface ModelReplica {
  descriptor: Uint8Array;
  hardState: HardState;
  checkpoint: Checkpoint | undefined;
  lastIndex: number;
  /** Noted as committed. */
  committed: number;
  /** Also of entries that a checkpoint covers: they may still be read. */
  entries: Map<number, Entry>;
}
type Model = Map<ReplicaId, ModelReplica>;
interface Operation {
  readonly lsn: number;
  readonly apply: (model: Model) => void;
}

const SEEDS = Number.parseInt(process.env.WAL_SEEDS ?? '60', 10);
const FIRST_SEED = Number.parseInt(process.env.WAL_FIRST_SEED ?? '1', 10);

class Run {
  readonly random: SeededRandom;
  readonly fixture: WalFixture;
  wal!: Wal;
  /** State up to and including what the last recovery found. */
  base: Model = new Map();
  /** State with everything appended. */
  model: Model = new Map();
  operations: Operation[] = [];
  nextReplica = 1;
  crashes = 0;
  /** Raft never has two entries of one index and term: whoever may have lost entries goes on in a higher term. */
  readonly #terms = new Map<ReplicaId, number>();

  constructor(seed: number) {
    this.random = new SeededRandom(seed);
    this.fixture = new WalFixture({
      segmentBytes: 32 * 1024,
      bytesLimit: this.random.pick([128, 256]) * 1024,
      cacheBytes: this.random.pick([0, 4096, 1_000_000]),
      idleMs: this.random.pick([1, 1000]),
      disk: { seed },
    });
  }

  record(lsn: number, apply: (model: Model) => void): void {
    this.operations.push({ lsn, apply });
    apply(this.model);
  }

  async run(steps: number): Promise<void> {
    this.wal = await this.fixture.open();
    for (let step = 0; step < steps; step++) {
      if (this.random.chance(0.02)) await this.crashAndRecover();
      else await this.step();
      expect(this.fixture.failures).toEqual([]);
    }
    await this.crashAndRecover();
  }

  async step(): Promise<void> {
    const { random, wal, fixture } = this;
    for (const ids of fixture.pressure.splice(0))
      for (const id of ids) if (random.chance(0.7)) this.checkpoint(id, 0.9);
    if (wal.stats.liveBytes > 60_000) for (const id of this.model.keys()) this.checkpoint(id, 0.8);
    // Callers limit what is in flight.
    if (wal.appendedLsn - wal.flushedLsn > 20) await fixture.flush(wal);
    const ids = [...this.model.keys()];
    if (ids.length < 2 || (ids.length < 6 && random.chance(0.05))) {
      this.create();
      return;
    }
    const id = random.pick(ids);
    const roll = random.next();
    if (roll < 0.35) this.append(id);
    else if (roll < 0.45) this.vote(id);
    else if (roll < 0.48) this.note(id);
    else if (roll < 0.52) this.truncate(id);
    else if (roll < 0.56) this.checkpoint(id, random.next());
    else if (roll < 0.58) this.install(id);
    else if (roll < 0.59) this.remove(id);
    else if (roll < 0.61) wal.endReplay();
    else if (roll < 0.63)
      wal.hold(id, 'a follower', logIndex(random.between(wal.firstIndex(id), wal.lastIndex(id) + 1)));
    else if (roll < 0.65) wal.release(id, 'a follower');
    else if (roll < 0.7) await this.read(id);
    else {
      if (random.chance(0.8)) wal.flush();
      await fixture.time.runFor(random.pick([0, 0.01, 0.1, 1, 1, 1, 5]));
    }
  }

  create(): void {
    const id = replicaId(this.nextReplica++);
    const descriptor = this.random.bytes(this.random.below(50));
    const lsn = this.wal.createReplica(id, descriptor);
    this.record(lsn, (model) =>
      model.set(id, {
        descriptor,
        hardState: { currentTerm: term(0), votedFor: 0 },
        checkpoint: undefined,
        lastIndex: 0,
        committed: 0,
        entries: new Map(),
      }),
    );
  }

  append(id: ReplicaId): void {
    const { random } = this;
    const replica = this.model.get(id)!;
    const last = this.raiseTerm(id, this.random.chance(0.1) ? 1 : 0);
    const count = random.pick([1, 1, 2, 5, 20]);
    const entries = makeEntries(replica.lastIndex + 1, count, {
      term: last,
      bytes: random.pick([0, 1, 30, 300, count === 1 ? 6000 : 100]),
      kind: random.chance(0.05) ? ENTRY_KIND.configuration : ENTRY_KIND.command,
    });
    const lsn = this.wal.appendEntries(id, entries, logIndex(0));
    this.record(lsn, (model) => {
      const it = model.get(id)!;
      for (const entry of entries) it.entries.set(entry.index, entry);
      it.lastIndex += entries.length;
    });
  }

  raiseTerm(id: ReplicaId, by: number): number {
    const raised = (this.#terms.get(id) ?? 0) + by;
    this.#terms.set(id, raised);
    return raised;
  }

  vote(id: ReplicaId): void {
    const before = this.model.get(id)!.hardState;
    const hardState: HardState = {
      currentTerm: term(before.currentTerm + 1),
      votedFor: this.random.chance(0.5) ? replicaId(this.random.between(1, 9)) : 0,
    };
    const lsn = this.wal.setHardState(id, hardState);
    this.record(lsn, (model) => {
      model.get(id)!.hardState = hardState;
    });
  }

  note(id: ReplicaId): void {
    const committed = this.random.between(0, this.model.get(id)!.lastIndex);
    const lsn = this.wal.noteCommitted(id, logIndex(committed));
    this.record(lsn, (model) => {
      const it = model.get(id)!;
      it.committed = Math.max(it.committed, committed);
    });
  }

  truncate(id: ReplicaId): void {
    const replica = this.model.get(id)!;
    const low = Math.max(replica.checkpoint?.index ?? 0, replica.committed) + 1;
    if (replica.lastIndex < low) return;
    const from = this.random.between(Math.max(low, replica.lastIndex - 30), replica.lastIndex);
    const lsn = this.wal.truncate(id, logIndex(from));
    this.raiseTerm(id, 1);
    this.record(lsn, (model) => {
      const it = model.get(id)!;
      for (let index = from; index <= it.lastIndex; index++) it.entries.delete(index);
      it.lastIndex = from - 1;
    });
  }

  checkpoint(id: ReplicaId, share: number): void {
    const replica = this.model.get(id);
    if (replica === undefined) return;
    const low = replica.checkpoint?.index ?? 0;
    const index = low + Math.floor((replica.lastIndex - low) * share);
    if (index === low) return;
    const checkpoint: Checkpoint = {
      index: logIndex(index),
      term: replica.entries.get(index)!.term,
      payload: this.random.bytes(this.random.below(60)),
    };
    const lsn = this.wal.setCheckpoint(id, checkpoint);
    this.record(lsn, (model) => {
      model.get(id)!.checkpoint = checkpoint;
    });
  }

  install(id: ReplicaId): void {
    const replica = this.model.get(id)!;
    const checkpoint: Checkpoint = {
      index: logIndex(Math.max(replica.checkpoint?.index ?? 0, replica.committed) + this.random.below(60)),
      term: term(this.raiseTerm(id, 1)),
      payload: this.random.bytes(10),
    };
    const lsn = this.wal.setCheckpoint(id, checkpoint, { resetLog: true });
    this.record(lsn, (model) => {
      const it = model.get(id)!;
      it.checkpoint = checkpoint;
      it.lastIndex = checkpoint.index;
      it.entries = new Map();
    });
  }

  remove(id: ReplicaId): void {
    const lsn = this.wal.removeReplica(id);
    this.record(lsn, (model) => model.delete(id));
  }

  async read(id: ReplicaId): Promise<void> {
    const { wal, random } = this;
    const replica = this.model.get(id)!;
    const first = wal.firstIndex(id);
    expect(first).toBeLessThanOrEqual((replica.checkpoint?.index ?? 0) + 1);
    expect(wal.lastIndex(id)).toBe(replica.lastIndex);
    if (first > replica.lastIndex) return;
    const from = random.between(first, replica.lastIndex);
    const to = random.between(from, replica.lastIndex);
    const expected = new Map(replica.entries);
    const read = wal.readEntries(id, logIndex(from), logIndex(to), random.pick([0, 500, 1e9]));
    const entries = read instanceof Promise ? await this.fixture.time.settle(read) : read;
    expect(entries.length).toBeGreaterThan(0);
    for (const [i, entry] of entries.entries()) expect(plain(entry)).toEqual(plain(expected.get(from + i)!));
  }

  async crashAndRecover(): Promise<void> {
    const { random, fixture } = this;
    this.crashes++;
    const { flushedLsn, appendedLsn } = this.wal;
    this.crash();
    // Some recoveries are interrupted as well.
    while (random.chance(0.3)) {
      const opening = fixture.opening();
      opening.catch(() => undefined);
      await fixture.time.runFor(random.next() * 2);
      this.crash();
    }
    this.wal = await fixture.open();
    await this.compare(flushedLsn, appendedLsn);
  }

  crash(): void {
    for (const id of this.#terms.keys()) this.raiseTerm(id, 1);
    const seed = this.random.uint32();
    if (this.random.chance(0.3)) this.fixture.kill(seed);
    else this.fixture.powerLoss(undefined, seed);
  }

  /** Finds the prefix of operations that the store shows, and goes on from it. */
  async compare(flushedLsn: number, appendedLsn: number): Promise<void> {
    const found = await this.content();
    let matched: Model | undefined;
    const candidate = this.base;
    let applied = 0;
    for (;;) {
      const lsn = this.operations[applied]?.lsn ?? appendedLsn + 1;
      if (lsn > flushedLsn && contentOf(candidate) === found) {
        matched = candidate;
        break;
      }
      if (applied === this.operations.length) break;
      this.operations[applied]!.apply(candidate);
      applied++;
    }
    if (matched === undefined) expect(found.split('\n')).toEqual(contentOf(candidate).split('\n'));
    this.model = matched!;
    this.base = copyOf(this.model);
    this.operations = [];
  }

  async content(): Promise<string> {
    const lines: string[] = [];
    for (const replica of this.wal.recovered) {
      expect(replica.damage).toBeUndefined();
      const { replicaId: id, descriptor, hardState, checkpoint, lastIndex, commitHint: committed } = replica;
      const entries: Entry[] = [];
      for (let next = (checkpoint?.index ?? 0) + 1; next <= lastIndex; ) {
        const read = this.wal.readEntries(id, logIndex(next), lastIndex, 10_000);
        const batch = read instanceof Promise ? await this.fixture.time.settle(read) : read;
        entries.push(...batch);
        next += batch.length;
      }
      for (const [i, run] of replica.termRuns.entries()) {
        const end = replica.termRuns[i + 1]?.firstIndex ?? lastIndex + 1;
        for (const entry of entries) {
          if (entry.index >= run.firstIndex && entry.index < end) expect(entry.term).toBe(run.term);
        }
      }
      expect(replica.configurationIndexes).toEqual(
        entries.filter((entry) => entry.kind === ENTRY_KIND.configuration).map((entry) => entry.index),
      );
      lines.push(lineOf(id, { descriptor, hardState, checkpoint, lastIndex, committed }, entries));
    }
    return lines.sort().join('\n');
  }
}

function lineOf(id: ReplicaId, replica: Omit<ModelReplica, 'entries'>, entries: readonly Entry[]): string {
  const { descriptor, hardState, checkpoint, lastIndex, committed } = replica;
  const point = checkpoint && [checkpoint.index, checkpoint.term, Buffer.from(checkpoint.payload).toString('hex')];
  return JSON.stringify([
    id,
    Buffer.from(descriptor).toString('hex'),
    hardState.currentTerm,
    hardState.votedFor,
    point,
    lastIndex,
    Math.max(committed, checkpoint?.index ?? 0),
    entries.map(plain),
  ]);
}

function contentOf(model: Model): string {
  const lines: string[] = [];
  for (const [id, replica] of model) {
    const entries: Entry[] = [];
    for (let index = (replica.checkpoint?.index ?? 0) + 1; index <= replica.lastIndex; index++) {
      entries.push(replica.entries.get(index)!);
    }
    lines.push(lineOf(id, replica, entries));
  }
  return lines.sort().join('\n');
}

function copyOf(model: Model): Model {
  return new Map([...model].map(([id, replica]) => [id, { ...replica, entries: new Map(replica.entries) }]));
}

describe('Wal against a model', () => {
  it(`recovers exactly a prefix that holds everything flushed (${SEEDS} seeds)`, async () => {
    let crashes = 0;
    let reused = 0;
    let moved = 0;
    for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed++) {
      const run = new Run(seed);
      try {
        await run.run(400);
      } catch (error) {
        throw new Error(
          `Seed ${seed} failed; repeat it with WAL_FIRST_SEED=${seed} WAL_SEEDS=1 npx vitest run src/wal/wal-model`,
          {
            cause: error,
          },
        );
      }
      crashes += run.crashes;
      reused += run.wal.stats.segmentsReused;
      moved += run.wal.stats.movedBytes;
    }
    // The runs went where it is dangerous.
    if (SEEDS >= 20) {
      expect(crashes).toBeGreaterThan(4 * SEEDS);
      expect(reused).toBeGreaterThan(0);
      expect(moved).toBeGreaterThan(0);
    }
  });

  it('does the same disk operations for the same seed', async () => {
    const hash = async (seed: number) => {
      const run = new Run(seed);
      await run.run(200);
      return run.fixture.platter.hash;
    };
    expect(await hash(5)).toBe(await hash(5));
    expect(await hash(5)).not.toBe(await hash(6));
  });
});
