/** Randomness of the machine. */
import { randomBytes } from 'node:crypto';
import type { Random } from '../std/environment.ts';

export const nodeRandom: Random = {
  next: () => Math.random(),
  bytes: (length) => randomBytes(length),
};
