import { spawn } from 'node:child_process';
import { mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DirectoryLock, DirectoryLockedError } from './directory-lock.ts';

let directory = '';
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'directory-lock-'));
});
afterAll(() => rm(directory, { recursive: true }));

describe('DirectoryLock', () => {
  it('refuses a second holder, also by another path, until the first releases', async () => {
    const link = `${directory}-link`;
    await symlink(directory, link);
    try {
      const lock = await DirectoryLock.acquire(directory);
      await expect(DirectoryLock.acquire(directory)).rejects.toThrow(DirectoryLockedError);
      await expect(DirectoryLock.acquire(link)).rejects.toThrow('in use by another process');
      await lock.release();
      const again = await DirectoryLock.acquire(link);
      await again.release();
    } finally {
      await rm(link);
    }
  });

  it('vanishes with a process that is killed', async () => {
    const module = new URL('./directory-lock.ts', import.meta.url).href;
    const code = `import { DirectoryLock } from ${JSON.stringify(module)};
      await DirectoryLock.acquire(${JSON.stringify(directory)});
      console.log('locked');
      process.stdin.resume();`;
    const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', code], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    await new Promise((resolve) => child.stdout.once('data', resolve));
    await expect(DirectoryLock.acquire(directory)).rejects.toThrow(DirectoryLockedError);
    const exited = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await exited;
    const lock = await DirectoryLock.acquire(directory);
    await lock.release();
  });
});
