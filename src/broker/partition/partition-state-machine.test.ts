import { describe, expect, it } from 'vitest';
import {
  batchesCommand,
  moveLogStartCommand,
  PartitionFixture,
  type StoredBatch,
  testBatch,
} from '../../../test/support/partition-fixture.ts';
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import { CatchUpDataError } from '../../raft/catch-up-data-error.ts';
import { StateDamageError } from '../../raft/state-damage-error.ts';
import type { CatchUpStream, StateCheckpoint } from '../../raft/state-machine.ts';
import { SeededRandom } from '../../std/seeded-random.ts';
import { encodeExpireProducers } from './partition-command.ts';
import { PartitionDamageError } from './partition-damage-error.ts';
import { storedLeaderEpoch } from './stored-batch.ts';

const DIRECTORY = 'topics/orders-3.7';

/** A command of a random but reproducible history: batches of idempotent and other producers, log starts, expiries. */
function randomCommand(random: SeededRandom, step: number, endOffset: number): Uint8Array {
  const timeMs = 1_000 + step;
  if (step % 23 === 22) return moveLogStartCommand(Math.floor(endOffset * 0.4));
  if (step % 31 === 30) return encodeExpireProducers(timeMs, timeMs - 40, 0);
  const batches = Array.from({ length: 1 + random.below(3) }, () => {
    const producerId = random.below(4) - 1;
    return testBatch({
      records: 1 + random.below(3),
      valueBytes: random.below(300),
      timestampMs: timeMs * 10 + random.below(50),
      options: producerId < 0 ? {} : { producerId, producerEpoch: 0, baseSequence: random.below(12) },
    });
  });
  return batchesCommand(batches, timeMs);
}

/** A history applied to a machine that never stops or writes: what every replica must look like at each index. */
async function history(commands: number, seed: number) {
  const fixture = new PartitionFixture({ seed });
  await fixture.start();
  const random = new SeededRandom(seed);
  const payloads: Uint8Array[] = [];
  const results: unknown[] = [];
  const terms: number[] = [];
  for (let step = 0; step < commands; step++) {
    const payload = randomCommand(random, step, fixture.machine.log.endOffset);
    const term = 1 + Math.floor(step / 17);
    payloads.push(payload);
    terms.push(term);
    results.push(fixture.apply(payload, term));
  }
  return { fixture, payloads, results, terms, batches: await fixture.readAll() };
}

function expectSameBatches(actual: readonly StoredBatch[], expected: readonly StoredBatch[]): void {
  expect(actual.map(({ baseOffset }) => baseOffset)).toEqual(expected.map(({ baseOffset }) => baseOffset));
  expect(
    Buffer.concat(actual.map(({ bytes }) => bytes)).equals(Buffer.concat(expected.map(({ bytes }) => bytes))),
  ).toBe(true);
}

