import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ByteReader } from '../../kafka-protocol/byte-reader.ts';
import { ByteWriter } from '../../kafka-protocol/byte-writer.ts';
import { ErrorCode } from '../../kafka-protocol/error-codes.ts';
import { lastSequenceOf, ProducerStates, type SequencedBatch } from './producer-states.ts';

const SEQUENCE_MAX = 2 ** 31 - 1;

function batch(producerId: number, baseSequence: number, count = 1, producerEpoch = 0): SequencedBatch {
  return { producerId, producerEpoch, baseSequence, lastOffsetDelta: count - 1 };
}

/** Checks and, if it passes, remembers. */
function append(states: ProducerStates, next: SequencedBatch, offset: number, timeMs = 0): string {
  const verdict = states.check(next);
  if (verdict.kind === 'append') states.didAppend(next, offset, -1, timeMs);
  return verdict.kind === 'refused' ? `refused ${verdict.errorCode}` : verdict.kind;
}

function encoded(states: ProducerStates): Buffer {
  const writer = new ByteWriter();
  states.encode(writer);
  return Buffer.concat(writer.finish());
}

describe('ProducerStates', () => {
  it('answers a repeated batch with its original offset, up to five batches back', () => {
    const states = new ProducerStates();
    for (let i = 0; i < 6; i++) expect(append(states, batch(1, i * 2, 2), i * 10)).toBe('append');
    for (let i = 1; i < 6; i++) {
      expect(states.check(batch(1, i * 2, 2))).toMatchObject({ kind: 'duplicate', original: { baseOffset: i * 10 } });
    }
    expect(append(states, batch(1, 0, 2), 99)).toBe(`refused ${ErrorCode.DUPLICATE_SEQUENCE_NUMBER}`);
  });

  it('knows batches older than that for duplicates only if it saw the epoch from its beginning', () => {
    const states = new ProducerStates();
    append(states, batch(1, 0), 0, 100);
    states.expire(101, 0, 200);
    for (let i = 0; i < 6; i++) expect(append(states, batch(1, 10 + i), i)).toBe('append');
    // 9 may never have come; 10 did, but the beginning of what came is not known.
    expect(append(states, batch(1, 9), 9)).toBe('refused 45');
    expect(append(states, batch(1, 10), 9)).toBe('refused 45');
    for (let i = 0; i < 6; i++) expect(append(states, batch(1, i, 1, 1), i)).toBe('append');
    expect(append(states, batch(1, 0, 1, 1), 9)).toBe('refused 46');
    // Partly below the window: no client cuts a batch anew.
    expect(append(states, batch(1, 0, 2, 1), 9)).toBe('refused 45');
  });

  it('does not take the sequences behind the wrap for old ones', () => {
    const states = new ProducerStates();
    append(states, batch(1, 0, 2 ** 30 + 1), 0);
    append(states, batch(1, 2 ** 30 + 1, 2 ** 30 - 10), 1);
    for (let i = 0; i < 5; i++) append(states, batch(1, SEQUENCE_MAX - 8 + i), 2 + i);
    expect(append(states, batch(1, 3), 9)).toBe('refused 45');
    expect(append(states, batch(1, SEQUENCE_MAX - 9), 9)).toBe('refused 46');
  });

  it('refuses gaps, and a batch that repeats only a part', () => {
    const states = new ProducerStates();
    append(states, batch(1, 0, 3), 0);
    expect(append(states, batch(1, 4), 3)).toBe('refused 45');
    expect(append(states, batch(1, 1, 2), 3)).toBe('refused 45');
    expect(append(states, batch(1, 3), 3)).toBe('append');
  });

  it('makes an unknown producer begin at sequence 0, so that the second of two pipelined batches cannot come first', () => {
    const states = new ProducerStates();
    expect(append(states, batch(7, 5), 0)).toBe('refused 45');
    expect(append(states, batch(7, 0, 5), 0)).toBe('append');
    expect(append(states, batch(7, 5), 5)).toBe('append');
  });

  it('lets ids up to the highest forgotten one resume anywhere', () => {
    const states = new ProducerStates();
    append(states, batch(7, 0), 0, 100);
    expect(states.expire(101, 0, 200)).toBe(1);
    expect(states.highestExpiredId).toBe(7);
    expect(append(states, batch(8, 3), 1)).toBe('refused 45');
    expect(append(states, batch(7, 3), 1)).toBe('append');
    expect(append(states, batch(5, 9), 2)).toBe('append');
  });

  it('fences an older epoch and starts a newer one at 0', () => {
    const states = new ProducerStates();
    append(states, batch(1, 0, 1, 1), 0);
    expect(append(states, batch(1, 1, 1, 0), 1)).toBe(`refused ${ErrorCode.INVALID_PRODUCER_EPOCH}`);
    expect(append(states, batch(1, 1, 1, 2), 1)).toBe('refused 45');
    expect(append(states, batch(1, 0, 1, 2), 1)).toBe('append');
    expect(append(states, batch(1, 1, 1, 1), 2)).toBe('refused 47');
  });

  it('wraps sequences to 0 behind 2^31 - 1', () => {
    expect(lastSequenceOf(SEQUENCE_MAX, 0)).toBe(SEQUENCE_MAX);
    expect(lastSequenceOf(SEQUENCE_MAX - 1, 3)).toBe(1);
    const states = new ProducerStates();
    append(states, batch(1, 0), 0);
    states.expire(1, 0, 0);
    append(states, batch(1, SEQUENCE_MAX - 1, 2), 1);
    expect(append(states, batch(1, 1), 3)).toBe('refused 45');
    expect(append(states, batch(1, 0), 3)).toBe('append');
    expect(states.check(batch(1, SEQUENCE_MAX - 1, 2)).kind).toBe('duplicate');
  });

  it('evicts the producers whose last batch is oldest, and no other', () => {
    const states = new ProducerStates();
    for (let id = 1; id <= 4; id++) append(states, batch(id, 0), id);
    append(states, batch(1, 1), 5);
    states.expire(0, states.evictionOffset(2), -1);
    expect([1, 2, 3, 4].filter((id) => states.has(id))).toEqual([1, 4]);
  });

  it('counts idleness from the first known time for producers that wrote before there was one', () => {
    const states = new ProducerStates();
    append(states, batch(1, 0), 0, -1);
    expect(states.hasIdle(1_000)).toBe(true);
    expect(states.expire(1_000, 0, 2_000)).toBe(0);
    expect(states.expire(2_000, 0, 3_000)).toBe(0);
    expect(states.expire(2_001, 0, 3_000)).toBe(1);
  });

  const commands = fc.array(
    fc.oneof(
      {
        weight: 8,
        arbitrary: fc.record({
          kind: fc.constant('batch' as const),
          producerId: fc.integer({ min: 0, max: 3 }),
          producerEpoch: fc.integer({ min: 0, max: 2 }),
          /** Relative to the producer's next sequence. */
          step: fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, fc.integer({ min: -9, max: 3 })),
          count: fc.integer({ min: 1, max: 3 }),
        }),
      },
      {
        weight: 1,
        arbitrary: fc.record({ kind: fc.constant('expire' as const), age: fc.integer({ min: 0, max: 9 }) }),
      },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('restore' as const) }) },
    ),
    { maxLength: 80 },
  );

  it('agrees with a model that keeps everything', () => {
    fc.assert(
      fc.property(commands, (steps) => {
        let states = new ProducerStates();
        const model = new NaiveProducers();
        let offset = 0;
        for (const [now, step] of steps.entries()) {
          if (step.kind === 'restore') {
            const bytes = encoded(states);
            states = ProducerStates.decode(new ByteReader(bytes));
            expect(encoded(states).equals(bytes)).toBe(true);
          } else if (step.kind === 'expire') {
            states.expire(now - step.age, 0, now);
            model.expire(now - step.age);
          } else {
            const next = model.nextSequence(step.producerId);
            const sequenced = batch(step.producerId, Math.max(0, next + step.step), step.count, step.producerEpoch);
            const expected = model.append(sequenced, offset, now);
            const verdict = states.check(sequenced);
            if (verdict.kind === 'append') states.didAppend(sequenced, offset, -1, now);
            const actual =
              verdict.kind === 'refused'
                ? verdict.errorCode
                : verdict.kind === 'duplicate'
                  ? `at ${verdict.original.baseOffset}`
                  : 'append';
            expect(actual).toEqual(expected);
            if (actual === 'append') offset += step.count;
          }
        }
      }),
      { numRuns: 300 },
    );
  });
});

