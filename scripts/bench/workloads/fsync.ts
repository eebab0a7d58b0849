/**
 * Shows that acknowledgements wait for the disk: one producer sends a record, waits for its acknowledgement, sends the next. Then each round needs a flush of its own on a majority, so the second
 * most diligent of three brokers must have flushed at least once a round. Counted twice: by the brokers' own metric, and by the kernel's view of their system calls (strace).
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { produceApi } from '../../../src/kafka-protocol/messages/produce.ts';
import { encodeRecordBatch } from '../../../src/kafka-protocol/records.ts';
import { RawConnection } from '../raw-client.ts';
import { type Context, type Figure, type Outcome, sleep, type Workload } from '../workload.ts';

const PRODUCE_VERSION = 7;
const SYNC_CALLS = ['fsync', 'fdatasync', 'sync_file_range', 'msync'];
const ATTACH_MS = 1_500;

async function rounds(connection: RawConnection, topic: string, count: number): Promise<void> {
  const records = encodeRecordBatch([{ timestamp: Date.now(), value: Buffer.alloc(100, 'x') }]);
  for (let i = 0; i < count; i++) {
    const { responses } = await connection.request(produceApi, PRODUCE_VERSION, {
      acks: -1,
      timeoutMs: 30_000,
      topicData: [{ name: topic, partitionData: [{ index: 0, records }] }],
    });
    const code = responses[0]?.partitionResponses[0]?.errorCode;
    if (code !== 0) throw new Error(`A record was refused with error ${code}`);
  }
}

async function runFsync(context: Context): Promise<Outcome> {
  const count = context.scale === 'short' ? 200 : 1000;
  const { topic, leaders } = await context.createTopic(1);
  const connection = await RawConnection.open(leaders.get(0)!);
  await rounds(connection, topic, 50);
  const figures: Figure[] = [{ name: 'acknowledged rounds', unit: 'rounds', better: undefined, value: count }];
  const byMetric = await walFlushes(context);
  await rounds(connection, topic, count);
  if (byMetric !== undefined) {
    const after = (await walFlushes(context))!;
    figures.push(
      ...perBroker(
        'flushes by the metric',
        after.map((value, i) => value - byMetric[i]!),
        count,
      ),
    );
  }
  const traced = await traceSyncs(context, () => rounds(connection, topic, count));
  connection.close();
  if (traced === undefined) return { figures, remark: 'strace is not installed, or may not attach: not counted by it' };
  figures.push(...perBroker('sync calls by strace', traced, count));
  return { figures };
}

/** Each broker's count for each round, the most diligent first. */
function perBroker(name: string, counts: readonly number[], roundCount: number): Figure[] {
  return [...counts]
    .sort((a, b) => b - a)
    .map((value, i) => ({
      name: `${name}, broker ${i + 1}`,
      unit: 'per round',
      better: undefined,
      value: value / roundCount,
    }));
}

async function walFlushes(context: Context): Promise<number[] | undefined> {
  const counts: number[] = [];
  for (const broker of context.system.pids().keys()) {
    const text = await context.system.metrics(broker);
    const match = /^flotilla_wal_flush_duration_seconds_count (\d+)/m.exec(text ?? '');
    if (match === null) return undefined;
    counts.push(Number(match[1]));
  }
  return counts;
}

/** Calls that make files durable, of each broker while `work` ran; undefined if it cannot be told. */
async function traceSyncs(context: Context, work: () => Promise<void>): Promise<number[] | undefined> {
  const tracers: { process: ChildProcess; file: string; ended: Promise<void> }[] = [];
  for (const [broker, pid] of context.system.pids()) {
    const file = join(context.directory, `strace-${broker}`);
    const args = ['-f', '-c', '-e', `trace=${SYNC_CALLS.join(',')}`, '-o', file, '-p', `${pid}`];
    const child = spawn('strace', args, { stdio: 'ignore' });
    const ended = new Promise<void>((resolve) => {
      child.on('exit', () => resolve());
      child.on('error', () => resolve());
    });
    tracers.push({ process: child, file, ended });
  }
  await sleep(ATTACH_MS);
  const attached = tracers.every((tracer) => tracer.process.pid !== undefined && tracer.process.exitCode === null);
  if (attached) await work();
  for (const tracer of tracers) tracer.process.kill('SIGINT');
  await Promise.all(tracers.map(({ ended }) => ended));
  return attached ? tracers.map(({ file }) => countCalls(readFileSync(file, 'utf8'))) : undefined;
}

/** Of strace's summary: lines of `% time, seconds, usecs/call, calls, [errors,] syscall`. */
function countCalls(summary: string): number {
  let calls = 0;
  for (const line of summary.split('\n')) {
    const fields = line.trim().split(/\s+/);
    if (SYNC_CALLS.includes(fields.at(-1) ?? '')) calls += Number(fields[3]);
  }
  return calls;
}

export const fsync: Workload = {
  name: 'fsync',
  about:
    'One record at a time, each sent after the acknowledgement of the one before: flushes for each acknowledged round',
  everyday: false,
  cells: () => [{ id: 'fsync-rounds', label: '1 partition', roundsMax: 1, run: runFsync }],
};
