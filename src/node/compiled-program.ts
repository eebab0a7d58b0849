/**
 * A program in one CommonJS file, with the bytecode that V8 made of it in an earlier run beside it. A process that finds bytecode of its own version of V8 neither parses nor compiles what ran then; any
 * other compiles the source as usual.
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { Script } from 'node:vm';

type ModuleFunction = (
  exports: object,
  require: NodeJS.Require,
  module: { exports: object },
  filename: string,
  directory: string,
) => void;

export class CompiledProgram {
  readonly #path: string;
  readonly #script: Script;

  /** Throws if there is no file at `path`. The bytecode depends on V8's flags: those that the program sets are to be set before. */
  constructor(path: string) {
    this.#path = path;
    const cachedData = readIfThere(bytecodePath(path));
    const source = readFileSync(path, 'utf8').replace(/^#!.*/, '');
    const wrapped = `(function (exports, require, module, __filename, __dirname) {${source}\n})`;
    this.#script = new Script(wrapped, { filename: path, ...(cachedData === undefined ? {} : { cachedData }) });
  }

  /** Whether there was bytecode, and this V8 could use it. */
  get isPrecompiled(): boolean {
    return this.#script.cachedDataRejected === false;
  }

  run(): void {
    const module = { exports: {} };
    const execute = this.#script.runInThisContext() as ModuleFunction;
    execute(module.exports, createRequire(this.#path), module, this.#path, dirname(this.#path));
  }

  /** Leaves the bytecode of all that ran so far for later processes. */
  writeBytecode(): void {
    const path = bytecodePath(this.#path);
    // V8 trusts the bytes that it finds: all of them, or none.
    writeFileSync(`${path}.next`, this.#script.createCachedData(), { flush: true });
    renameSync(`${path}.next`, path);
  }
}

/** Where the bytecode of the program at `path` is. */
export function bytecodePath(path: string): string {
  return `${path}.bytecode`;
}

function readIfThere(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch {
    return undefined;
  }
}