/** Says the rules once more, slowly: the whole history of each producer, searched from the end. */
class NaiveProducers {
  #history: { batch: SequencedBatch; offset: number; time: number }[] = [];
  #forgotten: number[] = [];

  nextSequence(producerId: number): number {
    const last = this.#of(producerId).at(-1)?.batch;
    return last === undefined ? 0 : last.baseSequence + last.lastOffsetDelta + 1;
  }

  expire(before: number): void {
    for (const producerId of new Set(this.#history.map((entry) => entry.batch.producerId))) {
      if (this.#of(producerId).at(-1)!.time >= before) continue;
      this.#history = this.#history.filter((entry) => entry.batch.producerId !== producerId);
      this.#forgotten.push(producerId);
    }
  }

  append(next: SequencedBatch, offset: number, time: number): unknown {
    const history = this.#of(next.producerId);
    const last = history.at(-1)?.batch;
    if (last !== undefined && next.producerEpoch < last.producerEpoch) return 47;
    const window = history.filter((entry) => entry.batch.producerEpoch === next.producerEpoch).slice(-5);
    const same = window.find(
      ({ batch: known }) => known.baseSequence === next.baseSequence && known.lastOffsetDelta === next.lastOffsetDelta,
    );
    if (same !== undefined) return `at ${same.offset}`;
    let allowed: boolean;
    if (last === undefined) allowed = next.baseSequence === 0 || this.#forgotten.some((id) => id >= next.producerId);
    else if (next.producerEpoch > last.producerEpoch) allowed = next.baseSequence === 0;
    else allowed = next.baseSequence === last.baseSequence + last.lastOffsetDelta + 1;
    if (!allowed) {
      const known = history.filter((entry) => entry.batch.producerEpoch === next.producerEpoch);
      const end = next.baseSequence + next.lastOffsetDelta;
      const isOld = known[0]?.batch.baseSequence === 0 && end < window[0]!.batch.baseSequence;
      return isOld ? 46 : 45;
    }
    this.#history.push({ batch: next, offset, time });
    return 'append';
  }

  #of(producerId: number) {
    return this.#history.filter((entry) => entry.batch.producerId === producerId);
  }
}
