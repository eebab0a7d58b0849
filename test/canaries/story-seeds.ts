/** Tells a story with one seed after the other until one fails: `story-seeds.ts --story NAME --seeds A..B`. */
import { parseArgs } from 'node:util';
import { STORIES, type StoryName } from '../simulation/stories/stories.ts';

const { values } = parseArgs({ options: { story: { type: 'string' }, seeds: { type: 'string' } } });
const [first, last] = values.seeds!.split('..').map(Number) as [number, number];
for (let seed = first; seed <= last; seed++) {
  try {
    await STORIES[values.story as StoryName](seed);
  } catch (error) {
    console.error(`seed ${seed} failed: ${error instanceof Error ? error.message : String(error)}`);
    process.exit(1);
  }
}
process.exit(0);
