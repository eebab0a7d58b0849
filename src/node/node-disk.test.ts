import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { DiskError } from '../std/disk.ts';
import { NodeDisk } from './node-disk.ts';

let root: string;
let disk: NodeDisk;
beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'flotilla-disk-'));
  disk = await NodeDisk.open(root);
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'no error',
    (error: unknown) => (error instanceof DiskError ? error.code : error),
  );

describe('NodeDisk', () => {
  test('writes pieces back to back and reads them, shorter at the end only', async () => {
    const file = await disk.openFile('a', { create: true });
    const pieces = Array.from({ length: 3_000 }, (_, index) => Uint8Array.of(index & 0xff, 1));
    await file.write(10, [...pieces, new Uint8Array(0)]);
    await file.sync();
    expect(await file.size()).toBe(6_010);
    expect(Buffer.from(await file.read(10, 10_000)).equals(Buffer.concat(pieces))).toBe(true);
    expect((await file.read(6_010, 5)).length).toBe(0);
    await file.truncate(12);
    expect(await disk.sizeOf('a')).toBe(12);
    await file.close();
  });

  test('reads and writes with O_DIRECT from aligned memory', async () => {
    const file = await disk.openFile('direct', { create: true, direct: true, priority: 'wal' });
    const memory = disk.allocateAligned(3 * 4096).fill(7);
    await file.write(0, [memory.subarray(0, 4096), memory.subarray(8192)]);
    await file.sync();
    expect((await file.read(4096, 8192)).length).toBe(4096);
    expect(await file.read(0, 4096)).toEqual(new Uint8Array(4096).fill(7));
    await file.close();
  });

  test('reads with O_DIRECT what there is of a file that grows', async () => {
    const growing = await disk.openFile('growing', { create: true });
    const direct = await disk.openFile('growing', { direct: true });
    const piece = new Uint8Array(1_000).fill(7);
    for (let size = 0; size < 300_000; size += piece.length) {
      const [read] = await Promise.all([direct.read(0, 75 * 4096), growing.write(size, [piece])]);
      expect(read.length).toBeGreaterThanOrEqual(size);
    }
    await growing.close();
    await direct.close();
  });

  test('has names as a tree, and says what went wrong by errno', async () => {
    await disk.makeDirectory('d/e');
    await (await disk.openFile('d/e/b', { create: true })).close();
    await (await disk.openFile('d/e/a', { exclusive: true })).close();
    expect(await disk.list('d/e')).toEqual(['a', 'b']);
    expect(await disk.list('nowhere')).toEqual([]);
    expect(await codeOf(disk.openFile('d/e/a', { exclusive: true }))).toBe('EEXIST');
    expect(await codeOf(disk.openFile('missing'))).toBe('ENOENT');
    await disk.rename('d/e/a', 'd/c');
    await disk.syncDirectory('d');
    await disk.syncDirectory('.');
    expect(await codeOf(disk.rename('missing', 'x'))).toBe('ENOENT');
    expect(await disk.sizeOf('d/c')).toBe(0);
    expect(await disk.sizeOf('d/e')).toBeUndefined();
    await disk.removeFile('d/c');
    await disk.removeFile('d/c');
    await disk.removeDirectory('d');
    await disk.removeDirectory('d');
    expect(await disk.list('.')).toEqual([]);
    const { freeBytes, totalBytes } = await disk.space();
    expect(freeBytes).toBeGreaterThan(0);
    expect(totalBytes).toBeGreaterThanOrEqual(freeBytes);
  });

  test('runs many operations through few threads', async () => {
    const file = await disk.openFile('many', { create: true });
    await Promise.all(Array.from({ length: 200 }, (_, index) => file.write(index, [Uint8Array.of(index)])));
    expect([...(await file.read(0, 200))]).toEqual(Array.from({ length: 200 }, (_, index) => index));
    await file.close();
  });
});
