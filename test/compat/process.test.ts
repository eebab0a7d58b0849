/** The broker as a process: how it starts, how it refuses to, how it ends, and what kill -9 leaves. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import kafkajs from 'kafkajs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { until } from './test-cluster.ts';

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

class BrokerProcess {
  output = '';
  exitCode: number | null | undefined;
  readonly #child: ChildProcess;

  constructor(propertiesFile: string, environment: NodeJS.ProcessEnv = {}) {
    this.#child = spawn(process.execPath, ['--import', 'tsx', MAIN, propertiesFile], {
      env: { ...process.env, UV_THREADPOOL_SIZE: '4', ...environment },
    });
    for (const stream of [this.#child.stdout!, this.#child.stderr!]) {
      stream.setEncoding('utf8');
      stream.on('data', (text: string) => {
        this.output += text;
      });
    }
    this.#child.on('close', (code) => {
      this.exitCode = code;
    });
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  async ended(): Promise<number | null> {
    await until(() => this.exitCode !== undefined);
    return this.exitCode!;
  }

  async serves(): Promise<void> {
    await until(() => {
      if (this.exitCode !== undefined) throw new Error(`The broker ended: ${this.output}`);
      return this.output.includes('Serving clients');
    });
  }

  get lastLine(): string {
    return this.output.trim().split('\n').at(-1) ?? '';
  }
}

let directory: string;
let ports: number[];
const processes: BrokerProcess[] = [];

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'flotilla-process-'));
  ports = await Promise.all([freePort(), freePort(), freePort()]);
});
afterAll(async () => {
  for (const broker of processes) broker.signal('SIGKILL');
  await Promise.all(processes.map((broker) => broker.ended()));
  rmSync(directory, { recursive: true, force: true });
});

function start(changes: Record<string, string | number> = {}, environment: NodeJS.ProcessEnv = {}): BrokerProcess {
  const properties = {
    'node.id': 1,
    listeners: `PLAINTEXT://127.0.0.1:${ports[0]}`,
    'raft.listener': `127.0.0.1:${ports[1]}`,
    'http.listener': `127.0.0.1:${ports[2]}`,
    'controller.quorum.voters': `1@127.0.0.1:${ports[1]}`,
    'log.dirs': join(directory, 'data'),
    'default.replication.factor': 1,
    'offsets.topic.replication.factor': 1,
    'group.initial.rebalance.delay.ms': 0,
    'disk.reserve.bytes': 0,
    'wal.segment.bytes': 2 ** 22,
    'wal.max.bytes': 2 ** 25,
    ...changes,
  };
  const file = join(directory, `broker-${processes.length}.properties`);
  writeFileSync(
    file,
    Object.entries(properties)
      .map(([name, value]) => `${name}=${value}\n`)
      .join(''),
  );
  const broker = new BrokerProcess(file, environment);
  processes.push(broker);
  return broker;
}

function client() {
  return new kafkajs.Kafka({ brokers: [`127.0.0.1:${ports[0]}`], logLevel: kafkajs.logLevel.NOTHING });
}

describe('flotilla-broker', () => {
  test.each([
    [{ 'num.partitions': 'many' }, {}, /^Property num.partitions=many is not allowed: .*Allowed: an integer from 1/],
    [{ 'log.dirs': MAIN }, {}, /main.ts/],
    [{}, { UV_THREADPOOL_SIZE: '2' }, /^UV_THREADPOOL_SIZE=2 is too small/],
  ])('refuses to start with %j %j and says why in one line', async (changes, environment, line) => {
    const broker = start(changes, environment);
    expect(await broker.ended()).toBeGreaterThan(0);
    expect(broker.output.trim().split('\n').length).toBe(1);
    expect(broker.lastLine).toMatch(line);
  });

  test('keeps everything acknowledged through kill -9, lets nobody else in, and stops gracefully', async () => {
    const first = start({ 'log.retension.ms': 1 });
    await first.serves();
    expect(first.output).toMatch(
      /Unknown property log.retension.ms does nothing; the closest known one is log.retention.ms/,
    );

    const second = start({ 'http.listener': '127.0.0.1:0', 'raft.listener': `127.0.0.1:${ports[1]}` });
    expect(await second.ended()).toBe(2);
    expect(second.lastLine).toMatch(/in use by another process/);

    const producer = client().producer({ createPartitioner: kafkajs.Partitioners.DefaultPartitioner });
    await producer.connect();
    for (let index = 0; index < 20; index++) {
      await producer.send({ topic: 'kept', messages: [{ value: `${index}` }] });
    }
    await producer.disconnect();
    first.signal('SIGKILL');
    await first.ended();

    const other = start({ 'node.id': 2, 'controller.quorum.voters': `2@127.0.0.1:${ports[1]}` });
    expect(await other.ended()).toBe(2);
    expect(other.lastLine).toMatch(/node.id=2, but the data directory \(log.dirs\) belongs to node.id=1/);

    const again = start();
    await again.serves();
    const values: string[] = [];
    const consumer = client().consumer({ groupId: 'reader', maxWaitTimeInMs: 100 });
    const admin = client().admin();
    await admin.connect();
    await until(async () => (await admin.fetchTopicOffsets('kept').catch(() => []))[0]?.high === '20');
    await admin.disconnect();
    await consumer.connect();
    await consumer.subscribe({ topic: 'kept', fromBeginning: true });
    await consumer.run({ eachMessage: ({ message }) => Promise.resolve(void values.push(message.value!.toString())) });
    await until(() => values.length >= 20);
    expect(values).toEqual(Array.from({ length: 20 }, (_, index) => `${index}`));
    await consumer.disconnect();

    again.signal('SIGTERM');
    expect(await again.ended()).toBe(0);
    expect(again.lastLine).toMatch(/"Stopped"/);
  });
});

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}
