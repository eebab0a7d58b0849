/** Keeps docs/architecture.md honest: who may import whom, and who may touch the machine. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** Folder → the folders of src/ that it may import, besides itself. `main.ts` may import all. */
const MAY_IMPORT: Record<string, readonly string[]> = {
  std: [],
  node: ['std'],
  'kafka-protocol': ['std'],
  wal: ['std'],
  raft: ['std', 'wal'],
  broker: ['std', 'kafka-protocol', 'raft'],
};
/** Implementations of the interfaces to the machine, and whatever wraps a library that touches it. */
const TOUCHES_THE_MACHINE = [/^src\/node\//, /^src\/raft\/grpc(-transport\.ts$|\/)/, /^src\/main\.ts$/];
const MACHINE = [
  /\bDate\.now\b/,
  /\bnew Date\(\)/,
  /\bperformance\.now\b/,
  /\bprocess\.hrtime\b/,
  /\bMath\.random\b/,
  /\b(setTimeout|setInterval|setImmediate)\(/,
  /\brandom(UUID|Bytes|Int)\(/,
  /from 'node:(fs|fs\/promises|net|tls|dns|timers|timers\/promises|http|https|worker_threads)'/,
];

interface SourceFile {
  readonly path: string;
  readonly text: string;
}

function sources(): SourceFile[] {
  return walk(join(ROOT, 'src')).map((absolute) => ({
    path: relative(ROOT, absolute).split(sep).join('/'),
    text: readFileSync(absolute, 'utf8'),
  }));
}

function walk(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts'))
    .map((path) => join(directory, path));
}

const isTest = ({ path }: SourceFile) => path.endsWith('.test.ts') || path.endsWith('.contract.ts');

function importsOf({ path, text }: SourceFile): string[] {
  const specifiers = [...text.matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'/g)].map(([, specifier]) => specifier!);
  return specifiers.map((specifier) => join(dirname(path), specifier).split(sep).join('/'));
}

describe('source tree', () => {
  const files = sources();

  it('has files', () => expect(files.length).toBeGreaterThan(50));

  it('lets no import go back against the flow of data', () => {
    const violations: string[] = [];
    for (const file of files.filter((candidate) => !isTest(candidate))) {
      const [, folder = ''] = file.path.split('/');
      const allowed = MAY_IMPORT[folder];
      if (allowed === undefined) continue;
      for (const target of importsOf(file)) {
        const [top, targetFolder = ''] = target.split('/');
        if (top !== 'src' || targetFolder === folder || allowed.includes(targetFolder)) continue;
        violations.push(`${file.path} imports ${target}`);
      }
    }
    expect(violations).toEqual([]);
  });

  it('keeps the Raft core pure: it imports its own files, std, and types of the WAL only', () => {
    const violations = files
      .filter((file) => file.path.startsWith('src/raft/core/') && !isTest(file))
      .flatMap((file) =>
        importsOf(file)
          .filter((target) => !/^src\/(raft\/core|std)\//.test(target) && target !== 'src/wal/replica-storage.ts')
          .map((target) => `${file.path} imports ${target}`),
      );
    expect(violations).toEqual([]);
  });

  it('touches clock, timers, randomness, files and sockets only where their interfaces are implemented', () => {
    const violations = files
      .filter((file) => !isTest(file) && !TOUCHES_THE_MACHINE.some((pattern) => pattern.test(file.path)))
      .flatMap((file) =>
        file.text.split('\n').flatMap((line, i) => {
          const code = line.replace(/^\s*(\*|\/\/|\/\*).*/, '');
          return MACHINE.some((pattern) => pattern.test(code)) ? [`${file.path}:${i + 1} ${code.trim()}`] : [];
        }),
      );
    expect(violations).toEqual([]);
  });
});
