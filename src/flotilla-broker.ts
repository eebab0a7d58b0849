#!/usr/bin/env node
/** The command `flotilla-broker FILE.properties` as it is built: main.ts and what it imports in one file, compiled already. */
import { fileURLToPath } from 'node:url';
import { CompiledProgram } from './node/compiled-program.ts';
import { tuneGarbageCollector } from './node/garbage-collector.ts';

tuneGarbageCollector();
new CompiledProgram(fileURLToPath(new URL('main.cjs', import.meta.url))).run();
