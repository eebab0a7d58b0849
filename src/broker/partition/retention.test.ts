import { describe, expect, it } from 'vitest';
import { retentionLogStart } from './retention.ts';

const settings = { retentionMs: 100, retentionBytes: -1, segmentMs: 1_000 };

function segments(...maxTimestamps: number[]) {
  return maxTimestamps.map((maxTimestampMs, index) => ({
    nextOffset: (index + 1) * 10,
    sizeBytes: 1_000,
    maxTimestampMs,
    createdTimeMs: maxTimestampMs - 50,
  }));
}

describe('retentionLogStart', () => {
  it('lets whole segments go by the age of their newest record, oldest first', () => {
    expect(retentionLogStart(segments(500, 600, 700), settings, 600)).toBeUndefined();
    expect(retentionLogStart(segments(500, 600, 700), settings, 601)).toBe(10);
    expect(retentionLogStart(segments(500, 600, 700), settings, 900)).toBe(20);
    // A newer segment protects what is behind it.
    expect(retentionLogStart(segments(900, 100, 950), settings, 960)).toBeUndefined();
  });

  it('keeps the active segment until segment.ms would have closed it', () => {
    expect(retentionLogStart(segments(500), settings, 1_450)).toBeUndefined();
    expect(retentionLogStart(segments(500), settings, 1_451)).toBe(10);
  });

  it('deletes nothing for its age without an agreed time', () => {
    expect(retentionLogStart(segments(500, 600), settings, undefined)).toBeUndefined();
    expect(retentionLogStart(segments(500, 600), { ...settings, retentionMs: -1 }, 1e12)).toBeUndefined();
  });

  it('goes by the segment itself where records have no time', () => {
    const [first, last] = segments(500, 600);
    const timeless = { ...first!, maxTimestampMs: -1 };
    expect(retentionLogStart([timeless, last!], settings, 550)).toBeUndefined();
    expect(retentionLogStart([timeless, last!], settings, 551)).toBe(10);
    expect(retentionLogStart([{ ...timeless, createdTimeMs: -1 }, last!], settings, 650)).toBeUndefined();
  });

  it('keeps at least retention.bytes, and never goes by size alone into the active segment', () => {
    const bySize = { ...settings, retentionMs: -1, retentionBytes: 2_000 };
    expect(retentionLogStart(segments(1, 2), bySize, undefined)).toBeUndefined();
    expect(retentionLogStart(segments(1, 2, 3), bySize, undefined)).toBe(10);
    expect(retentionLogStart(segments(1, 2, 3, 4), { ...bySize, retentionBytes: 0 }, undefined)).toBe(30);
    expect(retentionLogStart(segments(1, 2, 3), { ...bySize, retentionBytes: 2_001 }, undefined)).toBeUndefined();
    expect(retentionLogStart([], bySize, 5)).toBeUndefined();
  });
});
