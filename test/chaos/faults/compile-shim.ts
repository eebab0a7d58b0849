/** Compiles shim.c with the C compiler of the machine. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const SOURCE = fileURLToPath(new URL('./shim.c', import.meta.url));

/** Path of the library in `directory`, or why there is none. */
export function compileShim(directory: string): { path: string } | { missing: string } {
  if (process.platform !== 'linux') return { missing: 'Preloading is done on Linux only' };
  const path = join(directory, 'shim.so');
  try {
    execFileSync('cc', ['-shared', '-fPIC', '-O2', '-o', path, SOURCE, '-ldl', '-lpthread'], { stdio: 'pipe' });
    return { path };
  } catch (error) {
    return { missing: `The C compiler failed: ${(error as Error).message.split('\n')[0]}` };
  }
}

/** Environment with which a broker runs under the shim. io_uring would pass it by. */
export function shimEnvironment(library: string, chaosDirectory: string, clusterDirectory: string): NodeJS.ProcessEnv {
  return { LD_PRELOAD: library, CHAOS_DIR: chaosDirectory, CHAOS_ROOT: clusterDirectory, UV_USE_IO_URING: '0' };
}
