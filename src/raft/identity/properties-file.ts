/**
 * Owns small files of properties that are replaced as a whole: a reader finds the old or the new content, never a mixture,
 * also after power loss.
 */
import { parse, stringify } from 'dot-properties';
import { assert } from '../../std/assert.ts';
import type { Disk } from '../../std/disk.ts';

/** No such file of ours comes near it; a larger one is not ours. */
const FILE_BYTES_MAX = 4 * 2 ** 20;

/** Undefined if there is no such file. */
export async function readProperties(disk: Disk, path: string): Promise<Map<string, string> | undefined> {
  const size = await disk.sizeOf(path);
  if (size === undefined) return undefined;
  assert(size <= FILE_BYTES_MAX, `${path} has ${size} bytes, far more than any properties of a broker`);
  const file = await disk.openFile(path);
  try {
    const bytes = await file.read(0, size);
    const tree = parse(new TextDecoder().decode(bytes));
    return new Map(Object.entries(tree).filter((entry): entry is [string, string] => typeof entry[1] === 'string'));
  } finally {
    await file.close();
  }
}

/** Resolves when the new content is durable under its name. `path` lies in the data directory itself. Calls for one path must not overlap. */
export async function writeProperties(
  disk: Disk,
  path: string,
  properties: ReadonlyMap<string, string>,
): Promise<void> {
  assert(!path.includes('/'), 'Only the data directory itself is synced');
  const temporary = `${path}.tmp`;
  const bytes = new TextEncoder().encode(`${stringify(Object.fromEntries(properties), { lineWidth: null })}\n`);
  const file = await disk.openFile(temporary, { create: true });
  try {
    // A longer one may be left over from a crash.
    await file.truncate(0);
    await file.write(0, [bytes]);
    await file.sync();
  } finally {
    await file.close();
  }
  await disk.rename(temporary, path);
  await disk.syncDirectory('.');
}
