import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { bytecodePath, CompiledProgram } from './compiled-program.ts';

const MODULE = new URL('./compiled-program.ts', import.meta.url).href;

let directory: string;
let path: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'flotilla-program-'));
  path = join(directory, 'program.cjs');
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

function write(result: string): void {
  const body = `return [typeof require('node:fs').readFileSync, __filename, ${JSON.stringify(result)}].join(' ');`;
  writeFileSync(path, `#!/usr/bin/env node\nfunction join() { ${body} }\nglobalThis.programResult = join();\n`);
}

/** In a process of its own: V8 remembers what it compiled in this one. */
function run(): { result: string; isPrecompiled: boolean } {
  const code = `
    import { CompiledProgram } from ${JSON.stringify(MODULE)};
    const program = new CompiledProgram(${JSON.stringify(path)});
    program.run();
    const { isPrecompiled } = program;
    program.writeBytecode();
    console.log(JSON.stringify({ result: globalThis.programResult, isPrecompiled }));`;
  const { stdout, stderr } = spawnSync(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', code], {
    encoding: 'utf8',
  });
  if (stdout === '') throw new Error(stderr);
  return JSON.parse(stdout);
}

describe('CompiledProgram', () => {
  test('runs a CommonJS file, and again from the bytecode that the first run left', () => {
    write('one');
    const result = `function ${path} one`;
    expect(run()).toEqual({ result, isPrecompiled: false });
    expect(run()).toEqual({ result, isPrecompiled: true });
  });

  test('compiles the source where the bytecode is cut, or that of another program', () => {
    write('one');
    run();
    const bytecode = readFileSync(bytecodePath(path));
    writeFileSync(bytecodePath(path), bytecode.subarray(0, bytecode.length / 2));
    expect(run()).toEqual({ result: `function ${path} one`, isPrecompiled: false });
    write('another one');
    expect(run()).toEqual({ result: `function ${path} another one`, isPrecompiled: false });
  });

  test('says which file is not there', () => {
    expect(() => new CompiledProgram(path)).toThrow(path);
  });
});
