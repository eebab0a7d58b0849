/** One file out of a program of the simulation and all it imports, without sources changed or a test runner's module system in between. */
import { fileURLToPath } from 'node:url';
import { build, type Plugin } from 'esbuild';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** `entry` and `outfile` are relative to the project, or absolute; the output has to be inside of it, where packages are found. */
export async function bundleProgram(entry: string, outfile: string, plugins: Plugin[] = []): Promise<void> {
  await build({
    absWorkingDir: ROOT,
    entryPoints: [entry],
    outfile,
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    packages: 'external',
    logLevel: 'warning',
    plugins,
  });
}
