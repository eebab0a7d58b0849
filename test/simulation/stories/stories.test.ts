import { describe, expect, it } from 'vitest';
import { STORIES } from './stories.ts';

const SEEDS = [1, 2, 3];

describe('A story, told with production code,', () => {
  for (const [name, story] of Object.entries(STORIES)) {
    it(`ends well: ${name}`, async () => {
      for (const seed of SEEDS) await expect(story(seed), `seed ${seed}`).resolves.toBeUndefined();
    });
  }
});
