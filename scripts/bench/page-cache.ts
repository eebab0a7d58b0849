/** Takes files out of the page cache, so that a read goes to the disk; needs no rights beyond reading them. */
import { execFile } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** All files below a directory that have `part` in their path. */
export async function evictFiles(directory: string, part: string): Promise<void> {
  // Only pages that are on the disk can go.
  await run('sync');
  const files = readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => path.includes(part));
  for (const file of files) {
    // Without a count dd drops what is cached of the whole file.
    await run('dd', [`if=${file}`, 'iflag=nocache', 'count=0', 'status=none']);
  }
}
