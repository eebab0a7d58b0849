import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { compareReplicas } from './compare-replicas.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'flotilla-replicas-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

function replica(broker: number, name: string, segments: Record<string, string>): void {
  const directory = join(root, `${broker}`, 'topics', name);
  mkdirSync(directory, { recursive: true });
  for (const [file, bytes] of Object.entries(segments)) writeFileSync(join(directory, file), bytes);
}
const compare = () =>
  compareReplicas(
    't',
    [1, 2, 3].map((broker) => ({ broker, dataDirectory: join(root, `${broker}`) })),
  );

describe('compareReplicas()', () => {
  it('accepts replicas of which one is behind, with other segment boundaries', () => {
    replica(1, 't-0.5', { '0000.log': 'aaaa', '0004.log': 'bbbb' });
    replica(2, 't-0.6', { '0000.log': 'aaaabb' });
    replica(3, 'other-0.7', { '0000.log': 'cccc' });
    expect(compare()).toEqual({ comparedBytes: 6, differences: [] });
  });

  it('finds a byte that differs', () => {
    replica(1, 't-0.5', { '0000.log': 'aaaa', '0004.log': 'bbbb' });
    replica(2, 't-0.6', { '0000.log': 'aaaabx' });
    expect(compare().differences).toEqual(['Partition 0 differs between brokers 1 and 2 from byte 5 of its log on']);
  });

  it('looks at the latest replica of a broker', () => {
    replica(1, 't-0.5', { '0000.log': 'aaaa' });
    replica(2, 't-0.6', { '0000.log': 'old' });
    replica(2, 't-0.60', { '0000.log': 'aa' });
    expect(compare().differences).toEqual([]);
  });
});
