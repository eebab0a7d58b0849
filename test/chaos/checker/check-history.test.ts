import { describe, expect, it } from 'vitest';
import {
  type Attributes,
  type EventType,
  type HistoryEvent,
  Mark,
  type OperationName,
  type OperationValues,
  pairOperations,
  parseHistory,
} from '../history/history.ts';
import { checkHistory } from './check-history.ts';
import { VIOLATIONS, type ViolationKind } from './violation.ts';

/** A tiny history, written as a story. */
class Story {
  readonly events: HistoryEvent[] = [];

  #push(process: number | 'nemesis', type: EventType, f: string, value: unknown, attributes: Attributes = {}): this {
    const index = this.events.length;
    this.events.push({ index, time: index * 1000, process, type, f, value, ...attributes } as HistoryEvent);
    return this;
  }
  invoke<F extends OperationName>(process: number, f: F, value: OperationValues[F], attributes?: Attributes): this {
    return this.#push(process, 'invoke', f, value, attributes);
  }
  complete<F extends OperationName>(
    process: number,
    type: EventType,
    f: F,
    value: OperationValues[F],
    attributes?: Attributes,
  ): this {
    return this.#push(process, type, f, value, attributes);
  }
  /** A send that was acknowledged at `offset` before anything else happened. */
  sent(process: number, value: number, offset: number | null, attributes?: Attributes): this {
    this.invoke(process, 'send', [['send', 7, value]], attributes);
    return this.complete(process, 'ok', 'send', [['send', 7, [offset, value]]]);
  }
  polled(process: number, records: readonly (readonly [number, number])[], attributes: Attributes = {}): this {
    const { group } = attributes;
    this.invoke(process, 'poll', [['poll']], group === undefined ? {} : { group });
    return this.complete(process, 'ok', 'poll', [['poll', { 7: records }]], attributes);
  }
  assigned(process: number, attributes?: Attributes): this {
    return this.invoke(process, 'assign', [7], attributes).complete(process, 'ok', 'assign', [7]);
  }
  ends(process: number, end: number): this {
    return this.invoke(process, 'list-offsets', {}).complete(process, 'ok', 'list-offsets', { 7: end });
  }
  committed(process: number, f: 'commit' | 'committed', offset: number, type: 'ok' | 'fail' = 'ok'): this {
    const value = { group: 'g', offsets: { 7: offset } };
    this.invoke(process, f, f === 'commit' ? value : { group: 'g', offsets: {} });
    return this.complete(process, type, f, value);
  }
  deleted(process: number, below: number, type: 'ok' | 'info' = 'ok'): this {
    return this.invoke(process, 'delete-records', { 7: below }).complete(process, type, 'delete-records', { 7: below });
  }
  nemesis(f: string, value: unknown = null): this {
    return this.#push('nemesis', 'info', f, value);
  }
  /** Everything is healed and `records` is all there is. */
  finally(records: readonly (readonly [number, number])[]): this {
    return this.polled(99, records, { final: true }).nemesis(Mark.finalReads, [7]);
  }
  get kinds(): string[] {
    return Object.keys(checkHistory(this.events).counts).sort();
  }
}

const story = (): Story => new Story();

