import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SeededRandom } from '../../../src/std/seeded-random.ts';
import { compileShim, shimEnvironment } from './compile.ts';
import { losePower } from './power-loss.ts';
import { ShimControl } from './shim-control.ts';

/** Commands of a pretended broker: what it does with its files, through the same calls of Node that the broker uses. */
const PRETENDER = `
import fs from 'node:fs';
const [data, script] = [process.argv[2], JSON.parse(process.argv[3])];
const open = new Map();
const file = (name, flags = fs.constants.O_RDWR | fs.constants.O_CREAT) => {
  if (!open.has(name)) open.set(name, fs.openSync(data + '/' + name, flags, 0o644));
  return open.get(name);
};
for (const [command, name, a, b] of script) {
  try {
    if (command === 'write') fs.writevSync(file(name), [Buffer.from(a)], b);
    if (command === 'sync') fs.fdatasyncSync(file(name));
    if (command === 'syncDirectory') { const fd = fs.openSync(data + '/' + name, 'r'); fs.fsyncSync(fd); fs.closeSync(fd); }
    if (command === 'rename') fs.renameSync(data + '/' + name, data + '/' + a);
    if (command === 'remove') fs.unlinkSync(data + '/' + name);
    if (command === 'makeDirectory') fs.mkdirSync(data + '/' + name);
    if (command === 'truncate') fs.ftruncateSync(file(name), a);
    if (command === 'now') console.log(Date.now());
  } catch (error) { console.log(error.code); }
}
process.kill(process.pid, 'SIGKILL');
`;

let directory: string;
let control: ShimControl;
let library: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'flotilla-shim-'));
  mkdirSync(join(directory, 'broker-1', 'data'), { recursive: true });
  writeFileSync(join(directory, 'pretender.mjs'), PRETENDER);
  const compiled = compileShim(directory);
  library = 'path' in compiled ? compiled.path : '';
  control = new ShimControl(join(directory, 'broker-1.control'));
  control.set('journal', 1);
});
afterEach(() => {
  control.close();
  rmSync(directory, { recursive: true, force: true });
});

type Command = readonly [command: string, name: string, a?: unknown, b?: unknown];

function run(...script: Command[]): { output: string[]; signal: string | null } {
  const data = join(directory, 'broker-1', 'data');
  const { stdout, signal } = spawnSync(
    process.execPath,
    [join(directory, 'pretender.mjs'), data, JSON.stringify(script), join(directory, 'broker-1', 'broker.properties')],
    { env: { ...process.env, ...shimEnvironment(library, directory, directory) } },
  );
  return { output: stdout.toString().trim().split('\n'), signal };
}

const lose = (tear?: SeededRandom) =>
  losePower({
    journal: join(directory, 'broker-1.journal'),
    directory: join(directory, 'broker-1', 'data'),
    ...(tear === undefined ? {} : { tear }),
  });
const content = (name: string): string | undefined => {
  const path = join(directory, 'broker-1', 'data', name);
  return existsSync(path) ? readFileSync(path, 'utf8') : undefined;
};