describe('PartitionStateMachine', () => {
  it('gives dense offsets, stamps the term of the entry, and takes no offset for a rejected batch', async () => {
    const fixture = new PartitionFixture();
    await fixture.start();
    const idempotent = testBatch({ records: 2, options: { producerId: 5, producerEpoch: 0, baseSequence: 0 } });
    const gap = testBatch({ options: { producerId: 5, producerEpoch: 0, baseSequence: 9 } });
    expect(fixture.apply(batchesCommand([testBatch({ records: 3 }), idempotent, gap, idempotent]), 4)).toEqual([
      { errorCode: 0, baseOffset: 0, logAppendTimeMs: -1, isDuplicate: false },
      { errorCode: 0, baseOffset: 3, logAppendTimeMs: -1, isDuplicate: false },
      { errorCode: ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, baseOffset: -1, logAppendTimeMs: -1, isDuplicate: false },
      { errorCode: 0, baseOffset: 3, logAppendTimeMs: -1, isDuplicate: true },
    ]);
    fixture.apply(batchesCommand([testBatch()]), 6);
    const batches = await fixture.readAll();
    expect(batches.map(({ baseOffset, nextOffset }) => [baseOffset, nextOffset])).toEqual([
      [0, 3],
      [3, 5],
      [5, 6],
    ]);
    expect(batches.map(({ bytes }) => storedLeaderEpoch(bytes, 0))).toEqual([4, 4, 6]);
  });

  it('never changes the bytes that were proposed', async () => {
    const fixture = new PartitionFixture();
    await fixture.start();
    const command = batchesCommand([testBatch(), testBatch({ records: 2 })]);
    const before = Buffer.from(command);
    fixture.apply(command);
    expect(before.equals(command)).toBe(true);
  });

  it('moves the log start forward only, and not beyond the end', async () => {
    const fixture = new PartitionFixture();
    await fixture.start();
    fixture.apply(batchesCommand([testBatch({ records: 4 }), testBatch()]));
    expect(fixture.apply(moveLogStartCommand(2))).toBe(ErrorCode.NONE);
    expect(fixture.apply(moveLogStartCommand(1))).toBe(ErrorCode.NONE);
    expect(fixture.machine.log.startOffset).toBe(2);
    expect(fixture.apply(moveLogStartCommand(6))).toBe(ErrorCode.OFFSET_OUT_OF_RANGE);
    expect(fixture.apply(moveLogStartCommand(5))).toBe(ErrorCode.NONE);
    expect(fixture.machine.log.segments).toEqual([]);
    fixture.apply(batchesCommand([testBatch()]), 2);
    expect((await fixture.readAll()).map(({ baseOffset }) => baseOffset)).toEqual([5]);
  });

  it('costs no file while nothing was written, and a small checkpoint', async () => {
    const fixture = new PartitionFixture();
    await fixture.start();
    const empty = await fixture.checkpoint();
    expect(fixture.platter.paths()).toEqual([]);
    expect(empty.payload.length).toBeLessThan(100);
    fixture.apply(batchesCommand([testBatch()]));
    expect(fixture.platter.paths()).toEqual([]);
    const one = await fixture.checkpoint();
    expect(fixture.platter.paths()).toEqual([`${DIRECTORY}/00000000000000000000.log`]);
    expect(one.payload.length).toBeLessThan(200);
  });

  it('goes on when all of it was deleted before any was written', async () => {
    const fixture = new PartitionFixture();
    await fixture.start();
    fixture.apply(batchesCommand([testBatch({ records: 2 })]));
    fixture.apply(moveLogStartCommand(2));
    // The first one lets the files go that the segment would have had, the second one makes that durable.
    for (let checkpoints = 0; checkpoints < 2; checkpoints++) {
      const { index } = await fixture.checkpoint();
      fixture.machine.checkpointDurable(index);
      await fixture.time.runFor(100);
    }
    expect(fixture.platter.paths()).toEqual([]);
    expect(fixture.failures).toEqual([]);
    fixture.apply(batchesCommand([testBatch()]));
    await fixture.checkpoint();
    expect((await fixture.readAll()).map(({ baseOffset }) => baseOffset)).toEqual([2]);
  });

  it('replicas that flush, checkpoint and cut segments at different times have the same batches, results and state', async () => {
    const reference = await history(120, 3);
    const other = new PartitionFixture({
      seed: 9,
      settings: { segmentBytes: 3_000, indexIntervalBytes: 200 },
      tailBytesMax: 8_192,
    });
    await other.start();
    const random = new SeededRandom(5);
    for (const [step, payload] of reference.payloads.entries()) {
      expect(other.apply(payload, reference.terms[step])).toEqual(reference.results[step]);
      if (random.chance(0.1)) await other.checkpoint();
    }
    expectSameBatches(await other.readAll(), reference.batches);
    expect(other.machine.log.epochs.rows).toEqual(reference.fixture.machine.log.epochs.rows);
    expect(other.machine.producers).toEqual(reference.fixture.machine.producers);
    expect(other.failures).toEqual([]);
  });

  it('goes on after a crash at any disk operation from the last durable checkpoint, to the identical bytes', async () => {
    const reference = await history(60, 11);
    let crashes = 0;
    for (let seed = 0; seed < 150; seed++) {
      const random = new SeededRandom(seed);
      const fixture = new PartitionFixture({
        seed,
        settings: { segmentBytes: 2_500, indexIntervalBytes: 100 },
        tailBytesMax: 8_192,
      });
      let checkpoint: StateCheckpoint | undefined;
      let done = false;
      for (let life = 0; !done && life < 20; life++) {
        const crashAt = fixture.platter.operations + 1 + random.below(life < 5 ? 80 : 1_000);
        let crashed = false;
        fixture.platter.onOperation = (operation) => {
          if (operation.number !== crashAt) return undefined;
          crashed = true;
          return { halt: true };
        };
        await whileAlive(
          fixture,
          fixture.launch(checkpoint).then(() => true),
          () => crashed,
        );
        if (!crashed) expect(fixture.machine.appliedIndex).toBe(checkpoint?.index ?? 0);
        let pending: StateCheckpoint | undefined;
        while (!crashed && fixture.machine.appliedIndex < reference.payloads.length) {
          const step = fixture.machine.appliedIndex;
          expect(fixture.apply(reference.payloads[step]!, reference.terms[step])).toEqual(reference.results[step]);
          if (random.chance(0.3)) await fixture.time.runFor(random.below(3));
          if (pending !== undefined && random.chance(0.4)) {
            checkpoint = pending;
            fixture.machine.checkpointDurable(pending.index);
          }
          if (!random.chance(0.2) || crashed) continue;
          const made = await whileAlive(fixture, fixture.machine.checkpoint(), () => crashed);
          if (made === undefined) break;
          // The frame is flushed some time later, if at all; only then files may go.
          pending = made;
        }
        fixture.platter.onOperation = () => undefined;
        if (!crashed) {
          expectSameBatches(await fixture.readAll(), reference.batches);
          expect(fixture.machine.producers).toEqual(reference.fixture.machine.producers);
          done = true;
        } else {
          crashes++;
          // An unflushed frame may have survived as well.
          if (pending !== undefined && random.chance(0.5)) checkpoint = pending;
        }
        expect(fixture.failures).toEqual([]);
        if (random.chance(0.5)) fixture.platter.crash(random);
        else fixture.platter.kill(random);
      }
      expect(done).toBe(true);
    }
    expect(crashes).toBeGreaterThan(100);
  });

  it('describes one moment although entries are applied while the checkpoint is written', async () => {
    const reference = await history(80, 21);
    const fixture = new PartitionFixture({ settings: { segmentBytes: 14_000, indexIntervalBytes: 50 } });
    await fixture.start();
    const checkpoints: StateCheckpoint[] = [];
    const applyNext = (): void => {
      const step = fixture.machine.appliedIndex;
      if (step < reference.payloads.length) fixture.apply(reference.payloads[step]!, reference.terms[step]);
    };
    while (fixture.machine.appliedIndex < reference.payloads.length) {
      applyNext();
      const making = fixture.machine.checkpoint();
      fixture.platter.onOperation = () => {
        applyNext();
        return undefined;
      };
      checkpoints.push(await fixture.time.settle(making));
      fixture.platter.onOperation = () => undefined;
    }
    expect(checkpoints.length).toBeGreaterThan(3);
    // Nothing was reported durable, so no file went and every checkpoint can be restored.
    for (const checkpoint of checkpoints.reverse()) {
      const platter = fixture.platter.clone();
      platter.crash(new SeededRandom(1), 'lose');
      const again = new PartitionFixture({ platter, time: fixture.time, settings: { segmentBytes: 5_000 } });
      await again.start(checkpoint);
      for (let step = checkpoint.index as number; step < reference.payloads.length; step++) {
        expect(again.apply(reference.payloads[step]!, reference.terms[step])).toEqual(reference.results[step]);
      }
      expectSameBatches(await again.readAll(600), reference.batches);
      expect(again.machine.log.segments.some(({ isIndexDamaged }) => isIndexDamaged)).toBe(false);
    }
  });

  it('names a segment completely although the log start passes it before all of it is written', async () => {
    const fixture = new PartitionFixture({ settings: { segmentBytes: 1_000 } });
    await fixture.start();
    for (let i = 0; i < 30; i++) fixture.apply(batchesCommand([testBatch()]));
    const expected = await fixture.readAll();
    const making = fixture.machine.checkpoint();
    fixture.platter.onOperation = ({ kind }) => {
      if (kind === 'makeDirectory') fixture.apply(moveLogStartCommand(30));
      return undefined;
    };
    const checkpoint = await fixture.time.settle(making);
    expect(fixture.machine.log.segments).toEqual([]);
    expect(fixture.resources.tail.usedBytes).toBe(0);
    fixture.platter.crash(new SeededRandom(1), 'lose');
    await fixture.start(checkpoint);
    expectSameBatches(await fixture.readAll(), expected);
  });

  it('keeps a large state in a file of its own, and calls a damaged one damage', async () => {
    const fixture = new PartitionFixture();
    await fixture.start();
    const batches = Array.from({ length: 100 }, (_, id) =>
      testBatch({ options: { producerId: id, producerEpoch: 0, baseSequence: 0 } }),
    );
    fixture.apply(batchesCommand(batches));
    const first = await fixture.checkpoint();
    expect(first.payload.length).toBeLessThan(100);
    const again = await fixture.checkpoint();
    fixture.machine.checkpointDurable(again.index);
    await fixture.time.drain();
    const state = fixture.platter.paths().filter((path) => path.endsWith('.state'));
    expect(state).toHaveLength(1);
    fixture.platter.crash(new SeededRandom(1), 'lose');
    await fixture.start(again);
    expect(fixture.machine.producers.count).toBe(100);
    fixture.platter.kill(new SeededRandom(1));
    fixture.platter.flipBit(state[0]!, 500, 3);
    await expect(fixture.start(again)).rejects.toThrow(PartitionDamageError);
  });

  it('calls a missing or short log file damage, and does without a lost index', async () => {
    const fixture = new PartitionFixture({ settings: { indexIntervalBytes: 50 } });
    await fixture.start();
    for (let i = 0; i < 100; i++) fixture.apply(batchesCommand([testBatch()]));
    const checkpoint = await fixture.checkpoint();
    const expected = await fixture.readAll();
    const [indexPath, logPath] = fixture.platter.paths();
    expect(indexPath).toMatch(/\.index$/);
    fixture.platter.kill(new SeededRandom(1));
    fixture.platter.loseFile(indexPath!);
    await fixture.start(checkpoint);
    expectSameBatches(await fixture.readAll(300), expected);
    fixture.platter.kill(new SeededRandom(1));
    fixture.platter.loseFile(logPath!);
    await expect(fixture.start(checkpoint)).rejects.toThrow(/Damage in .*\.log: the file is missing/);
    expect(fixture.damages).toHaveLength(1);
  });

  it('begins with nothing after a restore that failed, and leaves nothing of it', async () => {
    for (const fault of ['log', 'state'] as const) {
      const fixture = new PartitionFixture();
      await fixture.start();
      const producers = Array.from({ length: 100 }, (_, id) =>
        testBatch({ options: { producerId: id, producerEpoch: 0, baseSequence: 0 } }),
      );
      fixture.apply(batchesCommand(producers));
      const checkpoint = await fixture.checkpoint();
      fixture.platter.crash(new SeededRandom(1), 'lose');
      fixture.platter.loseFile(fixture.platter.paths().find((path) => path.endsWith(fault))!);
      await expect(fixture.start(checkpoint)).rejects.toThrow(StateDamageError);
      await fixture.time.settle(fixture.machine.restore(undefined));
      expect(fixture.platter.paths()).toEqual([]);
      expect([fixture.machine.appliedIndex, fixture.machine.producers.count]).toEqual([0, 0]);
      for (let i = 0; i < 10; i++) fixture.apply(batchesCommand([testBatch()]));
      const expected = await fixture.readAll();
      const again = await fixture.checkpoint();
      fixture.machine.checkpointDurable(again.index);
      await fixture.time.drain();
      fixture.platter.crash(new SeededRandom(1), 'lose');
      await fixture.start(again);
      expectSameBatches(await fixture.readAll(), expected);
    }
  });

  it('removes the files of passed segments only after a checkpoint without them is durable', async () => {
    const fixture = new PartitionFixture({ settings: { segmentBytes: 500 } });
    await fixture.start();
    for (let i = 0; i < 20; i++) fixture.apply(batchesCommand([testBatch()]));
    const before = await fixture.checkpoint();
    fixture.machine.checkpointDurable(before.index);
    fixture.apply(moveLogStartCommand(12));
    const files = fixture.platter.paths().length;
    expect(fixture.machine.bytesSinceCheckpoint()).toBe(Number.MAX_SAFE_INTEGER);
    const after = await fixture.checkpoint();
    expect(fixture.machine.bytesSinceCheckpoint()).toBe(0);
    await fixture.time.drain();
    expect(fixture.platter.paths().length).toBe(files);
    // A crash now may still fall back to the checkpoint before.
    const platter = fixture.platter.clone();
    await new PartitionFixture({ platter, time: fixture.time, settings: { segmentBytes: 500 } }).start(before);
    // What is dropped behind the cut of a checkpoint is named by it.
    fixture.apply(moveLogStartCommand(18));
    fixture.machine.checkpointDurable(after.index);
    await fixture.time.drain();
    const left = fixture.platter.paths().length;
    expect(left).toBeLessThan(files);
    const fallback = new PartitionFixture({ platter: fixture.platter.clone(), time: fixture.time });
    await fallback.start(after);
    expect((await fallback.readAll())[0]!.baseOffset).toBeLessThanOrEqual(12);
    fixture.machine.checkpointDurable((await fixture.checkpoint()).index);
    await fixture.time.drain();
    expect(fixture.platter.paths().length).toBeLessThan(left);
    expect((await fixture.readAll())[0]!.baseOffset).toBeLessThanOrEqual(18);
  });

  it('removes everything of itself when it is destroyed, and nothing of others', async () => {
    const fixture = new PartitionFixture();
    await fixture.start();
    fixture.apply(batchesCommand([testBatch()]));
    await fixture.checkpoint();
    const other = await fixture.time.settle(fixture.resources.disk.openFile('topics/other', { create: true }));
    await fixture.time.settle(other.sync());
    await fixture.time.settle(fixture.machine.destroy());
    expect(fixture.platter.paths()).toEqual(['topics/other']);
  });
});

