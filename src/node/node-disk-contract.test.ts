import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { itKeepsTheDiskContract } from '../../test/simulation/disk-contract.ts';
import { NodeDisk } from './node-disk.ts';

const roots: string[] = [];
async function openDisk(): Promise<NodeDisk> {
  const root = mkdtempSync(join(tmpdir(), 'flotilla-disk-contract-'));
  roots.push(root);
  return NodeDisk.open(join(root, 'data'));
}
afterEach(() => {
  for (const root of roots.splice(0)) rmSync(root, { recursive: true });
});

describe('NodeDisk', () => {
  itKeepsTheDiskContract(async () => ({ disk: await openDisk(), settle: (promise) => promise }));

  it('refuses memory that is not aligned for direct writes, and paths outside its directory', async () => {
    const disk = await openDisk();
    const file = await disk.openFile('a', { create: true, direct: true });
    await expect(file.write(0, [new Uint8Array(4096)])).rejects.toThrow('aligned memory');
    await file.close();
    await expect(disk.openFile('../a', { create: true })).rejects.toThrow('inside the data directory');
  });
});
