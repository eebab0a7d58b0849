import { describe, expect, it } from 'vitest';
import { SeededRandom } from '../../src/std/seeded-random.ts';
import { itKeepsTheDiskContract } from './disk-contract.ts';
import { SimulatedTime } from './simulated-clock.ts';
import { SimulatedDisk } from './simulated-disk.ts';

const bytes = (fill: number, length = 512): Uint8Array => new Uint8Array(length).fill(fill);

async function withFile(options: { sync: boolean }) {
  const time = new SimulatedTime();
  const platter = new SimulatedDisk(time);
  const disk = platter.mount();
  const file = await time.settle(disk.openFile('a', { create: true }));
  await time.settle(disk.syncDirectory('.'));
  await time.settle(file.write(0, [bytes(1), bytes(2)]));
  if (options.sync) await time.settle(file.sync());
  return { time, platter, disk, file };
}

describe('SimulatedDisk', () => {
  itKeepsTheDiskContract(async () => {
    const time = new SimulatedTime();
    return { disk: new SimulatedDisk(time).mount(), settle: (promise) => time.settle(promise) };
  });

  it('keeps synced bytes and synced names through a power loss, and loses the others when told to', async () => {
    const { time, platter, disk, file } = await withFile({ sync: true });
    await time.settle(file.write(512, [bytes(3)]));
    await time.settle(disk.openFile('unsynced name', { create: true }));
    platter.crash(new SeededRandom(1), 'lose');
    expect(platter.paths()).toEqual(['a']);
    expect(platter.readBytes('a', 512, 1)).toEqual(Uint8Array.of(2));
  });

  it('keeps what is durable apart from what is written, also when it is given Buffers', async () => {
    const page = Buffer.alloc(4096, 1);
    const { time, platter, file } = await withFile({ sync: false });
    await time.settle(file.write(0, [page]));
    await time.settle(file.sync());
    await time.settle(file.write(100, [Buffer.alloc(10, 2)]));
    await time.settle(file.truncate(2000));
    await time.settle(file.write(2000, [Buffer.alloc(500, 3)]));
    const lost = platter.clone();
    lost.crash(new SeededRandom(1), 'lose');
    expect(Buffer.from(lost.readBytes('a')).equals(page)).toBe(true);
    await time.settle(file.sync());
    expect(platter.readBytes('a', 2000, 500)).toEqual(bytes(3, 500));
    expect(platter.readBytes('a', 100, 10)).toEqual(bytes(2, 10));
  });

  it('tears un-synced writes at sector grain in any order', async () => {
    const outcomes = new Set<string>();
    for (let seed = 0; seed < 60; seed++) {
      const { platter } = await withFile({ sync: false });
      platter.crash(new SeededRandom(seed), 'sectors');
      outcomes.add([0, 512].map((position) => platter.readBytes('a', position, 1)[0] ?? '-').join(''));
    }
    expect([...outcomes].sort()).toEqual(['--', '02', '1-', '12']);
  });

  it('may lose a rename that no directory sync covered, as one step', async () => {
    const outcomes = new Set<string>();
    for (let seed = 0; seed < 30; seed++) {
      const { time, platter, disk } = await withFile({ sync: true });
      await time.settle(disk.rename('a', 'b'));
      platter.crash(new SeededRandom(seed));
      outcomes.add(platter.paths().join());
    }
    expect([...outcomes].sort()).toEqual(['a', 'b']);
  });

  it('never completes an operation of a process that died', async () => {
    const { time, platter, file } = await withFile({ sync: true });
    let completed = false;
    file.write(0, [bytes(9)]).then(() => {
      completed = true;
    });
    platter.kill(new SeededRandom(3));
    const again = platter.mount();
    await time.settle(again.list('.'));
    await time.drain();
    expect(completed).toBe(false);
  });

  it('forgets dirty pages after a failed sync, so that a second sync saves nothing', async () => {
    let lost = 0;
    for (let seed = 0; seed < 20; seed++) {
      const time = new SimulatedTime();
      const platter = new SimulatedDisk(time, { seed });
      const disk = platter.mount();
      const file = await time.settle(disk.openFile('a', { create: true }));
      await time.settle(disk.syncDirectory('.'));
      await time.settle(file.write(0, [bytes(1)]));
      platter.onOperation = (operation) => (operation.kind === 'sync' ? { error: 'EIO' } : undefined);
      await expect(time.settle(file.sync())).rejects.toThrow('EIO');
      platter.onOperation = () => undefined;
      await time.settle(file.sync());
      expect(platter.readBytes('a')).toEqual(bytes(1));
      platter.crash(new SeededRandom(seed));
      if (platter.readBytes('a').length === 0) lost++;
    }
    expect(lost).toBeGreaterThan(10);
  });

  it('halts the process at a chosen operation and refuses writes when full', async () => {
    const { time, platter, disk, file } = await withFile({ sync: true });
    platter.capacityBytes = 8192;
    await time.settle(file.write(4096, [bytes(1, 4096)]));
    await expect(time.settle(file.write(8192, [bytes(1, 4096)]))).rejects.toThrow('ENOSPC');
    let halted = false;
    disk.onHalt = () => {
      halted = true;
    };
    platter.onOperation = (operation) => (operation.kind === 'sync' ? { halt: true } : undefined);
    await expect(time.settle(file.sync())).rejects.toThrow('no events left');
    expect(halted).toBe(true);
  });

  it('hashes operations: equal runs agree, different bytes do not', async () => {
    const first = await withFile({ sync: true });
    const second = await withFile({ sync: true });
    expect(first.platter.hash).toBe(second.platter.hash);
    await first.time.settle(first.file.write(0, [bytes(4)]));
    await second.time.settle(second.file.write(0, [bytes(5)]));
    expect(first.platter.hash).not.toBe(second.platter.hash);
  });

  it('reports a buffer that changes while it is being written', async () => {
    const { time, file } = await withFile({ sync: true });
    const buffer = bytes(1);
    const write = file.write(0, [buffer]);
    buffer[3] = 0;
    await expect(time.settle(write)).rejects.toThrow('changed while it was being written');
  });
});
