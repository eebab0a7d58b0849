/**
 * Owns small files of properties that are replaced as a whole: a reader finds the old or the new content, never a mixture,
 * also after power loss. A checksum tells what a disk changed: such a line must not pass for what somebody configured.
 */
import { parse, stringify } from 'dot-properties';
import { assert } from '../../std/assert.ts';
import { crc32c } from '../../std/crc32c.ts';
import type { Disk } from '../../std/disk.ts';
import { IdentityError } from './identity-error.ts';

const CHECKSUM = 'checksum';

/** No such file of ours comes near it; a larger one is not ours. */
const FILE_BYTES_MAX = 4 * 2 ** 20;

/** Undefined if there is no such file. Throws an {@link IdentityError} with the `remedy`, a sentence, if it is not as it was written. */
export async function readProperties(
  disk: Disk,
  path: string,
  remedy: string,
): Promise<Map<string, string> | undefined> {
  const size = await disk.sizeOf(path);
  if (size === undefined) return undefined;
  assert(size <= FILE_BYTES_MAX, `${path} has ${size} bytes, far more than any properties of a broker`);
  const file = await disk.openFile(path);
  try {
    const properties = parseProperties(await file.read(0, size));
    const stored = properties?.get(CHECKSUM);
    properties?.delete(CHECKSUM);
    if (properties !== undefined && stored === checksumOf(properties)) return properties;
    const what = properties === undefined ? 'it is not a file of properties' : mismatch(properties, stored);
    throw new IdentityError(`${path} in the data directory (log.dirs) is damaged: ${what}. ${remedy}`);
  } finally {
    await file.close();
  }
}

function parseProperties(bytes: Uint8Array): Map<string, string> | undefined {
  try {
    const tree = parse(new TextDecoder().decode(bytes));
    return new Map(Object.entries(tree).filter((entry): entry is [string, string] => typeof entry[1] === 'string'));
  } catch {
    return undefined;
  }
}

function mismatch(properties: ReadonlyMap<string, string>, stored: string | undefined): string {
  if (stored === undefined) return `it has no ${CHECKSUM}`;
  return `its ${CHECKSUM} is ${stored}, but that of its other lines is ${checksumOf(properties)}, so one of them is not as it was written`;
}

/** CRC-32C in hex of the sorted lines, however they are spaced. */
export function checksumOf(properties: ReadonlyMap<string, string>): string {
  const lines = [...properties].map(([key, value]) => `${key}=${value}\n`).sort();
  return crc32c(new TextEncoder().encode(lines.join('')))
    .toString(16)
    .padStart(8, '0');
}

/** Resolves when the new content is durable under its name. `path` lies in the data directory itself. Calls for one path must not overlap. */
export async function writeProperties(
  disk: Disk,
  path: string,
  properties: ReadonlyMap<string, string>,
): Promise<void> {
  assert(!path.includes('/'), 'Only the data directory itself is synced');
  const temporary = `${path}.tmp`;
  const content = { ...Object.fromEntries(properties), [CHECKSUM]: checksumOf(properties) };
  const bytes = new TextEncoder().encode(`${stringify(content, { lineWidth: null })}\n`);
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