/** One planted violation of each kind; what else must follow from it is named. */
const PLANTED: Record<ViolationKind, { story: Story; also?: ViolationKind[] }> = {
  'lost-write': {
    story: story()
      .sent(1, 10, 0)
      .sent(1, 11, 1)
      .sent(1, 12, 2)
      .finally([
        [0, 10],
        [2, 12],
      ]),
    also: ['int-poll-skip'],
  },
  unseen: {
    story: story()
      .sent(1, 10, 0)
      .sent(1, 11, 1)
      .finally([[0, 10]]),
  },
  duplicate: {
    story: story()
      .sent(1, 10, 0)
      .finally([
        [0, 10],
        [1, 10],
      ]),
  },
  'inconsistent-offsets': {
    story: story()
      .sent(1, 10, 0)
      .sent(2, 11, 0)
      .finally([[0, 11]]),
    also: ['lost-write', 'realtime-order'],
  },
  G1a: {
    story: story()
      .invoke(1, 'send', [['send', 7, 10]])
      .complete(1, 'fail', 'send', [['send', 7, 10]])
      .finally([[0, 10]]),
  },
  'never-sent': {
    story: story()
      .sent(1, 10, 0)
      .finally([
        [0, 10],
        [1, 666],
      ]),
  },
  'int-nonmonotonic-poll': {
    story: story()
      .sent(1, 10, 0)
      .sent(1, 11, 1)
      .polled(2, [
        [1, 11],
        [0, 10],
      ])
      .finally([
        [0, 10],
        [1, 11],
      ]),
  },
  'int-poll-skip': {
    story: story()
      .sent(1, 10, 0)
      .sent(1, 11, 1)
      .sent(1, 12, 2)
      .polled(2, [
        [0, 10],
        [2, 12],
      ])
      .finally([
        [0, 10],
        [1, 11],
        [2, 12],
      ]),
  },
  'nonmonotonic-poll': {
    story: story()
      .sent(1, 10, 0)
      .polled(2, [[0, 10]])
      .polled(2, [[0, 10]])
      .finally([[0, 10]]),
  },
  'poll-skip': {
    story: story()
      .sent(1, 10, 0)
      .sent(1, 11, 1)
      .sent(1, 12, 2)
      .polled(2, [[0, 10]])
      .polled(2, [[2, 12]])
      .finally([
        [0, 10],
        [1, 11],
        [2, 12],
      ]),
  },
  'int-nonmonotonic-send': {
    story: story()
      .invoke(1, 'send', [
        ['send', 7, 10],
        ['send', 7, 11],
      ])
      .complete(1, 'ok', 'send', [
        ['send', 7, [1, 10]],
        ['send', 7, [0, 11]],
      ])
      .finally([
        [0, 11],
        [1, 10],
      ]),
  },
  'nonmonotonic-send': {
    story: story()
      .sent(1, 10, 1)
      .sent(1, 11, 0)
      .finally([
        [0, 11],
        [1, 10],
      ]),
    also: ['realtime-order'],
  },
  'sequence-reordered': {
    story: story()
      .invoke(1, 'send', [['send', 7, 10]], { sequence: ['p', 0] })
      .invoke(2, 'send', [['send', 7, 11]], { sequence: ['p', 1] })
      .complete(1, 'ok', 'send', [['send', 7, [1, 10]]])
      .complete(2, 'ok', 'send', [['send', 7, [0, 11]]])
      .finally([
        [0, 11],
        [1, 10],
      ]),
  },
  'sequence-hole': {
    story: story()
      .invoke(1, 'send', [['send', 7, 10]], { sequence: ['p', 0] })
      .invoke(2, 'send', [['send', 7, 11]], { sequence: ['p', 1] })
      .complete(1, 'info', 'send', [['send', 7, 10]])
      .complete(2, 'info', 'send', [['send', 7, 11]])
      .finally([[0, 11]]),
  },
  'corrupt-read': {
    story: story()
      .sent(1, 10, 0)
      .invoke(2, 'poll', [['poll']])
      .complete(2, 'fail', 'poll', [['poll', {}]], { error: ['corrupt-batch', 7, 0] })
      .finally([[0, 10]]),
  },
  'realtime-order': {
    story: story()
      .sent(1, 10, 1)
      .sent(2, 11, 0)
      .finally([
        [0, 11],
        [1, 10],
      ]),
  },
  'offset-gap': {
    story: story()
      .sent(1, 10, 0)
      .sent(1, 11, 2)
      .finally([
        [0, 10],
        [2, 11],
      ]),
  },
  'high-watermark-regression': {
    story: story()
      .sent(1, 10, 0)
      .polled(2, [[0, 10]], { highWatermarks: { 7: 5 } })
      .polled(2, [], { highWatermarks: { 7: 4 } })
      .finally([[0, 10]]),
  },
  'stale-end-offset': {
    story: story()
      .sent(1, 10, 0)
      .ends(2, 0)
      .finally([[0, 10]]),
  },
  'committed-offset-back': {
    story: story().committed(1, 'commit', 1).committed(1, 'commit', 5).committed(2, 'committed', 1),
  },
  'committed-offset-phantom': { story: story().committed(1, 'commit', 5).committed(2, 'committed', 6) },
  'group-skip': {
    story: story()
      .sent(1, 10, 0)
      .sent(1, 11, 1)
      .sent(1, 12, 2)
      .assigned(2, { group: 'g' })
      .polled(2, [[0, 10]], { group: 'g' })
      .assigned(3, { group: 'g' })
      .polled(3, [[2, 12]], { group: 'g' })
      .finally([
        [0, 10],
        [1, 11],
        [2, 12],
      ]),
  },
  'group-rewind': {
    story: story()
      .sent(1, 10, 0)
      .sent(1, 11, 1)
      .committed(2, 'commit', 1)
      .assigned(3, { group: 'g' })
      .polled(
        3,
        [
          [0, 10],
          [1, 11],
        ],
        { group: 'g' },
      )
      .finally([
        [0, 10],
        [1, 11],
      ]),
  },
  'ack-without-quorum': {
    story: story()
      .nemesis(Mark.quorumLost)
      .sent(1, 10, 0)
      .nemesis(Mark.quorumBack)
      .finally([[0, 10]]),
  },
  'false-out-of-range': {
    story: story()
      .sent(1, 10, 0)
      .invoke(2, 'poll', [['poll']])
      .complete(2, 'fail', 'poll', [['poll', {}]], { error: ['offset-out-of-range', 7, 1] })
      .finally([[0, 10]]),
  },
  'deleted-read': {
    story: story()
      .sent(1, 10, 0)
      .sent(1, 11, 1)
      .deleted(2, 1)
      .finally([
        [0, 10],
        [1, 11],
      ]),
  },
  resurrected: {
    story: story()
      .sent(1, 10, 0)
      .nemesis(Mark.topicRecreated, { keys: [8], replaces: [7] })
      .invoke(99, 'poll', [['poll']])
      .complete(99, 'ok', 'poll', [['poll', { 8: [[0, 10]] }]], { final: true })
      .nemesis(Mark.finalReads, [8]),
  },
  'sequence-broken': {
    story: story()
      .invoke(1, 'send', [['send', 7, 10]])
      .complete(1, 'fail', 'send', [['send', 7, 10]], { error: ['out-of-order-sequence-at-head', 7] })
      .finally([]),
  },
};

