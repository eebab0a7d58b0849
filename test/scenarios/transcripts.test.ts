/** Golden transcripts of the Raft core. `UPDATE_TRANSCRIPTS=1` rewrites their outputs; read the difference before committing it. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { runTranscript } from './transcript.ts';

const FOLDER = join(import.meta.dirname, 'transcripts');

for (const name of readdirSync(FOLDER).filter((file) => file.endsWith('.txt'))) {
  test(name, () => {
    const path = join(FOLDER, name);
    const expected = readFileSync(path, 'utf8');
    const actual = runTranscript(expected);
    if (process.env.UPDATE_TRANSCRIPTS === '1') writeFileSync(path, actual);
    else expect(actual).toBe(expected);
  });
}
