import { describe, expect, it } from 'vitest';
import type { HistoryEvent } from '../history/history.ts';
import type { FaultRecord } from '../nemesis/nemesis.ts';
import { measure } from './measure.ts';

const MS = 1e6;

/** Sends of one partition that were acknowledged at these times, each 10 ms after it was sent. */
function acknowledgedAt(key: number, ...timesMs: number[]): Omit<HistoryEvent, 'index'>[] {
  return timesMs.flatMap((timeMs) => [
    { time: (timeMs - 10) * MS, process: key, type: 'invoke', f: 'send', value: [['send', key, timeMs]] } as const,
    { time: timeMs * MS, process: key, type: 'ok', f: 'send', value: [['send', key, [timeMs, timeMs]]] } as const,
  ]);
}

function history(...parts: Omit<HistoryEvent, 'index'>[][]): HistoryEvent[] {
  const events = parts.flat().sort((a, b) => a.time - b.time);
  return events.map((event, index) => ({ ...event, index }) as HistoryEvent);
}

function fault(fromMs: number, toMs: number, more: Partial<FaultRecord> = {}): FaultRecord {
  return {
    kind: 'kill',
    brokers: [1],
    from: fromMs * MS,
    to: toMs * MS,
    evidence: 'gone',
    recoverFrom: 'begin',
    ...more,
  };
}

describe('measure()', () => {
  const twoPartitions = history(acknowledgedAt(1, 100, 200, 900, 1000, 2000), acknowledgedAt(2, 150, 300, 600, 1950));

  it('takes the longest silence of a partition in a fault, from its begin on, for its recovery', () => {
    expect(measure(twoPartitions, [fault(250, 700)]).recoveriesMs).toEqual([1350]);
    expect(measure(twoPartitions, [fault(250, 500)]).recoveriesMs).toEqual([650]);
  });

  it('measures from the start of the first broker on if the quorum was lost', () => {
    const lost = fault(250, 950, { recoverFrom: 'end', quorumBackAt: 500 * MS });
    expect(measure(twoPartitions, [lost]).recoveriesMs).toEqual([400]);
  });

  it('leaves out faults without evidence and those after which a partition never answered again', () => {
    expect(measure(twoPartitions, [fault(250, 700, { evidence: undefined }), fault(250, 5000)]).recoveriesMs).toEqual(
      [],
    );
  });

  it('does not count the time in which the harness itself did not run', () => {
    const { longestGapMs } = measure(twoPartitions, []);
    expect(longestGapMs).toBe(1350);
    expect(measure(twoPartitions, [], [{ from: 1000 * MS, to: 1900 * MS }]).longestGapMs).toBe(700);
  });

  it('shows gaps partition by partition', () => {
    expect(measure(twoPartitions, []).partitions).toEqual([
      {
        key: 1,
        spans: [
          { from: 0.1, to: 0.2 },
          { from: 0.9, to: 1 },
          { from: 2, to: 2 },
        ],
      },
      {
        key: 2,
        spans: [
          { from: 0.15, to: 0.6 },
          { from: 1.95, to: 1.95 },
        ],
      },
    ]);
  });
});
