/** The machine as the broker sees it. */
import type { Environment } from '../std/environment.ts';
import { NodeDisk } from './node-disk.ts';
import { nodeRandom } from './node-random.ts';
import { nodeClock, nodeTimers } from './node-time.ts';

/** Clock, timers, randomness, and the disk below `dataDirectory`, which is made if absent. */
export async function openNodeEnvironment(dataDirectory: string): Promise<Environment> {
  return { clock: nodeClock, timers: nodeTimers, random: nodeRandom, disk: await NodeDisk.open(dataDirectory) };
}
