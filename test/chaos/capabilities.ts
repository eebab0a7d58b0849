/** What this machine can inject, probed once and written into every report: what it can not is said, not skipped silently. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { compileShim } from './faults/compile-shim.ts';

export interface Capabilities {
  /** Library to preload; undefined if it can not be built. */
  readonly shim: string | undefined;
  /** What can not be injected, and why. */
  readonly missing: readonly string[];
}

export function probeCapabilities(): Capabilities {
  const compiled = compileShim(mkdtempSync(join(tmpdir(), 'flotilla-chaos-shim-')));
  if ('path' in compiled) return { shim: compiled.path, missing: [] };
  return {
    shim: undefined,
    missing: [`Power loss, disk faults, clock jumps and links between brokers are not injected: ${compiled.missing}`],
  };
}
