/**
 * Measures the WAL on the real disk: appends entries, flushes as fast as group commit goes, then opens the log again.
 *
 *     npx tsx scripts/bench/wal-alone.ts [--megabytes 1024] [--entry-bytes 1024] [--in-flight-kib 256] [--replicas 100] [--directory /tmp/x]
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { NodeDisk } from '../../src/node/node-disk.ts';
import { nodeClock, nodeTimers } from '../../src/node/node-time.ts';
import { type LogIndex, logIndex, replicaId, term } from '../../src/std/brands.ts';
import { ENTRY_KIND, type Entry } from '../../src/wal/replica-storage.ts';
import { Wal } from '../../src/wal/wal.ts';

const { values } = parseArgs({
  options: {
    megabytes: { type: 'string', default: '1024' },
    'entry-bytes': { type: 'string', default: '1024' },
    'in-flight-kib': { type: 'string', default: '256' },
    replicas: { type: 'string', default: '100' },
    directory: { type: 'string', default: '.' },
  },
});
const totalBytes = Number(values.megabytes) * 1024 * 1024;
const entryBytes = Number(values['entry-bytes']);
const inFlightBytes = Number(values['in-flight-kib']) * 1024;
const replicas = Array.from({ length: Number(values.replicas) }, (_, i) => replicaId(i + 1));
const storeId = new Uint8Array(16).fill(1);

const root = await mkdtemp(join(values.directory, '.bench-wal-'));
try {
  await measure(root);
} finally {
  await rm(root, { recursive: true });
}

async function measure(directory: string): Promise<void> {
  const options = {
    disk: await NodeDisk.open(directory),
    clock: nodeClock,
    timers: nodeTimers,
    directory: 'wal',
    storeId,
  };
  const wal = await Wal.open(options);
  wal.onFailure = (error) => {
    throw error;
  };
  const last = new Map(replicas.map((id) => [id, 0]));
  for (const id of replicas) wal.createReplica(id, new Uint8Array(100));
  // A checkpoint is what a partition would write: here it only lets segments go.
  const checkpoint = (id: (typeof replicas)[number]): void => {
    const index = logIndex(last.get(id)!);
    if (index > 0) wal.setCheckpoint(id, { index, term: term(1), payload: new Uint8Array(200) });
  };
  wal.onPressure = (ids) => ids.forEach(checkpoint);
  // As from a socket: pieces of larger buffers.
  const bufferBytes = Math.max(entryBytes, 64 * 1024);
  let socketBuffer = Buffer.allocUnsafeSlow(bufferBytes);
  let used = 0;
  const nextPayload = (): Uint8Array => {
    if (used + entryBytes > bufferBytes) {
      socketBuffer = Buffer.allocUnsafeSlow(bufferBytes);
      used = 0;
    }
    used += entryBytes;
    return socketBuffer.subarray(used - entryBytes, used);
  };

  let appended = 0;
  let flushed = 0;
  let wake: (() => void) | undefined;
  // Plain numbers, so that the measurement leaves no garbage of its own.
  const count = Math.ceil(totalBytes / entryBytes);
  const lsns = new Float64Array(count);
  const timesMs = new Float64Array(count);
  let sent = 0;
  let done = 0;
  wal.onFlushed = (lsn) => {
    const nowMs = performance.now();
    for (; done < sent && lsns[done]! <= lsn; done++) {
      flushed += entryBytes;
      timesMs[done] = nowMs - timesMs[done]!;
    }
    wake?.();
  };
  const cpuBefore = process.cpuUsage();
  const flushesBefore = wal.stats.flushes;
  const startMs = performance.now();
  for (let turn = 0; appended < totalBytes; turn++) {
    const id = replicas[turn % replicas.length]!;
    const index = last.get(id)! + 1;
    const entry: Entry = {
      index: logIndex(index),
      term: term(1),
      kind: ENTRY_KIND.command,
      payload: [nextPayload()],
      checksum: 1,
    };
    const lsn = wal.appendEntries(id, [entry], logIndex(index - 1));
    last.set(id, index);
    appended += entryBytes;
    lsns[sent] = lsn;
    timesMs[sent++] = performance.now();
    wal.flush();
    while (appended - flushed > inFlightBytes) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  }
  while (flushed < appended) {
    await new Promise<void>((resolve) => {
      wake = resolve;
    });
  }
  const seconds = (performance.now() - startMs) / 1000;
  const cpu = process.cpuUsage(cpuBefore);
  const gigabytes = totalBytes / 1024 ** 3;
  const flushes = wal.stats.flushes - flushesBefore;
  timesMs.sort();
  const percentile = (share: number): string => timesMs[Math.floor((count - 1) * share)]!.toFixed(2);
  console.log(
    `append+flush: ${(totalBytes / 1024 ** 2 / seconds).toFixed(0)} MB/s, ${(flushes / seconds).toFixed(0)} flushes/s of ${(wal.stats.flushedBytes / flushes / 1024).toFixed(0)} KiB, ` +
      `${(sent / seconds).toFixed(0)} entries/s of ${entryBytes} B, latency p50 ${percentile(0.5)} p99 ${percentile(0.99)} ms`,
  );
  console.log(
    `CPU: ${((cpu.user + cpu.system) / 1e6 / gigabytes).toFixed(2)} s per GB (user ${(cpu.user / 1e6 / gigabytes).toFixed(2)}, system ${(cpu.system / 1e6 / gigabytes).toFixed(2)}); ` +
      `segments ${wal.stats.segments}, reused ${wal.stats.segmentsReused}, moved ${(wal.stats.movedBytes / 1024 ** 2).toFixed(0)} MB`,
  );

  // A tail that no checkpoint covers, as large as the limit lets it be, then a restart.
  wal.onPressure = () => undefined;
  for (const id of replicas) checkpoint(id);
  const tailBytes = Math.min(totalBytes, 120 * 1024 * 1024);
  for (let bytes = 0; bytes < tailBytes; bytes += entryBytes) {
    const id = replicas[(bytes / entryBytes) % replicas.length]!;
    const index = last.get(id)! + 1;
    wal.appendEntries(
      id,
      [{ index: logIndex(index), term: term(1), kind: ENTRY_KIND.command, payload: [nextPayload()], checksum: 1 }],
      logIndex(index - 1),
    );
    last.set(id, index);
    if (bytes % (1024 * 1024) < entryBytes) {
      wal.flush();
      const target = wal.appendedLsn;
      while (wal.flushedLsn < target) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    }
  }
  const inUse = wal.stats.bytesInUse;
  await wal.close();
  const openCpu = process.cpuUsage();
  const openMs = performance.now();
  const again = await Wal.open(options);
  const tookMs = performance.now() - openMs;
  const openedCpu = process.cpuUsage(openCpu);
  const entries = again.recovered.reduce(
    (sum, replica) => sum + replica.lastIndex - (replica.checkpoint?.index ?? 0),
    0,
  );
  console.log(
    `restart: ${tookMs.toFixed(0)} ms (CPU ${((openedCpu.user + openedCpu.system) / 1000).toFixed(0)} ms) for ${(inUse / 1024 ** 2).toFixed(0)} MB of segments, ${entries} live entries`,
  );
  const readMs = performance.now();
  let read = 0;
  for (const replica of again.recovered) {
    for (let next: number = (replica.checkpoint?.index ?? 0) + 1; next <= replica.lastIndex; ) {
      const batch = await again.readEntries(replica.replicaId, next as LogIndex, replica.lastIndex, 1024 * 1024);
      next += batch.length;
      read += batch.length;
    }
  }
  console.log(
    `replay: ${read} entries from memory in ${(performance.now() - readMs).toFixed(0)} ms; RSS ${(process.memoryUsage.rss() / 1024 ** 2).toFixed(0)} MB`,
  );
  again.endReplay();
  await again.close();
}