describe('checkHistory()', () => {
  for (const kind of Object.keys(VIOLATIONS) as ViolationKind[]) {
    it(`finds ${kind}, and says nothing that does not follow from it`, () => {
      const planted = PLANTED[kind];
      expect(planted.story.kinds).toEqual([kind, ...(planted.also ?? [])].sort());
    });
  }

  it('accepts a history in which everything went well', () => {
    const good = story()
      .assigned(5, { group: 'g' })
      .sent(1, 10, 0)
      .polled(5, [[0, 10]], { group: 'g', highWatermarks: { 7: 1 } })
      .committed(5, 'commit', 1)
      .sent(2, 11, 1)
      .ends(3, 2)
      .committed(4, 'committed', 1)
      .assigned(6, { group: 'g' })
      .polled(6, [[1, 11]], { group: 'g' })
      .finally([
        [0, 10],
        [1, 11],
      ]);
    expect(checkHistory(good.events)).toMatchObject({
      counts: {},
      complete: true,
      statistics: { attemptedRecords: 2, acknowledgedRecords: 2, acknowledgedReadRecords: 2, unknownRecords: 0 },
    });
  });

  it('allows a send with an unknown outcome to be there once or not at all', () => {
    const unknown = (records: [number, number][]): Story =>
      story()
        .invoke(1, 'send', [['send', 7, 10]])
        .complete(1, 'info', 'send', [['send', 7, 10]], { error: ['timeout'] })
        .sent(2, 11, 0)
        .finally(records);
    expect(unknown([[0, 11]]).kinds).toEqual([]);
    expect(
      unknown([
        [0, 11],
        [1, 10],
      ]).kinds,
    ).toEqual([]);
    expect(
      unknown([
        [0, 11],
        [1, 10],
        [2, 10],
      ]).kinds,
    ).toEqual(['duplicate']);
  });

  it('counts a duplicate of a producer without sequence numbers that sends again, and does not call it a violation', () => {
    const { counts, statistics } = checkHistory(
      story()
        .sent(1, 10, 0, { mayDuplicate: true })
        .finally([
          [0, 10],
          [1, 10],
        ]).events,
    );
    expect(counts).toEqual({});
    expect(statistics.allowedDuplicates).toBe(1);
  });

  it('does not call a record missing when nobody read to the end, and says that the reading is incomplete', () => {
    expect(checkHistory(story().sent(1, 10, 0).events)).toMatchObject({ counts: {}, complete: false });
  });

  it('finds an acknowledged record lost whose offset the producer was not told', () => {
    expect(
      story()
        .sent(1, 10, null)
        .sent(1, 11, 0)
        .finally([[0, 11]]).kinds,
    ).toEqual(['unseen']);
  });

  it('takes an acknowledgement that overlaps the loss of the quorum for possible', () => {
    const overlapping = story()
      .invoke(1, 'send', [['send', 7, 10]])
      .nemesis(Mark.quorumLost)
      .complete(1, 'ok', 'send', [['send', 7, [0, 10]]])
      .nemesis(Mark.quorumBack)
      .finally([[0, 10]]);
    expect(overlapping.kinds).toEqual([]);
  });

  it('lets concurrent sends land in any order', () => {
    const concurrent = story()
      .invoke(1, 'send', [['send', 7, 10]])
      .invoke(2, 'send', [['send', 7, 11]])
      .complete(2, 'ok', 'send', [['send', 7, [0, 11]]])
      .complete(1, 'ok', 'send', [['send', 7, [1, 10]]])
      .finally([
        [0, 11],
        [1, 10],
      ]);
    expect(concurrent.kinds).toEqual([]);
  });

  it('ignores a jump of a consumer at a rebalance', () => {
    const jump = story()
      .sent(1, 10, 0)
      .sent(1, 11, 1)
      .polled(2, [
        [0, 10],
        [1, 11],
      ])
      .polled(2, [[0, 10]], { rebalanced: [7] })
      .finally([
        [0, 10],
        [1, 11],
      ]);
    expect(jump.kinds).toEqual([]);
  });

  it('tells an answer that a client asked for from behind from one that a broker gave from behind', () => {
    const told = (asked: number) => ({ asked: { 7: asked } });
    const records = [
      [0, 10],
      [1, 11],
      [2, 12],
    ] as const;
    const again = (asked: number) =>
      story()
        .sent(1, 10, 0)
        .sent(1, 11, 1)
        .sent(1, 12, 2)
        .polled(2, records.slice(0, 2), told(0))
        .polled(2, records.slice(0, 1), told(asked))
        .polled(2, records.slice(2), told(2))
        .finally(records);
    const kept = checkHistory(again(0).events);
    expect(kept.counts).toEqual({});
    expect(kept.statistics.lateAnswers).toBe(1);
    const given = checkHistory(again(2).events);
    expect(given.counts).toEqual({ 'nonmonotonic-poll': 1, 'poll-skip': 1 });
    expect(given.statistics.lateAnswers).toBe(0);
  });

  it('allows an offset above every known end to be out of range', () => {
    const above = story()
      .sent(1, 10, 0)
      .invoke(2, 'poll', [['poll']])
      .complete(2, 'fail', 'poll', [['poll', {}]], { error: ['offset-out-of-range', 7, 9] })
      .finally([[0, 10]]);
    expect(above.kinds).toEqual([]);
  });

  it('takes a commit with an unknown outcome for possible, and a failed one not', () => {
    const possible = story()
      .invoke(1, 'commit', { group: 'g', offsets: { 7: 3 } })
      .complete(1, 'info', 'commit', { group: 'g', offsets: { 7: 3 } })
      .committed(2, 'committed', 3);
    expect(possible.kinds).toEqual([]);
    expect(story().committed(1, 'commit', 3, 'fail').committed(2, 'committed', 3).kinds).toEqual([
      'committed-offset-phantom',
    ]);
  });

  it('lets a commit with an unknown outcome take effect late', () => {
    const late = story()
      .invoke(1, 'commit', { group: 'g', offsets: { 7: 3 } })
      .complete(1, 'info', 'commit', { group: 'g', offsets: { 7: 3 } })
      .committed(2, 'commit', 5)
      .committed(3, 'committed', 3);
    expect(late.kinds).toEqual([]);
  });

  it('does not miss what somebody asked to delete, known to be done or not', () => {
    for (const type of ['ok', 'info'] as const) {
      const sent = story().sent(1, 10, 0).sent(1, 11, 1).sent(1, 12, 2).deleted(2, 2, type);
      sent
        .invoke(3, 'poll', [['poll']])
        .complete(3, 'fail', 'poll', [['poll', {}]], { error: ['offset-out-of-range', 7, 0] });
      expect(sent.finally([[2, 12]]).kinds).toEqual([]);
    }
  });

  it('misses what is gone above what was deleted', () => {
    const sent = story().sent(1, 10, 0).sent(1, 11, 1).sent(1, 12, 2).deleted(2, 1);
    expect(sent.finally([[2, 12]]).kinds).toEqual(['lost-write']);
  });

  it('lets the committed offset of a deleted topic go, and not come back', () => {
    expect(
      story().committed(1, 'commit', 3).nemesis(Mark.topicDeleted, [7]).committed(2, 'committed', -1).kinds,
    ).toEqual([]);
    const again = story().committed(1, 'commit', 3).nemesis(Mark.topicDeleted, [7]);
    again.nemesis(Mark.topicRecreated, { keys: [8], replaces: [7] });
    again
      .invoke(2, 'committed', { group: 'g', offsets: {} })
      .complete(2, 'ok', 'committed', { group: 'g', offsets: { 8: 3 } });
    expect(again.kinds).toEqual(['committed-offset-phantom']);
  });

  it('takes a request with an unknown outcome to a deleted topic for possible in the one made anew', () => {
    const late = story()
      .invoke(1, 'send', [['send', 7, 10]])
      .complete(1, 'info', 'send', [['send', 7, 10]])
      .nemesis(Mark.topicDeleted, [7])
      .nemesis(Mark.topicRecreated, { keys: [8], replaces: [7] })
      .invoke(2, 'poll', [['poll']])
      .complete(2, 'ok', 'poll', [['poll', { 8: [[0, 10]] }]]);
    expect(late.kinds).toEqual([]);
  });

  it('lets a producer be refused its next batch once its topic may be another one', () => {
    const refused = ['out-of-order-sequence-at-head', 7, 45] as const;
    const sent = story().invoke(1, 'send', [['send', 7, 10]]);
    expect(
      sent.nemesis(Mark.topicDeleted, [7]).complete(1, 'info', 'send', [['send', 7, 10]], { error: [...refused] })
        .kinds,
    ).toEqual([]);
  });

  it('calls a committed offset that went back to none a step back', () => {
    expect(story().committed(1, 'commit', 3).committed(2, 'committed', -1).kinds).toEqual(['committed-offset-back']);
  });
});

describe('pairOperations()', () => {
  it('refuses a process that goes on after an unknown outcome', () => {
    const { events } = story()
      .invoke(1, 'poll', [['poll']])
      .complete(1, 'info', 'poll', [['poll', {}]])
      .invoke(1, 'poll', [['poll']]);
    expect(() => pairOperations(events)).toThrow('after an unknown outcome');
  });

  it('refuses a process that does two things at once', () => {
    const { events } = story()
      .invoke(1, 'poll', [['poll']])
      .invoke(1, 'poll', [['poll']]);
    expect(() => pairOperations(events)).toThrow('before it completed');
  });

  it('takes what never completed for unknown, after a way through JSONL', () => {
    const { events } = story().invoke(1, 'send', [['send', 7, 10]]);
    const jsonl = events.map((event) => `${JSON.stringify(event)}\n`).join('');
    expect(pairOperations(parseHistory(jsonl))).toMatchObject([{ type: 'info', completion: undefined }]);
  });
});
