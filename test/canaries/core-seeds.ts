/** Runs seeds of the random cluster of pure Raft cores until one fails: `core-seeds.ts --seeds A..B`. */
import { RandomCluster } from '../scenarios/random-cluster.ts';

const STEPS = 800;
const [first, last] = process.argv.at(-1)!.split('..').map(Number) as [number, number];
for (let seed = first; seed <= last; seed++) {
  try {
    new RandomCluster(seed).run(STEPS);
  } catch (error) {
    console.error(`seed ${seed} failed: ${error instanceof Error ? error.message : String(error)}`);
    process.exit(1);
  }
}
