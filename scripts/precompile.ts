/**
 * Third step of the build: leaves V8's bytecode of what a broker runs from its start to its first record beside the bundle. Three brokers start as a scratch cluster, one of them in this process, and a topic and a
 * record are made. Without bytecode, as after a failure here or with another version of Node, a broker starts more slowly and is the same otherwise.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CompiledProgram } from '../src/node/compiled-program.ts';
import { tuneGarbageCollector } from '../src/node/garbage-collector.ts';
import { untilFirstRecord } from './bench/first-record.ts';

const IDS = [1, 2, 3];
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
const ports = await freePorts(3 * IDS.length);
const kafkaPorts = ports.slice(0, IDS.length);
const files = IDS.map((id) => writeProperties(id));
for (const file of files.slice(1)) others.push(spawn(process.execPath, [COMMAND, file], { stdio: 'ignore' }));
process.argv = [process.argv[0]!, COMMAND, files[0]!];
const program = new CompiledProgram(PROGRAM);
try {
  program.run();
  const endpoints = kafkaPorts.map((port) => ({ host: '127.0.0.1', port }));
  await untilFirstRecord(endpoints, 'first', { startMs: performance.now(), create: IDS.length });
  program.writeBytecode();
  problem = new CompiledProgram(PROGRAM).isPrecompiled ? undefined : 'V8 does not take what it gave';
} catch (error) {
  problem = error;
}
process.exit();

function writeProperties(id: number): string {
  const [kafka, raft, http] = [0, 1, 2].map((kind) => ports[kind * IDS.length + id - 1]!);
  const raftOf = (voter: number): string => `127.0.0.1:${ports[IDS.length + voter - 1]}`;
  const data = join(directory, `${id}`);
  mkdirSync(data);
  const file = join(directory, `${id}.properties`);
  const lines = [
    `node.id=${id}`,
    `listeners=PLAINTEXT://127.0.0.1:${kafka}`,
    `raft.listener=127.0.0.1:${raft}`,
    `http.listener=127.0.0.1:${http}`,
    `controller.quorum.voters=${IDS.map((voter) => `${voter}@${raftOf(voter)}`).join(',')}`,
    `log.dirs=${data}`,
    'log.level=error',
  ];
  writeFileSync(file, lines.join('\n'));
  return file;
}

/** Distinct: all are open at the same time. */
async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise<ReturnType<typeof createServer>>((resolve, reject) => {
          const server = createServer();
          server.once('error', reject);
          server.listen(0, '127.0.0.1', () => resolve(server));
        }),
    ),
  );
  const found = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return found;
}