describe('catch-up', () => {
  it('brings a follower from every position to the identical log and state', async () => {
    const reference = await history(50, 33);
    const leader = new PartitionFixture({
      settings: { segmentBytes: 3_000, indexIntervalBytes: 200 },
      tailBytesMax: 8_192,
    });
    await leader.start();
    for (const [step, payload] of reference.payloads.entries()) leader.apply(payload, reference.terms[step]);
    for (let position = 0; position <= reference.payloads.length; position += 3) {
      const follower = new PartitionFixture({ time: leader.time, seed: position, settings: { segmentBytes: 2_000 } });
      await follower.start();
      for (let step = 0; step < position; step++) follower.apply(reference.payloads[step]!, reference.terms[step]);
      if (position % 2 === 0) await follower.checkpoint();
      const checkpoint = await catchUp(leader, follower);
      expect(checkpoint.index).toBe(reference.payloads.length);
      expectSameBatches(await follower.readAll(), reference.batches);
      // The checkpoint alone is enough after power loss.
      follower.platter.crash(new SeededRandom(position), 'lose');
      await follower.start(checkpoint);
      expectSameBatches(await follower.readAll(), reference.batches);
      expect(follower.machine.producers).toEqual(reference.fixture.machine.producers);
      expect(follower.machine.log.epochs.rows).toEqual(reference.fixture.machine.log.epochs.rows);
      const next = batchesCommand([testBatch({ records: 2 })]);
      expect(follower.apply(next, 99)).toEqual([
        expect.objectContaining({ baseOffset: reference.fixture.machine.log.endOffset }),
      ]);
    }
  });

  it('leaves no trace when the stream fails, and its files are cut after a crash', async () => {
    const reference = await history(40, 35);
    const leader = new PartitionFixture();
    await leader.start();
    for (const [step, payload] of reference.payloads.entries()) leader.apply(payload, reference.terms[step]);
    const follower = new PartitionFixture({ time: leader.time });
    await follower.start();
    for (let step = 0; step < 20; step++) follower.apply(reference.payloads[step]!, reference.terms[step]);
    const before = await follower.readAll();
    const checkpoint = await follower.checkpoint();
    const files = follower.platter.paths();
    for (const pieces of [0, 1, 2]) {
      await expect(catchUp(leader, follower, pieces)).rejects.toThrow('link is down');
      expect(follower.platter.paths()).toEqual(files);
      expectSameBatches(await follower.readAll(), before);
    }
    for (let step = 20; step < 40; step++) {
      expect(follower.apply(reference.payloads[step]!, reference.terms[step])).toEqual(reference.results[step]);
    }
    expectSameBatches(await follower.readAll(), reference.batches);
    follower.platter.kill(new SeededRandom(1));
    await follower.start(checkpoint);
    expectSameBatches(await follower.readAll(), before);
  });

  it('carries batches that are larger than a piece', async () => {
    const leader = new PartitionFixture();
    await leader.start();
    for (const valueBytes of [10, 3_000_000, 500, 1_500_000]) {
      leader.apply(batchesCommand([testBatch({ valueBytes })]));
    }
    const follower = new PartitionFixture({ time: leader.time });
    await follower.start();
    await catchUp(leader, follower);
    expectSameBatches(await follower.readAll(), await leader.readAll());
  });

  it('refuses a piece that was damaged on its way', async () => {
    const leader = new PartitionFixture();
    await leader.start();
    leader.apply(batchesCommand([testBatch({ records: 20 })]));
    const follower = new PartitionFixture({ time: leader.time });
    await follower.start();
    await expect(
      catchUp(leader, follower, undefined, (piece) => {
        piece[piece.length - 1]! ^= 4;
      }),
    ).rejects.toThrow(CatchUpDataError);
    expect(follower.machine.log.endOffset).toBe(0);
  });

  it('refuses a follower whose last record has another epoch: both are committed, so one of them is damaged', async () => {
    const leader = new PartitionFixture();
    await leader.start();
    leader.apply(batchesCommand([testBatch()]), 2);
    leader.apply(batchesCommand([testBatch()]), 3);
    const follower = new PartitionFixture({ time: leader.time });
    await follower.start();
    follower.apply(batchesCommand([testBatch()]), 1);
    await expect(catchUp(leader, follower)).rejects.toThrow('epoch 1 at the follower and 2 here');
  });

  it('gives nothing to a follower that applied more than this replica yet', async () => {
    const leader = new PartitionFixture();
    const follower = new PartitionFixture({ time: leader.time });
    await leader.start();
    await follower.start();
    follower.apply(batchesCommand([testBatch()]));
    const opened = leader.machine.openCatchUp(follower.machine.catchUpPosition());
    expect(await leader.time.settle(opened)).toBeUndefined();
  });

  it('streams from files that stay although the log start passes them and checkpoints follow', async () => {
    const leader = new PartitionFixture({ settings: { segmentBytes: 400 } });
    await leader.start();
    for (let i = 0; i < 30; i++) leader.apply(batchesCommand([testBatch()]));
    const expected = await leader.readAll();
    const source = (await leader.time.settle(leader.machine.openCatchUp(new PartitionPosition(leader).bytes)))!;
    leader.apply(moveLogStartCommand(25));
    for (let i = 0; i < 2; i++) leader.machine.checkpointDurable((await leader.checkpoint()).index);
    await leader.time.drain();
    const follower = new PartitionFixture({ time: leader.time });
    await follower.start();
    await install(follower, source);
    expectSameBatches(await follower.readAll(), expected);
    const files = leader.platter.paths().length;
    await source.close();
    await leader.time.drain();
    expect(leader.platter.paths().length).toBeLessThan(files);
  });
});