describe.skipIf('missing' in compileShim(tmpdir()))('losePower()', () => {
  it('drops what was not flushed and keeps what was', () => {
    run(
      ['write', 'a', 'AAAA', 0],
      ['syncDirectory', ''],
      ['sync', 'a'],
      ['write', 'a', 'bb', 1],
      ['write', 'a', 'cccc', 4],
    );
    expect(content('a')).toBe('AbbAcccc');
    expect(lose()).toMatchObject({ writesLost: 2, bytesLost: 6 });
    expect(content('a')).toBe('AAAA');
  });

  it('loses a name whose directory was not flushed, although the file was', () => {
    run(['write', 'a', 'AAAA', 0], ['sync', 'a']);
    expect(lose().namesLost).toBe(1);
    expect(content('a')).toBeUndefined();
  });

  it('takes back renamings and removals that were not flushed', () => {
    run(
      ['write', 'a', 'A', 0],
      ['write', 'b', 'B', 0],
      ['write', 'c', 'C', 0],
      ['sync', 'a'],
      ['sync', 'b'],
      ['sync', 'c'],
      ['syncDirectory', ''],
      ['rename', 'a', 'b'],
      ['remove', 'c'],
    );
    expect([content('a'), content('b'), content('c')]).toEqual([undefined, 'A', undefined]);
    lose();
    expect([content('a'), content('b'), content('c')]).toEqual(['A', 'B', 'C']);
  });

  it('keeps a truncation only if it was flushed', () => {
    run(
      ['write', 'a', 'AAAABBBB', 0],
      ['syncDirectory', ''],
      ['sync', 'a'],
      ['truncate', 'a', 6],
      ['sync', 'a'],
      ['truncate', 'a', 2],
    );
    lose();
    expect(content('a')).toBe('AAAABB');
  });

  it('remembers over a restart of the process what is still unflushed', () => {
    run(['write', 'a', 'AAAA', 0], ['syncDirectory', ''], ['sync', 'a'], ['write', 'a', 'b', 0]);
    run(['write', 'a', 'c', 1]);
    expect(content('a')).toBe('bcAA');
    lose();
    expect(content('a')).toBe('AAAA');
  });

  it('takes back nothing that a later life flushed over a write in whose middle the process died', () => {
    run(['write', 'a', 'A'.repeat(8192), 0], ['syncDirectory', ''], ['sync', 'a']);
    control.set('dieInWrite', 1);
    run(['write', 'a', 'b'.repeat(8192), 0]);
    expect(content('a')).toBe('b'.repeat(4096) + 'A'.repeat(4096));
    run(['write', 'a', 'C'.repeat(8192), 0], ['sync', 'a']);
    expect(lose().writesLost).toBe(0);
    expect(content('a')).toBe('C'.repeat(8192));
  });

  it('tears a write at the grain of sectors', () => {
    const flushed = 'A'.repeat(8192);
    const states = new Set<string>();
    for (let seed = 1; seed <= 4; seed++) {
      run(['write', 'a', flushed, 0], ['syncDirectory', ''], ['sync', 'a'], ['write', 'a', 'b'.repeat(8192), 0]);
      lose(new SeededRandom(seed));
      const sectors = content('a')!.match(/.{512}/g)!;
      expect(sectors.every((sector) => sector === 'A'.repeat(512) || sector === 'b'.repeat(512))).toBe(true);
      states.add(sectors.map((sector) => sector[0]).join(''));
    }
    expect(states.size).toBeGreaterThan(1);
  });
});

describe.skipIf('missing' in compileShim(tmpdir()))('the shim', () => {
  it('fails flushes and writes as told, and counts what took effect', () => {
    control.set('syncFailures', 1);
    expect(run(['write', 'a', 'A', 0], ['sync', 'a'], ['sync', 'a']).output).toEqual(['EIO']);
    control.set('writeFailures', 1);
    expect(run(['write', 'a', 'A', 0]).output).toEqual(['EIO']);
    control.set('diskFull', 1);
    expect(run(['write', 'a', 'A', 0]).output).toEqual(['ENOSPC']);
    expect([control.count('syncsFailed'), control.count('writesFailed'), control.count('writesFull')]).toEqual([
      1, 1, 1,
    ]);
  });

  it('kills the process at a flush, before or behind it', () => {
    control.set('dieBeforeSync', 2);
    run(['write', 'a', 'A', 0], ['syncDirectory', ''], ['write', 'a', 'B', 1], ['sync', 'a'], ['write', 'a', 'C', 2]);
    expect(content('a')).toBe('AB');
    expect(control.count('deaths')).toBe(1);
  });

  it('kills the process at a named point, right before or right after', () => {
    const script: Command[] = [
      ['write', 'x.new', 'A', 0],
      ['rename', 'x.new', 'x'],
      ['write', 'y.new', 'B', 0],
      ['rename', 'y.new', 'y'],
      ['write', 'z', 'C', 0],
    ];
    control.dieAt({ name: '', when: 'before', operation: 'rename', path: '/y' }, 1);
    run(...script);
    expect([content('x'), content('y'), content('y.new')]).toEqual(['A', undefined, 'B']);
    control.dieAt({ name: '', when: 'after', operation: 'rename', path: '/' }, 2);
    run(...script);
    expect([content('y'), content('z')]).toEqual(['B', undefined]);
    expect(control.count('deaths')).toBe(2);
  });

  it('moves the wall clock', () => {
    control.set('clockOffsetNs', -3_600e9);
    const [now] = run(['now', '']).output;
    expect(Date.now() - Number(now)).toBeGreaterThan(3_590_000);
  });
});
