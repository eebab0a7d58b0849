/**
 * Third step of the build: leaves V8's bytecode of what a broker runs from its start to its first record beside the bundle. Three brokers start as a scratch cluster, one of them in this process, and a topic and a
 * record are made. Without bytecode, as after a failure here or with another version of Node, a broker starts more slowly and is the same otherwise.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CompiledProgram } from '../src/node/compiled-program.ts';
import { tuneGarbageCollector } from '../src/node/garbage-collector.ts';
import { untilFirstRecord } from './bench/first-record.ts';
import { parseEndpoints } from './bench/raw-client.ts';
import { ClusterFiles } from './cluster/cluster-files.ts';
import { findFreePort } from './cluster/free-port.ts';

const NODES = 3;
const LIMIT_MS = 30_000;
const PROGRAM = fileURLToPath(new URL('../src/main.cjs', import.meta.url));
const COMMAND = fileURLToPath(new URL('../src/flotilla-broker.js', import.meta.url));

const directory = mkdtempSync(join(tmpdir(), 'flotilla-precompile-'));
const others: ChildProcess[] = [];

let problem: unknown = 'it ended by itself';

// Also when the broker in this process ends it.
process.on('exit', () => {
  for (const other of others) other.kill('SIGKILL');
  rmSync(directory, { recursive: true, force: true });
  process.exitCode = 0;
  if (problem === undefined) return;
  console.error(`The broker is built, but not compiled ahead, and starts more slowly: ${String(problem)}`);
});
setTimeout(() => {
  problem = `it took more than ${LIMIT_MS / 1000} s`;
  process.exit();
}, LIMIT_MS);
tuneGarbageCollector();
const environment = { FLOTILLA_DIR: directory, FLOTILLA_PORT: `${await findFreePort(NODES)}` };
const cluster = ClusterFiles.plan(environment, { nodes: NODES, properties: { 'log.level': 'error' } });
cluster.write();
const [first, ...rest] = cluster.ids.map((id) => cluster.propertiesFile(id));
for (const file of rest) others.push(spawn(process.execPath, [COMMAND, file], { stdio: 'ignore' }));
process.argv = [process.argv[0]!, COMMAND, first!];
const program = new CompiledProgram(PROGRAM);
try {
  program.run();
  const endpoints = parseEndpoints(cluster.bootstrapServers);
  await untilFirstRecord(endpoints, 'first', { startMs: performance.now(), create: NODES });
  program.writeBytecode();
  problem = undefined;
} catch (error) {
  problem = error;
}
process.exit();
