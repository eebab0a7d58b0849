/**
 * Owns what every {@link Disk} promises, as a suite that runs against each implementation: what the simulator allows and
 * the machine does not, or the other way round, would make simulation worthless.
 */
import { expect, it } from 'vitest';
import type { Disk } from '../../src/std/disk.ts';

/** Runs operations of the disk to their end: at once on the machine, by virtual time in the simulator. */
export interface DiskUnderTest {
  readonly disk: Disk;
  settle<T>(promise: Promise<T>): Promise<T>;
}

export function itKeepsTheDiskContract(make: () => Promise<DiskUnderTest>): void {
  it('reads back what was written, across buffers and gaps', async () => {
    const { disk, settle } = await make();
    const file = await settle(disk.openFile('a', { create: true }));
    await settle(file.write(3, [Uint8Array.of(1, 2), new Uint8Array(0), Uint8Array.of(3)]));
    await settle(file.sync());
    expect(await settle(file.size())).toBe(6);
    expect([...(await settle(file.read(0, 100)))]).toEqual([0, 0, 0, 1, 2, 3]);
    expect([...(await settle(file.read(4, 1)))]).toEqual([2]);
    expect(await settle(file.read(6, 10))).toHaveLength(0);
    await settle(file.truncate(4));
    expect([...(await settle(file.read(0, 100)))]).toEqual([0, 0, 0, 1]);
    await settle(file.close());
  });

  it('writes thousands of buffers in one call', async () => {
    const { disk, settle } = await make();
    const file = await settle(disk.openFile('many', { create: true }));
    const buffers = Array.from({ length: 5000 }, (_, i) => Uint8Array.of(i & 0xff, i >> 8));
    await settle(file.write(0, buffers));
    expect(Buffer.compare(await settle(file.read(0, 10_000)), Buffer.concat(buffers))).toBe(0);
    await settle(file.close());
  });

  it('reads and writes aligned memory directly', async () => {
    const { disk, settle } = await make();
    const file = await settle(disk.openFile('direct', { create: true, direct: true, priority: 'wal' }));
    const block = disk.allocateAligned(12_288);
    block.forEach((_, i) => {
      block[i] = i % 251;
    });
    await settle(file.write(4096, [block.subarray(0, 8192), block.subarray(8192)]));
    await settle(file.sync());
    expect(await settle(file.read(4096, 12_288))).toEqual(block.slice());
    expect(await settle(file.read(8192, 65_536))).toEqual(block.slice(4096));
    await expect(settle(file.read(1, 4096))).rejects.toThrow('align');
    await expect(settle(file.write(512, [block]))).rejects.toThrow('align');
    await settle(file.close());
  });

  it('makes, lists, renames and removes names', async () => {
    const { disk, settle } = await make();
    await settle(disk.makeDirectory('x/y'));
    await settle(disk.makeDirectory('x/y'));
    for (const name of ['b', 'a']) await settle((await settle(disk.openFile(`x/y/${name}`, { create: true }))).close());
    expect(await settle(disk.list('x/y'))).toEqual(['a', 'b']);
    expect(await settle(disk.list('x'))).toEqual(['y']);
    expect(await settle(disk.list('absent'))).toEqual([]);
    await settle(disk.rename('x/y/a', 'x/y/b'));
    expect(await settle(disk.list('x/y'))).toEqual(['b']);
    await settle(disk.syncDirectory('x/y'));
    expect(await settle(disk.sizeOf('x/y/b'))).toBe(0);
    expect(await settle(disk.sizeOf('x/y/a'))).toBeUndefined();
    await settle(disk.rename('x/y', 'z'));
    expect(await settle(disk.list('z'))).toEqual(['b']);
    await settle(disk.removeFile('z/b'));
    await settle(disk.removeFile('z/b'));
    await settle(disk.removeDirectory('z'));
    await settle(disk.removeDirectory('z'));
    expect(await settle(disk.list('.'))).toContain('x');
    expect(await settle(disk.list('.'))).not.toContain('z');
  });

  it('reports failures by their code', async () => {
    const { disk, settle } = await make();
    const code = (value: string) => expect.objectContaining({ name: 'DiskError', code: value });
    await expect(settle(disk.openFile('absent'))).rejects.toEqual(code('ENOENT'));
    await expect(settle(disk.openFile('no directory/a', { create: true }))).rejects.toEqual(code('ENOENT'));
    await expect(settle(disk.rename('absent', 'b'))).rejects.toEqual(code('ENOENT'));
    await expect(settle(disk.syncDirectory('absent'))).rejects.toEqual(code('ENOENT'));
    await settle((await settle(disk.openFile('a', { create: true }))).close());
    await expect(settle(disk.openFile('a', { create: true, exclusive: true }))).rejects.toEqual(code('EEXIST'));
    const file = await settle(disk.openFile('a'));
    await settle(file.close());
    await expect(settle(file.read(0, 1))).rejects.toThrow('after it was closed');
  });

  it('keeps an open file usable after its name is gone', async () => {
    const { disk, settle } = await make();
    const file = await settle(disk.openFile('a', { create: true }));
    await settle(file.write(0, [Uint8Array.of(7)]));
    await settle(disk.removeFile('a'));
    expect([...(await settle(file.read(0, 10)))]).toEqual([7]);
    await settle(file.close());
  });

  it('knows how much space there is', async () => {
    const { disk, settle } = await make();
    const { freeBytes, totalBytes } = await settle(disk.space());
    expect(freeBytes).toBeGreaterThan(0);
    expect(totalBytes).toBeGreaterThanOrEqual(freeBytes);
  });
}