/** Position of an empty follower. */
class PartitionPosition {
  readonly bytes: Uint8Array;

  constructor(leader: PartitionFixture) {
    void leader;
    const bytes = Buffer.alloc(13);
    bytes.writeInt32BE(-1, 9);
    this.bytes = bytes;
  }
}

type Source = NonNullable<Awaited<ReturnType<PartitionFixture['machine']['openCatchUp']>>>;

function install(follower: PartitionFixture, source: Source, piecesMax?: number, change?: (piece: Uint8Array) => void) {
  const stream: CatchUpStream = {
    index: source.index,
    term: source.term,
    async *pieces() {
      for (let sent = 0; ; sent++) {
        if (sent === piecesMax) throw new Error('The link is down');
        const piece = await source.next();
        if (piece === undefined) return;
        expect(piece.length).toBeLessThanOrEqual(1024 * 1024);
        change?.(piece);
        yield piece;
      }
    },
  };
  return follower.time.settle(follower.machine.installCatchUp(stream));
}

async function catchUp(
  leader: PartitionFixture,
  follower: PartitionFixture,
  piecesMax?: number,
  change?: (piece: Uint8Array) => void,
): Promise<StateCheckpoint> {
  const source = (await leader.time.settle(leader.machine.openCatchUp(follower.machine.catchUpPosition())))!;
  try {
    return await install(follower, source, piecesMax, change);
  } finally {
    await source.close();
  }
}

/** The result, or undefined if the process died on the way. */
async function whileAlive<T>(
  fixture: PartitionFixture,
  promise: Promise<T>,
  isDead: () => boolean,
): Promise<T | undefined> {
  let result: T | undefined;
  let failure: unknown;
  const settled = (value: T): void => {
    result = value;
  };
  const failed = (error: unknown): void => {
    failure = error;
  };
  promise.then(settled, failed);
  await fixture.time.runUntilTrue(() => result !== undefined || failure !== undefined || isDead());
  if (failure !== undefined) throw failure;
  return result;
}
