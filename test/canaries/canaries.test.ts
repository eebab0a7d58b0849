import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { CANARIES } from './canaries.ts';

const ROOT = join(import.meta.dirname, '../..');

describe('Canaries', () => {
  it.each(CANARIES)('$name fits the code: what it replaces is there exactly once', (canary) => {
    for (const { file, find, replace } of [canary, ...(canary.also ?? [])]) {
      expect(readFileSync(join(ROOT, file), 'utf8').split(find)).toHaveLength(2);
      expect(replace).not.toBe(find);
    }
  });

  it('have names of their own', () => {
    expect(new Set(CANARIES.map(({ name }) => name)).size).toBe(CANARIES.length);
  });
});
