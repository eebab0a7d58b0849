/** Compiles what is written in C with the C compiler of the machine. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export type Compiled = { readonly path: string } | { readonly missing: string };

/** The library that is preloaded into brokers; its path in `directory`, or why there is none. */
export function compileShim(directory: string): Compiled {
  return compile('shim.c', join(directory, 'shim.so'), ['-shared', '-fPIC', '-ldl', '-lpthread']);
}

/** The program that carries packets between brokers. */
export function compileCable(directory: string): Compiled {
  return compile('cable.c', join(directory, 'cable'), []);
}

function compile(source: string, path: string, options: readonly string[]): Compiled {
  if (process.platform !== 'linux') return { missing: 'This is done on Linux only' };
  try {
    execFileSync('cc', ['-O2', '-o', path, fileURLToPath(new URL(source, import.meta.url)), ...options], {
      stdio: 'pipe',
    });
    return { path };
  } catch (error) {
    return { missing: `The C compiler failed: ${(error as Error).message.split('\n')[0]}` };
  }
}

/** Environment with which a broker runs under the shim. io_uring would pass it by. */
export function shimEnvironment(library: string, chaosDirectory: string, clusterDirectory: string): NodeJS.ProcessEnv {
  return { LD_PRELOAD: library, CHAOS_DIR: chaosDirectory, CHAOS_ROOT: clusterDirectory, UV_USE_IO_URING: '0' };
}
